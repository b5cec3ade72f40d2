//! Where the files of a store lie: a flat directory, so that tests can put one that fails underneath.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, FileDisk};

#[cfg(any(test, feature = "faulty"))]
#[cfg_attr(
    not(feature = "faulty"),
    allow(unreachable_pub, reason = "its users outside come with the feature")
)]
pub mod faulty;

/// A flat directory of files, each a [`Disk`]. One store uses it at a time, from several threads.
pub trait Medium: Debug + Send + Sync + 'static {
    /// The names of its files, in no particular order.
    ///
    /// # Errors
    /// When the medium fails.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing, and makes it, empty, when there is none.
    ///
    /// # Errors
    /// When the medium fails.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// Takes a name away. Whoever has the file open may go on using it.
    ///
    /// # Errors
    /// When the medium fails, or there is no such file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, and takes that name from the file that had it.
    ///
    /// # Errors
    /// When the medium fails, or there is no such file.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Returns once every name made, removed and changed so far survives a power cut. Until then each of these
    /// may come undone, in any order.
    ///
    /// # Errors
    /// When the medium fails.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct FileMedium(PathBuf);

impl FileMedium {
    /// The directory is there already.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Medium for FileMedium {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.0.join(name))?;
        Ok(Arc::new(FileDisk::new(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_made_renamed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("not a file")).unwrap();
        let medium = FileMedium::new(directory.path());
        let disk = medium.open("a").unwrap();
        disk.set_len(4).unwrap();
        disk.write(1, b"xy").unwrap();
        medium.open("b").unwrap();
        medium.rename("a", "b").unwrap();
        medium.sync().unwrap();
        assert_eq!(medium.names().unwrap(), ["b"]);
        let mut read = [9; 4];
        medium.open("b").unwrap().read(0, &mut read).unwrap();
        assert_eq!(&read, b"\0xy\0");
        medium.remove("b").unwrap();
        assert!(medium.names().unwrap().is_empty());
        assert_eq!(
            medium.remove("b").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        disk.read(0, &mut read).unwrap();
    }
}
