//! The scrub: reads everything again and again, at a walking pace, and says what is not what was written. On its way
//! it compacts documents that hurried folds have left with changes.

use std::time::Duration;

use anabranch_core::Lsn;

use crate::engine::Fault;
use crate::limits;
use crate::seam::{Damage, Tended};
use crate::store::Store;

/// After a failure it is left alone for this long.
const RETRY: Duration = Duration::from_secs(60);

/// Where the scrub is.
#[derive(Debug)]
pub(crate) struct Tending {
    stage: Stage,
    /// A fold has left changes that are not compacted.
    untidy: bool,
    /// There was a fold since it was last looked,
    folded: bool,
    /// and when that was seen last.
    folded_ms: u64,
    /// When the last pass ended; none: there was none yet.
    rested_from_ms: Option<u64>,
    /// What was found by others and is yet to be told.
    found: Vec<Damage>,
}

#[derive(Debug)]
enum Stage {
    Rest,
    /// Goes on after a row.
    Documents(Option<Vec<u8>>),
    Log(Lsn),
}

impl Tending {
    pub(crate) fn new(found: Vec<Damage>) -> Self {
        Self {
            stage: Stage::Rest,
            untidy: false,
            folded: false,
            folded_ms: 0,
            rested_from_ms: None,
            found,
        }
    }

    pub(crate) fn folded(&mut self, compacted: bool, damaged: impl Iterator<Item = Damage>) {
        self.untidy |= !compacted;
        self.folded = true;
        self.found.extend(damaged);
    }

    /// To be told with the next piece.
    pub(crate) fn note(&mut self, damage: Damage) {
        if !self.found.contains(&damage) {
            self.found.push(damage);
        }
    }

    /// One piece.
    pub(crate) fn tend(&mut self, store: &Store, mono_ms: u64) -> Tended {
        let mut tended = Tended::nothing(Duration::ZERO);
        tended.damage.append(&mut self.found);
        if std::mem::take(&mut self.folded) {
            self.folded_ms = mono_ms;
        }
        if matches!(self.stage, Stage::Rest) {
            let due_ms = self.due_ms();
            if mono_ms < due_ms {
                tended.rest = Duration::from_millis(due_ms - mono_ms).min(Tended::REST_MAX);
                return tended;
            }
            self.stage = Stage::Documents(None);
            self.untidy = false;
        }
        match self.piece(store, &mut tended) {
            Ok(next) => {
                tended.pass_finished = matches!(next, Stage::Rest);
                if tended.pass_finished {
                    self.rested_from_ms = Some(mono_ms);
                }
                self.stage = next;
                let ms = tended.bytes.saturating_mul(1_000) / limits::SCRUB_BYTES_PER_S;
                tended.rest = Duration::from_millis(ms.max(1)).min(Tended::REST_MAX);
            }
            Err(fault) => {
                tracing::warn!(%fault, "looking after what is stored failed; it is tried again");
                tended.rest = RETRY;
            }
        }
        tended
    }

    /// When the next pass begins. What folds have left is tidied once there are none: while there are writes, folds compact what has many
    /// changes themselves, and all else is about to have more.
    fn due_ms(&self) -> u64 {
        let Some(from) = self.rested_from_ms else {
            return 0;
        };
        let pass = from.saturating_add(limits::PASS_REST_MS);
        let tidy = from.max(self.folded_ms);
        match self.untidy {
            true => tidy.saturating_add(limits::TIDY_REST_MS).min(pass),
            false => pass,
        }
    }

    /// Does a piece; what comes next.
    fn piece(&self, store: &Store, tended: &mut Tended) -> Result<Stage, Fault> {
        let bytes_max = limits::SCRUB_PIECE_BYTES;
        match &self.stage {
            Stage::Rest => Ok(Stage::Rest),
            Stage::Documents(after) => {
                let tidied = store
                    .documents
                    .tidy(after.clone(), bytes_max, store.compact)?;
                tended.bytes = tidied.bytes;
                tended.compacted = tidied.compacted;
                for (id, why) in tidied.uncompacted {
                    tracing::warn!(%id, why, "a document can't be compacted; it is kept as it is");
                }
                let damage = |(range, what)| Damage { range, what };
                tended.damage.extend(tidied.damaged.into_iter().map(damage));
                Ok(match tidied.next {
                    Some(next) => Stage::Documents(Some(next)),
                    None => match store.log.bounds() {
                        Some((first, _)) => Stage::Log(first),
                        None => Stage::Rest,
                    },
                })
            }
            Stage::Log(from) => {
                let scrubbed = store.log.scrub(*from, bytes_max)?;
                tended.bytes = scrubbed.bytes;
                for bad in scrubbed.bad {
                    let (first, last) = (bad.start().0, bad.end().0);
                    let what = format!("records {first} to {last} of the log can't be read");
                    tended.damage.push(Damage { range: None, what });
                }
                Ok(scrubbed.next.map_or(Stage::Rest, Stage::Log))
            }
        }
    }
}
