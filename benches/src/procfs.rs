//! What the system counts of processes and disks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;

/// What the system counts processors' time in.
const TICKS_PER_S: u64 = 100;

/// Which process.
#[derive(Clone, Copy)]
pub(crate) enum Process {
    Own,
    Other(u32),
}

/// What has become of the processors' time, all of them together, since the machine was started.
#[derive(Clone, Copy)]
pub(crate) struct Processors {
    pub(crate) idle: Duration,
    /// Taken away by the machine below this one, which runs others too.
    pub(crate) stolen: Duration,
}

impl Processors {
    pub(crate) fn read() -> Outcome<Self> {
        const IDLE: usize = 4;
        const STOLEN: usize = 8;
        let text = fs::read_to_string("/proc/stat")?;
        let words: Vec<&str> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let time = |at: usize| {
            let ticks: u64 = words.get(at).ok_or("/proc/stat is short")?.parse()?;
            Outcome::Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_S))
        };
        Ok(Self {
            idle: time(IDLE)?,
            stolen: time(STOLEN)?,
        })
    }
}

/// How long a fixed piece of work takes, in milliseconds: to tell how fast the machine is just now.
pub(crate) fn pace_ms() -> f64 {
    const ROUNDS: u32 = 3;
    let begun = Instant::now();
    let mut numbers: Vec<u64> = Vec::new();
    for round in 0..ROUNDS {
        // Arithmetic and memory, as far as no cache reaches.
        numbers = (0..1 << 20)
            .map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(round))
            .collect();
        numbers.sort_unstable();
    }
    std::hint::black_box(&numbers);
    begun.elapsed().as_secs_f64() * 1e3 / f64::from(ROUNDS)
}

impl Process {
    fn read(self, file: &str) -> Outcome<String> {
        let path = match self {
            Self::Own => format!("/proc/self/{file}"),
            Self::Other(pid) => format!("/proc/{pid}/{file}"),
        };
        Ok(fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?)
    }

    fn number(self, file: &str, name: &str) -> Outcome<u64> {
        let text = self.read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        Ok(word
            .ok_or_else(|| format!("{file} has no {name}"))?
            .parse()?)
    }

    /// Resident memory now and at its height, in MiB.
    pub(crate) fn memory_mib(self) -> Outcome<(f64, f64)> {
        let now = self.number("status", "VmRSS:")?;
        let peak = self.number("status", "VmHWM:")?;
        Ok((now as f64 / 1_024.0, peak as f64 / 1_024.0))
    }

    /// Bytes that it has read from and written to files, from wherever they came.
    pub(crate) fn moved_bytes(self) -> Outcome<u64> {
        Ok(self.number("io", "rchar:")? + self.number("io", "wchar:")?)
    }

    /// The time that it had of the processors.
    pub(crate) fn cpu(self) -> Outcome<Duration> {
        let text = self.read("stat")?;
        // The name before it may hold anything.
        let (_, rest) = text.rsplit_once(')').ok_or("stat has no name")?;
        let ticks: Result<Vec<u64>, _> = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse)
            .collect();
        let ticks: u64 = ticks?.iter().sum();
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_S))
    }
}

/// The disk on which a directory lies.
pub(crate) struct Device {
    dir: PathBuf,
    counts: PathBuf,
}

impl Device {
    pub(crate) fn of(dir: &Path) -> Outcome<Self> {
        let number = fs::metadata(dir)?.dev();
        let major = ((number >> 8) & 0xfff) | ((number >> 32) & !0xfff);
        let minor = (number & 0xff) | ((number >> 12) & !0xff);
        let counts = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        if counts.exists() {
            let dir = dir.to_owned();
            return Ok(Self { dir, counts });
        }
        let dir = dir.display();
        Err(format!("nobody counts what {dir} writes: set TMPDIR to a directory on a disk").into())
    }

    /// Bytes that were written to it, by anybody, with all that was yet to be.
    ///
    /// What the system counts by process is of no use: a write of 200 bytes counts as all that the page cache
    /// holds as one piece around it, 256 KiB with ext4 since Linux 6.16, of which 4 KiB go to the disk.
    pub(crate) fn written_bytes(&self) -> Outcome<u64> {
        const SECTORS_WRITTEN: usize = 6;
        const SECTOR_BYTES: u64 = 512;
        let synced = Command::new("sync").arg("-f").arg(&self.dir).status()?;
        if !synced.success() {
            return Err("sync failed".into());
        }
        let text = fs::read_to_string(&self.counts)?;
        let sectors = text.split_whitespace().nth(SECTORS_WRITTEN);
        Ok(sectors.ok_or("the disk counts nothing")?.parse::<u64>()? * SECTOR_BYTES)
    }
}

/// The time that this thread had of the processors.
pub(crate) fn thread_cpu() -> Outcome<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let word = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(word.parse()?))
}

/// Bytes that files of a directory whose names begin with this take on the disk.
pub(crate) fn allocated(dir: &Path, prefix: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            bytes += entry.metadata()?.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// Has the system forget what it remembers of a directory's files.
pub(crate) fn forget_pages(dir: &Path) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let mut input = std::ffi::OsString::from("if=");
        input.push(entry?.path());
        // The one program at hand that asks for it.
        let done = Command::new("dd")
            .arg(input)
            .args(["iflag=nocache", "count=0", "status=none"])
            .status()?;
        if !done.success() {
            return Err("dd could not drop a file's pages".into());
        }
    }
    Ok(())
}
