//! Random programs.

use super::*;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    fn path(&mut self) -> String {
        const PATHS: [&str; 16] = [
            "/a", "/b", "/c", "/m", "/m/a", "/m/b", "/m/n", "/m/n/a", "/l", "/l/0", "/l/1/a",
            "/l/-", "/s", "/m/s", "/t", "/m/0",
        ];
        self.pick(&PATHS).to_owned()
    }

    fn scalar(&mut self) -> Value {
        self.pick(&[
            json!(0),
            json!(1),
            json!(-7),
            json!(300),
            json!(2.5),
            json!(9_007_199_254_740_990_i64),
            json!(u64::MAX),
            json!(true),
            json!(false),
            json!(null),
            json!(""),
            json!("text"),
            json!("a longer text, of more than twenty-three bytes"),
        ])
    }

    fn value(&mut self) -> Value {
        let (one, other) = (self.scalar(), self.scalar());
        match self.roll(8) {
            0 => json!({}),
            1 => json!([]),
            2 => json!({"a": one, "b": other}),
            3 => json!({"n": {"a": one, "l": [other, {"x": [1]}]}, "a": other}),
            4 => json!([one, {"a": other}, [other]]),
            _ => one,
        }
    }

    fn edit(&mut self) -> Value {
        let path = self.path();
        let by = self.pick(&[0, 1, 1, 2, -3, 100, limits::COUNTER_MAX]);
        match self.roll(16) {
            0..=2 => json!({"op": "put", "path": path, "value": self.value()}),
            3 => json!({"op": "remove", "path": path}),
            4..=6 => json!({"op": "increment", "path": path, "by": by}),
            7..=9 => json!({"op": "adjust", "path": path, "by": by}),
            10 => json!({"op": "set_add", "path": path, "value": self.value()}),
            11 => json!({"op": "set_remove", "path": path, "value": self.value()}),
            12 => {
                let path = self.pick(&["/l/0", "/l/-", "/l/1", "/m/l/0"]);
                json!({"op": "insert", "path": path, "value": self.value()})
            }
            13 => {
                let path = self.pick(&["/l", "/l", "/m/l", &path]).to_owned();
                json!({"op": "append", "path": path, "value": self.value()})
            }
            14 => {
                json!({"op": "splice", "path": path, "at": 0, "delete": self.roll(2), "insert": "ab"})
            }
            _ => json!({"op": "set_add", "path": path, "value": self.scalar()}),
        }
    }

    fn intent(&mut self) -> Intent {
        let parse = |edits: Value| Intent::Edits(serde_json::from_value(edits).unwrap());
        match self.roll(40) {
            0 => Intent::Replace(json!({"a": self.value(), "m": self.value()})),
            1 => Intent::Replace(json!({})),
            2 => Intent::MergePatch(json!({"a": self.value(), "m": {"a": self.scalar(), "n": {}}})),
            3 => Intent::MergePatch(json!({"a": null, "b": self.scalar()})),
            4 => Intent::Delete,
            5 => Intent::Patch(
                serde_json::from_value(json!([{"op": "add", "path": "/a", "value": self.value()}]))
                    .unwrap(),
            ),
            6..=14 => {
                let count = 2 + self.roll(4);
                parse((0..count).map(|_| self.edit()).collect())
            }
            _ => parse(json!([self.edit()])),
        }
    }
}

