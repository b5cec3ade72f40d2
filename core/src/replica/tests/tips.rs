//! Writing by tips leaves the same log as writing through documents, whatever else goes on.

use serde_json::json;

use super::bed::{Bed, batch, increment, origin, read, write, writing};
use crate::document::Document;
use crate::effect::{Request, Write};
use crate::replica::Room;
use crate::{Edit, Intent, Path, Token};

/// Numbers that look random and are the same at every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn a_write(dice: &mut Dice, key: &str) -> Write {
    let item = format!("/items/{}", dice.below(3));
    let edit = match dice.below(9) {
        0..=3 => Edit::Adjust {
            path: path(&format!("{item}/qty")),
            by: 1,
        },
        4 => Edit::Put {
            path: path(&format!("{item}/price")),
            value: json!(dice.below(5)),
        },
        5 => Edit::SetAdd {
            path: path("/tags"),
            value: json!(format!("t{}", dice.below(3))),
        },
        6 => Edit::Remove { path: path(&item) },
        7 => Edit::Append {
            path: path("/notes"),
            value: json!("n"),
        },
        _ => return increment(key, "/visits"),
    };
    let intent = match dice.below(30) {
        0 => Intent::Delete,
        1 => Intent::Replace(json!({"items": {"0": {"price": 1}}})),
        _ => Intent::Edits(vec![edit]),
    };
    write(key, intent)
}

/// The same day twice; `tips` is all that differs.
fn a_day(seed: u64, tips: bool) -> Vec<Vec<u8>> {
    let mut bed = Bed::with_room(Room {
        tips,
        fold_after_ms: 50,
        fold_idle_ms: 20,
        ..Room::default()
    });
    bed.meet([]);
    let mut dice = Dice(seed);
    let mut elsewhere = Document::empty(&origin(2, 1));
    let mut heard = 0;
    for _ in 0..120 {
        let key = |dice: &mut Dice| ["k", "a", "b"][usize::try_from(dice.below(3)).unwrap()];
        match dice.below(20) {
            0 => {
                heard += 1;
                let intent = Intent::Edits(vec![Edit::Adjust {
                    path: path("/items/0/qty"),
                    by: 1,
                }]);
                let changes = elsewhere.write(&intent, 0).map_err(|f| f.error).unwrap();
                bed.hear(batch(origin(2, 1), heard, changes));
            }
            1 => {
                bed.request(read(key(&mut dice)), &Token::default())
                    .unwrap();
            }
            2 => bed.run_until(bed.now_ms + 100),
            3 => {
                bed.replica.shelf.evict(0, None);
            }
            4 => bed.restart_and_meet(),
            5 => {
                let count = dice.below(4) + 1;
                let writes = (0..count).map(|_| {
                    let key = key(&mut dice);
                    a_write(&mut dice, key)
                });
                let request: Request = writing(writes.collect());
                let _ = bed.request(request, &Token::default());
            }
            _ => {
                let key = key(&mut dice);
                let request = writing(vec![a_write(&mut dice, key)]);
                let _ = bed.request(request, &Token::default());
            }
        }
        bed.now_ms += dice.below(10);
    }
    bed.store
        .log
        .iter()
        .map(|record| record.bytes.to_vec())
        .collect()
}

#[test]
fn the_log_is_the_same_with_tips_and_without() {
    for seed in 0..60 {
        assert!(a_day(seed, true) == a_day(seed, false), "seed {seed}");
    }
}

#[test]
fn what_others_create_is_written_to_without_asking_the_store() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.run_until(2_000);
    let mut elsewhere = Document::empty(&origin(2, 1));
    let mut hear_more = |bed: &mut Bed, seq: u64| {
        let Intent::Edits(edits) = increment("k", "/n").intent else {
            unreachable!();
        };
        let changes = elsewhere.write(&Intent::Edits(edits), 0);
        bed.hear(batch(
            origin(2, 1),
            seq,
            changes.map_err(|f| f.error).unwrap(),
        ));
        bed.run_until(bed.now_ms + 2_000);
        bed.hold_fetches = true;
        bed.ask(writing(vec![increment("k", "/n")]), &Token::default())
    };
    let written = hear_more(&mut bed, 1);
    assert!(bed.fetches.is_empty() && bed.answer(written).is_some());
    bed.hold_fetches = false;
    bed.run_until(bed.now_ms + 2_000);
    bed.replica.shelf.evict(0, None);
    // What the store has is not new, whoever writes to it.
    let written = hear_more(&mut bed, 2);
    assert_eq!((bed.fetches.len(), bed.answer(written)), (1, None));
    bed.hold_fetches = false;
    bed.fetch();
    assert_eq!(bed.read("k").unwrap(), json!({"n": 4}));
}
