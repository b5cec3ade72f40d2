//! A data directory: made, locked, and told apart from its copies.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::medium::FileMedium;
use crate::store::{DOCUMENTS_FILE, look};
use crate::witness::Witness;

/// Locked for as long as a process has the directory open; holds its id.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// See `witness.rs`.
const WITNESS_FILE: &str = "WITNESS";
/// Changes with every start of the machine.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) medium: FileMedium,
    pub(crate) witness: Witness,
    /// Names the documents' file during this very run of the machine; nothing where the system can't say.
    pub(crate) identity: Option<Vec<u8>>,
    /// Held open: closing the file gives up the lock.
    pub(crate) lock: File,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(refused("create", path))?;
        let lock = lock(path)?;
        let medium = FileMedium::new(path);
        look(&medium)?;
        let data_path = path.join(DOCUMENTS_FILE);
        let data = open_file(&data_path)?;
        let witness = open_file(&path.join(WITNESS_FILE))?;
        sync_directory(path)?;
        let metadata = data.metadata().map_err(refused("examine", &data_path))?;
        let identity = identity(&metadata, boot_id().as_deref());
        Ok(Self {
            medium,
            witness: Witness::new(witness),
            identity,
            lock,
        })
    }
}

pub(crate) fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = PathBuf::from(path);
    move |source| OpenError::Directory {
        path,
        doing,
        source,
    }
}

fn open_file(path: &Path) -> Result<File, OpenError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    opened.map_err(refused("open for writing", path))
}

pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_FILE);
    let mut file = open_file(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only decoration: the holder may be about to write it, or may keep it from us.
            let holder = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked {
                directory: directory.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(source)) => return Err(refused("lock", &path)(source)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(refused("write", &path))?;
    Ok(file)
}

/// Makes the names durable: a synced file that no directory names is lost all the same.
#[cfg(unix)]
pub(crate) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let path = path.canonicalize().map_err(refused("examine", path))?;
    for path in [Some(&*path), path.parent()].into_iter().flatten() {
        match File::open(path) {
            Ok(directory) => directory.sync_all().map_err(refused("sync", path))?,
            // Above ours there may be one that this user may pass through and not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(refused("open", path)(error)),
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn sync_directory(_: &Path) -> Result<(), OpenError> {
    Ok(())
}

fn boot_id() -> Option<String> {
    let text = fs::read_to_string(BOOT_ID_FILE).ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// Device and inode name a file; the time of its birth tells it from one that was deleted and whose
/// inode was used again; the boot id limits all of that to one run of the machine, since a disk can
/// be rolled back while it is off. Without a boot id nothing is provable.
#[cfg(unix)]
fn identity(metadata: &Metadata, boot_id: Option<&str>) -> Option<Vec<u8>> {
    use std::os::unix::fs::MetadataExt as _;
    use std::time::UNIX_EPOCH;

    let born = metadata
        .created()
        .ok()
        .and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born_ns = born.map_or(0, |born| born.as_nanos());
    Some(
        format!(
            "{}:{}:{born_ns}:{}",
            metadata.dev(),
            metadata.ino(),
            boot_id?
        )
        .into_bytes(),
    )
}

#[cfg(not(unix))]
fn identity(_: &Metadata, _: Option<&str>) -> Option<Vec<u8>> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_itself_until_it_is_copied_or_the_machine_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&path, b"x").unwrap();
        let of = |path: &Path, boot: Option<&str>| identity(&fs::metadata(path).unwrap(), boot);
        let first = of(&path, Some("boot-1"));
        assert!(first.is_some());
        fs::write(&path, b"more").unwrap();
        assert_eq!(of(&path, Some("boot-1")), first);
        assert_ne!(of(&path, Some("boot-2")), first);
        assert_eq!(of(&path, None), None);
        fs::copy(&path, &copy).unwrap();
        assert_ne!(of(&copy, Some("boot-1")), first);
    }
}
