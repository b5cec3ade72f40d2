//! What clients ask for: edits on carts and feeds, over few hot documents and many cold ones.

use anabranch_core::{
    DocumentId, Edit, Guard, Intent, Key, Namespace, PatchOperation, Path, Request,
};
use serde_json::{Map, Value, json};

use crate::ledger::Mark;
use crate::plan::Plan;
use crate::random::Random;

pub(crate) const NAMESPACES: [&str; 3] = ["carts", "feeds", "audit"];
const PATHS: [&str; 10] = [
    "/a",
    "/b",
    "/a/c",
    "/items/x/p",
    "/items/x/qty",
    "/items/y",
    "/items",
    "/tags",
    "/tags/0",
    "/d/e/f",
];

/// One write to be.
pub(crate) struct Draft {
    pub(crate) document: DocumentId,
    pub(crate) intent: Intent,
    pub(crate) guard: Option<Guard>,
    pub(crate) mark: Mark,
}

pub(crate) fn namespace(random: &mut Random) -> Namespace {
    let name = NAMESPACES[usize::from(random.chance(400)) + usize::from(random.chance(200))];
    Namespace::new(name).expect("a constant that is a valid name")
}

fn document(namespace: Namespace, class: &str, number: u64) -> DocumentId {
    let key = Key::new(&format!("{class}/{number}")).expect("class and number make a valid key");
    DocumentId { namespace, key }
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("paths of the workload are valid")
}

/// Any document that clients may have written.
pub(crate) fn any_document(random: &mut Random, plan: &Plan) -> DocumentId {
    let class = *random.pick(&["set", "feed", "count", "cart", "cold"]);
    let most = if class == "cold" { plan.cold } else { plan.hot };
    let number = random.between(1, most);
    document(namespace(random), class, number)
}

pub(crate) fn listing(random: &mut Random) -> Request {
    Request::Scan {
        namespace: namespace(random),
        prefix: (*random.pick(&["", "", "c", "cold/", "set/", "none"])).to_owned(),
        after: random
            .chance(200)
            .then(|| Key::new("cold/2").expect("a constant that is a valid key")),
        limit: *random.pick(&[1, 2, 5, 1_000]),
        values: random.coin(),
    }
}

/// A write with this number. `versions`: what its client has seen lately.
pub(crate) fn draft(random: &mut Random, plan: &Plan, number: usize, versions: &[String]) -> Draft {
    let namespace = namespace(random);
    let hot = random.between(1, plan.hot);
    let own = format!("w{number}");
    match random.between(0, 99) {
        0..25 => Draft {
            document: document(namespace, "set", hot),
            intent: member(random, &own),
            guard: None,
            mark: Mark::Member,
        },
        25..45 => Draft {
            document: document(namespace, "feed", hot),
            intent: post(random, &own),
            guard: None,
            mark: Mark::Post,
        },
        45..65 => {
            let name = (*random.pick(&["x", "y", "z"])).to_owned();
            let by = i64::try_from(random.between(1, 9)).unwrap_or(1);
            let path = path(&format!("/n/{name}"));
            Draft {
                document: document(namespace, "count", hot),
                intent: Intent::Edits(vec![Edit::Increment { path, by }]),
                guard: None,
                mark: Mark::Count { name, by },
            }
        }
        other => {
            let (class, index) = if other < 82 {
                ("cart", hot)
            } else {
                ("cold", random.between(1, plan.cold))
            };
            Draft {
                document: document(namespace, class, index),
                intent: anything(random, &own),
                guard: guard(random, versions),
                mark: Mark::Value,
            }
        }
    }
}

fn member(random: &mut Random, own: &str) -> Intent {
    match random.between(0, 2) {
        0 => Intent::MergePatch(json!({"m": {own: own}})),
        1 => Intent::MergePatch(json!({"m": {own: {"in": [own]}}})),
        _ => Intent::Edits(vec![Edit::Put {
            path: path(&format!("/m/{own}")),
            value: json!(own),
        }]),
    }
}

