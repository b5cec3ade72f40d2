//! Frames: how a backup lies in a file.
//!
//! ```text
//! file   magic [8] | version u32 | check u32 | frame, frame, ..                          little-endian
//! frame  kind u8 | 0 [3] | raw length u32 | stored length u32 | check [16] | content, LZ4 if that is smaller
//! ```
//! The check of a frame is a keyed BLAKE3 hash over the whole hash of the frame before, the frame's number and all else
//! in it. So a frame verifies only in its own place, behind all that was before it when it was written: what was flipped,
//! cut out, put in, doubled, moved or taken from another backup is noticed at the first frame where it is so.
//! No frame has more than [`RAW_BYTES_MAX`], so a reader needs no more memory than that, whatever a file says.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use super::error::ReadError;

/// Most bytes in a frame before compression.
pub(super) const RAW_BYTES_MAX: usize = 1 << 20;
/// What stands before a frame's content.
pub(super) const HEAD_BYTES: usize = 28;
pub(super) const CHECK_BYTES: usize = 16;
/// The format that this version writes and reads.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"anabakup";
const PROLOGUE_BYTES: usize = 16;
const CHECKED_BYTES: usize = HEAD_BYTES - CHECK_BYTES;

static FRAME_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch backup 2026-11 frame", &[]));
static PROLOGUE_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch backup 2026-11 prologue", &[]));

/// What is in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Header,
    Log,
    Documents,
    Receipts,
    Checkpoint,
    End,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Header,
        Self::Log,
        Self::Documents,
        Self::Receipts,
        Self::Checkpoint,
        Self::End,
    ];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Those are found without reading what is between them, so they are stored as they are.
    fn is_compressed(self) -> bool {
        !matches!(self, Self::Header | Self::End)
    }
}

/// What each frame continues: the hash of the one before, and how many there were.
struct Chain {
    hash: [u8; 32],
    frames: u64,
}

impl Chain {
    fn begin(prologue: &[u8]) -> Self {
        Self {
            hash: *blake3::keyed_hash(&FRAME_KEY, prologue).as_bytes(),
            frames: 0,
        }
    }

    fn hash_of(&self, head: &[u8], content: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&FRAME_KEY);
        hasher
            .update(&self.hash)
            .update(&self.frames.to_le_bytes())
            .update(head)
            .update(content);
        *hasher.finalize().as_bytes()
    }

    fn add(&mut self, hash: [u8; 32]) {
        self.hash = hash;
        self.frames += 1;
    }
}

