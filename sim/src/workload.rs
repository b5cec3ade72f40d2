//! What clients ask for: writes to one document or to several, over few hot documents and many cold ones.

use anabranch_core::{
    DocumentId, Edit, Guard, Intent, Key, Namespace, PatchOperation, Request, Write,
};
use serde_json::json;

use crate::anything::{anything, path};
use crate::ledger::{Deed, Ledger, Part, Scope};
use crate::marks::{Place, Sum, mark};
use crate::plan::Plan;
use crate::random::Random;

pub(crate) const NAMESPACES: [&str; 3] = ["carts", "feeds", "audit"];
const NAMES: [&str; 3] = ["x", "y", "z"];
/// A listing with this limit is one page of the store's, and so of one moment.
pub(crate) const PAGE_MAX: usize = 1_000;
/// Most documents in one write, but for what is added to it.
const PARTS_MAX: u64 = 4;

/// One write to be.
pub(crate) struct Draft {
    pub(crate) namespace: Namespace,
    pub(crate) writes: Vec<Write>,
    /// What each of them does.
    pub(crate) parts: Vec<Part>,
    /// The one that can't but fail.
    pub(crate) poison: Option<usize>,
}

pub(crate) fn namespace(random: &mut Random) -> Namespace {
    let name = NAMESPACES[usize::from(random.chance(400)) + usize::from(random.chance(200))];
    Namespace::new(name).expect("a constant that is a valid name")
}

fn document(namespace: &Namespace, class: &str, number: u64) -> DocumentId {
    let key = Key::new(&format!("{class}/{number}")).expect("class and number make a valid key");
    DocumentId {
        namespace: namespace.clone(),
        key,
    }
}

/// Any document that clients may have written.
pub(crate) fn any_document(random: &mut Random, plan: &Plan) -> DocumentId {
    let class = *random.pick(&["set", "feed", "count", "stock", "gone", "cart", "cold"]);
    let most = if class == "cold" { plan.cold } else { plan.hot };
    let number = random.between(1, most);
    document(&namespace(random), class, number)
}

pub(crate) fn listing(random: &mut Random) -> Request {
    Request::Scan {
        namespace: namespace(random),
        prefix: (*random.pick(&["", "", "", "c", "cold/", "set/", "none"])).to_owned(),
        after: random
            .chance(150)
            .then(|| Key::new("cold/2").expect("a constant that is a valid key")),
        limit: *random.pick(&[1, 2, 5, PAGE_MAX, PAGE_MAX]),
        values: random.chance(700),
    }
}

/// What goes into a draft besides chance.
pub(crate) struct Drafting<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ledger: &'a Ledger,
    /// The write's number.
    pub(crate) number: usize,
    /// Versions that the client has seen lately, for guards.
    pub(crate) versions: Vec<String>,
}

impl Drafting<'_> {
    /// A write. `sure`: it changes something for certain.
    pub(crate) fn draft(&self, random: &mut Random, namespace: Namespace, sure: bool) -> Draft {
        let count = if random.chance(720) {
            1
        } else {
            random.between(2, PARTS_MAX)
        };
        let mut draft = Draft {
            namespace,
            writes: Vec::new(),
            parts: Vec::new(),
            poison: None,
        };
        for _ in 0..count {
            self.add(random, &mut draft, sure);
        }
        let removes = |part: &Part| part.document.key.as_str().starts_with("gone/");
        if sure && !draft.parts.iter().any(Part::is_sure) || draft.parts.iter().any(removes) {
            // A deletion can't carry a mark, so something else in the same batch does.
            let (write, part) = self.part(random, &draft.namespace, "set");
            draft.writes.push(write);
            draft.parts.push(part);
        }
        if random.chance(if count > 1 { 80 } else { 10 }) {
            self.poison(random, &mut draft);
        }
        draft
    }

    fn add(&self, random: &mut Random, draft: &mut Draft, sure: bool) {
        let class = match random.between(0, 99) {
            0..20 => "set",
            20..35 => "feed",
            35..50 => "count",
            50..65 => "stock",
            65..82 => "gone",
            _ if sure => "set",
            82..92 => "cart",
            _ => "cold",
        };
        let (write, part) = self.part(random, &draft.namespace, class);
        // What one write does twice to a document that is emptied would be seen in part only.
        let twice = draft
            .parts
            .iter()
            .any(|other| other.document == part.document);
        if twice && matches!(class, "gone" | "stock" | "count") {
            return;
        }
        draft.writes.push(write);
        draft.parts.push(part);
    }

    fn part(&self, random: &mut Random, namespace: &Namespace, class: &str) -> (Write, Part) {
        let most = if class == "cold" {
            self.plan.cold
        } else {
            self.plan.hot
        };
        let document = document(namespace, class, random.between(1, most));
        let own = mark(self.number);
        let (intent, deeds) = match class {
            "set" => member(random, &own),
            "feed" => post(random, &own),
            "count" => count(random, &own),
            "stock" => stock(random, &own),
            "gone" => self.gone(random, &document, &own),
            _ => (anything(random, &own), vec![Deed::Anything]),
        };
        let guard = (deeds == [Deed::Anything])
            .then(|| guard(random, &self.versions))
            .flatten();
        let write = Write {
            key: document.key.clone(),
            intent,
            guard,
            base: None,
        };
        (write, Part { document, deeds })
    }

    /// Adds to a document from which anything may be removed, or removes from it.
    fn gone(&self, random: &mut Random, document: &DocumentId, own: &str) -> (Intent, Vec<Deed>) {
        let put = |own: &str| Edit::Put {
            path: path(&format!("/m/{own}")),
            value: json!(own),
        };
        let leaves = Deed::Leaves(Place::Entry);
        let known = self.ledger.by_document.get(document);
        let known = known.map_or(&[][..], Vec::as_slice);
        let victim = if known.is_empty() {
            0
        } else {
            *random.pick(known)
        };
        match random.between(0, 19) {
            0..9 => member(random, own),
            9..11 => {
                let edit = Edit::Remove {
                    path: path(&format!("/m/{}", mark(victim))),
                };
                let taken = Deed::Removes(Scope::Mark(Place::Entry, victim));
                (Intent::Edits(vec![edit, put(own)]), vec![taken, leaves])
            }
            11..13 => {
                let edit = Edit::SetRemove {
                    path: path("/s"),
                    value: json!(mark(victim)),
                };
                let taken = Deed::Removes(Scope::Mark(Place::Element, victim));
                (Intent::Edits(vec![edit, put(own)]), vec![taken, leaves])
            }
            13 => {
                let edit = Edit::Remove { path: path("/m") };
                let taken = Deed::Removes(Scope::Entries);
                (Intent::Edits(vec![edit, put(own)]), vec![taken, leaves])
            }
            14 => {
                let patch = json!({"m": {mark(victim): null}});
                let taken = Deed::Removes(Scope::Mark(Place::Entry, victim));
                (Intent::MergePatch(patch), vec![taken])
            }
            15 | 16 => {
                let whole = json!({"m": {own: own}});
                let taken = Deed::Removes(Scope::Document);
                (Intent::Replace(whole), vec![taken, leaves])
            }
            _ => (Intent::Delete, vec![Deed::Removes(Scope::Document)]),
        }
    }

    /// Puts something between that must fail, so that nothing of the whole may be seen.
    fn poison(&self, random: &mut Random, draft: &mut Draft) {
        let index = random.index(draft.writes.len() + 1);
        let (mut write, part) = self.part(random, &draft.namespace, "set");
        match random.between(0, 3) {
            0 => write.guard = Some(Guard::AnyOf(Vec::new())),
            1 => {
                let path = path("/never");
                let value = json!(1);
                write.intent = Intent::Patch(vec![PatchOperation::Test { path, value }]);
            }
            2 => write.intent = Intent::Replace(json!(1)),
            _ => {
                let path = path("");
                let put = match write.intent {
                    Intent::Edits(edits) => edits,
                    _ => Vec::new(),
                };
                // It fails only after something has been done.
                let fails = Edit::Increment { path, by: 1 };
                write.intent = Intent::Edits(put.into_iter().chain([fails]).collect());
            }
        }
        draft.writes.insert(index, write);
        draft.parts.insert(index, part);
        draft.poison = Some(index);
    }
}

