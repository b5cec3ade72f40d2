//! Frames on a stream: a little-endian `u32` length, then that many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{FRAME_BYTES_MAX, FRAME_COPY_BYTES_MAX, FRAME_GROWTH_BYTES};

const HEADER_BYTES: usize = 4;

/// A length that no frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of zero bytes")]
    Empty,
    #[error("a frame of {bytes} bytes, where {FRAME_BYTES_MAX} are allowed")]
    TooLarge { bytes: usize },
}

pub(crate) fn check_length(bytes: usize) -> Result<(), FrameError> {
    match bytes {
        0 => Err(FrameError::Empty),
        _ if bytes > FRAME_BYTES_MAX => Err(FrameError::TooLarge { bytes }),
        _ => Ok(()),
    }
}

/// Frames as the chunks that a stream takes. Small ones are copied together, large ones pass untouched.
pub(crate) fn encode(frames: &[Bytes]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut small = BytesMut::new();
    for frame in frames {
        let length =
            u32::try_from(frame.len()).expect("length checked against FRAME_BYTES_MAX when queued");
        small.put_u32_le(length);
        if frame.len() <= FRAME_COPY_BYTES_MAX {
            small.put_slice(frame);
        } else {
            chunks.push(small.split().freeze());
            chunks.push(frame.clone());
        }
    }
    if !small.is_empty() {
        chunks.push(small.freeze());
    }
    chunks
}

/// Puts frames together from a stream's chunks, wherever those were cut.
///
/// Each frame gets memory of its own: a slice of a chunk would keep the whole UDP receive buffer alive
/// for as long as someone holds a small frame of it.
#[derive(Default)]
pub(crate) struct Decoder {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Zero while the header is incomplete.
    body_bytes: usize,
    body: Vec<u8>,
}

impl Decoder {
    /// Takes from `input` until a frame is complete (some) or the input is used up (none).
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        if self.body_bytes == 0 {
            let take = input.len().min(HEADER_BYTES - self.header_filled);
            self.header[self.header_filled..][..take].copy_from_slice(&input[..take]);
            input.advance(take);
            self.header_filled += take;
            if self.header_filled < HEADER_BYTES {
                return Ok(None);
            }
            let length = u32::from_le_bytes(self.header) as usize;
            check_length(length)?;
            self.body_bytes = length;
        }
        let missing = self.body_bytes - self.body.len();
        let take = input.len().min(missing);
        if self.body.capacity() - self.body.len() < take {
            self.body
                .reserve_exact(missing.min(take.max(self.body.len()).max(FRAME_GROWTH_BYTES)));
        }
        self.body.extend_from_slice(&input[..take]);
        input.advance(take);
        if take < missing {
            return Ok(None);
        }
        self.header_filled = 0;
        self.body_bytes = 0;
        Ok(Some(Bytes::from(std::mem::take(&mut self.body))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Vec<Bytes> {
        [1, 2, 3, 4_095, 4_096, 4_097, 70_000, 1, FRAME_BYTES_MAX]
            .iter()
            .enumerate()
            .map(|(i, &len)| {
                (0..len)
                    .map(|n| u8::try_from((n * 7 + i) % 251).unwrap())
                    .collect::<Vec<u8>>()
                    .into()
            })
            .collect()
    }

    fn decode(wire: &[u8], cut: usize) -> Result<Vec<Bytes>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for piece in wire.chunks(cut) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(frame) = decoder.next(&mut input)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_survive_any_cut() {
        let frames = sample();
        let wire = encode(&frames).concat();
        for cut in [1, 3, 5, 1_200, 65_536, wire.len()] {
            assert_eq!(decode(&wire, cut).unwrap(), frames, "cut every {cut} bytes");
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused_before_any_body() {
        assert_eq!(decode(&[0, 0, 0, 0], 1), Err(FrameError::Empty));
        let over = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
        assert_eq!(
            decode(&over.to_le_bytes(), 2),
            Err(FrameError::TooLarge {
                bytes: FRAME_BYTES_MAX + 1
            })
        );
        assert_eq!(
            decode(&u32::MAX.to_le_bytes(), 4),
            Err(FrameError::TooLarge {
                bytes: u32::MAX as usize
            })
        );
    }

    #[test]
    fn a_promised_length_reserves_only_what_arrives() {
        let mut decoder = Decoder::default();
        let mut wire = u32::try_from(FRAME_BYTES_MAX)
            .unwrap()
            .to_le_bytes()
            .to_vec();
        wire.push(1);
        assert_eq!(decoder.next(&mut Bytes::from(wire)), Ok(None));
        assert!(decoder.body.capacity() <= FRAME_GROWTH_BYTES);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = *seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// 100,000 streams of frames, changed at random and cut anywhere.
    #[test]
    fn whatever_comes_takes_no_more_memory_than_came() {
        let seed = &mut 5;
        let (mut whole, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let frames: Vec<Bytes> = (0..=draw(seed) % 3)
                .map(|_| vec![7; usize::try_from(draw(seed) % 60).unwrap() + 1].into())
                .collect();
            let mut wire = encode(&frames).concat();
            for _ in 0..draw(seed) % 3 {
                let at = usize::try_from(draw(seed)).unwrap_or(0) % wire.len();
                wire[at] = draw(seed).to_le_bytes()[0];
            }
            let mut decoder = Decoder::default();
            let mut came = 0;
            let cut = usize::try_from(draw(seed) % 50).unwrap() + 1;
            'stream: for piece in wire.chunks(cut) {
                let mut input = Bytes::copy_from_slice(piece);
                came += piece.len();
                loop {
                    match decoder.next(&mut input) {
                        Ok(Some(frame)) => {
                            whole += 1;
                            assert!(frame.len() <= came);
                        }
                        Ok(None) => break,
                        Err(_) => {
                            refused += 1;
                            break 'stream;
                        }
                    }
                }
                assert!(decoder.body.capacity() <= FRAME_GROWTH_BYTES + 2 * came);
            }
        }
        assert!(whole > 50_000 && refused > 1_000, "{whole}, {refused}");
    }
}
