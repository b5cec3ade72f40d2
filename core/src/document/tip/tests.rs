//! What a tip makes is what the document makes: both do the same writes, and every byte is compared.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::{Value, json};

use super::*;
use crate::document::tests::origin;
use crate::limits;

mod edges;
mod forged;
mod programs;

/// A document, everything that was written to it, and the tip that writes beside it.
struct Pair {
    doc: Document,
    origin: Origin,
    log: Vec<Bytes>,
    tip: Option<Tip>,
    time_s: i64,
    /// By the kind of the write: how often the tip did it, of how often.
    done: BTreeMap<String, (usize, usize)>,
    /// How often the tip went along with what came from elsewhere, of how often.
    followed: (usize, usize),
    /// What was written elsewhere and is still on its way.
    waiting: Vec<Bytes>,
}

/// What became of a write.
#[derive(PartialEq, Debug)]
enum Outcome {
    ByTip,
    Refused,
    ByDocument,
}

impl Pair {
    fn new(replica: u8) -> Self {
        let origin = origin(replica);
        Self {
            doc: Document::empty(&origin),
            origin,
            log: Vec::new(),
            tip: Some(Tip::of_nothing(&origin)),
            time_s: 0,
            done: BTreeMap::new(),
            followed: (0, 0),
            waiting: Vec::new(),
        }
    }

    fn ops(&mut self, ops: Value) -> Outcome {
        self.write(&Intent::Edits(serde_json::from_value(ops).unwrap()))
    }

    /// Writes to both and compares.
    fn write(&mut self, intent: &Intent) -> Outcome {
        self.time_s += 7;
        let mut tip = match self.tip.take() {
            Some(tip) => tip,
            None => self.surveyed(),
        };
        let before = (tip.version(), tip.present(), picture(&tip));
        let by_tip = tip.write(intent, self.time_s);
        let by_doc = self.doc.write(intent, self.time_s);
        let outcome = match (by_tip, by_doc) {
            (Ok(Some(made)), Ok(changes)) => {
                assert_eq!(made, changes, "{intent:?}");
                self.log.extend(changes);
                self.check(&mut tip, intent);
                Outcome::ByTip
            }
            (Ok(Some(_)), Err(failed)) => {
                panic!("the document refuses {intent:?}: {}", failed.error)
            }
            (Err(refused), by_doc) => {
                let failed = by_doc.map(drop).unwrap_err();
                assert_eq!(refused, failed.error, "{intent:?}");
                assert_eq!(before, (tip.version(), tip.present(), picture(&tip)));
                self.restore(failed.spoilt);
                Outcome::Refused
            }
            (Ok(None), by_doc) => {
                assert_eq!(before, (tip.version(), tip.present(), picture(&tip)));
                match by_doc {
                    Ok(changes) if changes.is_empty() => {}
                    Ok(changes) => {
                        self.log.extend(changes);
                        tip = self.doc.tip();
                        self.doc.survey(&mut tip);
                        self.doc.learn(&mut tip, intent);
                    }
                    Err(failed) => self.restore(failed.spoilt),
                }
                Outcome::ByDocument
            }
        };
        let (by_tip, all) = self.done.entry(kind(intent)).or_default();
        *by_tip += usize::from(outcome == Outcome::ByTip);
        *all += 1;
        self.tip = Some(tip);
        outcome
    }

    fn surveyed(&mut self) -> Tip {
        let mut tip = self.doc.tip();
        self.doc.survey(&mut tip);
        tip
    }

    /// What the tip has come to know by itself is what the document would tell it.
    fn check(&mut self, tip: &mut Tip, what: &impl std::fmt::Debug) {
        assert_eq!(tip.version(), self.doc.version(), "{what:?}");
        assert_eq!(tip.present(), self.doc.present(), "{what:?}");
        let told = self.surveyed();
        assert_eq!(
            (tip.end.seq, tip.end.next_op, tip.recent.own()),
            (told.end.seq, told.end.next_op, told.recent.own())
        );
        let told: BTreeMap<_, _> = picture(&told).into_iter().collect();
        for (trail, known) in picture(tip) {
            match told.get(&trail) {
                Some(told) => assert!(agree(&known, told), "{known:?}, {told:?}: {what:?}"),
                None => assert!(
                    known == "other" || told.values().any(|told| told["whole"] == false),
                    "{known:?} is nowhere in the document after {what:?}"
                ),
            }
        }
    }

