//! Opens a log: finds out what is there before anything is changed, and then puts it in order.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use anabranch_core::Lsn;

use super::append::Appender;
use super::damage::Damage;
use super::frame::Life;
use super::header::{self, Found, HEADER_BYTES, Header};
use super::room::{self, Room};
use super::segment::{LogFile, Segment};
use super::state::{Live, Spare, State};
use super::tail::{Tail, examine};
use super::walk::Stuck;
use super::{Log, LogFound, LogOptions, LogRefusal, SPARES_MAX};
use crate::engine::Fault;
use crate::medium::Medium;

/// A file and what is at its beginning.
struct Candidate {
    file: LogFile,
    header: Header,
}

/// What lies on the medium.
#[derive(Default)]
struct Inventory {
    /// By rising position; of those with the same the one of the latest life comes last.
    candidates: Vec<Candidate>,
    /// Files with nothing of use in them.
    spares: Vec<LogFile>,
    unreadable: Vec<String>,
    next_life: u64,
    next_name: u64,
}

/// What is to be made of it.
struct Plan {
    live: Vec<Live>,
    /// Of the newest segment.
    tail: Option<(Header, Tail)>,
    /// Files that say that they hold records, and don't.
    idle: Vec<Candidate>,
    lost: Vec<RangeInclusive<Lsn>>,
    end: Lsn,
}

impl Log {
    /// Opens the log of a data directory; an empty one if there is none.
    pub(crate) fn open(
        medium: Arc<dyn Medium>,
        options: &LogOptions,
    ) -> Result<(Self, LogFound), LogRefusal> {
        let mut inventory = take_inventory(&*medium)?;
        let candidates = std::mem::take(&mut inventory.candidates);
        let mut plan = plan(candidates, options).map_err(|Stuck(error)| Fault::Io(error))?;
        put_in_order(&*medium, &plan, &mut inventory)?;
        if let (Some((_, tail)), Some(newest)) = (&plan.tail, plan.live.last())
            && tail.unreadable
        {
            inventory.unreadable.push(newest.segment.file.name.clone());
        }
        let found = LogFound {
            first: plan.live.first().map(|oldest| oldest.segment.first),
            end: (plan.end > Lsn(0)).then_some(plan.end),
            lost: plan.lost,
            unreadable: inventory.unreadable,
        };
        let damage = Damage::default();
        for range in &found.lost {
            damage.note(range);
        }
        // Behind damage the log goes on in a new segment, so that the next opening does not come across it again.
        let whole = |(_, tail): &(_, Tail)| tail.lost.is_empty() && !tail.unreadable;
        let idle = plan.idle.drain(..).map(|idle| idle.file);
        let spares = inventory.spares.into_iter().chain(idle);
        let mut state = State {
            live: plan.live.into(),
            end: plan.end,
            sealed: !plan.tail.as_ref().is_none_or(whole),
            spares: spares.map(|file| Spare { file, was: None }).collect(),
            ready: None,
            failed_life: 0,
            next_life: inventory.next_life,
            next_name: inventory.next_name,
        };
        for spare in state.surplus(SPARES_MAX, options.segment_bytes) {
            medium.remove(&spare.file.name)?;
        }
        let log = Self {
            appender: Mutex::new(Appender::default()),
            room: Room::new(medium, options.segment_bytes, state),
            damage,
        };
        Ok((log, found))
    }
}

/// Reads all headers.
fn take_inventory(medium: &dyn Medium) -> Result<Inventory, LogRefusal> {
    let mut inventory = Inventory {
        next_life: 1,
        next_name: 1,
        ..Inventory::default()
    };
    let mut names = medium.names()?;
    names.sort();
    for name in names {
        let Some(number) = room::number(&name) else {
            continue;
        };
        inventory.next_name = inventory.next_name.max(number.saturating_add(1));
        let disk = medium.open(&name)?;
        let bytes = disk.len()?;
        let file = LogFile { name, disk, bytes };
        match Header::read(&*file.disk, bytes)? {
            Found::Newer(found) => {
                let known = header::VERSION;
                return Err(LogRefusal::NewerFormat { found, known });
            }
            Found::Unreadable => inventory.unreadable.push(file.name),
            Found::Blank if !is_unused(&file)? => inventory.unreadable.push(file.name),
            Found::Blank => inventory.spares.push(file),
            Found::Header(header) => {
                inventory.next_life = inventory.next_life.max(header.life.saturating_add(1));
                if header.first == Lsn(0) {
                    inventory.spares.push(file);
                } else {
                    inventory.candidates.push(Candidate { file, header });
                }
            }
        }
    }
    let order = |candidate: &Candidate| (candidate.header.first, candidate.header.life);
    inventory.candidates.sort_by_key(order);
    Ok(inventory)
}

/// Whether a file without a header is one whose making was cut short: the header is synced before any frame is
/// written.
fn is_unused(file: &LogFile) -> Result<bool, LogRefusal> {
    let mut first = [0; 64];
    if file.bytes < HEADER_BYTES + first.len() as u64 {
        return Ok(true);
    }
    file.disk.read(HEADER_BYTES, &mut first)?;
    Ok(first.iter().all(|byte| *byte == 0))
}

