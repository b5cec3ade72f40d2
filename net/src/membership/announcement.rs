//! What a node tells all others of itself: its name, its datacenter, where it is reached, whether it has left.
//!
//! Announcements travel from node to node, so each is signed with the key of its node's certificate, and the replica's
//! id is that key's hash: whoever passes one on can't change it, nor speak for anybody else. What a liar can do is to
//! make up nodes that don't exist, and the bounds in [`limits`](crate::limits) are for that. Whether a node belongs to
//! the cluster is shown by its certificate alone, when a link comes up.
//!
//! ```text
//! format u8 | content length u16 | content | key length u16 | key (SPKI) | signature scheme u16 | signature
//! content: version u64 | flags u8 | name | datacenter | count u8 | addresses    (texts: length u8, UTF-8)
//! ```
//! Numbers are little-endian. What follows in the content is for later versions, and is passed on untouched.

use std::sync::Arc;

use anabranch_core::ReplicaId;
use bytes::{Buf, BufMut, Bytes};
use rustls::SignatureScheme;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use webpki::{EndEntityCert, RawPublicKeyEntity};

use crate::certificate::is_node_name;
use crate::identity::Identity;
use crate::limits::{
    ADDRESS_BYTES_MAX, ANNOUNCEMENT_BYTES_MAX, DATACENTER_BYTES_MAX, MEMBER_ADDRESSES_MAX,
};

const FORMAT: u8 = 1;
/// What is signed begins with this, so that no signature under TLS can be taken for one of these.
const CONTEXT: &[u8] = b"anabranch 2026-01 net member announcement\0";
const FLAG_LEFT: u8 = 1;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Grows from one to the next: the wall clock's milliseconds, or one more than before.
    pub(crate) version: u64,
    /// It has left for good (until it comes back with a newer one).
    pub(crate) left: bool,
    pub(crate) name: String,
    pub(crate) datacenter: String,
    /// As `host:port`, the best first.
    pub(crate) addresses: Vec<String>,
}

/// An announcement whose signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) replica: ReplicaId,
    pub(crate) said: Announcement,
    pub(crate) bytes: Bytes,
}

/// Why bytes are no announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("an announcement of {bytes} bytes, where {ANNOUNCEMENT_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("an announcement in a format of a later version")]
    Format,
    #[error("an announcement that is cut short or too long")]
    Length,
    #[error("an announcement with a name or an address that can't be one")]
    Text,
    #[error("an announcement whose signature does not fit")]
    Signature,
}

/// Whether a text can be an address to dial: `host:port` in characters that hosts and addresses have.
pub(crate) fn is_address(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
    text.len() <= ADDRESS_BYTES_MAX
        && text.chars().all(allowed)
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

fn fits_datacenter(c: char) -> bool {
    c.is_alphanumeric() || " -_.:/+".contains(c)
}

/// A datacenter's name as it is told to others: printable, and of bounded length.
pub(crate) fn printable_datacenter(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars() {
        let c = if fits_datacenter(c) { c } else { '_' };
        if clean.len() + c.len_utf8() > DATACENTER_BYTES_MAX {
            break;
        }
        clean.push(c);
    }
    clean
}

/// A node's own key, to sign with.
pub(crate) struct Pen {
    pub(crate) replica: ReplicaId,
    key: Arc<dyn SigningKey>,
    spki: Vec<u8>,
}

impl Pen {
    /// The error says what is wrong with the key.
    pub(crate) fn new(identity: &Identity) -> Result<Self, String> {
        let (chain, key) = identity.chain_and_key();
        let key = any_supported_type(&key).map_err(|error| error.to_string())?;
        let certificate = chain.first().ok_or("there is no certificate")?;
        let parsed = EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
        Ok(Self {
            replica: identity.replica_id(),
            key,
            spki: parsed.subject_public_key_info().to_vec(),
        })
    }

    fn signer(&self) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
        ])
    }

    /// Signs an announcement; the error says why that can't be told to others.
    pub(crate) fn sign(&self, said: Announcement) -> Result<Signed, String> {
        let content = encode(&said);
        let signer = self.signer().ok_or("its key can't sign announcements")?;
        let mut bytes = vec![FORMAT];
        put_long(&mut bytes, &content);
        put_long(&mut bytes, &self.spki);
        bytes.put_u16_le(u16::from(signer.scheme()));
        let signature = signer.sign(&[CONTEXT, &bytes].concat());
        bytes.extend(signature.map_err(|error| error.to_string())?);
        if bytes.len() > ANNOUNCEMENT_BYTES_MAX {
            return Err(format!(
                "its announcement has {} bytes, more than {ANNOUNCEMENT_BYTES_MAX}: use an Ed25519 or ECDSA key",
                bytes.len()
            ));
        }
        Ok(Signed {
            replica: self.replica,
            said,
            bytes: bytes.into(),
        })
    }
}

