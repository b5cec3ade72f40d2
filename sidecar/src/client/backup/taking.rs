//! From a node into a file.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anabranch::backup::{Mark, ReadError, Summary, verify};
use serde::Deserialize;
use serde_json::json;

use super::{
    Backup, EXTENSION, READ_BYTES, content, described, kind, len, read, shelf, short, time,
};
use crate::client::connection::{Call, Connection};
use crate::client::error::ClientError;
use crate::client::porting::destination::WholeFile;
use crate::client::porting::progress::Progress;
use crate::limits;

/// The problem of a node that can't go on from an earlier backup.
const BASE_GONE: &str = "backup-base-gone";

#[derive(Deserialize)]
struct Cluster {
    node: Identity,
}

#[derive(Deserialize)]
struct Identity {
    name: String,
    replica: String,
}

/// An answer that has begun.
struct Stream {
    bytes: Box<dyn Read>,
    url: String,
    /// Why it is a full one, if an incremental one was asked for.
    full_because: Option<String>,
}

impl Backup {
    pub(super) fn take(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let Some(out) = &self.out else {
            return Ok(());
        };
        let directory = is_directory(out).then_some(out.as_path());
        if self.incremental && directory.is_none() {
            return Err(ClientError::IncrementalFile { path: out.clone() });
        }
        let node = match directory {
            Some(_) => Some(identity(&connection)?),
            None => None,
        };
        let connection = match &node {
            Some((node, _)) => node.clone(),
            None => connection,
        };
        if let Some(directory) = directory {
            std::fs::create_dir_all(directory).map_err(|source| ClientError::OutputFile {
                path: directory.to_owned(),
                source,
            })?;
        }
        let stream = self.begin(&connection, directory, node.as_ref().map(|(_, node)| node))?;
        let progress = Progress::through(Some(1));
        if let Some(why) = &stream.full_because {
            progress.say(&format!("anabranch: {why}: taking a full backup"));
        }
        let is_full = stream.full_because.is_some() || !(self.incremental || self.since.is_some());
        let path = match (directory, &node) {
            (Some(directory), Some((_, node))) => name_in(directory, &node.name, is_full),
            _ => out.clone(),
        };
        let why = stream.full_because.clone();
        let (summary, size) = receive(stream, &path, &progress)?;
        let took = progress.end();
        if output.is_json() {
            let mut view = described(&summary, &path, size);
            view["seconds"] = json!(took.as_secs_f64());
            view["full_because"] = json!(why);
            return output.value(&view);
        }
        let header = &summary.header;
        output.line(&format!(
            "{}: {} backup {} of {}, {}, {}, {:.1} s; read back and whole",
            path.display(),
            kind(&summary),
            short(&header.id),
            header.name,
            time(header.time_ms),
            content(&summary, size),
            took.as_secs_f64()
        ))
    }

    /// Asks for what is wanted; and, if that is not possible, for all.
    fn begin(
        &self,
        connection: &Connection,
        directory: Option<&Path>,
        node: Option<&Identity>,
    ) -> Result<Stream, ClientError> {
        let (since, none_because) = match (&self.since, directory, node) {
            (Some(path), _, _) => {
                let summary = Summary::glance(super::open(path)?).map_err(super::failed(path))?;
                (Some(summary.mark()), None)
            }
            (None, Some(directory), Some(node)) if self.incremental => {
                let newest = match parse(&node.replica) {
                    Some(replica) => shelf::newest(directory, replica)?,
                    None => None,
                };
                let why = || {
                    format!(
                        "there is no whole backup of {} in {}",
                        node.name,
                        directory.display()
                    )
                };
                let none = newest.is_none().then(why);
                (newest.map(|summary| summary.mark()), none)
            }
            _ => (None, None),
        };
        if let Some(why) = none_because.clone().filter(|_| self.no_full) {
            return Err(ClientError::NoBase { why });
        }
        match self.ask(connection, since.as_ref()) {
            Ok((bytes, url)) => Ok(Stream {
                bytes,
                url,
                full_because: none_because,
            }),
            Err(ClientError::Problem { kind, message, .. })
                if kind == BASE_GONE && !self.no_full =>
            {
                let why = message
                    .strip_suffix("; take a full backup")
                    .unwrap_or(&message);
                let (bytes, url) = self.ask(connection, None)?;
                Ok(Stream {
                    bytes,
                    url,
                    full_because: Some(why.to_owned()),
                })
            }
            Err(error) => Err(error),
        }
    }

