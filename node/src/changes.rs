//! Following what becomes visible at a node.

use std::collections::VecDeque;
use std::sync::Arc;

use anabranch_core::{DocumentId, Lsn, Namespace, Reply, Request, Session, Visible};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::{Error, Node};

/// A feed of batches, in the order in which they became visible here, without gaps: what a slow reader
/// missed is read again from the log. A batch's documents come together, as they were written.
pub struct Changes {
    node: Node,
    live: broadcast::Receiver<Arc<Visible>>,
    placed: watch::Receiver<()>,
    namespace: Option<Namespace>,
    prefix: String,
    /// Everything up to here has been given out, or is not wanted.
    last: Lsn,
    /// Read from the log, not given out yet.
    ready: VecDeque<Visible>,
    /// How far the log has been read into `ready`.
    read_to: Lsn,
    /// Whether the log must be read before the live feed is of use.
    behind: bool,
}

impl Changes {
    pub(crate) fn new(
        node: Node,
        live: broadcast::Receiver<Arc<Visible>>,
        placed: watch::Receiver<()>,
        namespace: Option<Namespace>,
        prefix: String,
        last: Lsn,
        behind: bool,
    ) -> Self {
        Self {
            node,
            live,
            placed,
            // Whether it is here at all is found out by reading.
            behind: behind || namespace.is_some(),
            namespace,
            prefix,
            last,
            ready: VecDeque::new(),
            read_to: last,
        }
    }

    /// The next batch that changed something that is wanted, with the documents of it that are; waits for it.
    /// Safe to drop while waiting.
    ///
    /// # Errors
    /// [`Error::Closed`] when the node shuts down; what the store reports if the log can't be read;
    /// [`RequestError::NotPlacedHere`](crate::RequestError::NotPlacedHere) once the namespace that is followed is placed elsewhere.
    pub async fn next(&mut self) -> Result<Visible, Error> {
        loop {
            if let Some(visible) = self.ready.pop_front() {
                self.last = visible.lsn;
                return Ok(visible);
            }
            self.last = self.last.max(self.read_to);
            if self.behind {
                self.read_on().await?;
                continue;
            }
            let visible = tokio::select! {
                visible = self.live.recv() => visible,
                Ok(()) = self.placed.changed() => {
                    self.behind = true;
                    continue;
                }
            };
            match visible {
                // One record is one batch, so what is not past the last is known already.
                Ok(visible) if visible.lsn > self.last => {
                    self.last = visible.lsn;
                    if let Some(visible) = self.wanted(&visible) {
                        return Ok(visible);
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Err(Error::Closed),
            }
        }
    }

    /// The position to go on from ([`Node::subscribe`]'s `after`) once the last batch given out is dealt with.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.last
    }

    fn wanted(&self, visible: &Visible) -> Option<Visible> {
        let is_wanted = |id: &&DocumentId| {
            let namespace = self.namespace.as_ref();
            namespace.is_none_or(|namespace| id.namespace == *namespace)
                && id.key.as_str().starts_with(&self.prefix)
        };
        let documents: Vec<_> = visible
            .documents
            .iter()
            .filter(is_wanted)
            .cloned()
            .collect();
        let any = self
            .namespace
            .as_ref()
            .is_none_or(|namespace| visible.namespace == *namespace);
        // If not all that has come by a repair is named, something that is wanted may be among the rest.
        let others = any
            && visible
                .repaired
                .as_ref()
                .is_some_and(|repaired| !repaired.whole);
        (others || !documents.is_empty()).then(|| Visible {
            documents,
            ..visible.clone()
        })
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        let request = Request::Changes {
            after: self.last,
            namespace: self.namespace.clone(),
        };
        let answer = self.node.ask(request, Session::default()).await?;
        let Reply::Changes { visible, next } = answer.reply else {
            return Err(Error::Closed);
        };
        if next == self.last {
            self.behind = false;
            return Ok(());
        }
        self.ready = visible
            .iter()
            .filter_map(|visible| self.wanted(visible))
            .collect();
        self.read_to = next;
        Ok(())
    }
}
