//! Backups of a node, and data directories made from them.
//!
//! * [`taking`]: from a node into a file that is never half a backup;
//! * [`shelf`]: what is in a directory of backups, and which of them go together;
//! * [`checking`]: whether they are what was written; [`restoring`]: into an empty data directory.

mod checking;
mod restoring;
mod shelf;
mod taking;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anabranch::backup::{LogShare, Summary, verify};
use serde_json::{Value, json};
use time::OffsetDateTime;

pub(super) use self::restoring::Restore;
use super::Common;
use super::error::ClientError;
use super::output::{Output, bytes, grouped};
use super::porting::progress::{Progress, documents};

/// What the names of backups in a directory end with.
const EXTENSION: &str = "anabackup";
const READ_BYTES: usize = 1 << 20;

/// `anabranch backup`
#[derive(clap::Args)]
#[command(after_long_help = "\
A backup is what the node held at one moment, taken while it goes on reading and writing. It is written beside its name, synced, \
read back, and only then gets its name; what fails on the way leaves nothing behind.

An incremental backup has what came since the one before, and needs it to be restored. It is possible for as long as the \
node's log reaches back so far and the node has not begun a new incarnation (its machine was restarted, for one). If it is not \
possible, a full one is taken, and that is said.")]
pub(crate) struct Backup {
    /// Where to: a file, or a directory, where it gets a name with the time and the node
    #[arg(long, value_name = "FILE|DIR", required_unless_present_any = ["list", "verify"])]
    out: Option<PathBuf>,
    /// Only what came since the newest backup of this node in the directory
    #[arg(long, requires = "out", conflicts_with_all = ["since", "list", "verify"])]
    incremental: bool,
    /// Only what came since this backup
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["list", "verify"])]
    since: Option<PathBuf>,
    /// If an incremental one is not possible, fail
    #[arg(long, requires = "out")]
    no_full: bool,
    /// What of the log goes into a full backup
    #[arg(long, value_name = "SHARE", default_value = "all", requires = "out")]
    log: Share,
    /// Show the backups in a directory, without asking a node
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "verify"])]
    list: Option<PathBuf>,
    /// Read a backup, or all of a directory, and say whether each is what was written, without asking a node
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "out")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What of the log goes into a full backup.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Share {
    /// All that the node keeps: others can catch up from the restored node as from this one
    All,
    /// Only what the documents need
    Tail,
}

impl From<Share> for LogShare {
    fn from(share: Share) -> Self {
        match share {
            Share::All => Self::All,
            Share::Tail => Self::Tail,
        }
    }
}

impl Backup {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        if let Some(directory) = &self.list {
            return checking::list(directory, &mut Output::new(self.common.output));
        }
        if let Some(path) = &self.verify {
            return checking::check(path, &mut Output::new(self.common.output));
        }
        self.take()
    }
}

/// Reads a backup to its end.
fn read(path: &Path, progress: &Progress) -> Result<Summary, ClientError> {
    let file = open(path)?;
    let summary = verify(BufReader::with_capacity(READ_BYTES, file), |seen| {
        progress.is_at(seen.documents, seen.bytes);
    });
    summary.map_err(failed(path))
}

fn open(path: &Path) -> Result<File, ClientError> {
    File::open(path).map_err(|source| ClientError::Input {
        from: path.display().to_string(),
        source,
    })
}

fn len(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|found| found.len())
}

fn failed(path: &Path) -> impl FnOnce(anabranch::backup::ReadError) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::Backup { path, source }
}

/// When, for people: UTC, to the second.
fn time(time_ms: u64) -> String {
    let seconds = i64::try_from(time_ms / 1_000).unwrap_or_default();
    let when = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (when.date(), when.time());
    format!(
        "{}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn kind(summary: &Summary) -> &'static str {
    match summary.header.base {
        None => "full",
        Some(_) => "incremental",
    }
}

fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

/// What is in it, for people.
fn content(summary: &Summary, size: u64) -> String {
    let totals = &summary.totals;
    let records = match totals.records {
        1 => "1 log record".to_owned(),
        count => format!("{} log records", grouped(count)),
    };
    match summary.header.base {
        None => {
            let documents = documents(totals.documents);
            format!("{documents} and {records}, {}", bytes(size))
        }
        Some(_) => format!("{records}, {}", bytes(size)),
    }
}

/// What is in it, for programs.
fn described(summary: &Summary, path: &Path, size: u64) -> Value {
    let (header, totals) = (&summary.header, &summary.totals);
    json!({
        "id": header.id.to_string(),
        "kind": kind(summary),
        "base": header.base.map(|base| base.id.to_string()),
        "node": header.name,
        "replica": anabranch::ReplicaId(header.replica),
        "incarnation": header.incarnation.to_string(),
        "time": time(header.time_ms),
        "file": path.display().to_string(),
        "bytes": size,
        "documents": totals.documents,
        "receipts": totals.receipts,
        "records": totals.records,
        "log_first": header.log_first,
        "log_end": totals.log_end,
        "mark": summary.mark().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000_999), "2023-11-14T22:13:20Z");
    }
}
