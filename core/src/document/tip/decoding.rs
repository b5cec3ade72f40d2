//! A change read back: the other way round than [`encoding`], for the same few kinds of operations.
//!
//! What was read is encoded once more and must give every byte again. So a change that is read here is one that a
//! tip could have written, and one that automerge takes.

use automerge::legacy::OpType;
use automerge::{ActorId, ChangeHash, ObjType, ScalarValue};

use super::Id;
use super::encoding::{self, CHUNK_CHANGE, Header, Key, MAGIC, Operation};
use crate::document::intake::{Cursor, rows};

/// A change with more operations is left to the document.
const OPERATIONS_MAX: u64 = 512;
/// And one that names more actors, or more changes before it.
const NAMED_MAX: u64 = 64;

/// A change whose operations name actors by their places in it: 0 is the one that made it.
pub(super) struct Read {
    pub(super) hash: ChangeHash,
    pub(super) header: Header,
    pub(super) actors: Vec<ActorId>,
    pub(super) operations: Vec<Operation>,
}

/// Nothing of what no tip writes.
pub(super) fn change(bytes: &[u8]) -> Option<Read> {
    let mut cursor = Cursor(bytes);
    let is_change = cursor.take(4)? == MAGIC && {
        cursor.take(4)?;
        cursor.take(1)? == [CHUNK_CHANGE]
    };
    if !is_change || cursor.unsigned()? != cursor.0.len() as u64 {
        return None;
    }
    let deps = (0..up_to(NAMED_MAX, cursor.unsigned()?)?)
        .map(|_| Some(ChangeHash(cursor.take(32)?.try_into().ok()?)))
        .collect::<Option<Vec<_>>>()?;
    let writer = ActorId::from(cursor.sized()?);
    let header = Header {
        deps,
        seq: cursor.unsigned()?,
        start_op: cursor.unsigned()?,
        time_s: cursor.signed()?,
    };
    // No message.
    up_to(0, cursor.unsigned()?)?;
    let others = up_to(NAMED_MAX, cursor.unsigned()?)?;
    let mut actors = vec![writer];
    for _ in 0..others {
        actors.push(ActorId::from(cursor.sized()?));
    }
    let operations = Columns::read(&mut cursor)?.operations()?;
    let (hash, again) = encoding::change(&operations, &header, &actors)?;
    (again == bytes).then_some(Read {
        hash,
        header,
        actors,
        operations,
    })
}

fn up_to(max: u64, count: u64) -> Option<u64> {
    (count <= max).then_some(count)
}

/// The columns that a tip writes.
const COLUMNS: [u64; 12] = [
    0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73,
];

struct Columns<'b> {
    /// As in [`COLUMNS`]; those that are left out are empty.
    data: [&'b [u8]; COLUMNS.len()],
}

impl<'b> Columns<'b> {
    fn read(cursor: &mut Cursor<'b>) -> Option<Self> {
        let count = up_to(COLUMNS.len() as u64, cursor.unsigned()?)?;
        let mut found = Vec::with_capacity(COLUMNS.len());
        for _ in 0..count {
            let spec = cursor.unsigned()?;
            let at = COLUMNS.iter().position(|known| *known == spec)?;
            found.push((at, cursor.unsigned()?));
        }
        let mut data: [&[u8]; COLUMNS.len()] = Default::default();
        for (at, len) in found {
            data[at] = cursor.take(len)?;
        }
        Some(Self { data })
    }

    fn operations(&self) -> Option<Vec<Operation>> {
        let [objects, object_counters, after, after_counters, names, ..] = self.data;
        let [
            ..,
            inserts,
            actions,
            kinds,
            values,
            counts,
            replaced,
            replaced_counters,
        ] = self.data;
        up_to(OPERATIONS_MAX, rows(actions, false)?)?;
        let actions = runs(actions, Cursor::unsigned)?;
        let len = actions.len();
        let objects = ids(
            column(objects, len, Cursor::unsigned)?,
            &column(object_counters, len, Cursor::unsigned)?,
        )?;
        let after = ids(
            column(after, len, Cursor::unsigned)?,
            &deltas(column(after_counters, len, Cursor::signed)?)?,
        )?;
        let names = column(names, len, Cursor::sized)?;
        let inserts = flags(inserts, len)?;
        let kinds = column(kinds, len, Cursor::unsigned)?;
        let counts = column(counts, len, Cursor::unsigned)?;
        up_to(len as u64, rows(self.data[9], true)?)?;
        let all = counts.iter().flatten().sum::<u64>();
        let all = usize::try_from(all).ok()?;
        let mut replaced = ids(
            column(replaced, all, Cursor::unsigned)?,
            &deltas(column(replaced_counters, all, Cursor::signed)?)?,
        )?
        .into_iter();
        let mut values = Cursor(values);
        (0..len)
            .map(|at| {
                let key = match (names[at], inserts[at]) {
                    (Some(name), false) => Key::Entry(std::str::from_utf8(name).ok()?.to_owned()),
                    (None, true) => Key::After(after[at].unwrap_or(Id::ROOT)),
                    _ => return None,
                };
                let kind = kinds[at].unwrap_or(0);
                let value = (kind & 0xf, values.take(kind >> 4)?);
                Some(Operation {
                    object: objects[at].unwrap_or(Id::ROOT),
                    key,
                    action: action(actions[at]?, value)?,
                    replaced: match counts[at]? {
                        0 => None,
                        1 => Some(replaced.next()??),
                        _ => return None,
                    },
                })
            })
            .collect()
    }
}

