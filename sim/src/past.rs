//! Checker over history: equal versions are equal documents, whenever and wherever they are read, and what is
//! said to make one of another does.

use std::collections::BTreeMap;

use anabranch_core::{DocumentId, PatchOperation, Snapshot, Version, Versions};
use serde_json::Value;

/// Versions remembered, over the whole run.
const VERSIONS_MAX: usize = 8_192;

/// What every version that anybody was shown read as.
#[derive(Default)]
pub(crate) struct Past {
    known: BTreeMap<(DocumentId, Version), Value>,
}

impl Past {
    pub(crate) fn agree(&mut self, id: &DocumentId, snapshot: &Snapshot) -> Result<(), String> {
        let name = (id.clone(), snapshot.version.clone());
        match self.known.get(&name) {
            Some(value) if *value == snapshot.value => Ok(()),
            Some(value) => Err(format!(
                "{id} at version {} read {value}, and now reads {}",
                snapshot.version, snapshot.value
            )),
            None => {
                if self.known.len() < VERSIONS_MAX {
                    self.known.insert(name, snapshot.value.clone());
                }
                Ok(())
            }
        }
    }

    pub(crate) fn check_difference(
        &self,
        id: &DocumentId,
        [from, to]: &[Version; 2],
        operations: &[PatchOperation],
    ) -> Result<(), String> {
        let known = |version: &Version| self.known.get(&(id.clone(), version.clone()));
        let (Some(old), Some(new)) = (known(from), known(to)) else {
            return Ok(());
        };
        let mut patched = old.clone();
        let mut operations = operations.iter();
        let applied = operations.all(|operation| apply(&mut patched, operation).is_some());
        if applied && patched == *new {
            return Ok(());
        }
        Err(format!(
            "{id}: the difference of {old} and {new} makes {patched} of the one"
        ))
    }
}

fn apply(value: &mut Value, operation: &PatchOperation) -> Option<()> {
    let (path, new) = match operation {
        PatchOperation::Add { path, value } | PatchOperation::Replace { path, value } => {
            (path, Some(value))
        }
        PatchOperation::Remove { path } => (path, None),
        PatchOperation::Move { .. } | PatchOperation::Copy { .. } | PatchOperation::Test { .. } => {
            return None;
        }
    };
    let Some((above, last)) = path.split_last() else {
        *value = new?.clone();
        return Some(());
    };
    let mut at = value;
    for part in above {
        at = match at {
            Value::Array(elements) => elements.get_mut(part.parse::<usize>().ok()?)?,
            other => other.get_mut(part)?,
        };
    }
    let inserts = matches!(operation, PatchOperation::Add { .. });
    match (at, new) {
        (Value::Object(entries), Some(new)) => {
            entries.insert(last.to_owned(), new.clone());
        }
        (Value::Object(entries), None) => {
            entries.remove(last)?;
        }
        (Value::Array(elements), new) => {
            let index = match last {
                "-" => elements.len(),
                index => index.parse().ok()?,
            };
            match new {
                Some(new) if inserts && index <= elements.len() => {
                    elements.insert(index, new.clone());
                }
                Some(new) => *elements.get_mut(index)? = new.clone(),
                None if index < elements.len() => {
                    elements.remove(index);
                }
                None => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

/// A listing of versions: each once, each before those that it came of.
pub(crate) fn check_versions(listed: &Versions) -> Result<(), String> {
    let mut at = BTreeMap::new();
    for (index, step) in listed.versions.iter().enumerate() {
        if at.insert(step.version.to_string(), index).is_some() {
            return Err(format!("version {} is listed twice", step.version));
        }
    }
    for (index, step) in listed.versions.iter().enumerate() {
        let base = step.base.to_string();
        let mut heads = base.split('-').filter_map(|head| at.get(head));
        if heads.any(|base| *base <= index) {
            return Err(format!(
                "version {} is listed after one that it came of",
                step.version
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anabranch_core::Path;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_version_that_reads_two_ways_is_found() {
        let id = DocumentId::new("n", "d").unwrap();
        let snapshot = |value| Snapshot {
            version: Version::default(),
            value,
        };
        let mut past = Past::default();
        past.agree(&id, &snapshot(json!({"a": 1}))).unwrap();
        past.agree(&id, &snapshot(json!({"a": 1}))).unwrap();
        assert!(past.agree(&id, &snapshot(json!({"a": 2}))).is_err());
    }

    #[test]
    fn patches_are_applied() {
        let mut value = json!({"a": [1, 3], "b": {"c": 1}});
        let path = |text| Path::parse(text).unwrap();
        for operation in [
            PatchOperation::Add {
                path: path("/a/1"),
                value: json!(2),
            },
            PatchOperation::Replace {
                path: path("/a/0"),
                value: json!(0),
            },
            PatchOperation::Remove { path: path("/b/c") },
        ] {
            apply(&mut value, &operation).unwrap();
        }
        assert_eq!(value, json!({"a": [0, 2, 3], "b": {}}));
    }
}
