//! Leaving a cluster for good.

use std::time::Duration;

use crate::{LeaveError, Node};

/// How long the others have to note that this node leaves. Whoever does not hears it from those who have.
const NOTING: Duration = Duration::from_secs(3);
/// How often it is looked who holds this node's writes.
const LOOK: Duration = Duration::from_millis(50);

impl Node {
    /// Waits until somebody else holds all that was written here, so that this node may go.
    ///
    /// # Errors
    /// When nobody does in time, or this node runs alone.
    pub async fn may_leave(&self, wait: Duration) -> Result<(), LeaveError> {
        let held = async {
            loop {
                match self.is_held().await {
                    Err(LeaveError::NotHeld { .. }) => tokio::time::sleep(LOOK).await,
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(wait, held).await {
            Ok(held) => held,
            Err(_) => self.is_held().await,
        }
    }

    async fn is_held(&self) -> Result<(), LeaveError> {
        if self.roster().is_none() {
            return Err(LeaveError::Alone);
        }
        let report = self.status().await.map_err(|_| LeaveError::Closed)?;
        let is_linked = |replica| report.links.iter().any(|link| link.peer == replica);
        let peers = report.replica.peers.iter();
        let lacking = peers
            .filter(|peer| is_linked(peer.replica))
            .map(|peer| peer.behind_batches)
            .min();
        match lacking {
            Some(0) => Ok(()),
            batches => Err(LeaveError::NotHeld { batches }),
        }
    }

    /// Tells the others that this node leaves the cluster for good: they remember it as one that has left, and don't try
    /// to reach it any more. [Shut it down](Node::shutdown) next; it must not take writes any more.
    ///
    /// Before that, waits until somebody else holds all that was written here. A node that is started again on the same
    /// data is a member again.
    ///
    /// # Errors
    /// When nobody holds all of it in time, and `force` is not set; the node goes on as before. When it runs alone.
    pub async fn leave(&self, wait: Duration, force: bool) -> Result<(), LeaveError> {
        let roster = self.roster().ok_or(LeaveError::Alone)?;
        match self.may_leave(wait).await {
            Err(LeaveError::NotHeld { .. }) if force => {
                tracing::warn!("leaving by force: what no other node holds is lost");
            }
            held => held?,
        }
        if !roster.leave(NOTING).await {
            tracing::warn!(
                "not every node has noted that this one leaves; they hear it from the others"
            );
        }
        Ok(())
    }
}
