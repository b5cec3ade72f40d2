//! A linear sketch of a summary, by which one message tells which documents differ.
//!
//! A document has a *prefix*, the first bits of its place, and a value, what it contributes to the trie. It stands in one cell
//! of each of three rows; a cell has the sum of values and the sum of value times prefix, modulo 2^61 - 1. Of two replicas' sketches
//! the difference is taken, cell by cell: what both have alike is gone. A cell with one document that differs then gives its
//! prefix as a quotient; that document is taken off the other two cells, which may leave one alone there, and so on (peeling,
//! as in an invertible Bloom lookup table: Goodrich, Mitzenmacher 2011; the cell is that of one-sparse recovery, Ganguly 2007). A document
//! that changed is one unknown, and not two.
//!
//! It is **linear**: a change is added to it, what came after a frontier is taken off again, and a narrow sketch is a wide one whose cells
//! have been added up. So it is kept once, however many peers ask, and is as wide as what differs needs. How much that is
//! tell 256 counters, the sums of a random bit of each document with a random sign: their differences' squares add up to
//! half as much as there are documents that differ (Alon, Matias, Szegedy 1996; Thorup, Zhang 2004).
//!
//! Whoever knows the key can make documents that hide each other, as in the trie; and it may fail. Then the trie, which is salted
//! anew each time, finds what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::mix;
use super::trie::View;

/// So many bits of a place name a document: of a million, two hardly ever share them, and a quotient that is none shows, since it
/// is longer.
pub(crate) const PREFIX_BITS: u32 = 44;
/// A Mersenne prime, modulo which everything is added up.
const PRIME: u64 = (1 << 61) - 1;
const ROWS: usize = 3;
/// Cells in a row of the sketch that is kept: it has many divisors, and a sketch that is sent has one of them.
pub(super) const WIDTH: usize = 27_720;
/// The widest that is sent: 650 KiB.
const WIDTH_MAX: usize = 13_860;
/// The narrowest: fewer than fifteen documents hardly ever are in each other's way.
const WIDTH_MIN: usize = 20;
/// Most cells of a sketch that is sent.
pub(crate) const CELLS_MAX: usize = ROWS * WIDTH_MAX;
/// Counters that tell how many documents differ, give or take a tenth.
pub(crate) const COUNTERS: usize = 256;

/// Sums over the documents that stand in one place of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cell {
    values: u64,
    /// Each value times its document's prefix.
    products: u64,
}

impl Cell {
    /// None: the numbers are not of the field.
    pub(crate) fn new(values: u64, products: u64) -> Option<Self> {
        (values < PRIME && products < PRIME).then_some(Self { values, products })
    }

    /// The sum of values and the sum of products.
    pub(crate) fn sums(self) -> [u64; 2] {
        [self.values, self.products]
    }

    fn plus(self, other: Self) -> Self {
        Self {
            values: plus(self.values, other.values),
            products: plus(self.products, other.products),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            values: minus(self.values, other.values),
            products: minus(self.products, other.products),
        }
    }
}

fn plus(one: u64, other: u64) -> u64 {
    let sum = one + other;
    if sum >= PRIME { sum - PRIME } else { sum }
}

pub(super) fn minus(one: u64, other: u64) -> u64 {
    match one >= other {
        true => one - other,
        false => one + PRIME - other,
    }
}

pub(super) fn times(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let low = u64::try_from(product & u128::from(PRIME)).unwrap_or_default();
    let high = u64::try_from(product >> 61).unwrap_or_default();
    plus(low, high)
}

/// The inverses of numbers other than 0, for the price of one (Montgomery 1987).
pub(super) fn inverses(numbers: &[u64]) -> Vec<u64> {
    let mut product = 1;
    let mut before = Vec::with_capacity(numbers.len());
    for number in numbers {
        before.push(product);
        product = times(product, *number);
    }
    // The product to the power of PRIME - 2, whose bits are all set but the second.
    let (mut inverse, mut square) = (1, product);
    for bit in 0..61 {
        if bit != 1 {
            inverse = times(inverse, square);
        }
        square = times(square, square);
    }
    for (number, before) in numbers.iter().zip(&mut before).rev() {
        *before = times(*before, inverse);
        inverse = times(inverse, *number);
    }
    before
}

/// What is kept, and what is sent of it.
#[derive(Clone)]
pub(crate) struct Sketch {
    seed: u64,
    width: usize,
    cells: Vec<Cell>,
    counters: Vec<i16>,
}

