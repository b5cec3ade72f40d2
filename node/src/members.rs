//! The members that a node knows, in its data directory: so that it finds them again when no seed can be reached.
//!
//! The file `members` is a convenience and can be deleted at any time: the seeds lead to the cluster, too. Its first line
//! says what it is, in which version, and a BLAKE3 hash of the rest, which is JSON. It is written beside and renamed, so
//! that it is whole or the one before.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch_core::ReplicaId;
use anabranch_net::{KnownMember, Roster};
use serde::{Deserialize, Serialize};

const FILE: &str = "members";
const FILE_NEW: &str = "members.new";
const FILE_UNREAD: &str = "members.unread";
const MAGIC: &str = "anabranch-members";
const VERSION: u32 = 1;
/// Longest file that is read; what is written stays far below, since members and their texts are bounded.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(2);
/// When nothing else changes, so that it is known when members were seen last.
const REFRESH: Duration = Duration::from_secs(3_600);

/// A member as it stands in the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Line {
    replica: String,
    name: String,
    datacenter: String,
    left: bool,
    addresses: Vec<String>,
    reached: Vec<String>,
    last_seen_ms: Option<u64>,
    announcement: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged ({0})")]
    Damaged(&'static str),
    #[error("a later version of this program wrote it (format {0})")]
    Newer(u32),
}

impl From<&KnownMember> for Line {
    fn from(known: &KnownMember) -> Self {
        Self {
            replica: known.replica.to_string(),
            name: known.name.clone(),
            datacenter: known.datacenter.clone(),
            left: known.left,
            addresses: known.addresses.clone(),
            reached: known.reached.clone(),
            last_seen_ms: known.last_seen_ms,
            announcement: known.announcement.as_deref().map(hex::encode),
        }
    }
}

impl Line {
    fn known(self) -> Option<KnownMember> {
        Some(KnownMember {
            replica: ReplicaId(hex::decode(&self.replica).ok()?.try_into().ok()?),
            name: self.name,
            datacenter: self.datacenter,
            reached: self.reached,
            addresses: self.addresses,
            last_seen_ms: self.last_seen_ms,
            left: self.left,
            announcement: match self.announcement {
                Some(announcement) => Some(hex::decode(&announcement).ok()?),
                None => None,
            },
        })
    }
}

fn encode(lines: &[Line]) -> io::Result<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(lines)?;
    body.push(b'\n');
    let hash = blake3::hash(&body).to_hex();
    let mut text = format!("{MAGIC} {VERSION} {hash}\n").into_bytes();
    text.extend(body);
    Ok(text)
}

fn decode(text: &[u8]) -> Result<Vec<KnownMember>, ReadError> {
    let damaged = ReadError::Damaged;
    let end = text.iter().position(|byte| *byte == b'\n');
    let (head, body) = text.split_at(end.ok_or(damaged("its first line is not whole"))?);
    let body = &body[1..];
    let head = std::str::from_utf8(head).map_err(|_| damaged("its first line is no text"))?;
    let mut head = head.split(' ');
    if head.next() != Some(MAGIC) {
        return Err(damaged("its first line is another"));
    }
    let version = head.next().and_then(|version| version.parse().ok());
    match version.ok_or(damaged("its first line is another"))? {
        VERSION => {}
        newer if newer > VERSION => return Err(ReadError::Newer(newer)),
        _ => return Err(damaged("there is no such version")),
    }
    if head.next() != Some(&*blake3::hash(body).to_hex()) {
        return Err(damaged("its check does not fit"));
    }
    let lines: Vec<Line> =
        serde_json::from_slice(body).map_err(|_| damaged("it holds something else"))?;
    let known = lines.into_iter().map(Line::known).collect::<Option<_>>();
    known.ok_or(damaged("it holds something else"))
}

fn read_file(path: &Path) -> Result<Vec<KnownMember>, ReadError> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::Damaged("it is too long"));
    }
    decode(&text)
}

