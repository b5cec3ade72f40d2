//! The engine's errors, sorted by what they mean for us, and the way to start it.

use std::io;
use std::sync::Arc;

use anabranch_core::persist::DocumentRange;

use crate::disk::Disk;
use crate::limits;
use crate::shield::shielded;

/// The first bytes of every file of the engine.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
/// What follows it: a byte of flags, padding, and the size of a page.
const PAGE_SIZE_AT: usize = MAGIC.len() + 3;
const PAGE_BYTES: u32 = 4096;
/// Nothing else is in the file before the magic number is.
const HEADER_BYTES: usize = 320;

/// What went wrong below us.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What is stored is not what was written.
    Damaged {
        /// Which documents can't be read, if it concerns documents.
        range: Option<DocumentRange>,
        /// For people.
        what: String,
    },
    /// There is no room. Nothing was done.
    Full(io::Error),
    /// The disk failed.
    Io(io::Error),
    /// The engine refused for a reason of its own.
    Engine(String),
}

impl Fault {
    /// Damage that concerns no documents, or who knows which.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged {
            range: None,
            what: what.into(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { what, .. } => f.write_str(what),
            Self::Full(error) | Self::Io(error) => error.fmt(f),
            Self::Engine(message) => f.write_str(message),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::StorageError> for Fault {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => error.into(),
            redb::StorageError::Corrupted(what) => Self::damaged(what),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<redb::TableError> for Fault {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            // Every table is there with its types since the store was made.
            other => Self::damaged(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for Fault {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for Fault {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => error.into(),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<redb::SetDurabilityError> for Fault {
    fn from(error: redb::SetDurabilityError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<redb::DatabaseError> for Fault {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::Storage(error) => error.into(),
            other => Self::Engine(other.to_string()),
        }
    }
}

/// What lies on a disk before the engine has looked at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Nothing, or a file whose creation was cut short; it is empty now.
    Nothing,
    /// A file of the engine.
    EngineFile,
    /// Anything else.
    Foreign,
}

/// Looks at the disk, and empties it when a crash left it half created.
pub(crate) fn look(disk: &dyn Disk) -> io::Result<Found> {
    let len = disk.len()?;
    if len == 0 {
        return Ok(Found::Nothing);
    }
    let mut magic = [0; MAGIC.len()];
    if len >= MAGIC.len() as u64 {
        disk.read(0, &mut magic)?;
    }
    if magic == MAGIC {
        return Ok(Found::EngineFile);
    }
    if !unborn(disk, len)? {
        return Ok(Found::Foreign);
    }
    disk.set_len(0)?;
    disk.sync()?;
    Ok(Found::Nothing)
}

/// Whether a crash may have left this between the engine's first write and its second, which puts
/// the magic number in place: at most a header, as far as it was written, and zeros. Nothing was
/// ever reported durable by such a file.
fn unborn(disk: &dyn Disk, len: u64) -> io::Result<bool> {
    if len > limits::UNBORN_BYTES_MAX {
        return Ok(false);
    }
    let Ok(len) = usize::try_from(len) else {
        return Ok(false);
    };
    let mut content = vec![0; len];
    disk.read(0, &mut content)?;
    let mut header = [0; PAGE_SIZE_AT + size_of::<u32>()];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[PAGE_SIZE_AT..].copy_from_slice(&PAGE_BYTES.to_le_bytes());
    let torn = |(at, (byte, whole)): (usize, (&u8, &u8))| {
        let flags = at == MAGIC.len();
        *byte == 0 || byte == whole || flags
    };
    let header_fits = content.iter().zip(&header).enumerate().all(torn);
    Ok(header_fits && content.iter().skip(HEADER_BYTES).all(|byte| *byte == 0))
}

/// Whether an error of reading is about what lies there, and not about the file or the process: EIO, and what file
/// systems with checks of their own say (ENODATA, EBADMSG, EILSEQ, EUCLEAN).
fn is_of_the_sector(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 61 | 74 | 84 | 117))
}

/// The engine's view of a [`Disk`].
///
/// Where a read leads past the end, or the disk can't read a sector, it gives zeros. Zeros are no page, so the engine
/// refuses them, and what lay there is damaged like anything else that is not what was written; an error would make it
/// distrust the whole disk, and refuse every later read for the sake of one bad page.
#[derive(Debug)]
struct EngineDisk(Arc<dyn Disk>);

impl redb::StorageBackend for EngineDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Err(error) = self.0.read(offset, out) {
            // Only a damaged page number leads past the end.
            let past_the_end = offset.saturating_add(out.len() as u64) > self.0.len()?;
            let is_header = offset < HEADER_BYTES as u64;
            if !past_the_end && (is_header || !is_of_the_sector(&error)) {
                return Err(error);
            }
            if !past_the_end {
                tracing::error!(%error, offset, "a part of the documents' file can't be read from the disk");
            }
            out.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What a failed sync leaves is unknown, a full disk included: it must not look like one that did nothing.
        self.0.sync().map_err(io::Error::other)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// The running engine. Stopping it writes, so it can fail or, on a damaged file, panic; by then all
/// that was reported is durable, so neither may reach whoever drops a store.
pub(crate) struct Engine(Option<redb::Database>);

impl Engine {
    /// Starts it on a disk that [`look`] has passed. It walks nothing: every commit leaves behind what the next
    /// start needs, and what is read carries checks of its own.
    pub(crate) fn start(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Self, Fault> {
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(EngineDisk(disk))?;
        Ok(Self(Some(database)))
    }

    /// One that could not be started.
    pub(crate) fn stopped() -> Self {
        Self(None)
    }

    pub(crate) fn database(&self) -> Result<&redb::Database, Fault> {
        let why = "the storage engine could not be started again; restart this process";
        self.0.as_ref().ok_or_else(|| Fault::Engine(why.to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(database) = self.0.take() else {
            return;
        };
        if let Err(fault) = shielded(|| Ok(database.close()?)) {
            tracing::warn!(
                %fault,
                "the documents were not closed cleanly; they recover when they are opened again"
            );
        }
    }
}
