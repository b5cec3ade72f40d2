//! Which elements of a list stay, which go, and which are new.

use serde_json::Value;

use super::alignment::{Hunk, align};
use super::tree::Tree;

/// Where so many pairs of changed elements or more would have to be compared, they are paired in order.
const COMPARED_MAX: usize = 4_096;

/// One step on the way along a list, from its begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The element stays, perhaps changed inside.
    Keep {
        /// Its index before.
        from: usize,
        /// Its index after.
        to: usize,
    },
    /// The element goes.
    Remove,
    /// An element comes.
    Insert {
        /// Its index after.
        to: usize,
    },
}

/// What makes an element the same before and after: its entry `id`, if it is a map that has one, or else all of
/// it.
#[derive(PartialEq)]
enum Identity<'a> {
    Id(&'a Value),
    Whole(&'a Tree),
}

impl<'a> Identity<'a> {
    fn of(element: &'a Tree) -> Self {
        let id = match element {
            Tree::Map(entries) => entries.get("id"),
            _ => None,
        };
        match id {
            Some(Tree::Register(id @ (Value::String(_) | Value::Number(_)))) => Self::Id(id),
            _ => Self::Whole(element),
        }
    }
}

/// How a list becomes another: elements of one identity stay as far as their order does, and of the others those
/// in the same place that are most alike.
pub(super) fn steps(before: &[Tree], after: &[Tree]) -> Vec<Step> {
    let identities = |elements| -> Vec<Identity<'_>> {
        let elements: &[Tree] = elements;
        elements.iter().map(Identity::of).collect()
    };
    let mut steps = Vec::new();
    let (mut from, mut to) = (0, 0);
    let hunks = align(&identities(before), &identities(after));
    for hunk in hunks {
        steps.extend(
            (from..hunk.before.start)
                .zip(to..)
                .map(|(from, to)| Step::Keep { from, to }),
        );
        (from, to) = (hunk.before.end, hunk.after.end);
        in_hunk(before, after, hunk, &mut steps);
    }
    steps.extend(
        (from..before.len())
            .zip(to..)
            .map(|(from, to)| Step::Keep { from, to }),
    );
    steps
}

fn in_hunk(before: &[Tree], after: &[Tree], hunk: Hunk, steps: &mut Vec<Step>) {
    let Hunk {
        before: rows,
        after: columns,
    } = hunk;
    let (mut from, mut to) = (rows.start, columns.start);
    for (row, column) in pairs(&before[rows.clone()], &after[columns.clone()]) {
        let (row, column) = (rows.start + row, columns.start + column);
        steps.extend((from..row).map(|_| Step::Remove));
        steps.extend((to..column).map(|to| Step::Insert { to }));
        steps.push(Step::Keep {
            from: row,
            to: column,
        });
        (from, to) = (row + 1, column + 1);
    }
    steps.extend((from..rows.end).map(|_| Step::Remove));
    steps.extend((to..columns.end).map(|to| Step::Insert { to }));
}

/// Which of the elements before are which of those after, in order, so that they are alike as much as can be.
fn pairs(before: &[Tree], after: &[Tree]) -> Vec<(usize, usize)> {
    let width = after.len() + 1;
    if before.len() * after.len() > COMPARED_MAX {
        let in_order = before.iter().zip(after).enumerate();
        let alike = in_order.filter(|(_, (before, after))| likeness(before, after) > 0);
        return alike.map(|(index, _)| (index, index)).collect();
    }
    // The best that is to be had from an element before and one after on.
    let mut best = vec![0; (before.len() + 1) * width];
    for (row, from) in before.iter().enumerate().rev() {
        for (column, to) in after.iter().enumerate().rev() {
            let here = row * width + column;
            let paired = match likeness(from, to) {
                0 => 0,
                alike => alike + best[here + width + 1],
            };
            best[here] = paired.max(best[here + width]).max(best[here + 1]);
        }
    }
    let mut pairs = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < before.len() && column < after.len() {
        let here = row * width + column;
        let alike = likeness(&before[row], &after[column]);
        if alike > 0 && best[here] == alike + best[here + width + 1] {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if best[here] == best[here + width] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

/// How much two elements of different identity are alike; 0 if one can't become the other by edits inside.
fn likeness(before: &Tree, after: &Tree) -> usize {
    match (Identity::of(before), Identity::of(after)) {
        (Identity::Whole(Tree::Map(before)), Identity::Whole(Tree::Map(after))) => {
            let equal = |(name, entry): &(&String, &Tree)| after.get(*name) == Some(entry);
            1 + before.iter().filter(equal).count()
        }
        (Identity::Whole(Tree::List(_)), Identity::Whole(Tree::List(_)))
        | (Identity::Whole(Tree::Register(_)), Identity::Whole(Tree::Register(_))) => 1,
        _ => 0,
    }
}
