//! What clients are told, and the checks of it.

use std::collections::BTreeMap;

use anabranch_core::{
    Answer, DocumentId, EditError, Key, Lsn, Namespace, Page, Reply, RequestError, RequestId,
    Snapshot, Version, Visible, Written,
};

use crate::accounts::Span;
use crate::clients::{Asked, Pending, Reused, VERSIONS_REMEMBERED};
use crate::ledger::{Deed, Fate, Position, is_in};
use crate::marks::{Reading, is_accounted};
use crate::moving::moves;
use crate::trace::{Topic, site_name};
use crate::workload;
use crate::world::World;

/// A write that is answered.
struct Done {
    number: usize,
    key: Option<Reused>,
    documents: Vec<Written>,
    repeated: bool,
}

/// A write that is not carried out.
struct Undone {
    number: usize,
    poison: Option<usize>,
    key: Option<Reused>,
    based: bool,
}

impl World {
    pub(crate) fn reply(
        &mut self,
        site: usize,
        id: RequestId,
        reply: Result<Answer, RequestError>,
    ) {
        let Some(pending) = self.requests.remove(&id) else {
            return self.fail(
                "one answer to each request",
                format!("#{} is answered twice", id.0),
            );
        };
        self.free_client(id, &pending);
        self.note(
            Some(site),
            Topic::Client,
            format_args!("#{} {}", id.0, Outcome(&reply)),
        );
        if matches!(pending.asked, Asked::Probe) {
            if let Some(probe) = &mut self.convergence.probing {
                probe.reply = Some(reply);
            }
            return;
        }
        if let Asked::Moving(turn) = pending.asked {
            return self.moved(turn, reply);
        }
        match reply {
            Ok(answer) => self.answered(site, &pending, answer),
            Err(error) => self.refused(site, &pending, &error),
        }
    }

    fn answered(&mut self, site: usize, pending: &Pending, answer: Answer) {
        self.served(pending);
        let mut wrote = None;
        match (&pending.asked, answer.reply) {
            (
                Asked::Write { number, key, .. },
                Reply::Written {
                    documents,
                    repeated,
                    acknowledged,
                },
            ) => {
                let (number, key) = (*number, *key);
                self.check_acknowledged(pending, number, acknowledged.as_ref());
                wrote = self.written(
                    site,
                    pending,
                    &Done {
                        number,
                        key,
                        documents,
                        repeated,
                    },
                );
            }
            (Asked::Read { document, at }, Reply::Document { snapshot, .. }) => {
                self.read(pending, document, at.as_ref(), snapshot.as_ref());
            }
            (Asked::Scan { .. }, Reply::Page(page)) => self.page(pending, &page),
            (Asked::Versions(document), Reply::Versions(versions)) => {
                self.tally.history_reads += 1;
                let checked = crate::past::check_versions(&versions);
                self.check("a document's history is in order", checked);
                if let Some(step) = versions.versions.last() {
                    self.remember(pending.client, document, &step.version);
                }
            }
            (Asked::Diff(document, versions), Reply::Diff(operations)) => {
                self.tally.history_reads += 1;
                let checked = self.past.check_difference(document, versions, &operations);
                self.check("differences make the one version of the other", checked);
            }
            (Asked::Changes { after }, Reply::Changes { visible, next }) => {
                return self.subscribed(site, *after, &visible, next);
            }
            (_, reply) => {
                return self.fail(
                    "requests are answered",
                    format!("with another's answer: {reply:?}"),
                );
            }
        }
        self.saw(pending, &answer.token, wrote);
    }

