//! What stands at the beginning of a backup and at its end.
//!
//! ```text
//! header  id [16] | time_ms u64 | replica [16] | standalone u8 | incarnation u64 | log_first u64 | replay_from u64
//!         | expected u64 | base: 0, or 1 id [16] end u64 check [16] | name: length u32, bytes           little-endian
//! end     id [16] | documents u64 | receipts u64 | records u64 | raw_bytes u64 | log_end u64 | log_check [16] | seal [16]
//! ```
//! The end has one length and a seal of its own, so that it can be looked at without reading the rest.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::str::FromStr;
use std::sync::LazyLock;

use anabranch_core::{Incarnation, Lsn};
use hex::FromHex as _;

use super::error::ReadError;
use super::frame::{FrameReader, HEAD_BYTES, Kind};

/// Longest name of a node that is kept, in bytes.
const NAME_BYTES_MAX: usize = 1 << 10;
const END_BYTES: usize = 16 + 5 * 8 + 16 + 16;

static SEAL_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch backup 2026-11 end", &[]));
static RECORD_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch backup 2026-11 record", &[]));

/// Names a backup; drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(pub [u8; 16]);

/// Tells one record of the log from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RecordCheck(pub [u8; 16]);

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupId({self})")
    }
}

impl fmt::Debug for RecordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl RecordCheck {
    pub(super) fn of(lsn: Lsn, record: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&RECORD_KEY);
        hasher.update(&lsn.0.to_le_bytes()).update(record);
        let mut check = [0; 16];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(check)
    }
}

/// Where a backup ends: what another one goes on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which backup.
    pub id: BackupId,
    /// The replica's id.
    pub replica: [u8; 16],
    /// Under which the replica wrote then.
    pub incarnation: Incarnation,
    /// The last record of the log that is in it; 0: none.
    pub log_end: Lsn,
    /// Of that record. A position alone may come to stand for another one.
    pub log_check: RecordCheck,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.id)?;
        f.write_str(&hex::encode(self.replica))?;
        write!(f, ".{:016x}.{}.", self.incarnation.0, self.log_end.0)?;
        f.write_str(&hex::encode(self.log_check.0))
    }
}

impl FromStr for Mark {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let parts: Vec<&str> = text.split('.').collect();
            let [id, replica, incarnation, log_end, log_check] = parts.try_into().ok()?;
            Some(Self {
                id: BackupId(<_>::from_hex(id).ok()?),
                replica: <_>::from_hex(replica).ok()?,
                incarnation: Incarnation(u64::from_str_radix(incarnation, 16).ok()?),
                log_end: Lsn(log_end.parse().ok()?),
                log_check: RecordCheck(<_>::from_hex(log_check).ok()?),
            })
        };
        parse().ok_or("it is not the mark of a backup, as `anabranch backup --list` prints it")
    }
}

/// What a backup says of itself at its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which one it is.
    pub id: BackupId,
    /// When it was begun, by the node's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The node's name; for people.
    pub name: String,
    /// The replica's id.
    pub replica: [u8; 16],
    /// Whether the id is kept in a file beside the data, and not in a certificate.
    pub standalone: bool,
    /// Under which the replica wrote.
    pub incarnation: Incarnation,
    /// The first record of the log in it.
    pub log_first: Lsn,
    /// From where on the log is needed to complete the documents; 0 for an incremental backup.
    pub replay_from: Lsn,
    /// About how many bytes it will have.
    pub expected_bytes: u64,
    /// What it goes on from; none for a full backup.
    pub base: Option<Base>,
}

/// What an incremental backup goes on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// Which backup.
    pub id: BackupId,
    /// Its last record.
    pub log_end: Lsn,
    /// Of that record.
    pub log_check: RecordCheck,
}

/// What a backup holds, as its end says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Documents, deleted ones included.
    pub documents: u64,
    /// Idempotency keys that are remembered.
    pub receipts: u64,
    /// Records of the log.
    pub records: u64,
    /// All of that, before compression.
    pub raw_bytes: u64,
    /// The last record of the log.
    pub log_end: Lsn,
    /// Of that record.
    pub log_check: RecordCheck,
}

/// A backup from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Its beginning.
    pub header: Header,
    /// Its end.
    pub totals: Totals,
}