fn post(random: &mut Random, own: &str) -> Intent {
    let edit = match random.between(0, 3) {
        0 => Edit::Append {
            path: path("/posts"),
            value: json!(own),
        },
        1 => Edit::Append {
            path: path("/posts"),
            value: json!({"id": own, "likes": 0}),
        },
        2 => Edit::Insert {
            path: path("/posts/0"),
            value: json!(own),
        },
        _ => Edit::Splice {
            path: path("/text"),
            at: 0,
            delete: 0,
            insert: format!("<{own}>"),
        },
    };
    Intent::Edits(vec![edit])
}

fn guard(random: &mut Random, versions: &[String]) -> Option<Guard> {
    Some(match random.between(0, 19) {
        0 => Guard::Exists,
        1 => Guard::Absent,
        2 => Guard::AnyOf(versions.to_vec()),
        3 => Guard::NoneOf(versions.to_vec()),
        _ => return None,
    })
}

fn anything(random: &mut Random, own: &str) -> Intent {
    match random.between(0, 19) {
        0..9 => {
            let count = random.between(1, 3);
            Intent::Edits((0..count).map(|_| edit(random, own)).collect())
        }
        9..12 => Intent::Replace(object(random, own, 2)),
        12..15 => Intent::MergePatch(object(random, own, 2)),
        15..18 => {
            let count = random.between(1, 3);
            Intent::Patch((0..count).map(|_| operation(random, own)).collect())
        }
        _ => Intent::Delete,
    }
}

fn edit(random: &mut Random, own: &str) -> Edit {
    let path = path(PATHS[random.index(PATHS.len())]);
    match random.between(0, 9) {
        0..4 => Edit::Put {
            path,
            value: value(random, own, 2),
        },
        4 | 5 => Edit::Remove { path },
        6 => Edit::Increment {
            path: self::path("/items/x/qty"),
            by: i64::try_from(random.between(0, 6)).unwrap_or(0) - 3,
        },
        7 => Edit::Append {
            path: self::path("/tags"),
            value: value(random, own, 1),
        },
        8 => Edit::Insert {
            path: self::path("/tags/0"),
            value: value(random, own, 1),
        },
        _ => Edit::Splice {
            path: self::path("/note"),
            at: 0,
            delete: 0,
            insert: "~".to_owned(),
        },
    }
}

fn operation(random: &mut Random, own: &str) -> PatchOperation {
    let at = path(PATHS[random.index(PATHS.len())]);
    let from = path(PATHS[random.index(PATHS.len())]);
    match random.between(0, 9) {
        0..4 => PatchOperation::Add {
            path: at,
            value: value(random, own, 2),
        },
        4 | 5 => PatchOperation::Remove { path: at },
        6 => PatchOperation::Replace {
            path: at,
            value: value(random, own, 1),
        },
        7 => PatchOperation::Move { from, path: at },
        8 => PatchOperation::Copy { from, path: at },
        _ => PatchOperation::Test {
            path: at,
            value: json!(own),
        },
    }
}

fn object(random: &mut Random, own: &str, depth: u64) -> Value {
    let mut entries = Map::new();
    for _ in 0..random.between(0, 3) {
        let name = *random.pick(&["a", "b", "items", "tags", "d", "x", "qty"]);
        entries.insert(name.to_owned(), value(random, own, depth));
    }
    Value::Object(entries)
}

fn value(random: &mut Random, own: &str, depth: u64) -> Value {
    match random.between(0, if depth == 0 { 4 } else { 7 }) {
        0 | 1 => json!(own),
        2 => json!(random.between(0, 5)),
        3 => json!(random.coin()),
        4 => Value::Null,
        5 => {
            let count = random.between(0, 3);
            Value::Array((0..count).map(|_| value(random, own, depth - 1)).collect())
        }
        _ => object(random, own, depth - 1),
    }
}
