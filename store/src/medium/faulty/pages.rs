//! What a file holds, in pages that copies of it share until one of them is written: a test copies media by the
//! thousand.

use std::sync::Arc;

use super::BLOCK_BYTES;

type Page = [u8; BLOCK_BYTES];

/// The content of one file. A page that is not there is all zeros.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: Vec<Option<Arc<Page>>>,
    len: usize,
}

/// A piece of a run of bytes that lies within one page: which page, where in it, and where in the run.
struct Piece {
    page: usize,
    at: usize,
    from: usize,
    len: usize,
}

fn pieces(offset: usize, len: usize) -> impl Iterator<Item = Piece> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (page, at) = ((offset + from) / BLOCK_BYTES, (offset + from) % BLOCK_BYTES);
        let piece = Piece {
            page,
            at,
            from,
            len: (BLOCK_BYTES - at).min(len - from),
        };
        from += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

impl Pages {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn resize(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(BLOCK_BYTES), None);
        if len < self.len
            && let Some(Some(page)) = self.pages.last_mut()
        {
            // Should it grow again, zeros follow.
            let kept = len - (len - 1) / BLOCK_BYTES * BLOCK_BYTES;
            Arc::make_mut(page)[kept..].fill(0);
        }
        self.len = len;
    }

    /// No if it ends before.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        if offset
            .checked_add(into.len())
            .is_none_or(|end| end > self.len)
        {
            return false;
        }
        for Piece {
            page,
            at,
            from,
            len,
        } in pieces(offset, into.len())
        {
            let into = &mut into[from..from + len];
            match &self.pages[page] {
                Some(page) => into.copy_from_slice(&page[at..at + len]),
                None => into.fill(0),
            }
        }
        true
    }

    /// It grows as far as it has to.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.len < offset + bytes.len() {
            self.resize(offset + bytes.len());
        }
        for Piece {
            page,
            at,
            from,
            len,
        } in pieces(offset, bytes.len())
        {
            let bytes = &bytes[from..from + len];
            match &mut self.pages[page] {
                None if bytes.iter().all(|byte| *byte == 0) => {}
                page => {
                    let page = page.get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
                    Arc::make_mut(page)[at..at + len].copy_from_slice(bytes);
                }
            }
        }
    }

    /// Changes one bit. No if there is no such bit.
    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let Ok(at) = usize::try_from(bit / 8) else {
            return false;
        };
        let mut byte = [0];
        let there = self.read(at, &mut byte);
        if there {
            self.write(at, &[byte[0] ^ (1 << (bit % 8))]);
        }
        there
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut content = vec![0; self.len];
        self.read(0, &mut content);
        content
    }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    #[test]
    fn it_is_as_a_run_of_bytes() {
        let mut random = Random(1);
        let mut below = |end: usize| usize::try_from(random.below(end as u64)).unwrap_or(0);
        let (mut pages, mut bytes) = (Pages::default(), Vec::new());
        let mut kept = Vec::new();
        for step in 0..2_000_usize {
            match below(8) {
                0 => {
                    let len = below(5 * BLOCK_BYTES);
                    pages.resize(len);
                    bytes.resize(len, 0);
                }
                1 => kept.push((pages.clone(), bytes.clone())),
                _ => {
                    let (offset, len) = (below(4 * BLOCK_BYTES), below(2 * BLOCK_BYTES));
                    let fill = vec![u8::try_from(step % 3).unwrap_or(0); len];
                    pages.write(offset, &fill);
                    bytes.resize(bytes.len().max(offset + len), 0);
                    bytes[offset..offset + len].copy_from_slice(&fill);
                }
            }
            assert!(pages.to_vec() == bytes);
            assert_eq!(pages.len(), bytes.len());
        }
        for (pages, bytes) in kept {
            assert!(pages.to_vec() == bytes, "a copy has changed");
        }
        assert!(!pages.read(pages.len(), &mut [0]));
        assert!(!pages.flip(pages.len() as u64 * 8));
    }
}