fn put_long(out: &mut Vec<u8>, part: &[u8]) {
    // Both parts are far below 64 KiB: the texts are bounded, and so is a key that rustls takes.
    out.put_u16_le(u16::try_from(part.len()).unwrap_or(u16::MAX));
    out.put_slice(part);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX), "texts are bounded");
    out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.put_slice(text.as_bytes());
}

fn encode(said: &Announcement) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64_le(said.version);
    out.put_u8(if said.left { FLAG_LEFT } else { 0 });
    put_text(&mut out, &said.name);
    put_text(&mut out, &said.datacenter);
    let addresses = said.addresses.iter().take(MEMBER_ADDRESSES_MAX);
    out.put_u8(u8::try_from(addresses.len()).unwrap_or(0));
    addresses.for_each(|address| put_text(&mut out, address));
    out
}

fn take<'a>(input: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Unfit> {
    let (head, rest) = input.split_at_checked(bytes).ok_or(Unfit::Length)?;
    *input = rest;
    Ok(head)
}

fn take_long<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Unfit> {
    let bytes = take(input, 2)?.get_u16_le();
    take(input, usize::from(bytes))
}

fn take_text(input: &mut &[u8], fits: impl Fn(&str) -> bool) -> Result<String, Unfit> {
    let bytes = take(input, 1)?.get_u8();
    let text = std::str::from_utf8(take(input, usize::from(bytes))?).map_err(|_| Unfit::Text)?;
    if fits(text) {
        Ok(text.to_owned())
    } else {
        Err(Unfit::Text)
    }
}

fn decode(mut content: &[u8]) -> Result<Announcement, Unfit> {
    let input = &mut content;
    let version = take(input, 8)?.get_u64_le();
    let flags = take(input, 1)?.get_u8();
    let name = take_text(input, is_node_name)?;
    let datacenter = take_text(input, |text| {
        text.len() <= DATACENTER_BYTES_MAX && text.chars().all(fits_datacenter)
    })?;
    let count = usize::from(take(input, 1)?.get_u8());
    if count > MEMBER_ADDRESSES_MAX {
        return Err(Unfit::Length);
    }
    let addresses = (0..count)
        .map(|_| take_text(input, is_address))
        .collect::<Result<_, _>>()?;
    Ok(Announcement {
        version,
        left: flags & FLAG_LEFT != 0,
        name,
        datacenter,
        addresses,
    })
}

impl Signed {
    /// Reads an announcement and checks its signature.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Unfit> {
        if bytes.len() > ANNOUNCEMENT_BYTES_MAX {
            return Err(Unfit::TooLong { bytes: bytes.len() });
        }
        let mut input = &bytes[..];
        if take(&mut input, 1)? != [FORMAT] {
            return Err(Unfit::Format);
        }
        let content = take_long(&mut input)?;
        let spki = take_long(&mut input)?;
        let scheme = SignatureScheme::from(take(&mut input, 2)?.get_u16_le());
        let signature = input;
        let signed = &bytes[..bytes.len() - signature.len()];
        let said = decode(content)?;
        verify(spki, scheme, &[CONTEXT, signed].concat(), signature).ok_or(Unfit::Signature)?;
        Ok(Self {
            replica: ReplicaId::of_public_key(spki),
            said,
            bytes,
        })
    }
}

