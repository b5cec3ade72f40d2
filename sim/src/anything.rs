//! Edits of every kind to documents in which anything goes, clashing types included.

use anabranch_core::{Edit, Intent, PatchOperation, Path};
use serde_json::{Map, Value, json};

use crate::random::Random;

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

/// Where sets are, or something else.
const SETS: [&str; 3] = ["/likers", "/tags", "/a"];

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).expect("paths of the workload are valid")
}

pub(crate) fn anything(random: &mut Random, own: &str) -> Intent {
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
    match random.between(0, 15) {
        0..4 => Edit::Put {
            path,
            value: value(random, own, 2),
        },
        4 | 5 => Edit::Remove { path },
        6 | 7 => number(random, path),
        8 => Edit::Append {
            path: self::path("/tags"),
            value: value(random, own, 1),
        },
        9 => Edit::Insert {
            path: self::path("/tags/0"),
            value: value(random, own, 1),
        },
        10 => Edit::Splice {
            path: self::path("/note"),
            at: 0,
            delete: 0,
            insert: "~".to_owned(),
        },
        11 | 12 => Edit::SetAdd {
            path: self::path(SETS[random.index(SETS.len())]),
            value: value(random, own, 1),
        },
        13 => Edit::SetRemove {
            path: self::path(SETS[random.index(SETS.len())]),
            value: value(random, own, 1),
        },
        // What others may make something else of at the same moment.
        14 => Edit::Append {
            path,
            value: json!(own),
        },
        _ => Edit::Splice {
            path,
            at: 0,
            delete: 0,
            insert: "~".to_owned(),
        },
    }
}

fn number(random: &mut Random, path: Path) -> Edit {
    let by = i64::try_from(random.between(0, 6)).unwrap_or(0) - 3;
    let usual = random.chance(600);
    let path = if usual {
        self::path("/items/x/qty")
    } else {
        path
    };
    if random.chance(700) {
        Edit::Adjust { path, by }
    } else {
        Edit::Increment { path, by }
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
