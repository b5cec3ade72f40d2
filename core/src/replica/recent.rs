//! The newest durable batches in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{Batch, Namespace, Origin, Seq};

/// The newest durable batches, for links that keep up.
#[derive(Default)]
pub(super) struct Recent {
    order: VecDeque<Arc<Batch>>,
    by_origin: BTreeMap<(Namespace, Origin), VecDeque<Arc<Batch>>>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&mut self, batch: Arc<Batch>, bytes_max: usize) {
        let queue = self
            .by_origin
            .entry((batch.namespace.clone(), batch.origin))
            .or_default();
        if queue
            .back()
            .is_some_and(|last| last.seq.next() != batch.seq)
        {
            return;
        }
        queue.push_back(batch.clone());
        self.bytes += batch.bytes();
        self.order.push_back(batch);
        while self.bytes > bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= oldest.bytes();
            let name = (oldest.namespace.clone(), oldest.origin);
            if let Some(queue) = self.by_origin.get_mut(&name) {
                queue.pop_front();
                if queue.is_empty() {
                    self.by_origin.remove(&name);
                }
            }
        }
    }

    /// Lets go of a namespace's.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.by_origin.retain(|(of, _), _| of != namespace);
        self.order.retain(|batch| batch.namespace != *namespace);
        self.bytes = self.order.iter().map(|batch| batch.bytes()).sum();
    }

    pub(super) fn get(
        &self,
        namespace: &Namespace,
        origin: &Origin,
        seq: Seq,
    ) -> Option<&Arc<Batch>> {
        let queue = self.by_origin.get(&(namespace.clone(), *origin))?;
        let first = queue.front()?.seq;
        queue.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?)
    }

    /// The oldest batch of an origin that is there.
    pub(super) fn oldest(&self, namespace: &Namespace, origin: &Origin) -> Option<Seq> {
        let queue = self.by_origin.get(&(namespace.clone(), *origin))?;
        queue.front().map(|batch| batch.seq)
    }
}
