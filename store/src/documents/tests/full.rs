//! There is no more room, or the disk breaks, at every call that changes it.

use super::disks::{FaultyDisk, Trouble};
use super::{change, compact, content, folding, id, list, open};
use crate::documents::Documents;
use crate::engine::Fault;

fn first() -> anabranch_core::persist::Fold {
    folding((0..60).map(|number| (number, vec![change(1, 300)])))
}

fn second() -> anabranch_core::persist::Fold {
    folding((0..90).map(|number| (number, vec![change(2, 400)])))
}

fn holds_at_least_the_first(documents: &Documents) {
    for number in 0..60 {
        let held = documents.document(&id(number)).unwrap().unwrap();
        assert!(content(&held).contains(&1), "{number}");
    }
    assert!(list(documents, 20).unwrap().len() >= 60);
}

#[test]
fn without_room_reads_go_on_and_the_next_fold_with_room_succeeds() {
    let mut refused = 0;
    for calls_left in 0.. {
        let disk = FaultyDisk::new(Vec::new());
        let documents = open(&disk);
        documents.fold(&first(), compact).unwrap();
        disk.plan(Trouble::Full, calls_left, 0);
        match documents.fold(&second(), compact) {
            Ok(_) => break,
            Err(Fault::Full(_)) => refused += 1,
            Err(fault) => panic!("after {calls_left} calls: {fault:?}"),
        }
        holds_at_least_the_first(&documents);
        assert!(
            matches!(documents.fold(&second(), compact), Err(Fault::Full(_))),
            "after {calls_left} calls"
        );
        holds_at_least_the_first(&documents);
        disk.plan(Trouble::Full, u64::MAX, 0);
        documents.fold(&second(), compact).unwrap();
        let held = list(&documents, 20).unwrap();
        assert_eq!(held.len(), 90);
        drop(documents);
        assert!(list(&open(&FaultyDisk::new(disk.bytes())), 20).unwrap() == held);
    }
    assert!(refused > 5);
}

#[test]
fn after_the_disk_broke_reads_go_on_and_nothing_is_written() {
    for calls_left in 0.. {
        let disk = FaultyDisk::new(Vec::new());
        let documents = open(&disk);
        documents.fold(&first(), compact).unwrap();
        disk.plan(Trouble::Broken, calls_left, 0);
        match documents.fold(&second(), compact) {
            Ok(_) => break,
            Err(Fault::Io(_)) => {}
            Err(fault) => panic!("after {calls_left} calls: {fault:?}"),
        }
        holds_at_least_the_first(&documents);
        disk.plan(Trouble::Broken, u64::MAX, 0);
        let refused = documents.fold(&second(), compact).unwrap_err();
        assert!(refused.to_string().contains("restart"), "{refused}");
        holds_at_least_the_first(&documents);
        drop(documents);
        let documents = open(&FaultyDisk::new(disk.bytes()));
        documents.fold(&second(), compact).unwrap();
        assert_eq!(list(&documents, 20).unwrap().len(), 90);
    }
}
