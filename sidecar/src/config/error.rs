//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::keys::Key;

/// Where a value was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key there.
        key: String,
    },
    /// In the environment.
    Env(&'static Key),
    /// On the command line.
    Flag(&'static Key),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => {
                write!(f, "{}, line {line}: `{key}`", path.display())
            }
            Self::Env(key) => write!(f, "the environment variable {}", key.env),
            Self::Flag(key) => f.write_str(key.flag),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A key that nobody knows.
    #[error("{place} is not a setting{}", match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; `anabranch serve --help` lists them".to_owned(),
    })]
    UnknownKey {
        /// Where.
        place: Place,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong form.
    #[error("{place} must be {expected}, not {found}")]
    Value {
        /// Where.
        place: Place,
        /// What is expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Gossip without certificates.
    #[error(
        "{place} needs certificates, since nodes meet only under their cluster's CA: set `tls.ca`, `tls.cert` and `tls.key` \
         (`anabranch init pki --node NAME` makes them), or take the gossip settings out to run this node alone"
    )]
    GossipWithoutTls {
        /// What asks for gossip.
        place: Place,
    },
    /// Some of the certificate files are not given.
    #[error(
        "{place} is given, `{missing}` is not: a node in a cluster needs `tls.ca`, `tls.cert` and `tls.key`"
    )]
    PartOfTls {
        /// What is given.
        place: Place,
        /// What is not.
        missing: &'static str,
    },
    /// A node that meets others has to say who it is.
    #[error(
        "`{missing}` is not set: a node in a cluster needs a name of its own and the name of its datacenter"
    )]
    Unnamed {
        /// `name` or `datacenter`.
        missing: &'static str,
    },
    /// A list of datacenters that is none.
    #[error("{place}: {source}")]
    Placement {
        /// Where.
        place: Place,
        /// Why.
        source: anabranch::DatacentersError,
    },
    /// A certificate or key file that can't be read.
    #[error("{place}: cannot read {}: {source}; `anabranch init pki --node NAME` makes these files", path.display())]
    Certificate {
        /// Where it is named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The filter for the log.
    #[error(
        "--log or ANABRANCH_LOG is not a filter: {0}; use one such as `info` or `anabranch=debug,warn`"
    )]
    LogFilter(String),
}
