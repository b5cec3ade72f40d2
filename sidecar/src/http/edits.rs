//! From JSON to edits.

use anabranch::{Edit, PatchOperation};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Kind, Problem};

/// The edits in `{"ops":[..]}`.
pub(super) fn ops(body: Value) -> Result<Vec<Edit>, Problem> {
    let Value::Object(mut body) = body else {
        return Err(malformed("the body must be an object: {\"ops\":[..]}"));
    };
    let ops = body.remove("ops");
    if let Some(other) = body.keys().next() {
        return Err(malformed(format!(
            "the body has a member {other:?} besides \"ops\"; it must be {{\"ops\":[..]}}"
        )));
    }
    let Some(Value::Array(ops)) = ops else {
        return Err(malformed("\"ops\" must be an array of edits"));
    };
    list(ops)
}

/// Edits out of their JSON.
pub(super) fn list(ops: Vec<Value>) -> Result<Vec<Edit>, Problem> {
    each(ops, "ops")
}

/// The operations of a JSON Patch.
pub(super) fn json_patch(body: Value) -> Result<Vec<PatchOperation>, Problem> {
    let Value::Array(operations) = body else {
        return Err(malformed(
            "a JSON Patch is an array of operations (RFC 6902); \
             for an object with the new values, use Content-Type: application/merge-patch+json",
        ));
    };
    each(operations, "patch")
}

fn each<T: DeserializeOwned>(list: Vec<Value>, what: &str) -> Result<Vec<T>, Problem> {
    let one = |(index, value): (usize, Value)| {
        T::deserialize(value)
            .map_err(|error| malformed(format!("{what}[{index}]: {error}")).with("index", index))
    };
    list.into_iter().enumerate().map(one).collect()
}

pub(super) fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadEdit, detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn every_edit_of_the_contract_is_read() {
        let edits = ops(json!({"ops": [
            {"op": "put", "path": "/price", "value": 2.55},
            {"op": "remove", "path": "/items/22752"},
            {"op": "increment", "path": "/likes", "by": -1},
            {"op": "insert", "path": "/posts/0", "value": {}},
            {"op": "append", "path": "/posts", "value": null},
            {"op": "splice", "path": "/note", "at": 5, "delete": 2, "insert": "abc"},
            {"op": "splice", "path": "/note", "at": 5},
            {"op": "adjust", "path": "/items/22752/qty", "by": 2},
            {"op": "set_add", "path": "/tags", "value": "x"},
            {"op": "set_remove", "path": "/tags", "value": {"any": ["value"]}},
        ]}));
        assert_eq!(edits.unwrap().len(), 10);
    }

    #[test]
    fn every_operation_of_rfc_6902_is_read() {
        let operations = json_patch(json!([
            {"op": "add", "path": "/a", "value": 1},
            {"op": "remove", "path": "/a"},
            {"op": "replace", "path": "/a", "value": null},
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "copy", "from": "/a", "path": "/b", "ignored": "as the RFC says"},
            {"op": "test", "path": "/a", "value": []},
        ]));
        assert_eq!(operations.unwrap().len(), 6);
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (body, says) in [
            (json!([]), "must be an object"),
            (json!({}), "must be an array"),
            (json!({"ops": {}}), "must be an array"),
            (json!({"ops": [], "x": 1}), "\"x\""),
            (json!({"ops": [1]}), "ops[0]"),
            (json!({"ops": [{"op": "put"}]}), "missing field `path`"),
            (
                json!({"ops": [{"op": "put", "path": "/a"}]}),
                "missing field `value`",
            ),
            (
                json!({"ops": [{"op": "put", "path": "a", "value": 1}]}),
                "begin with",
            ),
            (
                json!({"ops": [{"op": "add", "path": "/a", "value": 1}]}),
                "unknown variant `add`",
            ),
            (
                json!({"ops": [{"op": "remove", "path": "/a", "value": 1}]}),
                "unknown field `value`",
            ),
            (
                json!({"ops": [{"op": "increment", "path": "/a", "by": 0.5}]}),
                "ops[0]",
            ),
            (
                json!({"ops": [{"op": "splice", "path": "/a", "at": -1}]}),
                "ops[0]",
            ),
        ] {
            let problem = ops(body.clone()).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadEdit, "{body}");
            assert!(
                problem.detail().contains(says),
                "{body}: {}",
                problem.detail()
            );
        }
        let problem = json_patch(json!({"a": 1})).unwrap_err();
        assert!(problem.detail().contains("merge-patch"));
        let problem = json_patch(json!([{"op": "test", "path": ""}, {"op": "x"}])).unwrap_err();
        assert!(
            problem.detail().starts_with("patch[0]"),
            "{}",
            problem.detail()
        );
    }
}
