//! What is in a backup's frames: items of one kind, one after the other, cut into frames wherever they are full.
//!
//! ```text
//! item        its length, its bytes
//! log         position u64, record
//! documents   namespace: length, bytes; key: length, bytes; presence, changes and state as in the store
//! receipts    key [16], position u64, time_ms u64, bytes
//! checkpoint  nothing, or replay_from u64, state                                 numbers little-endian, lengths LEB128
//! ```

use std::io::{self, Read, Write};

use anabranch_core::persist::{Checkpoint, LogRecord, ReceiptKey, StoredDocument, StoredReceipt};
use anabranch_core::{DocumentId, Key, Lsn, Namespace};
use bytes::{Buf as _, Bytes, BytesMut};

use super::error::ReadError;
use super::frame::{FrameReader, FrameWriter, Kind, RAW_BYTES_MAX};
use crate::documents::{record, varint};
use crate::limits;

/// No length takes more.
const LENGTH_BYTES_MAX: usize = 10;
/// The largest value that is ever stored, and room for names and lengths.
const ITEM_BYTES_MAX: usize = limits::VALUE_BYTES_MAX + RAW_BYTES_MAX;

/// One thing in a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Log(LogRecord),
    Document(DocumentId, StoredDocument),
    Receipt(StoredReceipt),
    Checkpoint(Option<Checkpoint>),
}

impl Item {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Log(_) => Kind::Log,
            Self::Document(..) => Kind::Documents,
            Self::Receipt(_) => Kind::Receipts,
            Self::Checkpoint(_) => Kind::Checkpoint,
        }
    }

    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Log(LogRecord { lsn, bytes }) => {
                into.extend_from_slice(&lsn.0.to_le_bytes());
                into.extend_from_slice(bytes);
            }
            Self::Document(id, document) => {
                for name in [id.namespace.as_str(), id.key.as_str()] {
                    varint::put(name.len(), into);
                    into.extend_from_slice(name.as_bytes());
                }
                into.extend_from_slice(&record::encode(document));
            }
            Self::Receipt(receipt) => {
                into.extend_from_slice(&receipt.key.0);
                into.extend_from_slice(&receipt.lsn.0.to_le_bytes());
                into.extend_from_slice(&receipt.time_ms.to_le_bytes());
                into.extend_from_slice(&receipt.bytes);
            }
            Self::Checkpoint(None) => {}
            Self::Checkpoint(Some(Checkpoint { replay_from, state })) => {
                into.extend_from_slice(&replay_from.0.to_le_bytes());
                into.extend_from_slice(state);
            }
        }
    }

    /// Nothing when it is none.
    fn decode(kind: Kind, mut from: Bytes) -> Option<Self> {
        Some(match kind {
            Kind::Header | Kind::End => return None,
            Kind::Log => {
                let lsn = Lsn(from.try_get_u64_le().ok()?);
                Self::Log(LogRecord { lsn, bytes: from })
            }
            Kind::Documents => {
                let namespace = take_name(&mut from)?;
                let key = take_name(&mut from)?;
                let id = DocumentId {
                    namespace: Namespace::new(std::str::from_utf8(&namespace).ok()?).ok()?,
                    key: Key::new(std::str::from_utf8(&key).ok()?).ok()?,
                };
                Self::Document(id, record::decode(&from)?)
            }
            Kind::Receipts => {
                let key = varint::take_bytes(&mut from, 16)?;
                Self::Receipt(StoredReceipt {
                    key: ReceiptKey(key[..].try_into().ok()?),
                    lsn: Lsn(from.try_get_u64_le().ok()?),
                    time_ms: from.try_get_u64_le().ok()?,
                    bytes: from,
                })
            }
            Kind::Checkpoint if from.is_empty() => Self::Checkpoint(None),
            Kind::Checkpoint => Self::Checkpoint(Some(Checkpoint {
                replay_from: Lsn(from.try_get_u64_le().ok()?),
                state: from,
            })),
        })
    }
}

fn take_name(from: &mut Bytes) -> Option<Bytes> {
    let len = varint::take(from)?;
    varint::take_bytes(from, len)
}

/// Puts items into frames.
pub(super) struct ItemWriter<W> {
    frames: FrameWriter<W>,
    kind: Kind,
    pending: Vec<u8>,
    item: Vec<u8>,
    /// Bytes of items.
    pub(super) raw_bytes: u64,
}

