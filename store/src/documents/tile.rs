//! A tile: a run of neighbouring rows in one sealed value.
//!
//! ```text
//! key     where it begins
//! value   check:8  raw length (0: what follows is not compressed)  content, LZ4 if that is smaller
//! content where it ends: length + 1, bytes (0: nowhere), then for each row
//!         bytes shared with the key before, length of the rest, the rest, length of the value, the value
//! ```
//! The tiles of a table cover all keys without gaps. So the one tile that spans a key says what is there and what is
//! not, and its check vouches for both.

use std::ops::Range;

use bytes::Bytes;

use super::varint;
use crate::seal::{CHECK_BYTES, Sealed, seal, unseal};

/// A key and what is stored under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Bytes,
}

impl Row {
    /// About what it takes in a tile before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() / 2 + self.value.len() + 4
    }
}

/// All that is stored from `low` up to `high`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub(crate) low: Vec<u8>,
    /// The first key past it; none: it is the last.
    pub(crate) high: Option<Vec<u8>>,
    /// By rising key.
    pub(crate) rows: Vec<Row>,
    /// What it takes in its table, key included.
    pub(crate) stored_bytes: usize,
    /// Tells it from every other version of itself.
    pub(crate) check: [u8; CHECK_BYTES],
}

/// The rows of a tile, one after the other: a tile whose rows are not all wanted costs little more than to open it.
pub(crate) struct Content {
    pub(super) low: Vec<u8>,
    pub(super) high: Option<Vec<u8>>,
    bytes: Bytes,
    at: usize,
    /// Of the row that it stands on; before the first, where the tile begins.
    key: Vec<u8>,
    value: Range<usize>,
    begun: bool,
}

impl Content {
    /// Nothing when it is not what was written.
    pub(super) fn open(sealed: Sealed, low: &[u8], stored: &[u8]) -> Option<Self> {
        let value = unseal(sealed, low, stored)?;
        let (raw_bytes, len) = varint::read(value)?;
        let value = &value[len..];
        let bytes = match raw_bytes {
            0 => Bytes::copy_from_slice(value),
            _ => lz4_flex::block::decompress(value, raw_bytes).ok()?.into(),
        };
        let mut content = Self {
            low: low.to_vec(),
            high: None,
            bytes,
            at: 0,
            key: low.to_vec(),
            value: 0..0,
            begun: false,
        };
        content.high = match content.number()? {
            0 => None,
            len => {
                let high = content.skip(len - 1)?;
                Some(content.bytes[high].to_vec())
            }
        };
        Some(content)
    }

    fn number(&mut self) -> Option<usize> {
        let (number, len) = varint::read(&self.bytes[self.at..])?;
        self.at += len;
        Some(number)
    }

    /// Where the next so many bytes are.
    fn skip(&mut self, len: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(len)?;
        (end <= self.bytes.len()).then(|| std::mem::replace(&mut self.at, end)..end)
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Goes to the next row; nothing when there is none, or it is not in order.
    pub(super) fn advance(&mut self) -> Option<()> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        let shared = self.number()?;
        let len = self.number()?;
        let rest = self.skip(len)?;
        let rest = &self.bytes[rest];
        // What a key shares with the one before decides nothing.
        let (_, before) = self.key.split_at_checked(shared)?;
        if rest < before || (rest == before && !is_first) {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let len = self.number()?;
        self.value = self.skip(len)?;
        let ends_before = |high: &Vec<u8>| self.key < *high;
        self.high.as_ref().is_none_or(ends_before).then_some(())
    }

    /// Of the row that it stands on, as the value.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn value(&self) -> Bytes {
        self.bytes.slice(self.value.clone())
    }

    /// Whether the key is one of those that the tile speaks for.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key >= self.low.as_slice() && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// What a tile that spans a key holds under it; nothing when the tile can't be read or does not span it.
pub(crate) fn look_up(
    sealed: Sealed,
    (low, stored): (&[u8], &[u8]),
    wanted: &[u8],
) -> Option<Option<Bytes>> {
    let mut content = Content::open(sealed, low, stored)?;
    if !content.contains(wanted) {
        return None;
    }
    while !content.is_over() {
        content.advance()?;
        match content.key().cmp(wanted) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Some(Some(content.value())),
            std::cmp::Ordering::Greater => break,
        }
    }
    Some(None)
}

impl Tile {
    /// Nothing when it is not what was written.
    pub(crate) fn read(sealed: Sealed, low: &[u8], stored: &[u8]) -> Option<Self> {
        let mut content = Content::open(sealed, low, stored)?;
        let mut rows: Vec<Row> = Vec::new();
        while !content.is_over() {
            content.advance()?;
            rows.push(Row {
                key: content.key().to_vec(),
                value: content.value(),
            });
        }
        Some(Self {
            low: content.low,
            high: content.high,
            rows,
            stored_bytes: low.len() + stored.len(),
            check: check_of(stored),
        })
    }

