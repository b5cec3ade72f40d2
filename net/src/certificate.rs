//! Reading what this crate needs from a certificate: whose it is, and whether a CA stands behind it now.

use anabranch_core::ReplicaId;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::limits::NODE_NAME_BYTES_MAX;

/// The DNS name that every node certificate carries and every dialling node asks for. Nodes are told apart by
/// their keys and common names; this says only "a node of this cluster".
pub(crate) const CLUSTER_DNS_NAME: &str = "anabranch.internal";

/// Whether a text can be a node's name: it becomes a file name, a common name and a part of log lines.
pub(crate) fn is_node_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NODE_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(allowed)
}

/// What a certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) replica: ReplicaId,
    pub(crate) name: String,
}

/// Reads the holder; the error says what is wrong with the certificate.
pub(crate) fn holder(certificate: &CertificateDer<'_>) -> Result<Holder, &'static str> {
    let parsed =
        EndEntityCert::try_from(certificate).map_err(|_| "it is not an X.509 v3 certificate")?;
    let name = common_name(parsed.subject()).ok_or("its subject has no common name")?;
    if !is_node_name(name) {
        return Err(
            "its common name is not a node's name (letters, digits, '-', '_' and '.', at most 64)",
        );
    }
    Ok(Holder {
        replica: ReplicaId::of_public_key(&parsed.subject_public_key_info()),
        name: name.to_owned(),
    })
}

/// Checks that one of `anchors` signed the certificate and that it is valid at `now`, as a peer will.
pub(crate) fn verify(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    let algorithms = rustls::crypto::ring::default_provider()
        .signature_verification_algorithms
        .all;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        parsed.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)?;
    }
    let name = ServerName::try_from(CLUSTER_DNS_NAME)
        .map_err(|_| webpki::Error::MalformedDnsIdentifier)?;
    parsed.verify_is_valid_for_subject_name(&name)
}

/// The common name in an X.501 name, given without its outer SEQUENCE (RFC 5280, 4.1.2.4).
pub(crate) fn common_name(name: &[u8]) -> Option<&str> {
    const SET: u8 = 0x31;
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const UTF8_STRING: u8 = 0x0c;
    const PRINTABLE_STRING: u8 = 0x13;
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

    let mut rest = name;
    while !rest.is_empty() {
        let (SET, mut attributes, after) = element(rest)? else {
            return None;
        };
        rest = after;
        while !attributes.is_empty() {
            let (SEQUENCE, attribute, after) = element(attributes)? else {
                return None;
            };
            attributes = after;
            let (OBJECT_IDENTIFIER, kind, value) = element(attribute)? else {
                return None;
            };
            if kind == COMMON_NAME {
                let (UTF8_STRING | PRINTABLE_STRING, text, []) = element(value)? else {
                    return None;
                };
                return std::str::from_utf8(text).ok();
            }
        }
    }
    None
}

/// Splits a DER element off: its tag, its content, and what follows. None if it is cut short.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = input.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&[length], rest) = rest.split_first_chunk()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_among_others() {
        let name = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02NL\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04eu-1";
        assert_eq!(common_name(name), Some("eu-1"));
        for cut in 0..name.len() {
            assert_eq!(common_name(&name[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn node_names_are_safe_as_file_names() {
        for good in ["eu-1", "a", "node_3.example", &"x".repeat(64)] {
            assert!(is_node_name(good), "{good}");
        }
        for bad in [
            "",
            "../ca",
            ".hidden",
            "a b",
            "a/b",
            "ä",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(!is_node_name(bad), "{bad}");
        }
    }
}