/// What other automerge programs write, which knows nothing of our meaning.
fn foreign(pair: &Pair, dice: &mut Dice) -> Vec<Bytes> {
    let mut doc = AutoCommit::new_with_encoding(automerge::TextEncoding::UnicodeCodePoint);
    for change in &pair.log {
        doc.apply_changes([automerge::Change::try_from(&change[..]).unwrap()])
            .unwrap();
    }
    let seen = doc.get_heads();
    doc.set_actor(ActorId::from(dice.0.to_be_bytes()));
    let key = dice.pick(&[
        "a", "b", "m", "s", "l", "\0ca", "\0qb", "\0Cc", "\0+Ma", "\0ss",
    ]);
    let done = match dice.roll(6) {
        0 => doc.put(ROOT, key, ScalarValue::counter(5)),
        1 => doc.put(ROOT, key, 5),
        2 => doc.put_object(ROOT, key, ObjType::Map).map(drop),
        3 => doc.put_object(ROOT, key, ObjType::List).map(drop),
        4 => doc.delete(ROOT, key),
        _ => {
            let list = doc.get(ROOT, "l").unwrap();
            match list {
                Some((automerge::Value::Object(ObjType::List), list)) if doc.length(&list) > 0 => {
                    let last = doc.length(&list) - 1;
                    doc.put(&list, last, "over")
                }
                _ => Ok(()),
            }
        }
    };
    done.unwrap();
    doc.commit();
    let changes = doc.get_changes(&seen);
    let bytes = changes
        .iter()
        .map(|change| Bytes::copy_from_slice(change.raw_bytes()));
    bytes.collect()
}

/// Everything, everywhere, in any order.
fn wild(seed: u64, steps: usize, done: &mut BTreeMap<String, (usize, usize)>) {
    let mut dice = Dice(seed);
    let mut pairs = [Pair::new(1), Pair::new(2)];
    for step in 0..steps {
        let at = dice.roll(2);
        match dice.roll(60) {
            0..=2 => {
                let log = pairs[1 - at].log.clone();
                pairs[at].absorb(&log);
            }
            3 => pairs[at].reload(1 + u8::try_from(at + 2 * dice.roll(2)).unwrap()),
            4 => {
                let log = foreign(&pairs[at], &mut dice);
                pairs[at].absorb(&log);
            }
            // Only what edits touch is known from here on.
            5 => {
                let pair = &mut pairs[at];
                pair.tip = Some(pair.doc.tip());
            }
            _ => {
                let intent = dice.intent();
                pairs[at].write(&intent);
            }
        }
        if step + 1 == steps {
            let log = pairs[1].log.clone();
            pairs[0].absorb(&log);
            let log = pairs[0].log.clone();
            pairs[1].absorb(&log);
            assert_eq!(pairs[0].doc.read(), pairs[1].doc.read());
        }
    }
    add_up(done, pairs);
}

/// Three replicas do with carts and feeds what carts and feeds are for, and hear of each other now and then.
fn tame(seed: u64, done: &mut BTreeMap<String, (usize, usize)>) {
    let mut dice = Dice(seed);
    let mut pairs = [Pair::new(1), Pair::new(2), Pair::new(3)];
    for _ in 0..100 {
        let at = dice.roll(3);
        let line = format!("/items/{}", dice.roll(12));
        let by = dice.pick(&[1, 1, 2, -1]);
        let edit = match dice.roll(12) {
            0..=4 => json!({"op": "adjust", "path": format!("{line}/qty"), "by": by}),
            5 => json!({"op": "put", "path": format!("{line}/price"), "value": dice.scalar()}),
            6 => json!({"op": "increment", "path": format!("/likes/{}", dice.roll(9)), "by": 1}),
            7 => json!({"op": "append", "path": "/posts", "value": dice.value()}),
            8 => json!({"op": "insert", "path": "/news/0", "value": dice.value()}),
            9 => json!({"op": "set_add", "path": "/tags", "value": dice.roll(9)}),
            10 => json!({"op": "set_remove", "path": "/tags", "value": dice.roll(9)}),
            _ => json!({"op": "remove", "path": format!("{line}/price")}),
        };
        pairs[at].write(&Intent::Edits(
            serde_json::from_value(json!([edit])).unwrap(),
        ));
        if dice.roll(15) == 0 {
            let log = pairs[dice.roll(3)].log.clone();
            pairs[at].absorb(&log);
        }
    }
    add_up(done, pairs);
}

