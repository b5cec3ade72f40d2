//! Who this node is: the cluster's CA, its own certificate and key, checked before anything listens.

use std::fmt;
use std::time::SystemTime;

use anabranch_core::ReplicaId;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;

use crate::certificate::{Holder, holder, verify};
use crate::limits::PEM_CERTIFICATES_MAX;

/// Which of the three files a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// The cluster CA's certificate.
    Ca,
    /// The node's certificate.
    Certificate,
    /// The node's private key.
    Key,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "cluster CA's certificate (`ca`)",
            Self::Certificate => "node's certificate (`cert`)",
            Self::Key => "node's private key (`key`)",
        })
    }
}

/// Why certificate, key and CA don't make an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A text is not what its place asks for.
    #[error(
        "the {file} can't be read: {why}; `anabranch init PKI --node NAME` makes all three files"
    )]
    Unreadable {
        /// Which file.
        file: FileKind,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key were not made together.
    #[error(
        "the node's private key (`key`) does not belong to the node's certificate (`cert`): \
         use the pair that `anabranch init PKI --node NAME` wrote together"
    )]
    KeyMismatch,
    /// Another CA signed the certificate.
    #[error(
        "the node's certificate (`cert`, node `{name}`) is not signed by this cluster's CA (`ca`): \
         copy the cluster's `ca.pem` here, or run `anabranch init PKI --node {name}` where the cluster's CA is"
    )]
    NotSignedByCa {
        /// The node's name in the certificate.
        name: String,
    },
    /// The certificate is too old.
    #[error(
        "the node's certificate (`cert`, node `{name}`) has expired: run `anabranch init PKI --node {name}` \
         where the cluster's CA is, and copy the new files here"
    )]
    Expired {
        /// The node's name in the certificate.
        name: String,
    },
    /// The certificate is not valid yet.
    #[error(
        "the node's certificate (`cert`, node `{name}`) is not valid yet: check this machine's clock"
    )]
    NotYetValid {
        /// The node's name in the certificate.
        name: String,
    },
    /// The CA signed it, but not for a node.
    #[error(
        "the node's certificate (`cert`, node `{name}`) is not one for a node ({why}): \
         run `anabranch init PKI --node {name}` where the cluster's CA is"
    )]
    WrongPurpose {
        /// The node's name in the certificate.
        name: String,
        /// What the verifier said.
        why: String,
    },
}

/// A node's identity in its cluster.
pub struct Identity {
    holder: Holder,
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            holder: self.holder.clone(),
            authorities: self.authorities.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Takes the three files' text and checks that they belong together and are valid now.
    ///
    /// # Errors
    /// When a text can't be read, the key does not fit the certificate, the CA did not sign it, or it is
    /// not valid now.
    pub fn from_pem(ca_pem: &str, cert_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        Self::from_pem_at(ca_pem, cert_pem, key_pem, SystemTime::now())
    }

    /// The same at another time than now.
    ///
    /// # Errors
    /// As of [`Identity::from_pem`], with validity judged at `now`.
    pub fn from_pem_at(
        ca_pem: &str,
        cert_pem: &str,
        key_pem: &str,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let authorities = certificates(FileKind::Ca, ca_pem)?;
        let chain = certificates(FileKind::Certificate, cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| unreadable(FileKind::Key, &explain(&error, "private key")))?;
        let holder = holder(&chain[0]).map_err(|why| unreadable(FileKind::Certificate, why))?;
        check_key(&chain, &key)?;
        let anchors = anchors(&authorities)?;
        let since_epoch = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        verify(
            &chain[0],
            &chain[1..],
            &anchors,
            UnixTime::since_unix_epoch(since_epoch),
        )
        .map_err(|error| untrusted(&error, &holder.name))?;
        Ok(Self {
            holder,
            authorities,
            chain,
            key,
        })
    }

    /// The id that this node has everywhere: it follows from the certificate's key.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.holder.replica
    }

    /// The node's name, as in the certificate.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.holder.name
    }

    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    pub(crate) fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

fn unreadable(file: FileKind, why: &str) -> IdentityError {
    IdentityError::Unreadable {
        file,
        why: why.to_owned(),
    }
}

fn explain(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no PEM {what} in it"),
        other => format!("its PEM is damaged ({other:?})"),
    }
}

fn certificates(file: FileKind, pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(PEM_CERTIFICATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(file, &explain(&error, "certificate")))?;
    match found.len() {
        0 => Err(unreadable(file, "there is no PEM certificate in it")),
        1..=PEM_CERTIFICATES_MAX => Ok(found),
        _ => Err(unreadable(
            file,
            &format!("it has more than {PEM_CERTIFICATES_MAX} certificates"),
        )),
    }
}