impl Summary {
    /// What another one goes on from.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            id: self.header.id,
            replica: self.header.replica,
            incarnation: self.header.incarnation,
            log_end: self.totals.log_end,
            log_check: self.totals.log_check,
        }
    }

    /// Looks at both ends of a file. What is between them may be damaged.
    ///
    /// # Errors
    /// When it is no backup, or not a whole one.
    pub fn glance(mut file: impl Read + Seek) -> Result<Self, ReadError> {
        let mut frames = FrameReader::begin(&mut file)?;
        let frame = frames.next()?;
        let header = Header::decode(frame.raw).filter(|_| frame.kind == Kind::Header);
        let header = header.ok_or_else(|| frames.senseless("its header"))?;
        let len = file.seek(SeekFrom::End(0)).map_err(ReadError::Input)?;
        let cut = || ReadError::CutShort {
            frame: 0,
            offset: len,
        };
        let at = len.checked_sub(END_BYTES as u64).ok_or_else(cut)?;
        file.seek(SeekFrom::Start(at)).map_err(ReadError::Input)?;
        let mut end = [0; END_BYTES];
        file.read_exact(&mut end).map_err(ReadError::Input)?;
        let totals = Totals::decode(&end, header.id).ok_or_else(cut)?;
        Ok(Self { header, totals })
    }

    /// Bytes of a backup without content: what is at both ends, about.
    pub(super) const FRAMED_BYTES: u64 = (2 * HEAD_BYTES + END_BYTES + 128) as u64;
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut into = Vec::new();
        into.extend_from_slice(&self.id.0);
        into.extend_from_slice(&self.time_ms.to_le_bytes());
        into.extend_from_slice(&self.replica);
        into.push(self.standalone.into());
        for number in [
            self.incarnation.0,
            self.log_first.0,
            self.replay_from.0,
            self.expected_bytes,
        ] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.push(self.base.is_some().into());
        if let Some(base) = &self.base {
            into.extend_from_slice(&base.id.0);
            into.extend_from_slice(&base.log_end.0.to_le_bytes());
            into.extend_from_slice(&base.log_check.0);
        }
        let mut name = self.name.as_str();
        while name.len() > NAME_BYTES_MAX {
            name = &name[..name.floor_char_boundary(name.len() - 1)];
        }
        let len = u32::try_from(name.len()).unwrap_or_default();
        into.extend_from_slice(&len.to_le_bytes());
        into.extend_from_slice(name.as_bytes());
        into
    }

    /// Nothing when it is none.
    pub(super) fn decode(from: &[u8]) -> Option<Self> {
        let mut from = from;
        let id = BackupId(take(&mut from)?);
        let time_ms = take_number(&mut from)?;
        let replica = take(&mut from)?;
        let standalone = take_flag(&mut from)?;
        let incarnation = Incarnation(take_number(&mut from)?);
        let log_first = Lsn(take_number(&mut from)?);
        let replay_from = Lsn(take_number(&mut from)?);
        let expected_bytes = take_number(&mut from)?;
        let base = match take_flag(&mut from)? {
            false => None,
            true => Some(Base {
                id: BackupId(take(&mut from)?),
                log_end: Lsn(take_number(&mut from)?),
                log_check: RecordCheck(take(&mut from)?),
            }),
        };
        let len = usize::try_from(u32::from_le_bytes(take(&mut from)?)).ok()?;
        let name = std::str::from_utf8(from).ok()?;
        // Log positions begin at 1, and a full backup says from where it is completed.
        let sound = name.len() == len
            && log_first.0 > 0
            && match &base {
                None => log_first <= replay_from,
                Some(base) => {
                    replay_from == Lsn(0) && base.log_end.0.checked_add(1) == Some(log_first.0)
                }
            };
        sound.then(|| Self {
            id,
            time_ms,
            name: name.to_owned(),
            replica,
            standalone,
            incarnation,
            log_first,
            replay_from,
            expected_bytes,
            base,
        })
    }
}

impl Totals {
    pub(super) fn encode(&self, id: BackupId) -> Vec<u8> {
        let mut into = id.0.to_vec();
        for number in [
            self.documents,
            self.receipts,
            self.records,
            self.raw_bytes,
            self.log_end.0,
        ] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.extend_from_slice(&self.log_check.0);
        let seal = blake3::keyed_hash(&SEAL_KEY, &into);
        into.extend_from_slice(&seal.as_bytes()[..16]);
        into
    }

    /// Nothing when it is none, or that of another backup.
    pub(super) fn decode(from: &[u8], id: BackupId) -> Option<Self> {
        let (content, seal) = from.split_last_chunk::<16>()?;
        let hash = blake3::keyed_hash(&SEAL_KEY, content);
        let mut content = content;
        let same = hash.as_bytes()[..16] == *seal && take(&mut content)? == id.0;
        let totals = Self {
            documents: take_number(&mut content)?,
            receipts: take_number(&mut content)?,
            records: take_number(&mut content)?,
            raw_bytes: take_number(&mut content)?,
            log_end: Lsn(take_number(&mut content)?),
            log_check: RecordCheck(take(&mut content)?),
        };
        (same && content.is_empty()).then_some(totals)
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    take(from).map(u64::from_le_bytes)
}

fn take_flag(from: &mut &[u8]) -> Option<bool> {
    match take(from)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}