fn segment(candidate: Candidate) -> Segment {
    let Candidate { file, header } = candidate;
    Segment::new(file, Life::new(header.life), header.first)
}

/// Finds the end, and the way back from there to the first record of use.
fn plan(mut candidates: Vec<Candidate>, options: &LogOptions) -> Result<Plan, Stuck> {
    let first_of_use = options.released_before.max(Lsn(1));
    let mut plan = Plan {
        live: Vec::new(),
        tail: None,
        idle: Vec::new(),
        lost: Vec::new(),
        end: Lsn(first_of_use.0 - 1).max(options.reported_end.unwrap_or_default()),
    };
    while let Some(newest) = candidates.pop() {
        let header = newest.header;
        // Its header was written when all before it was durable.
        let before = Lsn(header.first.0 - 1);
        plan.end = plan.end.max(before);
        let newest = segment(newest);
        let tail = examine(&newest, plan.end)?;
        let holds_any = tail.filled > HEADER_BYTES || tail.unreadable || tail.end > before;
        if holds_any {
            plan.end = tail.end;
            plan.lost.clone_from(&tail.lost);
            plan.live.push(Live {
                segment: Arc::new(newest),
                last: tail.end,
                filled: tail.filled,
            });
            plan.tail = Some((header, tail));
            follow_back(&mut plan, header, candidates, first_of_use)?;
            break;
        }
        let file = newest.file;
        plan.idle.push(Candidate { file, header });
    }
    let first = plan
        .live
        .first()
        .map_or(plan.end.next(), |live| live.segment.first);
    if first > first_of_use {
        plan.lost.push(first_of_use..=Lsn(first.0 - 1));
    }
    plan.lost.retain_mut(|range| {
        *range = first_of_use.max(*range.start())..=*range.end();
        !range.is_empty()
    });
    plan.lost.sort_by_key(|range| *range.start());
    Ok(plan)
}

/// Each segment names the one before it, so a missing one is noticed.
fn follow_back(
    plan: &mut Plan,
    newest: Header,
    mut candidates: Vec<Candidate>,
    first_of_use: Lsn,
) -> Result<(), Stuck> {
    let mut after = newest;
    while let Some(candidate) = candidates.pop() {
        let header = candidate.header;
        let in_the_chain = header.first <= after.before && header.first < after.first;
        if after.first <= first_of_use || !in_the_chain {
            plan.idle.push(candidate);
            continue;
        }
        let segment = segment(candidate);
        let mut last = Lsn(after.first.0 - 1);
        if header.first != after.before {
            // Only what it holds itself tells how far it went.
            last = examine(&segment, Lsn(header.first.0 - 1))?.end;
            plan.lost.push(last.next()..=Lsn(after.first.0 - 1));
        }
        plan.live.insert(
            0,
            Live {
                filled: segment.file.bytes,
                segment: Arc::new(segment),
                last,
            },
        );
        after = header;
    }
    Ok(())
}

/// Changes what has to be changed before anything may be appended. Cut short, it is done again by the next opening.
fn put_in_order(
    medium: &dyn Medium,
    plan: &Plan,
    inventory: &mut Inventory,
) -> Result<(), LogRefusal> {
    if let (Some((header, tail)), Some(newest)) = (&plan.tail, plan.live.last()) {
        settle(&newest.segment, header, tail)?;
    }
    for idle in &plan.idle {
        // It says that the log goes on in it. Once the log has gone on elsewhere, that would be wrong.
        let newest = plan.live.last().map(|live| live.segment.first);
        if newest.is_none_or(|newest| idle.header.first >= newest) {
            room::revive(&idle.file, inventory.next_life)?;
            inventory.next_life += 1;
        }
    }
    if !inventory.unreadable.is_empty() {
        for name in &inventory.unreadable {
            tracing::error!(name, "a segment of the log can't be read; it is set aside");
            room::set_aside(medium, name)?;
        }
        medium.sync()?;
    }
    Ok(())
}

/// Makes sure of the newest segment. A record that was found here counts from now on; but if the process that wrote it
/// died before its sync, or saw it fail, it may be nowhere but in memory, and only writing it again makes a sync
/// sure of it. Records of a group that is not whole have to go, or they would come back once others stand before them.
fn settle(segment: &Segment, header: &Header, tail: &Tail) -> Result<(), LogRefusal> {
    let disk = &*segment.file.disk;
    let mut touched = false;
    if let Some(range) = tail.unproven.clone() {
        let mut bytes = Vec::new();
        let mut start = range.start;
        if start == HEADER_BYTES {
            start = 0;
            header.encode(&mut bytes);
        }
        let at = bytes.len();
        let len = usize::try_from(range.end - range.start).unwrap_or_default();
        bytes.resize(at + len, 0);
        disk.read(range.start, &mut bytes[at..])?;
        disk.write(start, &bytes)?;
        touched = true;
    }
    // Where something can't be read, what is torn may be no such thing. The log goes on in another segment then.
    if let Some(range) = tail.torn.clone().filter(|_| !tail.unreadable) {
        let len = usize::try_from(range.end - range.start).unwrap_or_default();
        disk.write(range.start, &vec![0; len])?;
        touched = true;
    }
    if touched {
        disk.sync()?;
    }
    Ok(())
}