fn anchors<'a>(
    authorities: &'a [CertificateDer<'static>],
) -> Result<Vec<TrustAnchor<'a>>, IdentityError> {
    authorities
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            unreadable(
                FileKind::Ca,
                &format!("it is not an X.509 v3 certificate ({error})"),
            )
        })
}

fn check_key(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), IdentityError> {
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch),
        Err(error) => Err(unreadable(FileKind::Key, &error.to_string())),
    }
}

fn untrusted(error: &webpki::Error, name: &str) -> IdentityError {
    use webpki::Error;

    let name = name.to_owned();
    match error {
        Error::CertExpired { .. } => IdentityError::Expired { name },
        Error::CertNotValidYet { .. } => IdentityError::NotYetValid { name },
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
            IdentityError::NotSignedByCa { name }
        }
        Error::CaUsedAsEndEntity => unreadable(
            FileKind::Certificate,
            "it is a CA's certificate, not a node's",
        ),
        other => IdentityError::WrongPurpose {
            name,
            why: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::pki::{CertificateAuthority, NodeCertificate, Validity};

    const DAY: Duration = Duration::from_secs(86_400);

    struct Files {
        ca: String,
        node: NodeCertificate,
    }

    fn files() -> Files {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        Files {
            ca: authority.to_pem().cert_pem,
            node: authority.issue("eu-1", Validity::default()).unwrap(),
        }
    }

    #[test]
    fn a_fitting_set_is_taken_and_its_id_is_the_keys() {
        let Files { ca, node } = files();
        let identity = Identity::from_pem(&ca, &node.cert_pem, &node.key_pem).unwrap();
        let again = Identity::from_pem(&ca, &node.cert_pem, &node.key_pem).unwrap();
        assert_eq!(identity.replica_id(), again.replica_id());
        assert_eq!(identity.name(), "eu-1");
        assert!(!format!("{identity:?}").contains("key:"));
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let Files { ca, node } = files();
        let error = Identity::from_pem(&ca, &node.cert_pem, &files().node.key_pem).unwrap_err();
        assert!(matches!(error, IdentityError::KeyMismatch), "{error}");
    }

    #[test]
    fn a_foreign_ca_is_named() {
        let Files { node, .. } = files();
        let error = Identity::from_pem(&files().ca, &node.cert_pem, &node.key_pem).unwrap_err();
        assert!(
            matches!(error, IdentityError::NotSignedByCa { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("anabranch init PKI --node eu-1"),
            "{error}"
        );
    }

    #[test]
    fn a_certificate_out_of_its_time_is_named() {
        let Files { ca, node } = files();
        let at = |now| Identity::from_pem_at(&ca, &node.cert_pem, &node.key_pem, now).unwrap_err();
        let late = at(SystemTime::now() + 366 * DAY);
        assert!(matches!(late, IdentityError::Expired { .. }), "{late}");
        let early = at(SystemTime::now() - DAY);
        assert!(
            matches!(early, IdentityError::NotYetValid { .. }),
            "{early}"
        );
    }

    #[test]
    fn an_expired_certificate_can_be_issued_and_is_refused() {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let now = SystemTime::now();
        let node = authority
            .issue(
                "old",
                Validity {
                    not_before: now - 2 * DAY,
                    not_after: now - DAY,
                },
            )
            .unwrap();
        let error = Identity::from_pem(&authority.to_pem().cert_pem, &node.cert_pem, &node.key_pem)
            .unwrap_err();
        assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    }

    #[test]
    fn swapped_empty_and_damaged_files_are_named() {
        let Files { ca, node } = files();
        let file = |ca: &str, cert: &str, key: &str| match Identity::from_pem(ca, cert, key)
            .unwrap_err()
        {
            IdentityError::Unreadable { file, .. } => file,
            other => panic!("{other}"),
        };
        let NodeCertificate { cert_pem, key_pem } = &node;
        assert_eq!(file("", cert_pem, key_pem), FileKind::Ca);
        assert_eq!(file(key_pem, cert_pem, key_pem), FileKind::Ca);
        assert_eq!(file(&ca, key_pem, key_pem), FileKind::Certificate);
        assert_eq!(file(&ca, cert_pem, cert_pem), FileKind::Key);
        assert_eq!(
            file(&ca, cert_pem, "-----BEGIN PRIVATE KEY-----\n!!\n"),
            FileKind::Key
        );
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(file(&ca, garbage, key_pem), FileKind::Certificate);
        assert_eq!(file(garbage, cert_pem, key_pem), FileKind::Ca);
    }

    #[test]
    fn a_cas_certificate_is_not_a_nodes() {
        let pem = CertificateAuthority::generate("cluster").unwrap().to_pem();
        let error = Identity::from_pem(&pem.cert_pem, &pem.cert_pem, &pem.key_pem).unwrap_err();
        assert!(
            matches!(
                error,
                IdentityError::Unreadable {
                    file: FileKind::Certificate,
                    ..
                }
            ),
            "{error}"
        );
    }
}
