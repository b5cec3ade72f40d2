//! What commands are given: documents' names and JSON.

use std::io::Read as _;

use anabranch::DocumentId;
use serde_json::Value;

use super::error::ClientError;

/// Parses `ns/key`. A key may contain `/`, a namespace may not.
pub(super) fn document(given: &str) -> Result<DocumentId, ClientError> {
    let (namespace, key) = given
        .split_once('/')
        .filter(|(namespace, key)| !namespace.is_empty() && !key.is_empty())
        .ok_or_else(|| ClientError::Target {
            given: given.to_owned(),
        })?;
    Ok(DocumentId::new(namespace, key)?)
}

/// JSON as given: itself, `@file`, or `-` for what comes in. Checked here, where its source has a name.
pub(super) fn json(given: &str) -> Result<Value, ClientError> {
    let (from, text) = match given.strip_prefix('@') {
        _ if given == "-" => {
            let mut text = String::new();
            let from = "standard input".to_owned();
            let read = std::io::stdin().read_to_string(&mut text);
            (from.clone(), named(from, read.map(|_| text))?)
        }
        Some(path) => (
            path.to_owned(),
            named(path.to_owned(), std::fs::read_to_string(path))?,
        ),
        None => ("given".to_owned(), given.to_owned()),
    };
    let from = match &*from {
        "given" => from,
        from => format!("in {from}"),
    };
    serde_json::from_str(&text).map_err(|source| ClientError::Json { from, source })
}

/// JSON as [`json`] takes it, or a file's bare name.
pub(super) fn json_or_file(given: &str) -> Result<Value, ClientError> {
    let named = given == "-" || given.starts_with('@');
    match named || given.trim_start().starts_with(['[', '{']) {
        true => json(given),
        false => json(&format!("@{given}")),
    }
}

fn named(from: String, read: std::io::Result<String>) -> Result<String, ClientError> {
    read.map_err(|source| ClientError::Input { from, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_are_named_by_namespace_and_key() {
        let id = document("carts/eu/alice").unwrap();
        assert_eq!(
            (id.namespace.as_str(), id.key.as_str()),
            ("carts", "eu/alice")
        );
        for bad in ["carts", "carts/", "/alice", ""] {
            assert!(
                matches!(document(bad), Err(ClientError::Target { .. })),
                "{bad}"
            );
        }
        assert!(matches!(document("c\n/x"), Err(ClientError::Name(_))));
    }

    #[test]
    fn json_comes_from_where_it_is_said_to_be() {
        assert_eq!(json("{\"a\": 1}").unwrap()["a"], 1);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doc.json");
        std::fs::write(&path, "[1, 2").unwrap();
        let given = format!("@{}", path.display());
        let error = json(&given).unwrap_err().to_string();
        assert!(
            error.contains("doc.json") && error.contains("line 1"),
            "{error}"
        );
        assert!(matches!(
            json("@/nowhere/x"),
            Err(ClientError::Input { .. })
        ));
        assert_eq!(json("nonsense").unwrap_err().exit_code(), 2);
        std::fs::write(&path, "[1, 2]").unwrap();
        let bare = path.display().to_string();
        for given in [&*bare, &*given, " [1, 2]"] {
            assert_eq!(json_or_file(given).unwrap()[1], 2, "{given}");
        }
    }
}
