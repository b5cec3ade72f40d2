//! The floor: the same disk, without a document, a replica or a queue in the way.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, Durability, TableDefinition};

use crate::Outcome;
use crate::spread::Spread;

const RECORD_BYTES: usize = 200;
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// What a replica would keep if it were nothing but a log in redb: records under rising numbers.
pub(crate) struct SequentialLog {
    database: Database,
    next: u64,
    // Last: removed once the database is closed.
    _dir: tempfile::TempDir,
}

impl SequentialLog {
    pub(crate) fn create() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let database = Database::create(dir.path().join("log.redb"))?;
        Ok(Self {
            database,
            next: 0,
            _dir: dir,
        })
    }

    /// Makes records durable with one commit.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for record in records {
                table.insert(self.next, &**record)?;
                self.next += 1;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Commits of one record each: how long one takes.
pub(crate) fn lone_commits(time: Duration) -> Outcome<Spread> {
    let mut log = SequentialLog::create()?;
    let record = [vec![7; RECORD_BYTES]];
    // A file that grows syncs slower than one that has its size.
    for _ in 0..512 {
        log.append(&record)?;
    }
    let mut spread = Spread::default();
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        log.append(&record)?;
        spread.add(begun.elapsed());
    }
    Ok(spread)
}

/// One page after the other written anew in a file that has its size, with a sync each: what the disk gives.
pub(crate) fn rewrites(time: Duration) -> Outcome<Spread> {
    const PAGE: usize = 4 << 10;
    const PAGES: u64 = 1_024;
    let dir = tempfile::tempdir()?;
    let file = preallocated(&dir.path().join("pages"), PAGE * 1_024)?;
    let mut spread = Spread::default();
    let started = Instant::now();
    while started.elapsed() < time {
        let at = spread.len() as u64 % PAGES * PAGE as u64;
        let begun = Instant::now();
        file.write_all_at(&[7; PAGE], at)?;
        file.sync_data()?;
        spread.add(begun.elapsed());
    }
    Ok(spread)
}

fn preallocated(path: &Path, bytes: usize) -> Outcome<File> {
    let file = File::create_new(path)?;
    file.write_all_at(&vec![0; bytes], 0)?;
    file.sync_all()?;
    Ok(file)
}
