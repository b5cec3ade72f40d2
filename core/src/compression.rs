//! Frames made smaller for the wire, and back within bounds that hold whoever made them.
//!
//! ```text
//! compressed = 20 size:number block
//! ```
//! `block` is LZ4 (the block format of lz4.org, without its frame) over [`DICTIONARY`]; `size` is what it becomes, exactly.
//! What is in it is one frame of another kind.
//!
//! LZ4 because a write of 100 bytes may cost 1 us at most, here and there: `cargo bench -p anabranch-benches --bench core -- frame` says what it
//! takes and leaves. Of 131 bytes a write in a large frame about 62 stay, 36 of which are hashes. Deflate leaves 4 to 10 bytes less there
//! for three to nine times the time, and takes several microseconds for a frame of one write without making it smaller.

use bytes::Bytes;
use lz4_flex::block;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits;

/// The kind that a compressed frame begins with.
pub(crate) const KIND: u8 = 20;

/// What most changes contain, so that a frame with one of them is made smaller, too: the column layouts of usual edits as
/// automerge writes them. A part of the format: it may never change under the same [`KIND`].
const DICTIONARY: &[u8] = &[
    // An object put into a map.
    0, 0, 8, 1, 2, 2, 3, 0x15, 0x0d, 0x34, 1, 0x42, 3, 0x56, 3, 0x57, 1, 0x70, 2, 2, 0, 0x7e,
    // A value put where there was none, and a first increment.
    6, 0, 0, 6, 0x15, 3, 0x34, 1, 0x42, 2, 0x56, 2, 0x57, 1, 0x70, 2, 0x7f, 1, //
    0, 0, 8, 1, 2, 2, 2, 0x15, 5, 0x34, 1, 0x42, 2, 0x56, 2, 0x57, 1, 0x70, 2, 0x7f, 0, 0x7f, 2,
    0x7f, // A value put over another one.
    6, 0, 0, 8, 0x15, 3, 0x34, 1, 0x42, 2, 0x56, 2, 0x57, 5, 0x70, 2, 0x71, 2, 0x73, 2, 0x7f, 1,
    // Several fields of a map.
    0x0a, 1, 2, 2, 3, 0x11, 4, 0x13, 4, 0x15, 9, 0x34, 2, 0x42, 2, 0x56, 2, 0x57, 2, 0x70, 2, 0x71,
    3, 0x73, 2, 2, // A counter changed.
    6, 0, 0, 0x0a, 1, 2, 2, 2, 0x15, 5, 0x34, 1, 0x42, 2, 0x56, 2, 0x57, 1, 0x70, 2, 0x71, 2, 0x73,
    2, 0x7f, 0, 0x7f, 3, 0x7f, 3, 1, 0x7f, 5, 0x7f, 0x14, 1, 0x7f, 1, 0x7f, 0, 0x7f, 0, 0, 0, 1,
    0x85, 0x6f, 0x4a, 0x83,
];

/// Smaller frames are left alone: what they hold is mostly names of origins, which are random.
const WORTH_BYTES: usize = 96;

/// Larger frames are made smaller without the dictionary. Whoever reads need not know.
const DICTIONARY_UP_TO_BYTES: usize = 2 << 10;

/// More than any block of LZ4 makes of one byte: no size is believed that is further from what is there.
const RATIO_MAX: usize = 255;

/// The frame, smaller if that is possible.
pub(crate) fn wrap(frame: Bytes) -> Bytes {
    if frame.len() < WORTH_BYTES {
        return frame;
    }
    let mut head = Writer::default();
    head.u8(KIND);
    head.count(frame.len());
    let head = head.finish();
    let mut wrapped = vec![0; head.len() + block::get_maximum_output_size(frame.len())];
    wrapped[..head.len()].copy_from_slice(&head);
    let block = &mut wrapped[head.len()..];
    // A large frame has all of it in itself, and takes half the time without.
    let compressed = match frame.len() {
        ..=DICTIONARY_UP_TO_BYTES => block::compress_into_with_dict(&frame, block, DICTIONARY),
        _ => block::compress_into(&frame, block),
    };
    let bytes = match compressed {
        Ok(bytes) => head.len() + bytes,
        // There is room for whatever it comes to; if not, it goes as it is.
        Err(_) => return frame,
    };
    if bytes >= frame.len() {
        return frame;
    }
    // The rest of the room would be held for as long as the frame waits.
    Bytes::copy_from_slice(&wrapped[..bytes])
}

