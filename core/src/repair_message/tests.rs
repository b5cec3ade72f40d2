#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::{Incarnation, ReplicaId};

fn encoded(message: &RepairMessage) -> Bytes {
    let mut writer = Writer::default();
    message.encode(&mut writer);
    writer.finish()
}

fn decoded(bytes: Bytes) -> Result<RepairMessage, DecodeError> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8("kind")?;
    let message = RepairMessage::decode(kind, &mut reader)?;
    reader.finish()?;
    Ok(message)
}

#[test]
fn every_message_survives_its_encoding() {
    let origin = Origin {
        replica: ReplicaId([7; 16]),
        incarnation: Incarnation(3),
    };
    let namespace = Namespace::new("carts").unwrap();
    let key = Key::new("k").unwrap();
    let positions = vec![(origin, Seq(9))];
    let mut messages = vec![
        RepairMessage::Compare {
            number: 1,
            namespace: namespace.clone(),
            positions: positions.clone(),
            documents: 5,
            expected: 1 << 40,
            whole: true,
            since_ms: 7,
            follows: 5,
            counters: vec![0, -1, 1, i16::MIN, i16::MAX, -64, 64],
        },
        RepairMessage::Cut {
            number: 1,
            positions: positions.clone(),
            heads: vec![0],
            documents: 7,
            root: u64::MAX,
            salt: 1,
            leaf_bits: 4,
            bits: 2,
            digests: vec![1, 2, 3, u32::MAX],
            cells: vec![Cell::default(), Cell::new((1 << 61) - 2, 3).unwrap()],
        },
        RepairMessage::Differ {
            number: 1,
            positions: vec![0, 3, 4, 900],
            children: vec![4],
        },
        RepairMessage::Leaves {
            number: 1,
            positions: vec![2],
            nodes: vec![
                vec![
                    Leaf { rest: 0, sum: 1 },
                    Leaf {
                        rest: Leaf::rest_of(u64::MAX, 4),
                        sum: 2,
                    },
                ],
                vec![],
            ],
        },
        RepairMessage::Sums {
            number: 1,
            prefixes: vec![0, 1, 1 << 20, (1 << 44) - 1],
            sums: vec![0, 7, u64::MAX, 1],
        },
        RepairMessage::Documents {
            number: 1,
            part: 2,
            documents: vec![GivenDocument {
                key: key.clone(),
                sum: Some(3),
                pieces: vec![Bytes::from_static(b"x"), Bytes::new()],
            }],
            receipts: vec![GivenReceipt {
                key: ReceiptKey([3; 16]),
                time_ms: 5,
                answer: Bytes::from_static(b"done"),
            }],
            unclear: vec![key.clone()],
            last: true,
        },
        RepairMessage::Taken { number: 1, part: 2 },
        RepairMessage::Heads {
            number: 1,
            documents: vec![(key, vec![1, 2])],
        },
        RepairMessage::AskRoot {
            number: 1,
            namespace: namespace.clone(),
            positions: positions.clone(),
            root: Some((3, 4)),
        },
        RepairMessage::AskRoot {
            number: 1,
            namespace: namespace.clone(),
            positions,
            root: None,
        },
        RepairMessage::Root {
            number: 1,
            root: Some((2, 3)),
        },
        RepairMessage::Root {
            number: 1,
            root: None,
        },
        RepairMessage::Behind(vec![(namespace, origin, Seq(3))]),
    ];
    messages.extend(Reason::ALL.map(|reason| RepairMessage::End { number: 1, reason }));
    for message in messages {
        let bytes = encoded(&message);
        assert!(KINDS.contains(&bytes[0]));
        assert_eq!(decoded(bytes).unwrap(), message);
    }
}

/// What no sketch has is told apart when it is read.
#[test]
fn numbers_that_no_sketch_has_are_refused() {
    let cut = |sum: u64| {
        let mut writer = Writer::default();
        let before = [vec![8, 1, 0, 0, 1], vec![0; 8 + 8 + 3], vec![1]].concat();
        writer.rest(&before);
        writer.array(&1_u64.to_le_bytes());
        writer.array(&sum.to_le_bytes());
        decoded(writer.finish())
    };
    cut((1 << 61) - 2).unwrap();
    cut((1 << 61) - 1).unwrap_err();
    let sums = |prefix: u64| {
        let mut writer = Writer::default();
        writer.rest(&[18, 1, 1]);
        writer.number(prefix);
        writer.array(&[0; 8]);
        decoded(writer.finish())
    };
    sums((1 << 44) - 1).unwrap();
    sums(1 << 44).unwrap_err();
    sums(u64::MAX).unwrap_err();
}

proptest! {
    #[test]
    fn garbage_never_panics(kind in KINDS, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut frame = vec![kind];
        frame.extend(bytes);
        let _ = decoded(frame.into());
    }
}