fn action(action: u64, (kind, bytes): (u64, &[u8])) -> Option<OpType> {
    let mut cursor = Cursor(bytes);
    Some(match (action, kind) {
        (0, 0) => OpType::Make(ObjType::Map),
        (2, 0) => OpType::Make(ObjType::List),
        (3, 0) => OpType::Delete,
        (4, 0) => OpType::Make(ObjType::Text),
        (5, 4) => OpType::Increment(cursor.signed()?),
        (1, kind) => OpType::Put(match kind {
            0 => ScalarValue::Null,
            1 => ScalarValue::Boolean(false),
            2 => ScalarValue::Boolean(true),
            3 => ScalarValue::Uint(cursor.unsigned()?),
            4 => ScalarValue::Int(cursor.signed()?),
            5 => ScalarValue::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            6 => ScalarValue::Str(std::str::from_utf8(bytes).ok()?.into()),
            8 => ScalarValue::counter(cursor.signed()?),
            _ => return None,
        }),
        _ => return None,
    })
}

/// The values of a run-length-encoded column, no more than [`OPERATIONS_MAX`].
fn runs<'b, T: Copy>(
    column: &'b [u8],
    mut read: impl FnMut(&mut Cursor<'b>) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    let mut cursor = Cursor(column);
    let mut values = Vec::new();
    while !cursor.0.is_empty() {
        let run = cursor.signed()?;
        let times = match run {
            0 => cursor.unsigned()?,
            run => run.unsigned_abs(),
        };
        up_to(OPERATIONS_MAX, (values.len() as u64).checked_add(times)?)?;
        let times = usize::try_from(times).ok()?;
        match run {
            0 => values.extend(std::iter::repeat_n(None, times)),
            1.. => {
                let value = read(&mut cursor)?;
                values.extend(std::iter::repeat_n(Some(value), times));
            }
            _ => {
                for _ in 0..times {
                    values.push(Some(read(&mut cursor)?));
                }
            }
        }
    }
    Some(values)
}

/// A column of so many rows; one that is empty has nothing in any of them.
fn column<'b, T: Copy>(
    column: &'b [u8],
    rows: usize,
    read: impl FnMut(&mut Cursor<'b>) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    if column.is_empty() {
        return Some(vec![None; rows]);
    }
    runs(column, read).filter(|values| values.len() == rows)
}

/// Each is the difference to the one before.
fn deltas(column: Vec<Option<i64>>) -> Option<Vec<Option<u64>>> {
    let mut last: i64 = 0;
    let value = |delta: Option<i64>| match delta {
        None => Some(None),
        Some(delta) => {
            last = last.checked_add(delta)?;
            u64::try_from(last).ok().map(Some)
        }
    };
    column.into_iter().map(value).collect()
}

fn ids(actors: Vec<Option<u64>>, counters: &[Option<u64>]) -> Option<Vec<Option<Id>>> {
    let pairs = actors.into_iter().zip(counters);
    let id = |(actor, counter): (Option<u64>, &Option<u64>)| match (actor, counter) {
        (None, None) => Some(None),
        // The head of a list has a number, but nobody made it.
        (None, Some(0)) => Some(Some(Id::ROOT)),
        (Some(actor), Some(counter)) => Some(Some(Id {
            counter: u32::try_from(*counter).ok()?,
            actor: u16::try_from(actor).ok()?,
        })),
        _ => None,
    };
    pairs.map(id).collect()
}

/// Runs of flags by turns, beginning with those that are not set.
fn flags(column: &[u8], rows: usize) -> Option<Vec<bool>> {
    let mut cursor = Cursor(column);
    let mut flags = Vec::with_capacity(rows);
    let mut flag = false;
    while !cursor.0.is_empty() {
        let run = usize::try_from(cursor.unsigned()?).ok()?;
        if run > rows - flags.len() {
            return None;
        }
        flags.extend(std::iter::repeat_n(flag, run));
        flag = !flag;
    }
    (flags.len() == rows).then_some(flags)
}