impl<W: Write> ItemWriter<W> {
    pub(super) fn begin(out: W, header: &[u8]) -> io::Result<Self> {
        let mut frames = FrameWriter::begin(out)?;
        frames.frame(Kind::Header, header)?;
        Ok(Self {
            frames,
            kind: Kind::Header,
            pending: Vec::new(),
            item: Vec::new(),
            raw_bytes: 0,
        })
    }

    pub(super) fn item(&mut self, item: &Item) -> io::Result<()> {
        if self.kind != item.kind() {
            self.hand_over()?;
            self.kind = item.kind();
        }
        self.item.clear();
        item.encode(&mut self.item);
        self.raw_bytes += self.item.len() as u64;
        varint::put(self.item.len(), &mut self.pending);
        self.pending.extend_from_slice(&self.item);
        let mut whole = self.pending.chunks_exact(RAW_BYTES_MAX);
        for raw in &mut whole {
            self.frames.frame(self.kind, raw)?;
        }
        let rest = whole.remainder().len();
        let done = self.pending.len() - rest;
        self.pending.drain(..done);
        Ok(())
    }

    /// Writes what is pending, so that whoever reads along sees it.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.frames.frame(self.kind, &self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    pub(super) fn end(mut self, end: &[u8]) -> io::Result<()> {
        self.hand_over()?;
        self.frames.frame(Kind::End, end)?;
        self.frames.finish()
    }
}

/// Takes items out of frames.
pub(super) struct ItemReader<R> {
    frames: FrameReader<R>,
    kind: Kind,
    pending: BytesMut,
    /// Bytes of items.
    pub(super) raw_bytes: u64,
    /// Bytes of frames.
    pub(super) stored_bytes: u64,
}

/// What comes next.
pub(super) enum Next {
    Item(Item),
    /// What the end says. Nothing follows.
    End(Bytes),
}

impl<R: Read> ItemReader<R> {
    /// Gives the header, too.
    pub(super) fn begin(input: R) -> Result<(Self, Vec<u8>), ReadError> {
        let mut frames = FrameReader::begin(input)?;
        let frame = frames.next()?;
        let header = (frame.kind == Kind::Header).then(|| frame.raw.to_vec());
        let header = header.ok_or_else(|| frames.senseless("it is no header"))?;
        let items = Self {
            frames,
            kind: Kind::Header,
            pending: BytesMut::new(),
            raw_bytes: 0,
            stored_bytes: 0,
        };
        Ok((items, header))
    }

    pub(super) fn senseless(&self, what: &'static str) -> ReadError {
        self.frames.senseless(what)
    }

    pub(super) fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            if let Some(item) = self.take_item()? {
                self.raw_bytes += item.len() as u64;
                let item = Item::decode(self.kind, item);
                let item = item.ok_or_else(|| self.senseless("an item can't be read"))?;
                return Ok(Next::Item(item));
            }
            let frame = self.frames.next()?;
            let kind = frame.kind;
            self.stored_bytes += frame.stored_bytes as u64;
            if kind == self.kind {
                self.pending.extend_from_slice(frame.raw);
                continue;
            }
            let raw = Bytes::copy_from_slice(frame.raw);
            if !self.pending.is_empty() {
                return Err(self.senseless("the item before it has no end"));
            }
            if kind == Kind::End {
                self.frames.end()?;
                return Ok(Next::End(raw));
            }
            self.kind = kind;
            self.pending = raw.into();
        }
    }

    /// The next item, if it is there as a whole. What it takes grows as its bytes come, not as its length says.
    fn take_item(&mut self) -> Result<Option<Bytes>, ReadError> {
        let head = &self.pending[..self.pending.len().min(LENGTH_BYTES_MAX)];
        let mut rest = Bytes::copy_from_slice(head);
        let Some(len) = varint::take(&mut rest) else {
            return match head.len() < LENGTH_BYTES_MAX {
                true => Ok(None),
                false => Err(self.senseless("the length of an item")),
            };
        };
        if len > ITEM_BYTES_MAX {
            return Err(self.senseless("an item is longer than any can be"));
        }
        let from = head.len() - rest.len();
        if self.pending.len() < from + len {
            return Ok(None);
        }
        self.pending.advance(from);
        Ok(Some(self.pending.split_to(len).freeze()))
    }
}