    /// Whether the key is one of those that it speaks for.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.low.as_slice() && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// What tells a stored tile from every other version of itself.
pub(crate) fn check_of(stored: &[u8]) -> [u8; CHECK_BYTES] {
    *stored.first_chunk().unwrap_or(&[0; CHECK_BYTES])
}

/// Puts tiles together; keeps its buffers.
#[derive(Default)]
pub(crate) struct TileWriter {
    content: Vec<u8>,
    compressed: Vec<u8>,
    /// What was written last.
    pub(crate) stored: Vec<u8>,
}

impl TileWriter {
    /// Writes a tile into `stored`.
    pub(crate) fn write(&mut self, sealed: Sealed, low: &[u8], high: Option<&[u8]>, rows: &[Row]) {
        self.content.clear();
        match high {
            None => varint::put(0, &mut self.content),
            Some(high) => {
                varint::put(high.len() + 1, &mut self.content);
                self.content.extend_from_slice(high);
            }
        }
        let mut before = low;
        for row in rows {
            let same = before.iter().zip(&row.key).take_while(|(a, b)| a == b);
            let shared = same.count();
            varint::put(shared, &mut self.content);
            varint::put(row.key.len() - shared, &mut self.content);
            self.content.extend_from_slice(&row.key[shared..]);
            varint::put(row.value.len(), &mut self.content);
            self.content.extend_from_slice(&row.value);
            before = &row.key;
        }
        let most = lz4_flex::block::get_maximum_output_size(self.content.len());
        self.compressed.resize(most.max(self.compressed.len()), 0);
        let compressed = lz4_flex::block::compress_into(&self.content, &mut self.compressed);
        let mut raw_bytes = Vec::with_capacity(8);
        let smaller = compressed
            .ok()
            .filter(|len| len + varint::bytes_of(self.content.len()) <= self.content.len());
        let content = match smaller {
            Some(len) => {
                varint::put(self.content.len(), &mut raw_bytes);
                &self.compressed[..len]
            }
            None => {
                varint::put(0, &mut raw_bytes);
                &self.content[..]
            }
        };
        self.stored
            .reserve(CHECK_BYTES + raw_bytes.len() + content.len());
        seal(sealed, low, &[&raw_bytes, content], &mut self.stored);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(key: &str, value: impl Into<Vec<u8>>) -> Row {
        let (key, value) = (key.as_bytes().to_vec(), value.into().into());
        Row { key, value }
    }

    #[test]
    fn a_tile_comes_back_whole_or_not_at_all() {
        let mut writer = TileWriter::default();
        let rows = vec![
            row("carts\0b", *b"x"),
            row("carts\0bc", [7; 900]),
            row("carts\0c", []),
        ];
        for high in [None, Some(&b"carts\0d"[..])] {
            writer.write(Sealed::Tiles, b"carts\0b", high, &rows);
            assert!(writer.stored.len() < 200, "compressed");
            let tile = Tile::read(Sealed::Tiles, b"carts\0b", &writer.stored).unwrap();
            assert_eq!(tile.high.as_deref(), high);
            assert_eq!(tile.rows, rows);
            let find = |key| look_up(Sealed::Tiles, (b"carts\0b", &writer.stored), key).unwrap();
            assert_eq!(find(b"carts\0bc").unwrap().len(), 900);
            assert_eq!(find(b"carts\0bb"), None);
            assert!(!tile.contains(b"carts\0a"));
            assert_eq!(tile.contains(b"carts\0d"), high.is_none());
            assert_eq!(Tile::read(Sealed::Tiles, b"carts\0a", &writer.stored), None);
            assert_eq!(
                Tile::read(Sealed::Receipts, b"carts\0b", &writer.stored),
                None
            );
        }
    }

    #[test]
    fn what_does_not_compress_stays_as_it_is() {
        let mut writer = TileWriter::default();
        let noise = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; 500];
        std::io::Read::read_exact(&mut { noise }, &mut bytes).unwrap();
        let rows = vec![row("k", bytes)];
        writer.write(Sealed::Receipts, b"", None, &rows);
        assert!(writer.stored.len() < 520);
        assert_eq!(
            Tile::read(Sealed::Receipts, b"", &writer.stored)
                .unwrap()
                .rows,
            rows
        );
    }

    #[test]
    fn rows_out_of_order_or_out_of_bounds_are_refused() {
        let mut writer = TileWriter::default();
        for rows in [[row("b", []), row("a", [])], [row("b", []), row("z", [])]] {
            writer.write(Sealed::Tiles, b"a", Some(b"y"), &rows);
            assert_eq!(Tile::read(Sealed::Tiles, b"a", &writer.stored), None);
        }
    }
}