impl Sketch {
    pub(super) fn new(seed: u64, width: usize) -> Self {
        Self {
            seed,
            width,
            cells: vec![Cell::default(); ROWS * width],
            counters: vec![0; COUNTERS],
        }
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> &[i16] {
        &self.counters
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<Cell>() + COUNTERS * size_of::<i16>()
    }

    /// The cells that a prefix stands in, one of each row.
    pub(super) fn stands_in(&self, prefix: u64) -> [usize; ROWS] {
        let mut mixed = mix(prefix ^ self.seed);
        let width = WIDTH as u64;
        let mut row = 0;
        [(); ROWS].map(|()| {
            let column = usize::try_from(mixed % width).unwrap_or_default() % self.width;
            mixed /= width;
            row += 1;
            (row - 1) * self.width + column
        })
    }

    /// A document contributes something else than before.
    pub(super) fn note(&mut self, place: u64, before: u64, after: u64) {
        let prefix = place >> (u64::BITS - PREFIX_BITS);
        let values = minus(after % PRIME, before % PRIME);
        let products = times(values, prefix);
        for at in self.stands_in(prefix) {
            self.cells[at] = self.cells[at].plus(Cell { values, products });
        }
        let mixed = mix(!prefix ^ self.seed);
        let counter = usize::try_from(mixed % COUNTERS as u64).unwrap_or_default();
        let is_raised = mixed >> 63 == 0;
        let counter = &mut self.counters[counter];
        match (before >> 63 == 1, after >> 63 == 1) {
            (true, true) | (false, false) => {}
            (_, gained) if gained == is_raised => *counter = counter.wrapping_add(1),
            _ => *counter = counter.wrapping_sub(1),
        }
    }

    /// As it would be with rows of another width, one of its divisors.
    fn folded(&self, width: usize) -> Self {
        let mut folded = Self::new(self.seed, width);
        folded.counters.clone_from(&self.counters);
        for (at, cell) in self.cells.iter().enumerate() {
            let (row, column) = (at / self.width, at % self.width);
            let into = &mut folded.cells[row * width + column % width];
            *into = into.plus(*cell);
        }
        folded
    }

    /// The prefixes of the documents that differ from those of a sketch as wide. None: it can't be told, or it is
    /// not as wide.
    pub(crate) fn differing(&self, theirs: &[Cell]) -> Option<BTreeSet<u64>> {
        if theirs.len() != self.cells.len() {
            return None;
        }
        let ours = self.cells.iter();
        let mut cells: Vec<Cell> = ours.zip(theirs).map(|(a, b)| a.minus(*b)).collect();
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        let mut candidates: Vec<usize> = (0..cells.len()).collect();
        // Each document takes one step; more than that only if it is none that is taken off again and again.
        let mut steps = 2 * cells.len();
        while !candidates.is_empty() {
            candidates.retain(|at| cells[*at].values != 0);
            let seen: Vec<Cell> = candidates.iter().map(|at| cells[*at]).collect();
            let values: Vec<u64> = seen.iter().map(|cell| cell.values).collect();
            let mut touched = BTreeSet::new();
            for ((at, cell), inverse) in candidates.iter().zip(&seen).zip(inverses(&values)) {
                let prefix = times(cell.products, inverse);
                let is_one = prefix >> PREFIX_BITS == 0 && self.stands_in(prefix).contains(at);
                // One that has changed since is looked at again.
                if !is_one || cells[*at] != *cell {
                    continue;
                }
                steps = steps.checked_sub(1)?;
                for at in self.stands_in(prefix) {
                    cells[at] = cells[at].minus(*cell);
                    touched.insert(at);
                }
                let net = found.entry(prefix).or_default();
                *net = plus(*net, cell.values);
            }
            candidates = touched.into_iter().collect();
        }
        // What was taken for a document and was none has been taken off again: it counts for nothing.
        let found = found.into_iter().filter(|(_, net)| *net != 0);
        let is_all = cells.iter().all(|cell| *cell == Cell::default());
        is_all.then(|| found.map(|(prefix, _)| prefix).collect())
    }
}

/// About how many documents differ, by the counters of both sides. None: they are no counters.
pub(crate) fn estimate(ours: &[i16], theirs: &[i16]) -> Option<u64> {
    if ours.len() != COUNTERS || theirs.len() != COUNTERS {
        return None;
    }
    let pairs = ours.iter().zip(theirs);
    let squares = pairs.map(|(one, other)| {
        let difference = u64::from(one.wrapping_sub(*other).unsigned_abs());
        difference * difference
    });
    // Every other document that differs does so in its bit.
    Some(2 * squares.sum::<u64>())
}

/// How wide a sketch is that tells of so many documents, if the guess is not much too low. None: wider than is sent.
pub(crate) fn width_for(estimate: u64) -> Option<usize> {
    // Peeling needs 1.23 cells for each (Molloy 2005), and the guess is a tenth off, more where few differ.
    let wanted = usize::try_from(estimate).ok()?;
    let wanted = wanted.checked_add(wanted / 2)?.div_ceil(ROWS) + WIDTH_MIN;
    (wanted..=WIDTH_MAX).find(|width| WIDTH.is_multiple_of(*width))
}

/// How wide the rows of so many cells are, if they are of a sketch.
pub(crate) fn width_of(cells: usize) -> Option<usize> {
    let width = cells / ROWS;
    let fits = cells.is_multiple_of(ROWS) && width > 0 && width <= WIDTH_MAX;
    (fits && WIDTH.is_multiple_of(width)).then_some(width)
}

impl View<'_> {
    /// A sketch with rows of a width that divides that of the one that is kept.
    pub(crate) fn sketch(&self, width: usize) -> Sketch {
        let mut sketch = match self.summary.kept_sketch() {
            Some(kept) => kept.folded(width),
            None => self.summary.sketched(width),
        };
        for (place, offset) in self.offsets {
            let now = self.summary.sum(*place);
            let [now, then] =
                [now, now.wrapping_add(*offset)].map(|sum| self.summary.contribution(place.0, sum));
            sketch.note(place.0, now, then);
        }
        sketch
    }

    /// What tells another one how much differs.
    pub(crate) fn counters(&self) -> Vec<i16> {
        self.sketch(1).counters
    }

    /// The documents whose places begin so, with their sums.
    pub(crate) fn with_prefix(&self, prefix: u64) -> Vec<(super::Place, u64)> {
        self.leaves(PREFIX_BITS, prefix)
    }
}
