//! The cluster's certificate authority and the certificates that it issues to nodes.
//!
//! Keys are Ed25519. A node certificate serves both sides of a connection and carries the DNS name that all
//! nodes of a cluster share; the node's own name is the common name.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use crate::certificate::{CLUSTER_DNS_NAME, common_name, is_node_name, verify};
use crate::limits::{CA_VALIDITY_DAYS, NODE_VALIDITY_DAYS};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates begin a little in the past: the node that gets one may have a slow clock.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub not_before: SystemTime,
    /// Not after this.
    pub not_after: SystemTime,
}

impl Validity {
    /// From now (an hour ago, for slow clocks) until that many days from now.
    #[must_use]
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - CLOCK_SKEW,
            not_after: now + DAY * days,
        }
    }
}

impl Default for Validity {
    /// A node certificate's: one year.
    fn default() -> Self {
        Self::days(NODE_VALIDITY_DAYS)
    }
}

/// Why a CA could not be made or read, or a certificate not be issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The name can't be used.
    #[error(
        "`{name}` can't be a name here: use letters, digits, '-', '_' and '.', at most 64, not starting with '.'"
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// The CA's certificate is not what it should be.
    #[error(
        "the CA's certificate can't be used: {why}; give the `ca.pem` that `anabranch init` made, or make a new CA"
    )]
    CaCertificate {
        /// What is wrong.
        why: &'static str,
    },
    /// The CA's key is not what it should be.
    #[error(
        "the CA's key can't be read: give the `ca.key` that `anabranch init` made next to `ca.pem` ({source})"
    )]
    CaKey {
        /// What the parser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Key and certificate are of two CAs.
    #[error(
        "the CA's key does not belong to the CA's certificate: give the `ca.key` and `ca.pem` made together"
    )]
    CaMismatch,
    /// The certificate could not be made.
    #[error("the certificate could not be made: {source}")]
    Generate {
        /// What the generator said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn generate(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PkiError {
    PkiError::Generate {
        source: error.into(),
    }
}

/// A cluster's certificate authority: whoever holds it decides who belongs to the cluster.
pub struct CertificateAuthority {
    name: String,
    certificate_pem: String,
    key: KeyPair,
}

/// A CA as text for two files.
#[derive(Clone)]
pub struct CaPem {
    /// The certificate; every node needs it.
    pub cert_pem: String,
    /// The private key; nobody but the issuer may read it.
    pub key_pem: String,
}