/// What [`wrap`] was given. Other frames are given back as they are.
pub(crate) fn unwrap(frame: &Bytes) -> Result<Bytes, DecodeError> {
    if frame.first() != Some(&KIND) {
        return Ok(frame.clone());
    }
    let mut reader = Reader::new(frame.slice(1..));
    let size = reader.number("size")?;
    let block = reader.rest();
    let max = limits::FRAME_BYTES_MAX.min(block.len().saturating_mul(RATIO_MAX));
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size <= max)
        .ok_or(DecodeError::OverLimit {
            what: "size",
            value: size,
            max: max as u64,
        })?;
    let mut content = vec![0; size];
    match block::decompress_into_with_dict(&block, &mut content, DICTIONARY) {
        Ok(bytes) if bytes == size => {}
        Ok(_) => return Err(DecodeError::Compressed("it is shorter than it says")),
        Err(_) => return Err(DecodeError::Compressed("not a proper block")),
    }
    if content.first() == Some(&KIND) {
        return Err(DecodeError::Compressed("it is compressed twice"));
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn wire(size: usize, block: &[u8]) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(KIND);
        writer.count(size);
        let mut bytes = writer.finish().to_vec();
        bytes.extend_from_slice(block);
        bytes.into()
    }

    fn refusal(frame: &Bytes) -> String {
        unwrap(frame).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_and_is_never_larger(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..60), times in 1_usize..40,
        ) {
            let mut frame = vec![3];
            for index in 0..times { frame.extend(parts.iter().skip(index % 3).flatten()) }
            let frame = Bytes::from(frame);
            let wrapped = wrap(frame.clone());
            prop_assert!(wrapped.len() <= frame.len());
            prop_assert_eq!(unwrap(&wrapped).unwrap(), frame);
        }

        #[test]
        fn what_was_damaged_is_refused_or_no_larger_than_it_may_be(
            bytes in prop::collection::vec(0_u8..4, 100..3_000), at in any::<prop::sample::Index>(), with in any::<u8>(),
        ) {
            let mut bytes = [vec![3], bytes].concat();
            bytes = wrap(bytes.into()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(content) = unwrap(&bytes.clone().into()) {
                prop_assert!(content.len() <= bytes.len() * RATIO_MAX);
            }
        }

        #[test]
        fn every_cut_is_noticed(bytes in prop::collection::vec(0_u8..4, 200..2_000), at in any::<prop::sample::Index>()) {
            let wrapped = wrap([vec![3], bytes].concat().into());
            prop_assert_eq!(wrapped[0], KIND);
            prop_assert!(unwrap(&wrapped.slice(..at.index(wrapped.len() - 1) + 1)).is_err());
        }
    }

    #[test]
    fn a_size_that_is_not_there_is_not_made_room_for() {
        let zeros = wrap(vec![0; 100_000].into());
        assert!(zeros.len() < 1_000, "{}", zeros.len());
        let block = &zeros[4..];
        assert_eq!(unwrap(&wire(100_000, block)).unwrap().len(), 100_000);
        assert!(refusal(&wire(100_001, block)).contains("shorter"));
        assert!(refusal(&wire(99_999, block)).contains("not a proper block"));
        assert!(refusal(&wire(block.len() * RATIO_MAX + 1, block)).contains("over the limit"));
        let much = vec![0; 1 << 20];
        assert!(refusal(&wire(limits::FRAME_BYTES_MAX + 1, &much)).contains("over the limit"));
        assert!(refusal(&wire(usize::MAX, block)).contains("over the limit"));
    }

    #[test]
    fn nothing_is_compressed_twice() {
        let inner = wrap(vec![7; 300].into());
        assert_eq!(inner[0], KIND);
        let mut padded = inner.to_vec();
        padded.resize(400, 0);
        let twice = wrap(padded.into());
        assert_eq!(twice[0], KIND);
        assert!(refusal(&twice).contains("compressed twice"));
    }

    #[test]
    fn what_is_random_goes_as_it_is() {
        let noise: Vec<u8> = (0..64_u8)
            .flat_map(|n| *blake3::hash(&[n]).as_bytes())
            .collect();
        assert_eq!(wrap(noise.clone().into()), noise);
    }
}
