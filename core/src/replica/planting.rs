//! Deliberate bugs, and where they are asked for.

use super::Replica;
use crate::{Namespace, Origin, Seq};

/// Deliberate bugs, to prove that the simulator finds them.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Answers writers before their write is durable.
    AcknowledgeBeforeSync,
    /// Sends batches to peers before they are durable.
    GossipBeforeSync,
    /// Takes a batch although one before it is missing.
    DropDeltaAtFrontier,
    /// Takes a batch again that it holds already.
    ApplyTwice,
    /// Hands a batch of several documents out as two.
    SplitBatch,
    /// Serves a session that has seen more than is here.
    IgnoreToken,
    /// After a restart, takes batches that come before their causes.
    ForgetHoldBack,
    /// Gives containers that two datacenters create an identity of their own in each.
    LocalIdentity,
    /// Lets a removal take what its writer could not see.
    RemoveUnseen,
    /// Folds changes that are not durable yet.
    FoldBeforeSync,
    /// Lets go of log that a member still needs.
    ReleaseNeeded,
    /// Tells peers that it holds what is not durable yet.
    AcknowledgeUnsynced,
    /// Overlooks one document of those that differ.
    OverlookDifference,
    /// Lets what a repair brings count before all of it is there.
    ArriveEarly,
    /// Shows what a repair brings as it comes, before all of it is there.
    ShowEarly,
    /// Puts the parts of a large batch together in another order.
    MixParts,
    /// Believes a source that others have written what it says they have.
    BelieveFrontier,
    /// Counts a change twice when its batch has several documents.
    CountTwice,
}

impl Replica {
    #[cfg(feature = "planted")]
    pub(super) fn planted_acknowledge_early(&self) -> bool {
        self.config.planted == Some(Planted::AcknowledgeBeforeSync)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_acknowledge_early(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_fold_early(&self) -> bool {
        self.config.planted == Some(Planted::FoldBeforeSync)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_fold_early(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_release_needed(&self) -> bool {
        self.config.planted == Some(Planted::ReleaseNeeded)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_release_needed(&self) -> bool {
        false
    }

    /// Up to where a peer is told that we hold an origin durably.
    #[cfg(feature = "planted")]
    pub(super) fn planted_stated(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        match self.config.planted {
            Some(Planted::AcknowledgeUnsynced) => self.history.accepted(namespace, origin),
            _ => self.history.durable(namespace, origin),
        }
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_stated(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        self.history.durable(namespace, origin)
    }

    #[cfg(feature = "planted")]
    pub(super) fn is_planted(&self) -> bool {
        self.config.planted.is_some()
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn is_planted(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_ignore_token(&self) -> bool {
        self.config.planted == Some(Planted::IgnoreToken)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_ignore_token(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_overlook_difference(&self) -> bool {
        self.config.planted == Some(Planted::OverlookDifference)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_overlook_difference(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_arrive_early(&self) -> bool {
        self.config.planted == Some(Planted::ArriveEarly)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_arrive_early(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_show_early(&self) -> bool {
        self.config.planted == Some(Planted::ShowEarly)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_show_early(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_believe_frontier(&self) -> bool {
        self.config.planted == Some(Planted::BelieveFrontier)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_believe_frontier(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_count_twice(&self) -> bool {
        self.config.planted == Some(Planted::CountTwice)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_count_twice(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted_mix_parts(&self) -> bool {
        self.config.planted == Some(Planted::MixParts)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) fn planted_mix_parts(&self) -> bool {
        false
    }
}
