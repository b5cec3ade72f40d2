//! One record on the disk.
//!
//! ```text
//! check u64 | index u32 | length u32 | back u32 | sieve u32 | payload        at multiples of 16, little-endian
//! ```
//!
//! * `check`: the first bytes of a BLAKE3 hash over all that follows, keyed by the segment's life.
//! * `index`: the record's position, counted from the segment's first.
//! * `length`: of the payload; the highest bit marks the last record of its group.
//! * `back`: how far before this record the log was durable when this was written. So a frame is also the
//!   testimony that all up to there had been synced.
//! * `sieve`: a cheap mixture of the other fields, the life and the place in the file. Where a frame can't be read,
//!   the next one is looked for at every 16 bytes; hashing a payload at each of them would take long, and whoever
//!   writes documents that look like frames could make it take longer.

use std::sync::LazyLock;

/// What precedes a payload.
pub(super) const HEADER_BYTES: usize = 24;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 16;
/// Largest payload.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const CHECK_BYTES: usize = 8;
const ENDS_GROUP: u32 = 1 << 31;

static KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("anabranch store 2026-11 log frame", &[]));

/// The least multiple of the alignment that is not below.
pub(super) fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT as u64)
}

/// One use of a segment's file, from when it is made or recycled until it is released. No two lives have the same
/// number, so no frame of an earlier life passes for one of this.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u64,
    key: [u8; 32],
}

impl Life {
    pub(super) fn new(number: u64) -> Self {
        let key = blake3::keyed_hash(&KEY, &number.to_le_bytes());
        Self {
            number,
            key: *key.as_bytes(),
        }
    }

    fn check(&self, bytes: &[u8]) -> [u8; CHECK_BYTES] {
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&blake3::keyed_hash(&self.key, bytes).as_bytes()[..CHECK_BYTES]);
        check
    }

    fn sieve(&self, offset: u64, index: u32, length: u32, back: u32) -> u32 {
        let place = mix(self.number ^ mix(offset));
        let mixed = mix(place ^ (u64::from(index) << 32 | u64::from(length))) ^ u64::from(back);
        u32::try_from(mix(mixed) >> 32).unwrap_or(0)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) index: u32,
    pub(super) payload_bytes: u32,
    pub(super) ends_group: bool,
    pub(super) back: u32,
}

impl Frame {
    /// Appends it and its payload to the buffer, which is at its place: `offset` in the file.
    pub(super) fn encode(self, life: &Life, offset: u64, payload: &[u8], buffer: &mut Vec<u8>) {
        let length = self.payload_bytes | if self.ends_group { ENDS_GROUP } else { 0 };
        let start = buffer.len();
        buffer.extend_from_slice(&[0; CHECK_BYTES]);
        buffer.extend_from_slice(&self.index.to_le_bytes());
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&self.back.to_le_bytes());
        let sieve = life.sieve(offset, self.index, length, self.back);
        buffer.extend_from_slice(&sieve.to_le_bytes());
        buffer.extend_from_slice(payload);
        let check = life.check(&buffer[start + CHECK_BYTES..]);
        buffer[start..start + CHECK_BYTES].copy_from_slice(&check);
    }

    /// What the first bytes at `offset` say, if they can be the beginning of a frame. Only [`Self::verify`] makes
    /// sure.
    pub(super) fn sift(life: &Life, offset: u64, header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (index, length, back, sieve) = (word(8), word(12), word(16), word(20));
        let frame = Self {
            index,
            payload_bytes: length & !ENDS_GROUP,
            ends_group: length & ENDS_GROUP != 0,
            back,
        };
        // The first comparison alone disposes of zeros.
        let plausible = back != 0
            && sieve == life.sieve(offset, index, length, back)
            && frame.payload_bytes as usize <= PAYLOAD_BYTES_MAX;
        plausible.then_some(frame)
    }

    /// With its payload, without what pads it.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// Whether header and payload are what was written.
    pub(super) fn verify(life: &Life, whole: &[u8]) -> bool {
        whole
            .split_at_checked(CHECK_BYTES)
            .is_some_and(|(check, rest)| check == life.check(rest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read<'a>(life: &Life, offset: u64, bytes: &'a [u8]) -> Option<(Frame, &'a [u8])> {
        let frame = Frame::sift(life, offset, bytes.first_chunk()?)?;
        let whole = bytes.get(..frame.bytes())?;
        Frame::verify(life, whole).then(|| (frame, &whole[HEADER_BYTES..]))
    }

    #[test]
    fn a_frame_is_only_right_in_its_own_place_and_life() {
        let life = Life::new(7);
        let frame = Frame {
            index: 3,
            payload_bytes: 5,
            ends_group: true,
            back: 2,
        };
        let mut bytes = Vec::new();
        frame.encode(&life, 64, b"hello", &mut bytes);
        assert_eq!(read(&life, 64, &bytes).unwrap(), (frame, &b"hello"[..]));
        assert_eq!(read(&life, 80, &bytes), None, "another place");
        assert_eq!(read(&Life::new(8), 64, &bytes), None, "another life");
        assert_eq!(
            read(&life, 64, &bytes[..bytes.len() - 1]),
            None,
            "cut short"
        );
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&life, 64, &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Frame::sift(&life, 64, &[0; HEADER_BYTES]), None);
    }
}