fn prologue() -> [u8; PROLOGUE_BYTES] {
    let mut prologue = [0; PROLOGUE_BYTES];
    prologue[..8].copy_from_slice(&MAGIC);
    prologue[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let check = prologue_check(&prologue);
    prologue[12..].copy_from_slice(&check);
    prologue
}

fn prologue_check(prologue: &[u8]) -> [u8; 4] {
    let mut check = [0; 4];
    let hash = blake3::keyed_hash(&PROLOGUE_KEY, &prologue[..12]);
    check.copy_from_slice(&hash.as_bytes()[..4]);
    check
}

fn number(bytes: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(number)
}

fn len_u32(len: usize) -> u32 {
    // Never more than RAW_BYTES_MAX.
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Puts frames into a file.
pub(super) struct FrameWriter<W> {
    out: W,
    chain: Chain,
    compressed: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        let prologue = prologue();
        out.write_all(&prologue)?;
        let most = lz4_flex::block::get_maximum_output_size(RAW_BYTES_MAX);
        Ok(Self {
            out,
            chain: Chain::begin(&prologue),
            compressed: vec![0; most],
        })
    }

    /// Writes a frame of at most [`RAW_BYTES_MAX`].
    pub(super) fn frame(&mut self, kind: Kind, raw: &[u8]) -> io::Result<()> {
        let smaller = match kind.is_compressed() {
            true => lz4_flex::block::compress_into(raw, &mut self.compressed).ok(),
            false => None,
        };
        let content = match smaller.filter(|len| *len < raw.len()) {
            Some(len) => &self.compressed[..len],
            None => raw,
        };
        let mut head = [0; HEAD_BYTES];
        head[0] = kind.code();
        head[4..8].copy_from_slice(&len_u32(raw.len()).to_le_bytes());
        head[8..12].copy_from_slice(&len_u32(content.len()).to_le_bytes());
        let hash = self.chain.hash_of(&head[..CHECKED_BYTES], content);
        head[CHECKED_BYTES..].copy_from_slice(&hash[..CHECK_BYTES]);
        self.out.write_all(&head)?;
        self.out.write_all(content)?;
        self.chain.add(hash);
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Takes frames out of a file, each verified.
pub(super) struct FrameReader<R> {
    input: R,
    chain: Chain,
    /// Where the next frame begins.
    offset: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
}

/// One frame.
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) raw: &'a [u8],
    pub(super) stored_bytes: usize,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn begin(mut input: R) -> Result<Self, ReadError> {
        let mut found = [0; PROLOGUE_BYTES];
        let filled = fill(&mut input, &mut found)?;
        let magic = filled.min(MAGIC.len());
        if filled == 0 || found[..magic] != MAGIC[..magic] {
            return Err(ReadError::Foreign);
        }
        if filled < found.len() {
            return Err(ReadError::CutShort {
                frame: 0,
                offset: filled as u64,
            });
        }
        if found[12..] != prologue_check(&found) {
            return Err(ReadError::damaged(0, 0));
        }
        let version = number(&found[8..]);
        if version != VERSION {
            return Err(ReadError::Newer {
                found: version,
                known: VERSION,
            });
        }
        Ok(Self {
            input,
            chain: Chain::begin(&found),
            offset: PROLOGUE_BYTES as u64,
            stored: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// What is wrong with the frame that was read last.
    pub(super) fn senseless(&self, what: &'static str) -> ReadError {
        ReadError::Senseless {
            frame: self.chain.frames,
            what,
        }
    }

    pub(super) fn next(&mut self) -> Result<Frame<'_>, ReadError> {
        let frame = self.chain.frames + 1;
        let offset = self.offset;
        let cut = |filled: usize| ReadError::CutShort {
            frame,
            offset: offset + filled as u64,
        };
        let damaged = || ReadError::damaged(frame, offset);
        let mut head = [0; HEAD_BYTES];
        let filled = fill(&mut self.input, &mut head)?;
        if filled < head.len() {
            return Err(cut(filled));
        }
        let lens = [number(&head[4..]), number(&head[8..])].map(|len| len as usize);
        let [raw_len, stored_len] = lens;
        if raw_len > RAW_BYTES_MAX || stored_len > raw_len {
            return Err(damaged());
        }
        self.stored.resize(stored_len, 0);
        let filled = fill(&mut self.input, &mut self.stored)?;
        if filled < stored_len {
            return Err(cut(HEAD_BYTES + filled));
        }
        let hash = self.chain.hash_of(&head[..CHECKED_BYTES], &self.stored);
        if head[CHECKED_BYTES..] != hash[..CHECK_BYTES] {
            return Err(damaged());
        }
        let kind = Kind::of(head[0]).ok_or_else(damaged)?;
        self.chain.add(hash);
        self.offset += (HEAD_BYTES + stored_len) as u64;
        let raw = match stored_len == raw_len {
            true => &self.stored,
            false => {
                self.raw.resize(raw_len, 0);
                let len = lz4_flex::block::decompress_into(&self.stored, &mut self.raw);
                if len.ok() != Some(raw_len) {
                    return Err(damaged());
                }
                &self.raw
            }
        };
        Ok(Frame {
            kind,
            raw,
            stored_bytes: stored_len,
        })
    }

    /// Shows that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        match fill(&mut self.input, &mut [0])? {
            0 => Ok(()),
            _ => Err(ReadError::Followed {
                offset: self.offset,
            }),
        }
    }
}

/// Reads until the buffer is full or the input ends; how far it came.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ReadError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Input(error)),
        }
    }
    Ok(filled)
}