    fn refused(&mut self, site: usize, pending: &Pending, error: &RequestError) {
        if let RequestError::Behind { missing } = error {
            self.turned_away(pending, missing);
        }
        match (&pending.asked, error) {
            (
                Asked::Write {
                    number,
                    poison,
                    key,
                    based,
                    ..
                },
                error,
            ) => {
                let (number, poison, key, based) = (*number, *poison, *key, *based);
                let undone = Undone {
                    number,
                    poison,
                    key,
                    based,
                };
                self.unwritten(site, pending, &undone, error);
            }
            (Asked::Changes { after }, RequestError::Released { first, .. })
                if (self.plan.releases || self.plan.truncates) && after.next() < *first =>
            {
                self.tally.feeds_cut += 1;
                self.resubscribe(site);
            }
            (_, RequestError::Damaged { .. }) if self.machines[site].medium.was_flipped() => {
                self.tally.reads_damaged += 1;
            }
            (Asked::Changes { after }, RequestError::Released { first, .. })
                if self.machines[site].medium.was_flipped() && after < first =>
            {
                self.tally.feeds_cut += 1;
                self.resubscribe(site);
            }
            (_, RequestError::Behind { .. } | RequestError::Store(_)) => self.tally.reads += 1,
            // It would have shown what was taken back.
            (_, RequestError::Busy) if self.was_full(site) => self.tally.reads += 1,
            // Without a session, a replica need not hold what the client has seen elsewhere.
            (_, RequestError::UnknownVersion { .. }) if pending.session.is_none() => {
                self.tally.versions_unknown += 1;
            }
            (_, error) => self.fail("requests are answered", error.to_string()),
        }
    }

    fn was_full(&self, site: usize) -> bool {
        let process = self.machines[site].process.as_ref();
        process.is_some_and(|process| process.was_full)
    }

    pub(crate) fn remember(&mut self, client: Option<usize>, id: &DocumentId, version: &Version) {
        if let Some(client) = client.map(|index| &mut self.clients[index]) {
            client.versions.push_front((id.clone(), version.clone()));
            client.versions.truncate(VERSIONS_REMEMBERED);
        }
    }

    /// Checker: a write is acknowledged once all of it is durable and shown, not before, and done once.
    fn written(&mut self, site: usize, pending: &Pending, done: &Done) -> Option<Position> {
        self.tally.writes_acknowledged += 1;
        let Done {
            number,
            key,
            documents,
            repeated,
        } = done;
        let write = &self.ledger.writes[*number];
        if *key == Some(true) {
            self.fail(
                "a key stands for one write",
                format!("w{number} is done under another's key"),
            );
            return None;
        }
        if documents.len() != write.parts.len() {
            let found = format!(
                "w{number} has {} writes, {} answers",
                write.parts.len(),
                documents.len()
            );
            self.fail("requests are answered", found);
            return None;
        }
        let parts: Vec<_> = write
            .parts
            .iter()
            .map(|part| part.document.clone())
            .collect();
        for (document, written) in parts.iter().zip(documents) {
            self.remember(pending.client, document, &written.version);
        }
        if *repeated {
            self.repeated(site, *number, documents);
            return None;
        }
        let known = |at: &&Position| is_in(at, &pending.low);
        if let Some((origin, seq)) = self.ledger.writes[*number].positions.iter().find(known) {
            let found = format!(
                "w{number} is done at {}, which held batch {} of {origin} with it when it was asked",
                site_name(site),
                seq.0
            );
            self.fail("a write is done once", found);
            return None;
        }
        self.ledger.writes[*number].answers.push(documents.clone());
        self.check_changed(*number, documents);
        self.became(site, done, parts)
    }

    /// Checker: what an acknowledged write changed is the next batch that was shown here.
    fn became(&mut self, site: usize, done: &Done, parts: Vec<DocumentId>) -> Option<Position> {
        let Done {
            number,
            key,
            documents,
            ..
        } = done;
        let mut changed = Vec::new();
        for (document, _) in parts
            .into_iter()
            .zip(documents)
            .filter(|(_, written)| written.changed)
        {
            if !changed.contains(&document) {
                changed.push(document);
            }
        }
        if changed.is_empty() && key.is_none() {
            self.ledger.acknowledge(*number, None);
            return None;
        }
        let write = &self.ledger.writes[*number];
        let awaited = !write.ack.is_local();
        let names = write.positions.iter();
        let names: Vec<_> = names.map(|at| (write.namespace.clone(), *at)).collect();
        let process = self.machines[site].process.as_mut();
        let announced = process.and_then(|process| match awaited {
            false => process.announced.pop_front(),
            true => names.into_iter().find_map(|name| {
                let documents = process.awaiting.remove(&name)?;
                let (origin, seq) = name.1;
                Some((documents, origin, seq))
            }),
        });
        match announced {
            Some((documents, origin, seq)) if documents == changed => {
                self.ledger.acknowledge(*number, Some((origin, seq)));
                Some((origin, seq))
            }
            other => {
                let found =
                    format!("w{number} is acknowledged for {changed:?}, and durable is {other:?}");
                self.fail("nothing is acknowledged before it is durable", found);
                None
            }
        }
    }