fn verify(spki: &[u8], scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> Option<()> {
    let schemes = default_provider().signature_verification_algorithms.mapping;
    let (_, algorithms) = schemes.iter().find(|(known, _)| *known == scheme)?;
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let key = RawPublicKeyEntity::try_from(&spki).ok()?;
    algorithms
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
        .then_some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pki::{CertificateAuthority, Validity};

    fn identity(name: &str) -> Identity {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let node = authority.issue(name, Validity::default()).unwrap();
        let ca = authority.to_pem().cert_pem;
        Identity::from_pem(&ca, &node.cert_pem, &node.key_pem).unwrap()
    }

    fn said() -> Announcement {
        Announcement {
            version: 7,
            left: false,
            name: "eu-1".to_owned(),
            datacenter: "Zürich 2".to_owned(),
            addresses: vec!["10.0.0.5:7172".to_owned(), "[::1]:7".to_owned()],
        }
    }

    #[test]
    fn what_was_signed_is_read_and_nothing_else() {
        let identity = identity("eu-1");
        let signed = Pen::new(&identity).unwrap().sign(said()).unwrap();
        let read = Signed::read(signed.bytes.clone()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.replica, identity.replica_id());
        assert!(signed.bytes.len() < 250, "{}", signed.bytes.len());
        for at in 0..signed.bytes.len() {
            assert!(
                Signed::read(signed.bytes.slice(..at)).is_err(),
                "cut at {at}"
            );
            for bit in [1_u8, 0x80] {
                let mut flipped = signed.bytes.to_vec();
                flipped[at] ^= bit;
                // A changed key may be well-formed, but it is another replica's then, and never signed this.
                assert!(Signed::read(flipped.into()).is_err(), "flipped at {at}");
            }
        }
        let mut longer = signed.bytes.to_vec();
        longer.push(0);
        assert_eq!(Signed::read(longer.into()), Err(Unfit::Signature));
    }

    #[test]
    fn texts_that_could_harm_a_terminal_or_a_log_are_refused() {
        let pen = Pen::new(&identity("eu-1")).unwrap();
        let refused = |change: &dyn Fn(&mut Announcement)| {
            let mut said = said();
            change(&mut said);
            Signed::read(pen.sign(said).unwrap().bytes).unwrap_err()
        };
        for name in ["", "a\u{1b}[2J", "a b", "../x"] {
            assert_eq!(refused(&|said| said.name = name.to_owned()), Unfit::Text);
        }
        assert_eq!(
            refused(&|said| said.datacenter = "eu\u{202e}".to_owned()),
            Unfit::Text
        );
        for address in ["", "eu-1", ":1", "eu-1:0", "a b:1", "a\n:1"] {
            let change = |said: &mut Announcement| said.addresses[0] = address.to_owned();
            assert_eq!(refused(&change), Unfit::Text, "{address}");
        }
        assert_eq!(printable_datacenter("e\u{202e}u\n1"), "e_u_1");
        assert_eq!(printable_datacenter(&"ü".repeat(40)).len(), 64);
    }

    #[test]
    fn a_later_versions_fields_are_passed_on() {
        let pen = Pen::new(&identity("eu-1")).unwrap();
        let mut content = encode(&said());
        content.extend(b"more");
        let mut bytes = vec![FORMAT];
        put_long(&mut bytes, &content);
        put_long(&mut bytes, &pen.spki);
        let signer = pen.signer().unwrap();
        bytes.put_u16_le(u16::from(signer.scheme()));
        bytes.extend(signer.sign(&[CONTEXT, &bytes].concat()).unwrap());
        let read = Signed::read(bytes.clone().into()).unwrap();
        assert_eq!((read.said, read.bytes), (said(), Bytes::from(bytes)));
    }
}
