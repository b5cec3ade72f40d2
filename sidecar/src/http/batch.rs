//! Writes to several documents at once.

use std::sync::Arc;

use anabranch::{Guard, Intent, Key, Namespace, Version, Write};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::{Map, Value, json};

use super::edits::{self, malformed};
use super::problem::{Kind, Problem};
use super::{Service, answer, body, writing};

/// `POST /v1/batch`
pub(super) async fn write(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    writing::no_ground(
        request.headers(),
        "a batch writes several documents; give a write its own \"base\"",
    )?;
    body::media_type(request.headers(), &[body::JSON])?;
    let mut names = Vec::new();
    let asked = |bytes: &axum::body::Bytes| {
        let (namespace, writes) = batch(body::json(bytes)?)?;
        let keys = writes.iter().map(|write| write.key.clone());
        names = keys.map(|key| (namespace.clone(), key)).collect();
        Ok((namespace, writes))
    };
    let done = writing::all(&service, request, asked).await;
    let done = done.map_err(|problem| match &*names {
        // The replica takes a batch of one for a plain write, and does not count it.
        [(_, key)] if problem.is_of_a_write() => problem.of_write(0, Some(key.as_str())),
        _ => problem,
    })?;
    let writes = names
        .iter()
        .zip(&done.documents)
        .map(|((namespace, key), written)| {
            let mut outcome = writing::outcome(written);
            outcome["ns"] = json!(namespace);
            outcome["key"] = json!(key);
            outcome
        });
    let writes: Vec<_> = writes.collect();
    let body = done.tell(json!({ "writes": writes }));
    Ok(done.answer(answer::json(&body)))
}

/// The writes in `{"writes":[..]}`, and where.
fn batch(body: Value) -> Result<(Namespace, Vec<Write>), Problem> {
    let Value::Object(mut body) = body else {
        return Err(malformed("the body must be an object: {\"writes\":[..]}"));
    };
    let writes = body.remove("writes");
    if let Some(other) = body.keys().next() {
        return Err(malformed(format!(
            "the body has a member {other:?} besides \"writes\"; it must be {{\"writes\":[..]}}"
        )));
    }
    let Some(Value::Array(writes)) = writes else {
        return Err(malformed("\"writes\" must be an array of writes"));
    };
    let mut batch: Option<(Namespace, Vec<Write>)> = None;
    for (index, value) in writes.into_iter().enumerate() {
        let (namespace, write) = one(value).map_err(|problem| problem.of_write(index, None))?;
        let (common, writes) = batch.get_or_insert_with(|| (namespace.clone(), Vec::new()));
        if *common != namespace {
            return Err(Problem::new(
                Kind::SeveralNamespaces,
                format!(
                    "it goes to {namespace:?}, and the writes before it to {common:?}: namespaces replicate \
                     apart from each other, so write a batch for each"
                ),
            )
            .of_write(index, None));
        }
        writes.push(write);
    }
    batch.ok_or_else(|| malformed("\"writes\" is empty: nothing to do"))
}

fn one(value: Value) -> Result<(Namespace, Write), Problem> {
    let Value::Object(mut write) = value else {
        return Err(malformed("it must be an object"));
    };
    let namespace = Namespace::new(&text(&mut write, "ns")?)?;
    let key = Key::new(&text(&mut write, "key")?)?;
    let base = match write.remove("base") {
        None | Some(Value::Null) => None,
        Some(base) => Some(version(&base)?),
    };
    let guard = match write.remove("if_absent") {
        None => None,
        Some(Value::Bool(true)) => Some(Guard::Absent),
        Some(_) => return Err(malformed("\"if_absent\" must be true")),
    };
    if guard.is_some() && base.is_some() {
        return Err(malformed(
            "\"base\" merges with what was written since, \"if_absent\" refuses to: give the one that says what you need",
        ));
    }
    let intent = intent(&mut write)?;
    if let Some(other) = write.keys().next() {
        return Err(malformed(format!(
            "its member {other:?} is not known; known are ns, key, base, if_absent, and one of ops, put and delete"
        )));
    }
    Ok((
        namespace,
        Write {
            key,
            intent,
            guard,
            base,
        },
    ))
}

fn text(write: &mut Map<String, Value>, name: &str) -> Result<String, Problem> {
    match write.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(malformed(format!("{name:?} must be a string"))),
        None => Err(malformed(format!("{name:?} is missing"))),
    }
}