    /// Checker: the answer to a repeated write is the first one's, whose batch is here.
    fn repeated(&mut self, site: usize, number: usize, documents: &[Written]) {
        self.tally.writes_repeated += 1;
        let write = &self.ledger.writes[number];
        let here = self.durable(site, &write.namespace);
        // Without a mark it shows up here only once somebody was answered.
        let marked = write.parts.iter().any(crate::ledger::Part::is_sure);
        if marked && !write.positions.iter().any(|at| is_in(at, &here)) {
            let found = format!(
                "w{number} is said to be a repetition at {}, which does not hold it: {:?} in {here:?}",
                site_name(site),
                write.positions,
            );
            return self.fail("a write is done once", found);
        }
        let all_known = marked && write.answers.len() == write.positions.len();
        if all_known && !write.answers.iter().any(|answer| answer == documents) {
            let found = format!(
                "w{number} was answered {:?}, and when repeated {documents:?}",
                write.answers
            );
            return self.fail("a repetition is answered as the first was", found);
        }
        self.ledger.acknowledge(number, None);
    }

    /// Checker: what can't but change something is said to.
    fn check_changed(&mut self, number: usize, documents: &[Written]) {
        let mut changed: BTreeMap<&DocumentId, bool> = BTreeMap::new();
        let parts = &self.ledger.writes[number].parts;
        for (part, written) in parts.iter().zip(documents) {
            *changed.entry(&part.document).or_default() |= written.changed || !part.is_sure();
        }
        if let Some((document, _)) = changed.iter().find(|(_, changed)| !**changed) {
            let found =
                format!("w{number} adds something to {document} and is said to change nothing");
            self.fail("a write does what it says", found);
        }
    }

    fn unwritten(&mut self, site: usize, pending: &Pending, undone: &Undone, error: &RequestError) {
        let number = undone.number;
        let write = &self.ledger.writes[number];
        let (at, cause) = match error {
            RequestError::OneOf { index, error, key } => {
                let named = write.parts.get(*index);
                if named.is_none_or(|part| part.document.key != *key) {
                    let found = format!("w{number}: write {index} is not to {key}");
                    return self.fail("errors name the write", found);
                }
                (Some(*index), &**error)
            }
            error => ((write.parts.len() == 1).then_some(0), error),
        };
        let anything = at.is_some_and(|at| write.parts[at].deeds == [Deed::Anything]);
        let poisoned = at.is_some() && at == undone.poison;
        let expected = match cause {
            RequestError::Store(_) => {
                // Whether it survives is not known: the replica may have handed it out already.
                if write.fate == Fate::Pending {
                    self.ledger.writes[number].fate = Fate::Unknown;
                }
                self.tally.writes_unknown += 1;
                return;
            }
            RequestError::Edit(EditError::Internal(what)) => {
                let found = format!("w{number}, {at:?} of {:?}: {what}", write.parts);
                return self.fail("no internal errors", found);
            }
            RequestError::Edit(_) | RequestError::Guard { .. } => poisoned || anything,
            RequestError::Behind { .. } => true,
            RequestError::Full { .. } => {
                self.tally.writes_full += 1;
                // Folds that fail for whatever reason end there in the end.
                let medium = &self.machines[site].medium;
                medium.was_limited() || medium.has_faulted() || medium.was_flipped()
            }
            RequestError::Damaged { .. } => self.machines[site].medium.was_flipped(),
            // It would have been answered like one before it, or refused for what it saw there, and that was taken
            // back.
            RequestError::Busy => self.was_full(site),
            RequestError::KeyReused => undone.key == Some(true),
            RequestError::UnknownVersion { .. } => undone.based && pending.session.is_none(),
            _ => false,
        };
        if !expected {
            let found = format!("w{number} at {} is refused: {error}", site_name(site));
            return self.fail("a write does what it says", found);
        }
        let write = &mut self.ledger.writes[number];
        let fails = undone.poison.is_some() || undone.key == Some(true);
        // What was asked more than once may have been done elsewhere.
        if fails
            || write.fate == Fate::Pending && write.positions.is_empty() && undone.key.is_none()
        {
            write.fate = Fate::Refused;
            if let Some((origin, seq)) = write.positions.first() {
                let found = format!(
                    "w{number} is refused, and it is batch {} of {origin}",
                    seq.0
                );
                self.fail("a refused write leaves no trace", found);
            }
        }
        self.tally.writes_refused += 1;
    }