fn member(random: &mut Random, own: &str) -> (Intent, Vec<Deed>) {
    let entry = |intent| (intent, vec![Deed::Leaves(Place::Entry)]);
    match random.between(0, 3) {
        0 => entry(Intent::MergePatch(json!({"m": {own: own}}))),
        1 => entry(Intent::MergePatch(json!({"m": {own: {"in": [own]}}}))),
        2 => entry(Intent::Edits(vec![Edit::Put {
            path: path(&format!("/m/{own}")),
            value: json!(own),
        }])),
        _ => {
            let edit = Edit::SetAdd {
                path: path("/s"),
                value: json!(own),
            };
            (
                Intent::Edits(vec![edit]),
                vec![Deed::Leaves(Place::Element)],
            )
        }
    }
}

fn post(random: &mut Random, own: &str) -> (Intent, Vec<Deed>) {
    let (edit, place) = match random.between(0, 3) {
        0 => {
            let (path, value) = (path("/posts"), json!(own));
            (Edit::Append { path, value }, Place::Post)
        }
        1 => {
            let (path, value) = (path("/posts"), json!({"id": own, "likes": 0}));
            (Edit::Append { path, value }, Place::Post)
        }
        2 => {
            let (path, value) = (path("/posts/0"), json!(own));
            (Edit::Insert { path, value }, Place::Post)
        }
        _ => {
            let edit = Edit::Splice {
                path: path("/text"),
                at: 0,
                delete: 0,
                insert: format!("<{own}>"),
            };
            (edit, Place::Text)
        }
    };
    (Intent::Edits(vec![edit]), vec![Deed::Leaves(place)])
}

/// A change of a number, and the mark beside it that says whose it is.
fn amount(edit: Edit, own: &str, deed: Deed) -> (Intent, Vec<Deed>) {
    let who = Edit::SetAdd {
        path: path("/who"),
        value: json!(own),
    };
    let deeds = vec![deed, Deed::Leaves(Place::Who)];
    (Intent::Edits(vec![edit, who]), deeds)
}

fn adding(random: &mut Random, sum: Sum, own: &str) -> (Intent, Vec<Deed>) {
    let name = *random.pick(&NAMES);
    let by = i64::try_from(random.between(1, 9)).unwrap_or(1);
    let by = if random.chance(300) { -by } else { by };
    let path = path(&format!("/{}/{name}", sum.map()));
    let edit = match sum {
        Sum::Counter => Edit::Increment { path, by },
        Sum::Quantity => Edit::Adjust { path, by },
    };
    amount(edit, own, Deed::Adds { sum, name, by })
}

fn count(random: &mut Random, own: &str) -> (Intent, Vec<Deed>) {
    adding(random, Sum::Counter, own)
}

fn stock(random: &mut Random, own: &str) -> (Intent, Vec<Deed>) {
    let sum = *random.pick(&[Sum::Quantity, Sum::Quantity, Sum::Counter]);
    if random.chance(700) {
        return adding(random, sum, own);
    }
    let name = *random.pick(&NAMES);
    let path = path(&format!("/{}/{name}", sum.map()));
    let deed = Deed::Removes(Scope::Sum(sum, name));
    amount(Edit::Remove { path }, own, deed)
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
