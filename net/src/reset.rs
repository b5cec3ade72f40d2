//! Letting a peer know at once that this node has restarted.
//!
//! A process that was killed can't say goodbye, and its peers would go on using dead links until the idle timeout.
//! QUIC's stateless reset (RFC 9000, 10.3) ends them with the first packet that reaches the new process, but only
//! if that can make the same tokens as the old one: so they derive from the node's private key, as does the key
//! by which a node knows connection ids as its own.

use std::sync::Arc;

use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;

use crate::identity::Identity;

const TOKEN_CONTEXT: &str = "anabranch 2026-01 net stateless reset tokens";
const CONNECTION_ID_CONTEXT: &str = "anabranch 2026-01 net connection ids";

/// A keyed BLAKE3 hash in the place of an HMAC.
struct TokenKey([u8; 32]);

impl HmacKey for TokenKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Hash's comparison takes constant time.
        if blake3::keyed_hash(&self.0, data) == *signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

pub(crate) fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let (_, key) = identity.chain_and_key();
    let token_key = TokenKey(blake3::derive_key(TOKEN_CONTEXT, key.secret_der()));
    let id_key = blake3::derive_key(CONNECTION_ID_CONTEXT, key.secret_der());
    let id_key = id_key
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut config = EndpointConfig::new(Arc::new(token_key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    config
}
