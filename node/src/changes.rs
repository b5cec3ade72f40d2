//! Following what becomes visible at a node.

use std::collections::VecDeque;

use anabranch_core::{Change, Lsn, Namespace, Reply, Request};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Error, Node};

/// A feed of changes, in the order in which they became visible here, without gaps: what a slow reader
/// missed is read again from the log.
pub struct Changes {
    node: Node,
    live: broadcast::Receiver<Change>,
    namespace: Option<Namespace>,
    prefix: String,
    /// Everything up to here has been given out.
    last: Lsn,
    /// What the live feed says up to here is known already. One record may hold several changes, so this is
    /// not simply the last.
    floor: Lsn,
    /// Read from the log, not given out yet.
    ready: VecDeque<Change>,
    /// Whether the log must be read before the live feed is of use.
    behind: bool,
}

impl Changes {
    pub(crate) fn new(
        node: Node,
        live: broadcast::Receiver<Change>,
        namespace: Option<Namespace>,
        prefix: String,
        last: Lsn,
        behind: bool,
    ) -> Self {
        Self {
            node,
            live,
            namespace,
            prefix,
            last,
            floor: last,
            ready: VecDeque::new(),
            behind,
        }
    }

    /// The next change; waits for it. Safe to drop while waiting.
    ///
    /// # Errors
    /// [`Error::Closed`] when the node shuts down; what the store reports if the log can't be read.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.last = change.lsn;
                return Ok(change);
            }
            if self.behind {
                self.read_on().await?;
                continue;
            }
            match self.live.recv().await {
                Ok(change) if change.lsn > self.floor => {
                    if !self.is_wanted(&change) {
                        self.last = change.lsn;
                        continue;
                    }
                    self.last = change.lsn;
                    return Ok(change);
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Err(Error::Closed),
            }
        }
    }

    /// The position to go on from ([`Node::subscribe`]'s `after`) once the last change given out is dealt with.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.last
    }

    fn is_wanted(&self, change: &Change) -> bool {
        let id = &change.document;
        self.namespace
            .as_ref()
            .is_none_or(|namespace| id.namespace == *namespace)
            && id.key.as_str().starts_with(&self.prefix)
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        let Reply::Changes { changes, next } = self
            .node
            .request(Request::Changes { after: self.last })
            .await?
        else {
            return Err(Error::Closed);
        };
        if next == self.last {
            self.behind = false;
            self.floor = self.last;
            return Ok(());
        }
        self.ready = changes
            .into_iter()
            .filter(|change| self.is_wanted(change))
            .collect();
        if self.ready.is_empty() {
            self.last = next;
        }
        Ok(())
    }
}