fn version(base: &Value) -> Result<Version, Problem> {
    let text = base.as_str().unwrap_or_default();
    text.parse()
        .map_err(|error| malformed(format!("\"base\": {error}")))
}

fn intent(write: &mut Map<String, Value>) -> Result<Intent, Problem> {
    let given = ["ops", "put", "delete"].map(|name| write.remove(name));
    match given {
        [Some(Value::Array(ops)), None, None] => Ok(Intent::Edits(edits::list(ops)?)),
        [Some(_), None, None] => Err(malformed("\"ops\" must be an array of edits")),
        [None, Some(value), None] => Ok(Intent::Replace(value)),
        [None, None, Some(Value::Bool(true))] => Ok(Intent::Delete),
        [None, None, Some(_)] => Err(malformed("\"delete\" must be true")),
        _ => Err(malformed(
            "it must have exactly one of \"ops\" (edits), \"put\" (the object that the document is to equal) \
             and \"delete\" (true)",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_of_write_is_read() {
        let base = "0a".repeat(32);
        let (namespace, writes) = batch(json!({"writes": [
            {"ns": "n", "key": "a", "ops": [{"op": "set_add", "path": "/tags", "value": 1}]},
            {"ns": "n", "key": "b/c", "put": {"x": 1}, "base": base},
            {"ns": "n", "key": "a", "delete": true, "base": null},
            {"ns": "n", "key": "c", "put": {}, "if_absent": true},
        ]}))
        .unwrap();
        assert_eq!(namespace.as_str(), "n");
        assert!(matches!(&writes[0].intent, Intent::Edits(edits) if edits.len() == 1));
        assert_eq!(writes[1].intent, Intent::Replace(json!({"x": 1})));
        assert_eq!(writes[1].base.as_ref().unwrap().to_string(), base);
        assert_eq!(
            (&writes[2].intent, &writes[2].base),
            (&Intent::Delete, &None)
        );
        let guards = writes.iter().map(|write| &write.guard);
        assert!(guards.eq([&None, &None, &None, &Some(Guard::Absent)]));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_index() {
        let write = |extra: Value| {
            let mut write = json!({"ns": "n", "key": "a"});
            write
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"writes": [{"ns": "n", "key": "first", "put": {}}, write]})
        };
        for (body, says) in [
            (write(json!({})), "exactly one of"),
            (write(json!({"put": {}, "delete": true})), "exactly one of"),
            (write(json!({"delete": false})), "must be true"),
            (write(json!({"ops": {}})), "array of edits"),
            (
                write(json!({"ops": [{"op": "remove"}]})),
                "missing field `path`",
            ),
            (write(json!({"put": {}, "base": "x"})), "\"base\": "),
            (write(json!({"put": {}, "if": 1})), "\"if\" is not known"),
            (
                write(json!({"put": {}, "if_absent": false})),
                "\"if_absent\" must be true",
            ),
            (
                write(json!({"put": {}, "if_absent": true, "base": "0a".repeat(32)})),
                "give the one",
            ),
            (
                write(json!({"put": {}, "ns": 1})),
                "\"ns\" must be a string",
            ),
            (
                json!({"writes": [{"ns": "n", "key": "a", "put": {}}, 1]}),
                "an object",
            ),
        ] {
            let problem = batch(body.clone()).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadEdit, "{body}");
            assert_eq!(problem.json()["index"], 1, "{body}");
            assert!(problem.detail().contains(says), "{}", problem.detail());
        }
        let edit = write(json!({"ops": [{"op": "remove", "path": "/a"}, {"op": "x"}]}));
        assert_eq!(batch(edit).unwrap_err().json()["edit"], 1);
        let name = write(json!({"put": {}, "key": ""}));
        assert_eq!(batch(name).unwrap_err().kind(), Kind::BadName);
        let other = write(json!({"put": {}, "ns": "m"}));
        assert_eq!(batch(other).unwrap_err().kind(), Kind::SeveralNamespaces);
        for (body, says) in [
            (json!([]), "must be an object"),
            (json!({}), "must be an array"),
            (json!({"writes": []}), "empty"),
            (json!({"writes": [], "ns": "n"}), "\"ns\""),
        ] {
            assert!(batch(body).unwrap_err().detail().contains(says));
        }
    }
}