fn add_up(done: &mut BTreeMap<String, (usize, usize)>, pairs: impl IntoIterator<Item = Pair>) {
    for mut pair in pairs {
        pair.done.insert("followed".to_owned(), pair.followed);
        for (kind, (by_tip, all)) in pair.done {
            let sum = done.entry(kind).or_default();
            *sum = (sum.0 + by_tip, sum.1 + all);
        }
    }
}

#[test]
fn carts_and_feeds_seldom_take_the_document() {
    let mut done = BTreeMap::new();
    for seed in 0..20 {
        tame(seed, &mut done);
    }
    for (kind, share) in [
        ("adjust", 95),
        ("increment", 95),
        ("put", 75),
        ("remove", 75),
        ("append", 80),
        ("insert", 80),
        ("set_add", 75),
        ("set_remove", 75),
        ("followed", 1),
    ] {
        let (by_tip, all) = done[kind];
        assert!(
            by_tip * 100 >= all * share,
            "{kind}: {by_tip} of {all} by the tip: {done:?}"
        );
    }
}

#[test]
fn whatever_a_tip_writes_the_document_would_have_written() {
    let mut done = BTreeMap::new();
    for seed in 0..100 {
        wild(seed, 60, &mut done);
    }
    for kind in [
        "put",
        "remove",
        "increment",
        "adjust",
        "set_add",
        "set_remove",
        "append",
        "insert",
        "merge",
        "edits",
    ] {
        let (by_tip, all) = done[kind];
        assert!(by_tip * 20 > all, "{kind}: {by_tip} of {all} by the tip");
    }
    assert!(done["replace"].0 > 0, "{done:?}");
}

/// Three replicas write to the same cart, and everything reaches all of them, most of it before the next write.
fn in_turns(seed: u64, all_at_once: usize, done: &mut BTreeMap<String, (usize, usize)>) {
    let mut dice = Dice(seed);
    let mut pairs = [Pair::new(1), Pair::new(2), Pair::new(3)];
    for step in 0..120 {
        let at = dice.roll(3);
        let line = format!("/items/{}", step.min(3) + dice.roll(4));
        let by = dice.pick(&[1, 1, 2, -1]);
        let edit = match dice.roll(12) {
            0..=3 => json!({"op": "adjust", "path": format!("{line}/qty"), "by": by}),
            4..=5 => json!({"op": "increment", "path": format!("{line}/seen"), "by": 1}),
            6 => json!({"op": "put", "path": format!("{line}/price"), "value": dice.scalar()}),
            7 => json!({"op": "remove", "path": format!("{line}/price")}),
            8 => json!({"op": "set_add", "path": "/tags", "value": dice.roll(9)}),
            9 => json!({"op": "set_remove", "path": "/tags", "value": dice.roll(9)}),
            10 => json!({"op": "append", "path": "/posts", "value": dice.value()}),
            _ => json!({"op": "insert", "path": "/posts/0", "value": dice.value()}),
        };
        let known = pairs[at].log.len();
        pairs[at].write(&Intent::Edits(
            serde_json::from_value(json!([edit])).unwrap(),
        ));
        let news = pairs[at].log[known..].to_vec();
        for other in (0..3).filter(|other| *other != at) {
            pairs[other].waiting.extend(news.iter().cloned());
        }
        for pair in &mut pairs {
            if dice.roll(100) >= all_at_once {
                pair.hear();
            }
        }
    }
    pairs.iter_mut().for_each(Pair::hear);
    assert_eq!(pairs[0].doc.read(), pairs[1].doc.read());
    assert_eq!(pairs[0].doc.read(), pairs[2].doc.read());
    add_up(done, pairs);
}

#[test]
fn what_others_write_in_turns_is_followed_without_the_document() {
    for (all_at_once, share) in [(0, 95), (10, 50)] {
        let mut done = BTreeMap::new();
        for seed in 0..20 {
            in_turns(seed, all_at_once, &mut done);
        }
        let (followed, all) = done["followed"];
        assert!(
            followed * 100 >= all * share,
            "{followed} of {all} were followed"
        );
    }
}
