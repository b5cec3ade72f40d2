//! Checker: a change feed shows each batch once, each origin's in order without gaps, causes before
//! effects, and nothing that its origin did not issue.

use std::collections::BTreeMap;

use anabranch_core::{DocumentId, Frontier, Lsn, Namespace, Origin, Seq, Visible};

use crate::machine::Holdings;

type Name = (Namespace, Origin, Seq);

/// What is known of every batch that was announced anywhere.
#[derive(Default)]
pub(crate) struct Provenance {
    issued: BTreeMap<Name, (Vec<DocumentId>, u64)>,
    /// What its writer had shown when it showed the batch: what must be shown elsewhere before it.
    causes: BTreeMap<Name, Frontier>,
}

impl Provenance {
    /// The same batch is the same wherever it is seen.
    fn recognise(&mut self, name: &Name, change: &Visible) -> Result<(), String> {
        let seen = (change.documents.clone(), change.time_ms);
        let known = self
            .issued
            .entry(name.clone())
            .or_insert_with(|| seen.clone());
        if *known == seen {
            return Ok(());
        }
        Err(format!(
            "batch {} of {} in {} is two: {:?} of {} ms and {:?} of {} ms",
            name.2.0, name.1, name.0, known.0, known.1, seen.0, seen.1
        ))
    }
}

/// What one subscriber has been shown.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    shown: BTreeMap<Namespace, Frontier>,
    pub(crate) at: Lsn,
}

impl Feed {
    /// A subscriber that asks for what comes after a state.
    pub(crate) fn after(holdings: &Holdings) -> Self {
        Self {
            shown: holdings.clone(),
            at: Lsn(0),
        }
    }

    /// Takes the next change. `source`: the feed is that of the replica that wrote the change.
    pub(crate) fn take(
        &mut self,
        change: &Visible,
        provenance: &mut Provenance,
        source: bool,
    ) -> Result<(), String> {
        let namespace = change.namespace.clone();
        if let Some(other) = change.documents.iter().find(|id| id.namespace != namespace) {
            return Err(format!("a batch of {namespace} shows {other}"));
        }
        let shown = self.shown.entry(namespace.clone()).or_default();
        if let Some(repaired) = &change.repaired {
            // What it stands for was shown elsewhere, or nowhere; from here on everything counts again.
            for (origin, seq) in &repaired.positions {
                shown.raise(*origin, *seq);
            }
            self.at = change.lsn;
            return Ok(());
        }
        let name = (namespace, change.origin, change.seq);
        let expected = shown.of(&change.origin).next();
        if change.seq != expected {
            return Err(format!(
                "the feed shows batch {} of {} in {} where {} is due",
                change.seq.0, change.origin, name.0, expected.0
            ));
        }
        if change.lsn <= self.at {
            return Err(format!(
                "the feed shows position {} after {}",
                change.lsn.0, self.at.0
            ));
        }
        self.at = change.lsn;
        provenance.recognise(&name, change)?;
        if source {
            provenance
                .causes
                .entry(name)
                .or_insert_with(|| shown.clone());
        } else if let Some(causes) = provenance.causes.get(&name)
            && !shown.covers(causes)
        {
            return Err(format!(
                "the feed shows batch {} of {} in {} before its causes: {causes:?} is needed, {shown:?} is shown",
                change.seq.0, change.origin, name.0
            ));
        }
        shown.raise(change.origin, change.seq);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anabranch_core::{Incarnation, ReplicaId};

    use super::*;

    fn change(origin: u8, seq: u64, lsn: u64) -> Visible {
        Visible {
            lsn: Lsn(lsn),
            namespace: Namespace::new("n").unwrap(),
            repaired: None,
            documents: vec![DocumentId::new("n", "d").unwrap()],
            origin: Origin {
                replica: ReplicaId([origin; 16]),
                incarnation: Incarnation(1),
            },
            seq: Seq(seq),
            time_ms: 5,
            local: false,
        }
    }

    #[test]
    fn gaps_and_repeats_are_found() {
        let mut provenance = Provenance::default();
        let mut feed = Feed::default();
        feed.take(&change(1, 1, 1), &mut provenance, true).unwrap();
        assert!(feed.take(&change(1, 1, 2), &mut provenance, true).is_err());
        assert!(feed.take(&change(1, 3, 2), &mut provenance, true).is_err());
        assert!(feed.take(&change(1, 2, 1), &mut provenance, true).is_err());
        feed.take(&change(1, 2, 2), &mut provenance, true).unwrap();
    }

    #[test]
    fn an_effect_before_its_cause_is_found() {
        let mut provenance = Provenance::default();
        let mut writer = Feed::default();
        writer
            .take(&change(1, 1, 1), &mut provenance, false)
            .unwrap();
        writer
            .take(&change(2, 1, 2), &mut provenance, true)
            .unwrap();
        let early = Feed::default().take(&change(2, 1, 1), &mut provenance, false);
        assert!(early.unwrap_err().contains("before its causes"));
        let mut reader = Feed::default();
        reader
            .take(&change(1, 1, 1), &mut provenance, false)
            .unwrap();
        reader
            .take(&change(2, 1, 2), &mut provenance, false)
            .unwrap();
    }

    #[test]
    fn one_number_for_two_batches_is_found() {
        let mut provenance = Provenance::default();
        Feed::default()
            .take(&change(1, 1, 1), &mut provenance, true)
            .unwrap();
        let mut other = change(1, 1, 1);
        other.documents = vec![DocumentId::new("n", "e").unwrap()];
        assert!(
            Feed::default()
                .take(&other, &mut provenance, false)
                .is_err()
        );
    }
}
