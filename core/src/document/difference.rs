//! What makes one JSON value another.

use imara_diff::{Algorithm, Diff, InternedInput};
use serde_json::Value;

use super::scalars::{equal, normalised};
use crate::{PatchOperation, Path};

/// Splits two lists into runs: so many old elements become these new ones. An equal element is a run of its
/// own, one to one. The algorithm is Myers' (Algorithmica 1, 1986), with bounds where the lists have little
/// in common.
pub(super) fn runs<'v>(old: &[Value], new: &'v [Value]) -> Vec<(usize, &'v [Value])> {
    let mut input = InternedInput::default();
    let token = |value| normalised(value).to_string();
    input.update_before(old.iter().map(token));
    input.update_after(new.iter().map(token));
    let diff = Diff::compute(Algorithm::Myers, &input);
    let mut runs = Vec::new();
    let mut from = 0;
    for hunk in diff.hunks() {
        let (before, after) = (hunk.before, hunk.after);
        let to = after.start as usize;
        runs.extend((from..to).map(|i| (1, &new[i..=i])));
        runs.push((before.len(), &new[to..after.end as usize]));
        from = after.end as usize;
    }
    runs.extend((from..new.len()).map(|i| (1, &new[i..=i])));
    runs
}

/// What turns one text into another: at which character of the old one, how many go, and what comes.
pub(super) fn splices(old: &str, new: &str) -> Vec<(usize, usize, String)> {
    let mut input = InternedInput::default();
    input.update_before(old.chars());
    input.update_after(new.chars());
    let inserted = |after: std::ops::Range<u32>| {
        let inserted = &input.after[after.start as usize..after.end as usize];
        inserted
            .iter()
            .map(|token| input.interner[*token])
            .collect()
    };
    Diff::compute(Algorithm::Myers, &input)
        .hunks()
        .map(|hunk| {
            (
                hunk.before.start as usize,
                hunk.before.len(),
                inserted(hunk.after),
            )
        })
        .collect()
}

/// A JSON Patch that turns one value into another, in order. Absent on either side: the whole is added or
/// removed.
pub(super) fn patch(old: Option<&Value>, new: Option<&Value>) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    let path = Path::default();
    match (old, new) {
        (None, None) => {}
        (Some(_), None) => operations.push(PatchOperation::Remove { path }),
        (None, Some(value)) => operations.push(PatchOperation::Add {
            path,
            value: value.clone(),
        }),
        (Some(old), Some(new)) => difference(old, new, &path, &mut operations),
    }
    operations
}

fn difference(old: &Value, new: &Value, path: &Path, operations: &mut Vec<PatchOperation>) {
    match (old, new) {
        (old, new) if equal(old, new) => {}
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                operations.push(PatchOperation::Remove {
                    path: path.child(name),
                });
            }
            for (name, value) in new {
                let path = path.child(name);
                match old.get(name) {
                    Some(old) => difference(old, value, &path, operations),
                    None => operations.push(PatchOperation::Add {
                        path,
                        value: value.clone(),
                    }),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let (mut index, mut from) = (0, 0);
            for (count, values) in runs(old, new) {
                let shared = count.min(values.len());
                for (offset, value) in values[..shared].iter().enumerate() {
                    let path = path.child(&index.to_string());
                    difference(&old[from + offset], value, &path, operations);
                    index += 1;
                }
                for _ in shared..count {
                    operations.push(PatchOperation::Remove {
                        path: path.child(&index.to_string()),
                    });
                }
                for value in &values[shared..] {
                    operations.push(PatchOperation::Add {
                        path: path.child(&index.to_string()),
                        value: value.clone(),
                    });
                    index += 1;
                }
                from += count;
            }
        }
        (_, new) => operations.push(PatchOperation::Replace {
            path: path.clone(),
            value: new.clone(),
        }),
    }
}
