//! Where values lost against others, and who wrote them.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{AutoCommit, ObjId, ObjType, ROOT, ReadDoc, ValueRef};

use super::scalars::normalised;
use super::slots::Kind;
use super::standing::{Claimed, Standing, View, is_there, plain};
use crate::{Author, Claim, Conflict, Path, limits};

/// A place with more than one value: the one that is read, and those that lost.
type Found = (Path, Vec<Claimed>);

/// All of a document's conflicts, in the order of their paths. The authors' names are left out.
pub(super) fn conflicts(
    doc: &mut AutoCommit,
    #[cfg(feature = "planted")] planted: Option<crate::Planted>,
) -> Vec<Conflict> {
    let there = is_there(
        doc,
        #[cfg(feature = "planted")]
        planted,
    );
    let view = View {
        doc,
        #[cfg(feature = "planted")]
        planted,
    };
    let mut found = Vec::new();
    if there {
        view.conflicts_in(
            &Standing::Container(Kind::Map, vec![ROOT]),
            &Path::default(),
            &mut found,
        );
    }
    let values: Vec<Vec<_>> = found
        .iter()
        .map(|(_, claims)| {
            claims
                .iter()
                .map(|claimed| view.json(&claimed.standing))
                .collect()
        })
        .collect();
    let mut conflicts = Vec::new();
    for ((path, claims), values) in found.into_iter().zip(values) {
        let mut claims = claims.into_iter().zip(values).map(|(claimed, value)| {
            let (by, time_s) = author(doc, &claimed.top);
            Claim {
                value,
                kind: claimed.standing.describe(),
                by,
                time_s,
            }
        });
        let Some(winner) = claims.next() else {
            continue;
        };
        // Two who wrote the same agree.
        let told = |claim: &Claim| (claim.kind, normalised(&claim.value).to_string());
        let mut known = BTreeSet::from([told(&winner)]);
        let losers: Vec<Claim> = claims.filter(|claim| known.insert(told(claim))).collect();
        if !losers.is_empty() {
            conflicts.push(Conflict {
                path,
                winner,
                losers,
            });
        }
    }
    conflicts
}

/// Who made an operation, and when.
fn author(doc: &mut AutoCommit, operation: &ObjId) -> (Author, i64) {
    let actor = match operation {
        ObjId::Root => String::new(),
        ObjId::Id(_, actor, _) => actor.to_hex_string(),
    };
    let hash = doc.hash_for_opid(operation);
    let meta = hash.and_then(|hash| doc.get_change_meta_by_hash(&hash));
    let time_s = meta.map_or(0, |meta| meta.timestamp);
    (super::history::unnamed(actor), time_s)
}

impl View<'_> {
    fn conflicts_in(self, standing: &Standing, at: &Path, found: &mut Vec<Found>) {
        let Standing::Container(kind, members) = standing else {
            return;
        };
        if at.parts().len() > limits::DEPTH_MAX {
            return;
        }
        match kind {
            Kind::Map => {
                let (plain_items, cells) = self.entries(members);
                let mut claims: BTreeMap<String, Vec<Claimed>> = BTreeMap::new();
                for item in plain_items {
                    if let Some((kind, id)) = plain(&item) {
                        let claimed = Claimed {
                            standing: Standing::Container(kind, vec![id.clone()]),
                            top: id,
                        };
                        claims.insert(item.key.into_owned(), vec![claimed]);
                    }
                }
                for (name, cell) in cells {
                    let all = self.claims(members, &cell, 0);
                    claims.insert(name, all);
                }
                for (name, claims) in claims {
                    self.found(claims, &at.child(&name), found);
                }
            }
            Kind::List => {
                let mut index: usize = 0;
                for list in members {
                    for item in self.doc.list_range(list, ..) {
                        let at = at.child(&index.to_string());
                        index += 1;
                        if item.conflict {
                            self.found(self.claims_of_element(list, item.index), &at, found);
                        } else if let ValueRef::Object(object) = item.value {
                            let standing = of_object(object, item.id());
                            self.conflicts_in(&standing, &at, found);
                        }
                    }
                }
            }
            Kind::Text | Kind::Set | Kind::Counter | Kind::Quantity => {}
        }
    }

    fn found(self, claims: Vec<Claimed>, at: &Path, found: &mut Vec<Found>) {
        let winner = claims.first().map(|claimed| claimed.standing.clone());
        if claims.len() > 1 {
            found.push((at.clone(), claims));
        }
        if let Some(winner) = winner {
            self.conflicts_in(&winner, at, found);
        }
    }
}

fn of_object(object: ObjType, id: ObjId) -> Standing {
    Standing::Container(Kind::of(object), vec![id])
}
