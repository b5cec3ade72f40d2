//! What two sequences have in common, and where they differ.

use std::ops::Range;

/// Differences looked for before the search is given up. It takes time proportional to the lengths times
/// this, and memory proportional to its square: 4 MB.
const DIFFERENCES_MAX: usize = 1_024;

/// A stretch of one sequence, and what stands for it in the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hunk {
    pub(super) before: Range<usize>,
    pub(super) after: Range<usize>,
}

/// A stretch that is equal in both sequences.
struct Run {
    before: usize,
    after: usize,
    len: usize,
}

/// Where two sequences differ, in order: the fewest insertions and removals (E. Myers, "An O(ND) Difference
/// Algorithm and Its Variations", 1986). Sequences that have little in common are one hunk between what they
/// begin and end with.
pub(super) fn align<T: PartialEq>(before: &[T], after: &[T]) -> Vec<Hunk> {
    let equal = |(a, b): &(&T, &T)| a == b;
    let head = before.iter().zip(after).take_while(equal).count();
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before.iter().rev().zip(after.iter().rev());
    let tail = tail.take_while(equal).count();
    let before = &before[..before.len() - tail];
    let after = &after[..after.len() - tail];
    let runs = if before.is_empty() || after.is_empty() {
        Vec::new()
    } else {
        runs(before, after).unwrap_or_default()
    };
    let mut hunks = Vec::new();
    let (mut x, mut y) = (0, 0);
    let end = Run {
        before: before.len(),
        after: after.len(),
        len: 0,
    };
    for run in runs.iter().chain([&end]) {
        if run.before > x || run.after > y {
            hunks.push(Hunk {
                before: head + x..head + run.before,
                after: head + y..head + run.after,
            });
        }
        (x, y) = (run.before + run.len, run.after + run.len);
    }
    hunks
}

/// How far each diagonal gets with a number of differences: at `diagonal + differences`, for diagonals from
/// `-differences` on.
type Reach = Vec<usize>;

/// Of the diagonals beside, the one from which a diagonal is reached with one difference more: true for the
/// one above, that is, by an insertion.
fn comes_from_above(reach: &Reach, diagonal: usize) -> bool {
    // `diagonal` counts from the lowest one that the extra difference can lead to; `reach` begins one higher.
    match (
        diagonal.checked_sub(2).map(|at| reach[at]),
        reach.get(diagonal),
    ) {
        (Some(below), Some(above)) => below < *above,
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// The equal stretches of a shortest way from one to the other, in order; none if it is too long.
fn runs<T: PartialEq>(before: &[T], after: &[T]) -> Option<Vec<Run>> {
    let most = DIFFERENCES_MAX.min(before.len() + after.len());
    let mut reaches: Vec<Reach> = Vec::new();
    for differences in 0..=most {
        let mut reach = vec![0; 2 * differences + 1];
        for diagonal in (0..=2 * differences).step_by(2) {
            let mut x = match reaches.last() {
                None => 0,
                Some(last) if comes_from_above(last, diagonal) => last[diagonal],
                Some(last) => last[diagonal - 2] + 1,
            };
            // x - y is the diagonal, here counted from -differences.
            let mut y = x + differences - diagonal;
            while x < before.len() && y < after.len() && before[x] == after[y] {
                (x, y) = (x + 1, y + 1);
            }
            reach[diagonal] = x;
            if x >= before.len() && y >= after.len() {
                return Some(walk_back(&reaches, (before.len(), after.len())));
            }
        }
        reaches.push(reach);
    }
    None
}

/// Follows the way back from its end. `reaches` holds what came before the last difference.
fn walk_back(reaches: &[Reach], end: (usize, usize)) -> Vec<Run> {
    let (mut x, mut y) = end;
    let mut runs = Vec::new();
    for (less, reach) in reaches.iter().enumerate().rev() {
        let differences = less + 1;
        let diagonal = x + differences - y;
        let above = comes_from_above(reach, diagonal);
        let from = reach[if above { diagonal } else { diagonal - 2 }];
        // The difference leads to here, and the equal stretch on from here.
        let begin = if above { from } else { from + 1 };
        let len = x - begin;
        runs.push(Run {
            before: begin,
            after: y - len,
            len,
        });
        (x, y) = if above {
            (begin, y - len - 1)
        } else {
            (begin - 1, y - len)
        };
    }
    runs.push(Run {
        before: 0,
        after: 0,
        len: x,
    });
    runs.retain(|run| run.len > 0);
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sequence after, made from the one before by its hunks; and how many elements they touch.
    fn rebuilt(before: &[u8], after: &[u8]) -> (Vec<u8>, usize) {
        let (mut out, mut at, mut touched) = (Vec::new(), 0, 0);
        for hunk in align(before, after) {
            out.extend_from_slice(&before[at..hunk.before.start]);
            out.extend_from_slice(&after[hunk.after.clone()]);
            touched += hunk.before.len() + hunk.after.len();
            at = hunk.before.end;
        }
        out.extend_from_slice(&before[at..]);
        (out, touched)
    }

    /// The length of the longest common subsequence, by the book.
    fn common(before: &[u8], after: &[u8]) -> usize {
        let mut row = vec![0; after.len() + 1];
        for a in before {
            let mut diagonal = 0;
            for (index, b) in after.iter().enumerate() {
                let above = row[index + 1];
                row[index + 1] = if a == b {
                    diagonal + 1
                } else {
                    above.max(row[index])
                };
                diagonal = above;
            }
        }
        row[after.len()]
    }

    proptest! {
        #[test]
        fn hunks_make_one_the_other_and_touch_as_little_as_can_be(
            before in prop::collection::vec(0_u8..4, 0..40),
            after in prop::collection::vec(0_u8..4, 0..40),
        ) {
            let (out, touched) = rebuilt(&before, &after);
            prop_assert_eq!(&out, &after);
            prop_assert_eq!(touched, before.len() + after.len() - 2 * common(&before, &after));
        }
    }

    #[test]
    fn what_has_little_in_common_is_one_hunk() {
        let before: Vec<u32> = (0..5_000).collect();
        let mut after: Vec<u32> = (10_000..15_000).collect();
        (after[0], after[2_500], after[4_999]) = (0, 2_500, 4_999);
        let hunk = Hunk {
            before: 1..4_999,
            after: 1..4_999,
        };
        assert_eq!(align(&before, &after), [hunk]);
    }

    #[test]
    fn few_changes_in_something_long_are_found() {
        let before: Vec<u32> = (0..100_000).collect();
        let mut after = before.clone();
        after.remove(90_000);
        after[50_000] = 0;
        after.insert(10, 7);
        let at: Vec<_> = align(&before, &after)
            .into_iter()
            .map(|hunk| hunk.after)
            .collect();
        assert_eq!(at, [10..11, 50_001..50_002, 90_001..90_001]);
    }
}
