//! Lengths in as few bytes as they need: seven bits in each, the lowest first (LEB128).

use bytes::Bytes;

/// Bytes that `value` takes.
pub(super) fn bytes_of(value: usize) -> usize {
    (usize::BITS - value.leading_zeros()).div_ceil(7).max(1) as usize
}

pub(crate) fn put(mut value: usize, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

/// The number at the front, and how many bytes it takes; nothing when there is none.
pub(super) fn read(from: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in from.iter().enumerate() {
        let shift = u32::try_from(at * 7).ok()?;
        let part = usize::from(byte & 0x7F);
        value |= part.checked_shl(shift).filter(|v| v >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Takes a number off the front; nothing when there is none.
pub(crate) fn take(from: &mut Bytes) -> Option<usize> {
    let (value, len) = read(from)?;
    drop(from.split_to(len));
    Some(value)
}

/// Takes so many bytes off the front.
pub(crate) fn take_bytes(from: &mut Bytes, len: usize) -> Option<Bytes> {
    (from.len() >= len).then(|| from.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_cut_ones_do_not() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 30, usize::MAX] {
            let mut bytes = Vec::new();
            put(value, &mut bytes);
            assert_eq!(bytes.len(), bytes_of(value), "{value}");
            let mut cut = Bytes::copy_from_slice(&bytes[..bytes.len() - 1]);
            assert_eq!(take(&mut cut), None);
            bytes.push(7);
            let mut whole = Bytes::from(bytes);
            assert_eq!(take(&mut whole), Some(value));
            assert_eq!(whole, Bytes::from_static(&[7]));
        }
        let mut endless = Bytes::from_static(&[0xFF; 12]);
        assert_eq!(take(&mut endless), None);
    }
}
