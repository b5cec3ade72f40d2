//! What can go wrong with a client command, and how its process ends then.

use std::io;
use std::path::PathBuf;

use anabranch::TokenError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ClientError {
    /// An address that is none.
    #[error(
        "{url:?} is not a node's address: give --url or ANABRANCH_URL as http://HOST:PORT, several with commas between them"
    )]
    Url { url: String },
    /// A document's name that is none.
    #[error("{given:?} does not name a document: write NAMESPACE/KEY, such as carts/alice")]
    Target { given: String },
    /// A namespace or key that is not valid.
    #[error(transparent)]
    Name(#[from] anabranch::NameError),
    /// What was given is no JSON.
    #[error("the JSON {from} is not valid: {source}")]
    Json {
        from: String,
        source: serde_json::Error,
    },
    /// Neither form of a patch.
    #[error("a patch is an array (JSON Patch) or an object (merge patch); this is neither")]
    Patch,
    /// Neither form of edits.
    #[error("edits are an array of them, or {{\"ops\":[..]}}; this is neither")]
    Ops,
    /// Neither form of a batch.
    #[error("a batch is an array of writes, or {{\"writes\":[..]}}; this is neither")]
    Batch,
    /// A session file that can't be read or written.
    #[error("cannot keep the session in {}: {source}", path.display())]
    SessionFile { path: PathBuf, source: io::Error },
    /// A session file that holds something else.
    #[error("{} holds no session: {source}; remove the file to begin a new one, or give another with --session", path.display())]
    Session { path: PathBuf, source: TokenError },
    /// Neither a version nor enough of its first digits.
    #[error(
        "{given:?} is no version: give it whole, or 4 or more of its first digits, as `anabranch history` prints them"
    )]
    Digits { given: String },
    /// The first digits of no version.
    #[error("no version of the document begins with {given}; `anabranch history` lists them")]
    NoVersion { given: String },
    /// The first digits of several versions.
    #[error(
        "{count} versions of the document begin with {given}; give more digits (`anabranch history --full` has all)"
    )]
    SeveralVersions { given: String, count: usize },
    /// What was to be read can't be.
    #[error("cannot read {from}: {source}")]
    Input { from: String, source: io::Error },
    /// No node answers.
    #[error("no node can be reached ({}); is one running, and is --url or ANABRANCH_URL right?", failures.join("; "))]
    Unreachable { failures: Vec<String> },
    /// The connection broke.
    #[error("the connection to {url} broke: {source}{}", afterwards(*wrote, url, key.as_deref()))]
    Broken {
        url: String,
        source: Box<ureq::Error>,
        wrote: bool,
        /// Under which the write can be sent again.
        key: Option<String>,
    },
    /// The node refused.
    #[error("{message}")]
    Problem {
        status: u16,
        kind: String,
        message: String,
    },
    /// Somebody else answered.
    #[error("the answer is not from an Anabranch node: check --url or ANABRANCH_URL")]
    NotAnabranch,
    /// Whoever reads our output has gone: nothing to tell, and nobody.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn afterwards(wrote: bool, url: &str, key: Option<&str>) -> String {
    match key {
        _ if !wrote => String::new(),
        None => {
            "; whether the write was taken is not known, read the document before writing again"
                .to_owned()
        }
        Some(key) => format!(
            "; whether the write was taken is not known: repeat the command with --url {url} --idempotency-key {key}, and it \
             is done once"
        ),
    }
}

impl ClientError {
    /// The status of the process. Part of the interface.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Url { .. }
            | Self::Target { .. }
            | Self::Name(_)
            | Self::Json { .. }
            | Self::Patch
            | Self::Ops
            | Self::Batch
            | Self::Session { .. }
            | Self::Digits { .. }
            | Self::SeveralVersions { .. } => 2,
            Self::NoVersion { .. } => 3,
            Self::Problem { kind, .. } => match &**kind {
                "document-not-found" | "unknown-version" => 3,
                "precondition-failed" => 4,
                "replica-behind" => 5,
                _ => 1,
            },
            Self::SessionFile { .. }
            | Self::Input { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::NotAnabranch
            | Self::Output(_) => 1,
        }
    }

    /// Whether it is only that nobody reads on, as in `anabranch ls carts | head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
