//! One document on three replicas and in the model, step by step.

use std::collections::BTreeSet;
use std::fmt;

use anabranch_core::{Edit, Intent, Key, Path, RequestError, Version};
use serde_json::Value;

use crate::bed::{Bed, SITES};
use crate::model::{Model, Thing};
use crate::reading::Shown;

pub(crate) fn site_name(site: usize) -> char {
    ['A', 'B', 'C'][site]
}

/// An edit as a person writes it: `put /x 5`, `splice /t 0 1 abc`, `PUT {"a":1}`, `DELETE`. A `@` stands for
/// the writer's letter, a `#` for its number.
pub(crate) fn intent(text: &str) -> Intent {
    let (op, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (path, rest) = if op == "PUT" {
        ("", rest)
    } else {
        rest.split_once(' ').unwrap_or((rest, ""))
    };
    let path = Path::parse(path).expect("a path");
    let json =
        || serde_json::from_str::<Value>(rest).unwrap_or_else(|error| panic!("{text}: {error}"));
    let by = || rest.parse().expect("a number");
    Intent::Edits(vec![match op {
        "PUT" => return Intent::Replace(json()),
        "DELETE" => return Intent::Delete,
        "put" => Edit::Put {
            path,
            value: json(),
        },
        "remove" => Edit::Remove { path },
        "increment" => Edit::Increment { path, by: by() },
        "adjust" => Edit::Adjust { path, by: by() },
        "set_add" => Edit::SetAdd {
            path,
            value: json(),
        },
        "set_remove" => Edit::SetRemove {
            path,
            value: json(),
        },
        "insert" => Edit::Insert {
            path,
            value: json(),
        },
        "append" => Edit::Append {
            path,
            value: json(),
        },
        "splice" => {
            let mut parts = rest.splitn(3, ' ');
            let mut number = || parts.next().and_then(|n| n.parse().ok()).expect("a number");
            let (at, delete) = (number(), number());
            Edit::Splice {
                path,
                at,
                delete,
                insert: parts.next().unwrap_or("").to_owned(),
            }
        }
        _ => panic!("no such edit: {text}"),
    }])
}

pub(crate) struct Trial {
    key: Key,
    model: Model,
    has: [BTreeSet<usize>; SITES],
    /// What was explained last: mostly all replicas show the same.
    explained: Vec<(BTreeSet<usize>, Shown, Option<Thing>)>,
    /// What was looked at last.
    shown: (Shown, Option<Version>),
    lines: Vec<String>,
    /// Why it failed; nothing more is done then.
    pub(crate) failure: Option<String>,
}

impl Trial {
    pub(crate) fn new(key: &str, title: &str) -> Self {
        Self {
            key: Key::new(key).expect("a key"),
            model: Model::default(),
            has: Default::default(),
            explained: Vec::new(),
            shown: (
                Shown {
                    value: None,
                    conflicts: Vec::new(),
                },
                None,
            ),
            lines: vec![title.to_owned()],
            failure: None,
        }
    }

    pub(crate) fn note(&mut self, line: impl Into<String>) {
        if self.failure.is_none() {
            self.lines.push(line.into());
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Compares what a replica shows with the model.
    pub(crate) fn look(&mut self, bed: &mut Bed, site: usize) -> Option<Thing> {
        if self.failure.is_some() {
            return None;
        }
        self.shown = bed.read(site, &self.key);
        let shown = self.shown.0.clone();
        let seen = &self.has[site];
        let known = |(s, shows, _): &&(BTreeSet<usize>, Shown, Option<Thing>)| {
            s == seen && alike(shows, &shown)
        };
        if let Some((_, _, root)) = self.explained.iter().find(known) {
            return root.clone();
        }
        match self.model.explain(seen, &shown) {
            Ok(root) => {
                self.explained.truncate(2);
                self.explained
                    .insert(0, (seen.clone(), shown, root.clone()));
                root
            }
            Err(why) => {
                let at = site_name(site);
                self.fail(format!("{at} shows {shown}\n  {why}"));
                None
            }
        }
    }

    /// Edits on one replica, and in the model.
    pub(crate) fn edit(&mut self, bed: &mut Bed, site: usize, text: &str) {
        if self.failure.is_some() {
            return;
        }
        let letter = site_name(site).to_string();
        let text = text
            .replace('@', &letter)
            .replace('#', &(site + 1).to_string());
        self.note(format!("{letter}: {text}"));
        let root = self.look(bed, site);
        if self.failure.is_some() {
            return;
        }
        let intent = intent(&text);
        let meant = self
            .model
            .write(site, &self.has[site], root.as_ref(), &intent);
        match (meant, bed.write(site, &self.key, &intent)) {
            (Ok(event), Ok(written)) => {
                let changes = !event.says.is_empty() || !event.kills.is_empty();
                if changes {
                    self.has[site].insert(self.model.events.len());
                    self.model.events.push(event);
                }
                if changes != written.changed {
                    let should = if changes {
                        "must write something"
                    } else {
                        "must write nothing"
                    };
                    self.fail(format!(
                        "the last edit {should}; `changed` is {}",
                        written.changed
                    ));
                }
                let present = self.look(bed, site).is_some();
                if self.failure.is_none()
                    && (written.present, written.created) != (present, present && root.is_none())
                {
                    self.fail(format!("the last edit answers wrongly: {written:?}"));
                }
            }
            (Err(_), Err(RequestError::Edit(_))) => {
                self.note("   (refused)");
                self.look(bed, site);
            }
            (Ok(_), Err(error)) => self.fail(format!(
                "the last edit must be taken; it is refused: {error}"
            )),
            (Err(_), Ok(_)) => self.fail("the last edit must be refused; it is taken".to_owned()),
            (Err(_), Err(error)) => self.fail(format!(
                "the last edit must be refused for itself; instead: {error}"
            )),
        }
    }

    /// After two replicas have exchanged what they hold.
    pub(crate) fn synced(&mut self, a: usize, b: usize) {
        self.note(format!("{} <-> {}", site_name(a), site_name(b)));
        let both = &self.has[a] | &self.has[b];
        self.has[a].clone_from(&both);
        self.has[b] = both;
    }

    /// Replicas that hold the same show the same, and what the model says.
    pub(crate) fn agree(&mut self, bed: &mut Bed, sites: &[usize]) {
        let mut first = None;
        for site in sites {
            if self.look(bed, *site).is_none() && self.failure.is_some() {
                return;
            }
            let (shown, version) = self.shown.clone();
            let (a, other, at) = first.get_or_insert((*site, shown.clone(), version.clone()));
            if !alike(other, &shown) || *at != version {
                let (a, b) = (site_name(*a), site_name(*site));
                let why = format!("{a} shows {other} at {at:?}\n{b} shows {shown} at {version:?}");
                return self.fail(why);
            }
        }
    }
}

/// Equal but for the authors' names, which a replica may not have heard yet.
pub(crate) fn alike(a: &Shown, b: &Shown) -> bool {
    let bare = |shown: &Shown| {
        let mut shown = shown.clone();
        for conflict in &mut shown.conflicts {
            for claim in conflict.losers.iter_mut().chain([&mut conflict.winner]) {
                claim.by.name = None;
                claim.by.datacenter = None;
                claim.by.replica = None;
            }
        }
        shown
    };
    a == b || bare(a) == bare(b)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value}")?,
            None => write!(f, "no document")?,
        }
        for conflict in &self.conflicts {
            write!(
                f,
                "; {:?}: {} {} won over",
                conflict.path.to_string(),
                conflict.winner.kind,
                conflict.winner.value
            )?;
            conflict
                .losers
                .iter()
                .try_for_each(|loser| write!(f, " ({} {})", loser.kind, loser.value))?;
        }
        Ok(())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))?;
        match &self.failure {
            Some(why) => writeln!(f, "  => {}", why.replace('\n', "\n     ")),
            None => Ok(()),
        }
    }
}
