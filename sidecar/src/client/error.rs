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
    /// Several addresses where one node is meant.
    #[error(
        "several nodes are given, and only one can be meant: give its address alone with --url"
    )]
    OneNode,
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
    /// Not all members hold the same, or it is not known.
    #[error("not every member is known to hold the same of: {}", namespaces.join(", "))]
    Unequal { namespaces: Vec<String> },
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
        /// Of which write of several.
        index: Option<usize>,
    },
    /// Written, and too few datacenters have said so.
    #[error("{detail}")]
    Unacknowledged { detail: String },
    /// Not the node, but what stands before it.
    #[error(
        "something before the node answered {status}: is the node running, and are --url and what stands between right?"
    )]
    Gateway { status: u16 },
    /// Somebody else answered.
    #[error("the answer is not from an Anabranch node: check --url or ANABRANCH_URL")]
    NotAnabranch,
    /// A file that can't be written.
    #[error("cannot write {}: {source}", path.display())]
    OutputFile { path: PathBuf, source: io::Error },
    /// A file that another process is writing.
    #[error("another command is writing {}: wait for its end, or give another file", path.display())]
    OutputBusy { path: PathBuf },
    /// A position that can't be gone on from.
    #[error("cannot go on from {place}: {why}")]
    Position { place: String, why: String },
    /// Going on would do again at one node what another has done.
    #[error(
        "this import was begun at the replica {begun}, and {} answers: what was under way when it stopped might be done twice. Give that          node's address with --url; or, if it is gone for good or has been linked with the others since, add --any-node",
        found.join(", ")
    )]
    OtherNode { begun: String, found: Vec<String> },
    /// A line that stopped an import.
    #[error("line {line}: {reason}")]
    BadLine { line: u64, reason: String },
    /// An import ended before its input did.
    #[error("{}\nanabranch: {lines} lines ({bytes} bytes) are imported; {advice}", source.cause())]
    Stopped {
        source: Box<ClientError>,
        lines: u64,
        bytes: u64,
        advice: String,
    },
    /// Not all was imported.
    #[error("{} left out, all others are imported", if *count == 1 { "1 line was".to_owned() } else { format!("{count} lines were") })]
    LeftOut { count: u64 },
    /// A backup that can't be read.
    #[error("{}: {source}", path.display())]
    Backup {
        path: PathBuf,
        source: anabranch::backup::ReadError,
    },
    /// A backup that did not come to its end.
    #[error(
        "the backup from {url} was not finished: {why}. Nothing is kept of it: run the command again"
    )]
    BackupStopped { url: String, why: String },
    /// Some backups are not what they should be.
    #[error("{} can't be restored", if *count == 1 { "1 backup".to_owned() } else { format!("{count} backups") })]
    BadBackups { count: usize },
    /// An incremental backup, and nothing to go on from.
    #[error("{why}; leave --no-full out to take a full backup then")]
    NoBase { why: String },
    /// One file can't hold a chain.
    #[error(
        "an incremental backup goes beside the one before: give --out a directory, and not {}, or name the one before with --since",
        path.display()
    )]
    IncrementalFile { path: PathBuf },
    /// No backup, or several.
    #[error(
        "no backup, or more than one, has an id that begins with {given:?}: give 4 or more of its first digits, as `anabranch backup \
         --list` prints them"
    )]
    BackupName { given: String },
    /// Which node is meant?
    #[error("there are backups of several nodes: {}; choose by --at, or give files", found.join(", "))]
    SeveralNodes { found: Vec<String> },
    /// Backups that do not go together.
    #[error(transparent)]
    BackupChain(#[from] anabranch::backup::ChainError),
    /// Nothing was restored.
    #[error("{source}; nothing was restored")]
    Restore {
        #[from]
        source: anabranch::backup::RestoreError,
    },
    /// Nothing was restored, because of one of the files.
    #[error("{}: {source}; nothing was restored", path.display())]
    RestoreFrom {
        path: PathBuf,
        source: anabranch::backup::RestoreError,
    },
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
            | Self::OneNode
            | Self::Target { .. }
            | Self::Name(_)
            | Self::Json { .. }
            | Self::Patch
            | Self::Ops
            | Self::Batch
            | Self::Session { .. }
            | Self::Digits { .. }
            | Self::Position { .. }
            | Self::OtherNode { .. }
            | Self::IncrementalFile { .. }
            | Self::BackupName { .. }
            | Self::SeveralNodes { .. }
            | Self::BackupChain(_)
            | Self::Restore {
                source:
                    anabranch::backup::RestoreError::NotEmpty { .. }
                    | anabranch::backup::RestoreError::Chain(_),
            }
            | Self::SeveralVersions { .. } => 2,
            Self::NoVersion { .. } => 3,
            Self::Problem { kind, .. } => match &**kind {
                "document-not-found" | "unknown-version" | "member-not-found" => 3,
                "precondition-failed" => 4,
                "replica-behind" => 5,
                _ => 1,
            },
            Self::BadLine { .. } | Self::LeftOut { .. } => 6,
            Self::Unacknowledged { .. } => 7,
            Self::Unequal { .. } => 8,
            Self::Stopped { source, .. } => source.exit_code(),
            Self::SessionFile { .. }
            | Self::OutputFile { .. }
            | Self::OutputBusy { .. }
            | Self::Backup { .. }
            | Self::BackupStopped { .. }
            | Self::BadBackups { .. }
            | Self::NoBase { .. }
            | Self::Restore { .. }
            | Self::RestoreFrom { .. }
            | Self::Gateway { .. }
            | Self::Input { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::NotAnabranch
            | Self::Output(_) => 1,
        }
    }

    /// Whether the same request may be answered in a while: the node is busy, or away.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Gateway { .. } => true,
            // A write that can't be repeated is nobody's to repeat.
            Self::Broken { wrote, key, .. } => {
                !self.is_answer_too_large() && (!wrote || key.is_some())
            }
            Self::Problem { status, .. } => matches!(status, 408 | 503),
            _ => false,
        }
    }

    /// Whether the answer was longer than was asked for.
    pub(super) fn is_answer_too_large(&self) -> bool {
        let Self::Broken { source, .. } = self else {
            return false;
        };
        matches!(**source, ureq::Error::BodyExceedsLimit(_))
    }

    /// What happened, without advice for those who give up here.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Unreachable { failures } => {
                format!("no node can be reached ({})", failures.join("; "))
            }
            Self::Broken { url, source, .. } => format!("the connection to {url} broke: {source}"),
            other => other.to_string(),
        }
    }

    /// Whether it is only that nobody reads on, as in `anabranch ls carts | head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
