//! Cutting runs of rows into tiles that fill the engine's pages.
//!
//! How far rows compress shows only when they are compressed. So each cut goes by the ratio of the tile before, and
//! is made again when it comes out too large; most tiles are compressed once.

use super::tile::{Row, TileWriter};
use crate::seal::Sealed;

/// What key and value of one row may add up to in a page of the engine: 4,096 bytes less its header.
pub(crate) const PAGE_ROW_BYTES: usize = 4096 - 4 - 8;
/// What a cut aims at; the rest is for the ratio to be off.
const AIM_BYTES: usize = PAGE_ROW_BYTES * 31 / 32;
/// A cut that comes out below this is made again, if there is more to put in.
const POOR_BYTES: usize = PAGE_ROW_BYTES * 7 / 8;
const CUTS_MAX: usize = 3;
const RATIO_ONE: usize = 1024;

/// How the rows of a run are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spread {
    /// Alike, so that each tile has room for rows between its own.
    Even,
    /// Every tile full but the last: more rows come after these.
    Full,
}

/// One tile as it goes into its table.
pub(crate) struct Packed {
    pub(crate) low: Vec<u8>,
    pub(crate) stored: Vec<u8>,
}

/// Cuts runs into tiles; remembers how far the last ones compressed.
pub(crate) struct Packer {
    writer: TileWriter,
    /// Stored bytes for 1,024 bytes of rows.
    ratio: usize,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            writer: TileWriter::default(),
            ratio: RATIO_ONE * 3 / 4,
        }
    }
}

impl Packer {
    /// Takes over how far rows compress where it works next.
    pub(crate) fn learn(&mut self, raw_bytes: usize, stored_bytes: usize) {
        if raw_bytes >= 512 {
            // An empty row of a tile takes something too, so it is never zero.
            self.ratio =
                (stored_bytes.saturating_mul(RATIO_ONE) / raw_bytes).clamp(16, 2 * RATIO_ONE);
        }
    }

    /// What rows of so many bytes take when they are stored.
    pub(crate) fn estimate(&self, raw_bytes: usize) -> usize {
        raw_bytes.saturating_mul(self.ratio) / RATIO_ONE
    }

    /// Cuts everything from `low` up to `high` into tiles, one at least.
    pub(crate) fn pack(
        &mut self,
        sealed: Sealed,
        (low, high): (&[u8], Option<&[u8]>),
        rows: &[Row],
        spread: Spread,
    ) -> Vec<Packed> {
        let mut packed = Vec::new();
        let mut low = low;
        let mut rows = rows;
        loop {
            let taken = self.cut(sealed, (low, high), rows, spread);
            packed.push(Packed {
                low: low.to_vec(),
                stored: self.writer.stored.clone(),
            });
            rows = &rows[taken..];
            match rows.first() {
                Some(first) => low = &first.key,
                None => return packed,
            }
        }
    }

    /// Writes the next tile; how many rows are in it.
    fn cut(
        &mut self,
        sealed: Sealed,
        (low, high): (&[u8], Option<&[u8]>),
        rows: &[Row],
        spread: Spread,
    ) -> usize {
        let rest: usize = rows.iter().map(Row::bytes).sum();
        let (mut at_least, mut less_than) = (rows.len().min(1), rows.len() + 1);
        for cut in 1.. {
            let estimate = self.estimate(rest);
            let aim = if estimate <= PAGE_ROW_BYTES {
                rest
            } else {
                match spread {
                    Spread::Even => rest / estimate.div_ceil(AIM_BYTES),
                    Spread::Full => AIM_BYTES * RATIO_ONE / self.ratio,
                }
            };
            let taken = first_rows(rows, aim, spread).clamp(at_least, less_than - 1);
            let end = rows.get(taken).map(|row| row.key.as_slice());
            self.writer.write(sealed, low, end.or(high), &rows[..taken]);
            let stored = low.len() + self.writer.stored.len();
            self.learn(rows[..taken].iter().map(Row::bytes).sum(), stored);
            if stored > PAGE_ROW_BYTES && taken > 1 {
                less_than = taken;
                continue;
            }
            at_least = taken;
            let poor = stored < POOR_BYTES && spread == Spread::Full;
            if !poor || taken + 1 >= less_than || cut >= CUTS_MAX {
                return taken;
            }
        }
        rows.len()
    }
}

/// How many rows come nearest to so many bytes; to fill tiles, without passing it.
fn first_rows(rows: &[Row], aim: usize, spread: Spread) -> usize {
    let mut bytes = 0;
    let within = rows.iter().take_while(|row| {
        let half = match spread {
            Spread::Even => row.bytes() / 2,
            Spread::Full => 0,
        };
        bytes += row.bytes();
        bytes - half <= aim
    });
    within.count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tile::Tile;
    use super::*;

    /// Rows that compress to about half.
    fn rows(count: u64, bytes: usize) -> Vec<Row> {
        let row = |n: u64| {
            let mut noise = vec![0; bytes / 2];
            blake3::Hasher::new()
                .update(&n.to_le_bytes())
                .finalize_xof()
                .fill(&mut noise);
            noise.resize(bytes, b'x');
            Row {
                key: format!("carts\0{n:08}").into_bytes(),
                value: noise.into(),
            }
        };
        (0..count).map(row).collect()
    }

    fn pack(rows: &[Row], spread: Spread) -> Vec<Packed> {
        let packed = Packer::default().pack(Sealed::Tiles, (b"", None), rows, spread);
        let mut seen = Vec::new();
        let mut low = Some(Vec::new());
        for tile in &packed {
            assert_eq!(Some(&tile.low), low.as_ref(), "no gaps");
            let tile = Tile::read(Sealed::Tiles, &tile.low, &tile.stored).unwrap();
            seen.extend(tile.rows);
            low = tile.high;
        }
        assert_eq!(low, None);
        assert!(seen == rows);
        packed
    }

    fn bytes(packed: &Packed) -> usize {
        packed.low.len() + packed.stored.len()
    }

    #[test]
    fn tiles_fill_pages_and_leave_no_gaps() {
        for (count, len) in [
            (0, 10),
            (1, 10),
            (1, 100_000),
            (1_000, 571),
            (5_000, 40),
            (300, 3_000),
        ] {
            let rows = rows(count, len);
            for spread in [Spread::Even, Spread::Full] {
                let packed = pack(&rows, spread);
                let fits = |packed: &Packed| bytes(packed) <= PAGE_ROW_BYTES;
                assert!(len > 5_000 || packed.iter().all(fits));
                if count == 1_000 {
                    let all: usize = packed.iter().map(bytes).sum();
                    let fill = all * 100 / (packed.len() * PAGE_ROW_BYTES);
                    assert!(fill >= 90, "{spread:?}: {fill} % full");
                }
            }
        }
    }

    #[test]
    fn a_row_too_large_for_a_page_is_alone() {
        let large = rows(1, 20_000).remove(0).value;
        let mut rows = rows(21, 300);
        rows[10].value = large;
        for spread in [Spread::Even, Spread::Full] {
            let packed = pack(&rows, spread);
            let large: Vec<_> = packed
                .iter()
                .filter(|packed| bytes(packed) > PAGE_ROW_BYTES)
                .collect();
            let [large] = large[..] else {
                panic!("{} large ones", large.len())
            };
            let tile = Tile::read(Sealed::Tiles, &large.low, &large.stored).unwrap();
            assert_eq!(tile.rows.len(), 1);
        }
    }
}