    /// Checker: a reader finds what was durable here when it asked, and nothing that nobody wrote.
    fn read(
        &mut self,
        pending: &Pending,
        id: &DocumentId,
        at: Option<&Version>,
        snapshot: Option<&Snapshot>,
    ) {
        self.tally.reads += 1;
        if let Some(snapshot) = snapshot {
            self.remember(pending.client, id, &snapshot.version);
            let agreed = self.past.agree(id, snapshot);
            self.check("equal versions are equal documents", agreed);
        }
        if let Some(version) = at {
            self.tally.history_reads += 1;
            if snapshot.is_some_and(|snapshot| snapshot.version != *version) {
                self.fail(
                    "a version is read as it was",
                    format!("{id} at {version} is another"),
                );
            }
            return;
        }
        let mut span = self.span(pending, &id.namespace);
        let value = snapshot.map(|snapshot| &snapshot.value);
        let checked = if is_accounted(&id.key) {
            match Reading::of(value) {
                Ok(reading) => {
                    self.ledger.see(&reading);
                    let only = std::iter::once(&reading);
                    let closed = self.ledger.close(&id.namespace, only, &mut span);
                    closed.and_then(|()| self.ledger.check(id, &reading, &span))
                }
                Err(found) => Err(format!("{id} shows {found}")),
            }
        } else {
            self.ledger
                .check_anything(&id.namespace, &id.key, value, &span)
        };
        self.check("what is read is what was written", checked);
    }

    fn span(&self, pending: &Pending, namespace: &Namespace) -> Span {
        Span {
            low: pending.low.clone(),
            high: self.durable(pending.site, namespace),
        }
    }

    fn page(&mut self, pending: &Pending, page: &Page) {
        let Asked::Scan {
            namespace,
            prefix,
            after,
            limit,
            values,
        } = &pending.asked
        else {
            return;
        };
        self.tally.reads += 1;
        let listed = &page.documents;
        let sorted = listed.windows(2).all(|pair| pair[0].key < pair[1].key);
        let whole = listed
            .iter()
            .all(|listed| listed.snapshot.is_some() == *values);
        let asked = |key: &Key| {
            key.as_str().starts_with(prefix.as_str())
                && after.as_ref().is_none_or(|after| key > after)
        };
        if !sorted
            || !whole
            || listed.len() > *limit
            || !listed.iter().all(|listed| asked(&listed.key))
        {
            return self.fail("listings are in order", format!("{page:?}"));
        }
        for listed in listed {
            let id = DocumentId {
                namespace: namespace.clone(),
                key: listed.key.clone(),
            };
            if let Some(snapshot) = &listed.snapshot {
                let agreed = self.past.agree(&id, snapshot);
                self.check("equal versions are equal documents", agreed);
            }
        }
        if !values {
            return;
        }
        let shown = listed.iter().map(|listed| {
            let value = listed
                .snapshot
                .as_ref()
                .map(|snapshot| snapshot.value.clone());
            (listed.key.clone(), value)
        });
        let last = page
            .next
            .as_ref()
            .and(listed.last())
            .map(|listed| listed.key.clone());
        let covers = |key: &Key| asked(key) && last.as_ref().is_none_or(|last| key <= last);
        let mut span = self.span(pending, namespace);
        // Short pages are put together from several readings if there are deleted documents in between.
        let snapshot = *limit == workload::PAGE_MAX;
        let checked =
            self.ledger
                .check_page(namespace, &shown.collect(), covers, snapshot, &mut span);
        self.check("what is listed is what was written", checked);
    }