    fn ask(
        &self,
        connection: &Connection,
        since: Option<&Mark>,
    ) -> Result<(Box<dyn Read>, String), ClientError> {
        let target = match since {
            Some(mark) => format!("/v1/backup?since={mark}"),
            None => match self.log {
                super::Share::All => "/v1/backup".to_owned(),
                super::Share::Tail => "/v1/backup?log=tail".to_owned(),
            },
        };
        let (bytes, url) = connection.follow(&Call::get(target), limits::ANSWER_TIMEOUT)?;
        Ok((Box::new(bytes), url))
    }
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/')
}

/// The first node that answers, and who it is.
fn identity(connection: &Connection) -> Result<(Connection, Identity), ClientError> {
    let mut failed = None;
    for node in connection.nodes() {
        match node.call(&Call::get("/v1/cluster".to_owned())) {
            Ok(answer) => return Ok((node, answer.parse::<Cluster>()?.node)),
            Err(error) if error.may_pass() => failed = failed.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or(ClientError::NotAnabranch))
}

fn parse(replica: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if replica.len() != 32 || !replica.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&replica[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A name that is not taken yet: when, of which node, and what kind.
fn name_in(directory: &Path, node: &str, is_full: bool) -> PathBuf {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let when = time(u64::try_from(now.as_millis()).unwrap_or_default()).replace(['-', ':'], "");
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let node: String = node.chars().take(64).filter(|c| sound(*c)).collect();
    let kind = if is_full { "full" } else { "incremental" };
    let named = |again: &str| directory.join(format!("{when}-{node}-{kind}{again}.{EXTENSION}"));
    let again = (2..).map(|n| named(&format!("-{n}")));
    std::iter::once(named(""))
        .chain(again)
        .find(|path| !path.exists())
        .unwrap_or_else(|| named(""))
}

/// Writes what comes beside its name, and verifies it: once as it comes, and once as it lies on the disk.
fn receive(
    stream: Stream,
    path: &Path,
    progress: &Progress,
) -> Result<(Summary, u64), ClientError> {
    let mut file = WholeFile::create(path.to_owned())?;
    let mut copying = Copying {
        from: stream.bytes,
        file: &mut file,
        failed: None,
    };
    let from = BufReader::with_capacity(READ_BYTES, &mut copying);
    let came = verify(from, |seen| {
        progress.expects(seen.expected_bytes.max(seen.bytes));
        progress.is_at(seen.documents, seen.bytes);
    });
    if let Some(source) = copying.failed.take() {
        let path = path.to_owned();
        return Err(ClientError::OutputFile { path, source });
    }
    let came = came.map_err(|source| ClientError::BackupStopped {
        url: stream.url,
        why: match source {
            ReadError::CutShort { .. } => "the connection broke".to_owned(),
            ReadError::Input(error) => format!("the connection broke: {error}"),
            other => format!("what came is not what was sent: {other}"),
        },
    })?;
    let size = file.finish_after(|partial| {
        let size = len(partial).unwrap_or_default();
        progress.expects(size);
        let there = read(partial, progress)?;
        match there == came {
            true => Ok(size),
            false => Err(ClientError::OutputFile {
                path: partial.to_owned(),
                source: io::Error::other(
                    "what was written reads back as something else; check the disk",
                ),
            }),
        }
    })?;
    Ok((came, size))
}

/// Writes down what it reads.
struct Copying<'a> {
    from: Box<dyn Read>,
    file: &'a mut WholeFile,
    failed: Option<io::Error>,
}

impl Read for Copying<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        if let Err(error) = self.file.write(&into[..read]) {
            self.failed = Some(error);
            return Err(io::Error::other("it can't be written down"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_sound_and_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let first = name_in(root.path(), "eu/1 ..", true);
        let name = first.file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with("Z-eu1..-full.anabackup"), "{name}");
        std::fs::write(&first, "").unwrap();
        assert_ne!(name_in(root.path(), "eu/1 ..", true), first);
        assert_eq!(parse(&"0f".repeat(16)), Some([15; 16]));
        assert_eq!(parse("0f"), None);
    }
}