/// A node's certificate as text for two files.
#[derive(Clone)]
pub struct NodeCertificate {
    /// The certificate.
    pub cert_pem: String,
    /// The private key; only the node may read it.
    pub key_pem: String,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CaPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaPem")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCertificate")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Makes a new CA, valid for ten years.
    ///
    /// # Errors
    /// When the name can't be used, or there is no randomness to be had.
    pub fn generate(name: &str) -> Result<Self, PkiError> {
        check_name(name)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(generate)?;
        let mut params = ca_params(name);
        let validity = Validity::days(CA_VALIDITY_DAYS);
        params.not_before = OffsetDateTime::from(validity.not_before);
        params.not_after = OffsetDateTime::from(validity.not_after);
        let certificate_pem = params.self_signed(&key).map_err(generate)?.pem();
        Ok(Self {
            name: name.to_owned(),
            certificate_pem,
            key,
        })
    }

    /// Reads a CA back from its two files' text.
    ///
    /// # Errors
    /// When either text is not what it should be, or they don't belong together.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| {
            PkiError::CaCertificate {
                why: "there is no PEM certificate in it",
            }
        })?;
        let anchor =
            webpki::anchor_from_trusted_cert(&der).map_err(|_| PkiError::CaCertificate {
                why: "it is not an X.509 v3 certificate",
            })?;
        let name = common_name(&anchor.subject).filter(|name| is_node_name(name));
        let name = name
            .ok_or(PkiError::CaCertificate {
                why: "its subject is not a single plain common name",
            })?
            .to_owned();
        let key = KeyPair::from_pem(key_pem).map_err(|error| PkiError::CaKey {
            source: error.into(),
        })?;
        let authority = Self {
            name,
            certificate_pem: cert_pem.to_owned(),
            key,
        };
        // One issued certificate that verifies says more than any comparison of fields.
        authority
            .issue("probe", Validity::default())
            .map_err(|error| match error {
                PkiError::Generate { .. } => PkiError::CaMismatch,
                other => other,
            })?;
        Ok(authority)
    }

    /// The CA as text for two files.
    #[must_use]
    pub fn to_pem(&self) -> CaPem {
        CaPem {
            cert_pem: self.certificate_pem.clone(),
            key_pem: self.key.serialize_pem(),
        }
    }

    /// The CA's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Issues a certificate under a new key to the node of this name.
    ///
    /// # Errors
    /// When the name can't be used, the validity is none, or this CA's key does not fit its certificate.
    pub fn issue(&self, node_name: &str, validity: Validity) -> Result<NodeCertificate, PkiError> {
        check_name(node_name)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(generate)?;
        let mut params =
            CertificateParams::new(vec![CLUSTER_DNS_NAME.to_owned()]).map_err(generate)?;
        params.distinguished_name = distinguished(node_name);
        params.not_before = OffsetDateTime::from(validity.not_before);
        params.not_after = OffsetDateTime::from(validity.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;

        let issuer = Issuer::new(ca_params(&self.name), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(generate)?;
        self.check_issued(certificate.der(), validity)?;
        Ok(NodeCertificate {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// A CA that was read from files may not be the one whose key we hold: find out here, not on the nodes.
    fn check_issued(
        &self,
        issued: &CertificateDer<'_>,
        validity: Validity,
    ) -> Result<(), PkiError> {
        let authority =
            CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).map_err(|error| {
                PkiError::Generate {
                    source: error.into(),
                }
            })?;
        let anchor = webpki::anchor_from_trusted_cert(&authority).map_err(generate)?;
        let since_epoch = validity
            .not_after
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        verify(
            issued,
            &[],
            &[anchor],
            UnixTime::since_unix_epoch(since_epoch),
        )
        .map_err(generate)
    }
}

fn check_name(name: &str) -> Result<(), PkiError> {
    if is_node_name(name) {
        Ok(())
    } else {
        Err(PkiError::Name {
            name: name.to_owned(),
        })
    }
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Identity;

    #[test]
    fn a_ca_read_back_issues_for_the_same_cluster() {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let pem = authority.to_pem();
        let again = CertificateAuthority::from_pem(&pem.cert_pem, &pem.key_pem).unwrap();
        assert_eq!(again.name(), "cluster");
        let node = again.issue("eu-1", Validity::default()).unwrap();
        let identity = Identity::from_pem(&pem.cert_pem, &node.cert_pem, &node.key_pem).unwrap();
        assert_eq!(identity.name(), "eu-1");
    }

    #[test]
    fn two_issued_certificates_have_two_replica_ids() {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let ca = authority.to_pem().cert_pem;
        let ids = [0, 1].map(|_| {
            let node = authority.issue("eu-1", Validity::default()).unwrap();
            Identity::from_pem(&ca, &node.cert_pem, &node.key_pem)
                .unwrap()
                .replica_id()
        });
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn files_that_do_not_fit_are_told_apart() {
        let one = CertificateAuthority::generate("one").unwrap().to_pem();
        let other = CertificateAuthority::generate("one").unwrap().to_pem();
        let from = |cert: &str, key: &str| CertificateAuthority::from_pem(cert, key).unwrap_err();
        assert!(matches!(
            from(&one.cert_pem, &other.key_pem),
            PkiError::CaMismatch
        ));
        assert!(matches!(
            from("nothing", &one.key_pem),
            PkiError::CaCertificate { .. }
        ));
        assert!(matches!(
            from(&one.cert_pem, "nothing"),
            PkiError::CaKey { .. }
        ));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        for name in ["", "../eu", "a b"] {
            assert!(
                matches!(
                    authority.issue(name, Validity::default()),
                    Err(PkiError::Name { .. })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn private_keys_stay_out_of_debug_output() {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let node = authority.issue("eu-1", Validity::default()).unwrap();
        for shown in [
            format!("{authority:?}"),
            format!("{:?}", authority.to_pem()),
            format!("{node:?}"),
        ] {
            assert!(!shown.contains("PRIVATE"), "{shown}");
        }
    }
}