    /// Checker: a batch is shown with all its documents, wherever it is shown.
    pub(crate) fn check_shown(&mut self, change: &Visible) {
        if change.repaired.is_some() {
            return;
        }
        let position = (change.origin, change.seq);
        let issued = self.ledger.issued(&change.namespace, &position);
        let Some(number) = issued.and_then(|issued| issued.number) else {
            return;
        };
        let parts = &self.ledger.writes[number].parts;
        let sure = parts.iter().filter(|part| part.is_sure());
        let lacks = sure
            .map(|part| &part.document)
            .find(|id| !change.documents.contains(id));
        let mut shown = change.documents.iter();
        let foreign = shown.find(|id| parts.iter().all(|part| part.document != **id));
        if let Some(id) = lacks.or(foreign) {
            let found = format!(
                "w{number} to {:?} is shown as {:?}: {id}",
                parts
                    .iter()
                    .map(|part| part.document.key.as_str())
                    .collect::<Vec<_>>(),
                change.documents
            );
            self.fail("a batch is shown whole", found);
        }
    }

    fn subscribed(&mut self, site: usize, after: Lsn, changes: &[Visible], next: Lsn) {
        let own = self.machines[site].origin;
        if self.machines[site].subscriber.at != after {
            return;
        }
        let changes = changes.iter();
        for change in changes.filter(|change| !moves(&change.namespace)) {
            let source = own == Some(change.origin);
            let position = (change.origin, change.seq);
            let issued = self.ledger.issued(&change.namespace, &position);
            let held = issued.filter(|_| source).map(|issued| &issued.past);
            let machine = &mut self.machines[site];
            let taken = machine.subscriber.take(change, &mut self.provenance, held);
            if let Err(found) = taken {
                return self.fail("the change feed is whole", format!("subscriber: {found}"));
            }
            self.check_shown(change);
        }
        let machine = &mut self.machines[site];
        if next < machine.subscriber.at {
            let found = format!(
                "to go on from {}, after {} was shown",
                next.0, machine.subscriber.at.0
            );
            return self.fail("the change feed is whole", found);
        }
        machine.subscriber.at = next;
    }
}

/// An answer in short form.
struct Outcome<'a>(&'a Result<Answer, RequestError>);

impl std::fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_ref().map(|answer| &answer.reply) {
            Ok(Reply::Written {
                documents,
                repeated,
                acknowledged,
            }) => {
                let changed: Vec<_> = documents.iter().map(|written| written.changed).collect();
                let again = if *repeated { "before, " } else { "" };
                write!(f, "written, {again}changed: {changed:?}")?;
                let acknowledged = acknowledged.as_ref();
                acknowledged.map_or(Ok(()), |acknowledged| write!(f, ", {acknowledged}"))
            }
            Ok(Reply::SetAside { changed }) => write!(f, "set aside, changed: {changed}"),
            Ok(Reply::Placed { changed }) => write!(f, "placed, changed: {changed}"),
            Ok(Reply::Document { snapshot, .. }) => {
                write!(f, "document, there: {}", snapshot.is_some())
            }
            Ok(Reply::Versions(versions)) => write!(f, "{} versions", versions.versions.len()),
            Ok(Reply::Diff(operations)) => write!(f, "{} differences", operations.len()),
            Ok(Reply::Page(page)) => write!(f, "page of {}", page.documents.len()),
            Ok(Reply::Verified(verified)) => write!(f, "{:?}", verified.peers),
            Ok(Reply::Changes { visible, .. }) => write!(f, "{} batches", visible.len()),
            Err(error) => write!(f, "refused: {error}"),
        }
    }
}
