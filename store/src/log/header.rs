//! What a segment says of itself, at its beginning, twice: in two pages, so that one bad sector does not take a whole
//! segment along, and each within one sector, so that a torn write leaves the old or the new.
//!
//! ```text
//! magic [8] | version u32 | 0 u32 | life u64 | first u64 | before u64 | check u64          little-endian
//! ```

use std::io;
use std::sync::LazyLock;

use anabranch_core::Lsn;

use crate::disk::Disk;

/// Frames begin here.
pub(super) const HEADER_BYTES: u64 = 8192;
/// The only format there is so far.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"anab-log";
const COPY_BYTES: usize = 48;
const CHECKED_BYTES: usize = COPY_BYTES - 8;
/// Where the two copies begin.
pub(super) const COPIES_AT: [u64; 2] = [0, 4096];

static KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch store 2026-11 log header", &[]));

/// One segment's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Header {
    /// See [`Life`](super::frame::Life). It is durable before any frame of this life is written.
    pub(super) life: u64,
    /// The position of the first record; 0 for a segment that waits to be used. Written with the first group.
    pub(super) first: Lsn,
    /// The first position of the segment before this one; 0 for the first segment of all.
    pub(super) before: Lsn,
}

/// What is found in place of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Header(Header),
    /// Nothing was ever written here.
    Blank,
    /// The header of a later version of this software.
    Newer(u32),
    /// What is no header, or no more.
    Unreadable,
}

enum CopyFound {
    Header(Header),
    Newer(u32),
    Zeros,
    Other,
}

impl Header {
    /// Appends both copies, and what lies between and after them.
    pub(super) fn encode(&self, buffer: &mut Vec<u8>) {
        let mut copy = [0; COPY_BYTES];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..12].copy_from_slice(&VERSION.to_le_bytes());
        copy[16..24].copy_from_slice(&self.life.to_le_bytes());
        copy[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        copy[32..40].copy_from_slice(&self.before.0.to_le_bytes());
        let check = check(&copy);
        copy[CHECKED_BYTES..].copy_from_slice(&check);
        let start = buffer.len();
        for at in COPIES_AT {
            buffer.resize(start + usize::try_from(at).unwrap_or_default(), 0);
            buffer.extend_from_slice(&copy);
        }
        buffer.resize(start + usize::try_from(HEADER_BYTES).unwrap_or_default(), 0);
    }

    /// What a file of this length begins with. Where the copies differ, a crash has come between them, or damage.
    pub(super) fn read(disk: &dyn Disk, bytes: u64) -> io::Result<Found> {
        let mut failed = None;
        let mut copies = Vec::new();
        for at in COPIES_AT {
            let mut copy = [0; COPY_BYTES];
            if at + COPY_BYTES as u64 > bytes {
                copies.push(CopyFound::Zeros);
            } else if let Err(error) = disk.read(at, &mut copy) {
                failed = Some(error);
            } else {
                copies.push(decode(&copy));
            }
        }
        let newest = copies
            .iter()
            .filter_map(|copy| match copy {
                CopyFound::Header(header) => Some(*header),
                CopyFound::Newer(_) | CopyFound::Zeros | CopyFound::Other => None,
            })
            .max();
        match (newest, failed) {
            // A power cut may have left this copy behind the one that can't be read.
            (Some(header), Some(_)) if header.first == Lsn(0) => Ok(Found::Unreadable),
            (Some(header), _) => Ok(Found::Header(header)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(without_header(&copies)),
        }
    }
}

fn without_header(copies: &[CopyFound]) -> Found {
    // One flipped bit must not look like a newer format, so both have to say it.
    match copies {
        [CopyFound::Newer(version), CopyFound::Newer(other)] if version == other => {
            Found::Newer(*version)
        }
        [CopyFound::Zeros, CopyFound::Zeros] => Found::Blank,
        _ => Found::Unreadable,
    }
}

fn check(copy: &[u8; COPY_BYTES]) -> [u8; 8] {
    let mut check = [0; 8];
    let hash = blake3::keyed_hash(&KEY, &copy[..CHECKED_BYTES]);
    check.copy_from_slice(&hash.as_bytes()[..8]);
    check
}

fn decode(copy: &[u8; COPY_BYTES]) -> CopyFound {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&copy[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let version = u32::from_le_bytes([copy[8], copy[9], copy[10], copy[11]]);
    if copy.iter().all(|byte| *byte == 0) {
        CopyFound::Zeros
    } else if copy[..8] == MAGIC && version > VERSION {
        CopyFound::Newer(version)
    } else if copy[..8] == MAGIC && version == VERSION && copy[CHECKED_BYTES..] == check(copy) {
        CopyFound::Header(Header {
            life: word(16),
            first: Lsn(word(24)),
            before: Lsn(word(32)),
        })
    } else {
        CopyFound::Other
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::medium::Medium as _;
    use crate::medium::faulty::FaultyMedium;

    fn found(content: &[u8]) -> Found {
        let medium = FaultyMedium::new(0);
        let disk = medium.open("log").unwrap();
        disk.set_len(content.len() as u64).unwrap();
        disk.write(0, content).unwrap();
        Header::read(&*disk, content.len() as u64).unwrap()
    }

    #[test]
    fn one_good_copy_is_enough() {
        let header = Header {
            life: 5,
            first: Lsn(100),
            before: Lsn(50),
        };
        let mut block = Vec::new();
        header.encode(&mut block);
        assert_eq!(block.len() as u64, HEADER_BYTES);
        for bit in (0..COPY_BYTES * 8).flat_map(|bit| [bit, 4096 * 8 + bit]) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(found(&block), Found::Header(header), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        block[20] ^= 1;
        block[4096 + 30] ^= 1;
        assert_eq!(found(&block), Found::Unreadable);
    }

    #[test]
    fn a_torn_header_is_the_newer_of_the_two() {
        let [old, new] = [5, 6].map(|life| {
            let (first, before) = (Lsn(0), Lsn(0));
            let mut block = Vec::new();
            Header {
                life,
                first,
                before,
            }
            .encode(&mut block);
            block
        });
        let torn = [&new[..4096], &old[4096..]].concat();
        let Found::Header(header) = found(&torn) else {
            panic!("no header");
        };
        assert_eq!(header.life, 6);
    }

    #[test]
    fn nothing_and_a_newer_format_are_told_apart() {
        assert_eq!(found(&[]), Found::Blank);
        assert_eq!(found(&[0; 5000]), Found::Blank);
        assert_eq!(
            found(b"not a segment".repeat(500).as_slice()),
            Found::Unreadable
        );
        let mut block = Vec::new();
        let (first, before) = (Lsn(1), Lsn(0));
        Header {
            life: 1,
            first,
            before,
        }
        .encode(&mut block);
        for at in [8, 4096 + 8] {
            assert!(
                matches!(found(&block), Found::Header(_)),
                "one is not enough"
            );
            block[at] = 2;
        }
        assert_eq!(found(&block), Found::Newer(2));
    }
}