    /// As the replica does: a spoilt document is loaded anew.
    fn restore(&mut self, spoilt: bool) {
        if spoilt {
            self.doc = Document::empty(&self.origin);
            assert_eq!(self.doc.absorb(&self.log), []);
        }
    }

    /// Takes in what was written elsewhere.
    fn absorb(&mut self, log: &[Bytes]) {
        assert_eq!(self.doc.absorb(log), []);
        let mut seen: std::collections::BTreeSet<_> = self.log.iter().cloned().collect();
        let news = log.iter().filter(|change| seen.insert((*change).clone()));
        let news: Vec<_> = news.cloned().collect();
        let (followed, all) = self.followed;
        if let Some(mut tip) = self.tip.take()
            && news.iter().all(|change| tip.follow(change))
        {
            self.check(&mut tip, &news);
            self.tip = Some(tip);
        }
        let is_followed = usize::from(self.tip.is_some());
        self.followed = (followed + is_followed, all + 1);
        self.log.extend(news);
    }

    fn hear(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            self.absorb(&waiting);
        }
    }

    /// Saved, and loaded by another origin.
    fn reload(&mut self, replica: u8) {
        let state = self.doc.save();
        self.origin = origin(replica);
        self.doc = Document::load(&self.origin, &state).unwrap();
        self.tip = None;
    }
}

/// A tip's places with the operations in full.
fn picture(tip: &Tip) -> Vec<([u8; 16], Value)> {
    let id = |id: Id| match id {
        Id::ROOT => json!("root"),
        id => json!(format!(
            "{}@{}",
            id.counter,
            tip.actors[usize::from(id.actor)]
        )),
    };
    let picture = |known: &Known| match *known {
        Known::Map { object, whole } => json!({"map": id(object), "whole": whole}),
        Known::List { object, last } => json!({"list": id(object), "last": last.map(id)}),
        Known::Set { object, whole } => json!({"set": id(object), "whole": whole}),
        Known::Element { put, value } => json!({"element": id(put), "value": value}),
        Known::Number(number) => json!({
            "number": id(number.counter), "map": id(number.map), "total": number.total,
            "own": number.own_name, "beside": number.beside, "kind": number.kind.name(),
        }),
        Known::Register {
            map,
            put,
            value,
            bare,
        } => {
            json!({"register": id(put), "map": id(map), "value": format!("{value:?}"), "bare": bare})
        }
        Known::Other => json!("other"),
    };
    let places = tip.places.iter();
    places
        .map(|place| (place.trail, picture(&place.known)))
        .collect()
}

/// A tip may know less than it could be told, but nothing else.
fn agree(known: &Value, told: &Value) -> bool {
    if known == "other" {
        return true;
    }
    let mut known = known.clone();
    let list = !known["list"].is_null() && !told["list"].is_null();
    if list && (known["last"].is_null() || told["last"].is_null()) {
        known["last"] = told["last"].clone();
    }
    for claim in ["whole", "bare"] {
        if known[claim] == json!(false) {
            known[claim] = told[claim].clone();
        }
        if told[claim] == json!(false) && known[claim] == json!(true) && claim == "whole" {
            // The document has become too large to look through.
            known[claim] = json!(false);
        }
    }
    known == *told
}

fn kind(intent: &Intent) -> String {
    match intent {
        Intent::Edits(edits) => match edits.as_slice() {
            [edit] => serde_json::to_value(edit).unwrap()["op"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => "edits".to_owned(),
        },
        Intent::Replace(_) => "replace".to_owned(),
        Intent::MergePatch(_) => "merge".to_owned(),
        Intent::Patch(_) => "patch".to_owned(),
        Intent::Delete => "delete".to_owned(),
    }
}
