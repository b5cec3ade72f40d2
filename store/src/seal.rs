//! The check that every stored value carries.
//!
//! The engine serves a flipped bit as data. So the first eight bytes of each value are a keyed
//! BLAKE3 hash (its key derived from the table's name) over the row's key and the value: wrong bytes
//! are noticed, and so is the right value of another row or another table.

use std::sync::LazyLock;

/// Length of the check in bytes.
pub(crate) const CHECK_BYTES: usize = 8;

/// Which table a value lives in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sealed {
    Tiles,
    Quarantine,
    Receipts,
    ReceiptOrder,
    Directory,
    Meta,
    Witness,
}

static KEYS: LazyLock<[[u8; 32]; 7]> = LazyLock::new(|| {
    [
        blake3::derive_key("anabranch store 2026-11 tiles", &[]),
        blake3::derive_key("anabranch store 2026-11 quarantine", &[]),
        blake3::derive_key("anabranch store 2026-11 receipt tiles", &[]),
        blake3::derive_key("anabranch store 2026-11 receipt order", &[]),
        blake3::derive_key("anabranch store 2026-11 directory", &[]),
        blake3::derive_key("anabranch store 2026-11 meta", &[]),
        blake3::derive_key("anabranch store 2026-11 witness", &[]),
    ]
});

fn check(table: Sealed, key: &[u8], value: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(&KEYS[table as usize]);
    // The length keeps (key, value) apart from another split of the same bytes.
    hasher
        .update(&(key.len() as u64).to_le_bytes())
        .update(key)
        .update(value);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

/// Writes check and value into `row`, in place of what was there. The value is given in parts.
pub(crate) fn seal(table: Sealed, key: &[u8], parts: &[&[u8]], row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(&[0; CHECK_BYTES]);
    for part in parts {
        row.extend_from_slice(part);
    }
    let check = check(table, key, &row[CHECK_BYTES..]);
    row[..CHECK_BYTES].copy_from_slice(&check);
}

/// The value in a row, or nothing when it is not what was stored under this key.
pub(crate) fn unseal<'a>(table: Sealed, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (found, value) = row.split_at_checked(CHECK_BYTES)?;
    (found == check(table, key, value)).then_some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_is_only_right_in_its_own_place() {
        let mut row = Vec::new();
        seal(Sealed::Tiles, b"ab", &[b"cd", b"ef"], &mut row);
        assert_eq!(unseal(Sealed::Tiles, b"ab", &row).unwrap(), b"cdef");
        assert_eq!(
            unseal(Sealed::Quarantine, b"ab", &row),
            None,
            "another table"
        );
        assert_eq!(unseal(Sealed::Tiles, b"ac", &row), None, "another key");
        assert_eq!(
            unseal(Sealed::Tiles, b"ab", &row[..row.len() - 1]),
            None,
            "cut short"
        );
        assert_eq!(
            unseal(Sealed::Tiles, b"ab", &row[..3]),
            None,
            "no room for a check"
        );
        for bit in 0..row.len() * 8 {
            row[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(Sealed::Tiles, b"ab", &row), None, "bit {bit}");
            row[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn key_and_value_can_not_trade_bytes() {
        let mut row = Vec::new();
        seal(Sealed::Meta, b"ab", &[b"cd"], &mut row);
        let mut moved = row[..CHECK_BYTES].to_vec();
        moved.extend_from_slice(b"d");
        assert_eq!(unseal(Sealed::Meta, b"abc", &moved), None);
    }
}