/// What an earlier run has written down. What can't be read is put aside, and the seeds have to do.
pub(crate) fn read(data_dir: &Path) -> Vec<KnownMember> {
    let path = data_dir.join(FILE);
    match read_file(&path) {
        Ok(known) => known,
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let aside = data_dir.join(FILE_UNREAD);
            let kept = match std::fs::rename(&path, &aside) {
                Ok(()) => format!("it is kept as {}", aside.display()),
                Err(why) => format!("and it can't be put aside: {why}"),
            };
            tracing::warn!(
                "the list of known members {} is not used: {error}; {kept}. Members are found by the seeds, and where none \
                 can be reached, as soon as a member reaches this node",
                path.display()
            );
            Vec::new()
        }
    }
}

fn write(data_dir: &Path, lines: &[Line]) -> io::Result<()> {
    let whole = data_dir.join(FILE_NEW);
    let mut file = std::fs::File::create(&whole)?;
    file.write_all(&encode(lines)?)?;
    file.sync_all()?;
    std::fs::rename(&whole, data_dir.join(FILE))?;
    std::fs::File::open(data_dir)?.sync_all()
}

/// What was written last, and how that went.
struct Written {
    data_dir: PathBuf,
    lines: Vec<Line>,
    /// A failure was told already.
    failing: bool,
}

impl Written {
    /// Writes members down if they are others than last time, or if `refresh` asks for it.
    async fn update(&mut self, known: Vec<KnownMember>, refresh: bool) {
        let lines: Vec<_> = known.iter().map(Line::from).collect();
        // Members are seen all the time.
        let essence = |line: &Line| Line {
            last_seen_ms: None,
            ..line.clone()
        };
        let is_same = lines.len() == self.lines.len()
            && lines
                .iter()
                .zip(&self.lines)
                .all(|(one, other)| essence(one) == essence(other));
        if is_same && !refresh {
            return;
        }
        let (data_dir, to_write) = (self.data_dir.clone(), lines.clone());
        let writing = tokio::task::spawn_blocking(move || write(&data_dir, &to_write));
        match writing
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
        {
            Ok(()) => {
                self.lines = lines;
                self.failing = false;
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(
                    "the list of known members can't be written: {error}; it is tried again. Until then a restarted node \
                     needs a seed to find members that are new"
                );
            }
            Err(error) => tracing::debug!("the list of known members can't be written: {error}"),
        }
    }
}

/// Writes down which members are known, until the network ends.
pub(crate) async fn keep(roster: Roster, data_dir: PathBuf) {
    let mut written = Written {
        data_dir,
        lines: Vec::new(),
        failing: false,
    };
    loop {
        let changed = roster.changes();
        written.update(roster.known(), false).await;
        tokio::select! {
            goes_on = changed => if !goes_on {
                break;
            },
            () = tokio::time::sleep(REFRESH) => written.update(roster.known(), true).await,
        }
        // What changes together is written together.
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = roster.ended() => break,
        }
    }
    written.update(roster.known(), true).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known() -> Vec<KnownMember> {
        let member = |n: u8| KnownMember {
            replica: ReplicaId([n; 16]),
            name: format!("n{n}"),
            datacenter: "eu".to_owned(),
            reached: vec!["10.0.0.1:1".to_owned()],
            addresses: vec!["eu-1:7172".to_owned(), "[::1]:1".to_owned()],
            last_seen_ms: (n > 1).then_some(u64::MAX),
            left: n == 2,
            announcement: (n != 3).then(|| vec![0, n, 255]),
        };
        (1..4).map(member).collect()
    }

    fn lines() -> Vec<Line> {
        known().iter().map(Line::from).collect()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), []);
        write(dir.path(), &lines()).unwrap();
        assert_eq!(read(dir.path()), known());
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..whole.len() {
            assert!(decode(&whole[..at]).is_err(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_put_aside_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let newer = b"anabranch-members 2 something else\n".to_vec();
        assert!(matches!(decode(&newer), Err(ReadError::Newer(2))));
        for bad in [newer, b"".to_vec(), vec![255; 100]] {
            std::fs::write(dir.path().join(FILE), &bad).unwrap();
            assert_eq!(read(dir.path()), []);
            let aside = std::fs::read(dir.path().join(FILE_UNREAD)).unwrap();
            assert_eq!(aside, bad);
            write(dir.path(), &lines()).unwrap();
            assert_eq!(read(dir.path()), known());
        }
    }
}
