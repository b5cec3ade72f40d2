//! What a store lies on: five calls, so that tests can put a disk that fails underneath.

use std::fmt::Debug;
use std::fs::File;
use std::io;

/// A resizable run of bytes. One store uses it at a time, from several threads.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// When the medium fails.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing yet.
    ///
    /// # Errors
    /// When the medium fails.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` with the bytes from `offset` on, those not yet synced included.
    ///
    /// # Errors
    /// When the medium fails, or ends before `into` is full.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Cuts or extends it; new bytes are zero.
    ///
    /// # Errors
    /// When the medium fails.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns once everything written and every change of length so far survives a power cut.
    ///
    /// # Errors
    /// When the medium fails; what was written since the last sync may then be there or not.
    fn sync(&self) -> io::Result<()>;

    /// Writes within the length. Until the next sync it may be lost, torn or reordered by a crash.
    ///
    /// # Errors
    /// When the medium fails.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// One file.
#[derive(Debug)]
pub(crate) struct FileDisk(#[cfg(unix)] File, #[cfg(not(unix))] std::sync::Mutex<File>);

impl FileDisk {
    #[cfg(unix)]
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    #[cfg(not(unix))]
    pub(crate) fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }
}

#[cfg(unix)]
impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, into, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }
}

/// Elsewhere reading at a position moves the one cursor of the file, hence the lock.
#[cfg(not(unix))]
impl FileDisk {
    fn at<T>(&self, offset: u64, act: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut file = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        io::Seek::seek(&mut *file, io::SeekFrom::Start(offset))?;
        act(&mut file)
    }
}

#[cfg(not(unix))]
impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        self.at(0, |file| Ok(file.metadata()?.len()))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.at(offset, |file| io::Read::read_exact(file, into))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.at(0, |file| file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.at(0, |file| file.sync_data())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.at(offset, |file| io::Write::write_all(file, bytes))
    }
}
