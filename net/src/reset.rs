//! Letting a peer know at once that this node has restarted.
//!
//! A process that was killed can't say goodbye, and its peers would go on using dead links until the idle timeout.
//! QUIC's stateless reset (RFC 9000, 10.3) ends them with the first packet that reaches the new process, but only
//! if that can make the same tokens as the old one: so they derive from the node's private key.

use std::sync::Arc;

use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::RandomConnectionIdGenerator;

use crate::identity::Identity;

const TOKEN_CONTEXT: &str = "anabranch 2026-01 net stateless reset tokens";
/// Each packet names its connection with so many bytes. A node has few connections, and most packets of an idle link hold nothing else.
const CONNECTION_ID_BYTES: usize = 4;

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
    let mut config = EndpointConfig::new(Arc::new(token_key));
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID_BYTES)));
    config
}
