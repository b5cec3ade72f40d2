//! A replica driven by hand, between peers that do what no honest one does.
#![allow(clippy::unwrap_used)]

use serde_json::json;

mod acknowledgement;
mod arrivals;
mod batches;
pub(super) mod bed;
mod causes;
mod company;
mod distrust;
mod disturbed;
mod duo;
mod folding;
mod members;
mod pairs;
mod placement;
mod pushing;
mod receipts;
mod remembered;
mod repairs;
mod salvage;
mod sessions;
mod shelf;
mod sketches;
mod stating;
mod tips;
mod trio;

use bed::{Bed, PEER, batch, namespace, origin};

use super::*;
use crate::codec::Writer;
use crate::document::Document;
use crate::message::{Message, Want};
use crate::{Intent, Seq, limits};

#[test]
fn a_batch_that_changes_nothing_is_not_folded_for_ever() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(batch(origin(2, 1), 1, Vec::new()));
    bed.run_until(10_000);
    assert_eq!(bed.replica.shelf.oldest_unfolded(), None);
}

#[test]
fn one_origin_too_many_does_not_keep_a_replica_from_starting() {
    let mut bed = Bed::new();
    bed.meet([]);
    let intent = Intent::Replace(json!({}));
    let mut document = Document::empty(&origin(2, 1));
    let changes = document.write(&intent, 0).map_err(|f| f.error).unwrap();
    for incarnation in 0..=limits::ORIGINS_MAX as u64 {
        bed.hear(batch(origin(2, incarnation), 1, changes.clone()));
    }
    recoded(&bed.replica.history);
    let space = bed.replica.history.space(&namespace(0)).unwrap();
    assert_eq!(space.accepted.len(), limits::ORIGINS_MAX);
}

#[test]
fn one_namespace_too_many_is_refused() {
    let mut bed = Bed::new();
    for index in 0..limits::NAMESPACES_MAX {
        bed.now_ms += 1;
        assert!(bed.write(namespace(index).as_str()).is_ok());
    }
    assert!(bed.write("another").is_err());
    assert!(bed.write(namespace(0).as_str()).is_ok());
    recoded(&bed.replica.history);
}

#[test]
fn what_is_missing_everywhere_is_asked_for_in_few_frames() {
    let mut bed = Bed::new();
    bed.meet((0..10_000).map(|index| (namespace(index), origin(3, 1), Seq(1))));
    bed.messages();
    bed.run_until(1_000);
    let asked: Vec<_> = bed
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Want(wants) => Some(wants.len()),
            _ => None,
        })
        .collect();
    assert_eq!(asked.iter().sum::<usize>(), 10_000);
    assert!(asked.len() < 20, "{} frames", asked.len());
}

#[test]
fn a_batch_lost_after_a_rest_is_sent_again() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.write("n0").unwrap();
    let held = |seq| Message::Frontier {
        whole: false,
        sections: vec![(namespace(0), vec![(origin(1, 1), Seq(seq))])],
    };
    bed.tell(&held(1));
    bed.run_until(20_000);
    bed.write("n0").unwrap();
    bed.messages();
    bed.run_until(24_500);
    let again = bed.messages();
    assert!(
        again
            .iter()
            .any(|message| matches!(message, Message::Delta(_)))
    );
}

#[test]
fn wants_of_what_nobody_wrote_cost_nothing() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.write("n0").unwrap();
    let wants = (0..100).map(|incarnation| Want {
        namespace: namespace(0),
        origin: origin(7, incarnation),
        after: Some(Seq(u64::MAX - 2)),
    });
    bed.tell(&Message::Want(wants.collect()));
    let streams = bed.replica.peers.session(PEER).unwrap().streams.len();
    assert_eq!(streams, 1);
}

#[test]
fn positions_at_the_end_of_their_range_are_added_up() {
    let mut bed = Bed::new();
    bed.meet((0..3).map(|index| (namespace(index), origin(3, 1), Seq(u64::MAX - 1))));
    let now = Now {
        mono_ms: 2,
        wall_ms: 2,
    };
    assert_eq!(bed.replica.status(now).peers[0].ahead_batches, u64::MAX);
    assert_eq!(Lsn(u64::MAX).next(), Lsn(u64::MAX));
}

/// As it is after a restart at this point.
fn recoded(history: &History) -> History {
    let mut writer = Writer::default();
    history.encode(&mut writer);
    let mut reader = Reader::new(writer.finish());
    let (read, _) = History::decode(&mut reader).unwrap();
    reader.finish().unwrap();
    read
}
