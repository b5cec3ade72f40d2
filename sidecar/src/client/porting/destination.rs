//! Where an export goes. A file is written beside its name and gets it when it is whole.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::client::error::ClientError;

/// What a file's name has at its end until the file is whole.
const PARTIAL: &str = ".partial";

/// Standard output, or a file.
pub(super) enum Destination {
    Stdout(BufWriter<Stdout>),
    /// What is no regular file (a pipe, `/dev/null`) can't be replaced, and is written as it is.
    Device(PathBuf, BufWriter<File>),
    Whole(WholeFile),
}

impl Destination {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, ClientError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        match path.metadata() {
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path);
                let file = file.map_err(failed(path))?;
                Ok(Self::Device(path.to_owned(), BufWriter::new(file)))
            }
            // Where it leads to is replaced, not the link.
            Ok(_) => {
                let path = path.canonicalize().map_err(failed(path))?;
                Ok(Self::Whole(WholeFile::create(path)?))
            }
            Err(_) => Ok(Self::Whole(WholeFile::create(path.to_owned())?)),
        }
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match self {
            Self::Stdout(out) => Ok(out.write_all(bytes)?),
            Self::Device(path, out) => out.write_all(bytes).map_err(failed(path)),
            Self::Whole(file) => file.out.write_all(bytes).map_err(failed(&file.path)),
        }
    }

    /// Hands over what was written so far, so that whoever reads along need not wait for the rest.
    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        match self {
            Self::Stdout(out) => Ok(out.flush()?),
            Self::Device(path, out) => out.flush().map_err(failed(path)),
            Self::Whole(_) => Ok(()),
        }
    }

    /// All is written: a file gets its name.
    pub(super) fn finish(mut self) -> Result<(), ClientError> {
        self.flush()?;
        match self {
            Self::Stdout(_) | Self::Device(..) => Ok(()),
            Self::Whole(file) => file.finish(),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::OutputFile { path, source }
}

/// A file that appears under its name once it is whole and on disk, in one step.
pub(in crate::client) struct WholeFile {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    is_whole: bool,
}

impl WholeFile {
    pub(in crate::client) fn create(path: PathBuf) -> Result<Self, ClientError> {
        let mut partial = path.clone().into_os_string();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = own(&partial)?.ok_or_else(|| ClientError::OutputBusy {
            path: partial.clone(),
        })?;
        file.set_len(0).map_err(failed(&partial))?;
        Ok(Self {
            path,
            partial,
            out: BufWriter::new(file),
            is_whole: false,
        })
    }

    pub(in crate::client) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    fn finish(self) -> Result<(), ClientError> {
        self.finish_after(|_| Ok(()))
    }

    /// Gives it its name if it stands a test, once it is on disk.
    pub(in crate::client) fn finish_after<T>(
        mut self,
        test: impl FnOnce(&Path) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let flushed = self.out.flush();
        flushed
            .and_then(|()| self.out.get_ref().sync_all())
            .map_err(failed(&self.path))?;
        let tested = test(&self.partial)?;
        self.rename().map_err(failed(&self.path))?;
        self.is_whole = true;
        Ok(tested)
    }

    fn rename(&mut self) -> io::Result<()> {
        std::fs::rename(&self.partial, &self.path)?;
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Opens a file that nobody else is writing; none if somebody is. What a killed process left is taken over.
fn own(path: &Path) -> Result<Option<File>, ClientError> {
    loop {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(path)(error)),
        }
        // Between the two it may have become somebody else's whole file: that one is not ours to write.
        let ours = file.metadata().map_err(failed(path))?;
        match path.metadata() {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                return Ok(Some(file));
            }
            _ => {}
        }
    }
}

/// Replaces a small file in one step.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), ClientError> {
    let mut file = WholeFile::create(path.to_owned())?;
    file.out.write_all(content).map_err(failed(path))?;
    file.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        let partial = root.path().join("out.partial");
        std::fs::write(&path, "old").unwrap();
        std::fs::write(&partial, "left behind by a process that was killed").unwrap();

        let mut out = Destination::open(Some(&path)).unwrap();
        out.write(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let other = Destination::open(Some(&path)).err().unwrap();
        assert!(matches!(other, ClientError::OutputBusy { .. }), "{other}");
        out.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(!partial.exists());

        let mut out = Destination::open(Some(&path)).unwrap();
        out.write(b"given up").unwrap();
        drop(out);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(!partial.exists());
    }

    #[test]
    fn a_link_and_a_device_stay_what_they_are() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("out"), root.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut out = Destination::open(Some(&link)).unwrap();
        out.write(b"new").unwrap();
        out.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let null = Destination::open(Some(Path::new("/dev/null"))).unwrap();
        assert!(matches!(null, Destination::Device(..)));
    }
}
