//! What is imported, line by line, wherever it comes from. Never more of it in memory than a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::position::{Mark, Position};
use crate::client::error::ClientError;
use crate::limits;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An input, and how far it has been read.
pub(super) struct Source {
    name: String,
    reader: BufReader<Box<dyn Read + Send>>,
    at: Mark,
    head: Head,
    length: Option<u64>,
    line: Vec<u8>,
}

/// An input's first bytes.
#[derive(Clone)]
pub(super) struct Head(Arc<[u8]>);

impl Head {
    /// By what the input is known again, having been read up to a mark: what comes later may still be mended.
    pub(super) fn hash(&self, up_to: Mark) -> String {
        let up_to = usize::try_from(up_to.bytes).unwrap_or(usize::MAX);
        let head = self.0.get(..up_to).unwrap_or(&self.0);
        blake3::hash(head).to_hex()[..32].to_owned()
    }
}

/// Where a line was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: u64,
    /// What is before it.
    pub(super) before: Mark,
    /// How long it is, if that is too long.
    pub(super) too_long: Option<u64>,
}

impl Source {
    /// Opens a file, or standard input if it is called `-`, to go on from a position if one is given.
    pub(super) fn open(path: &Path, from: Option<&Position>) -> Result<Self, ClientError> {
        let is_stdin = path == Path::new("-");
        let name = match is_stdin {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        // The byte before the position is looked at.
        let skip = from.map_or(0, |from| from.at.bytes.saturating_sub(1));
        let opened = match is_stdin {
            true => Self::piped(name.clone(), Box::new(io::stdin()), skip),
            false => File::open(path).and_then(|file| Self::of_file(name.clone(), file, skip)),
        };
        let mut source = opened.map_err(|source| ClientError::Input { from: name, source })?;
        if let Some(from) = from {
            source.go_on(from)?;
        }
        Ok(source)
    }

    fn of_file(name: String, mut file: File, skip: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Self::piped(name, Box::new(file), skip);
        }
        let head = head(&mut file)?;
        file.seek(SeekFrom::Start(skip))?;
        let mut source = Self::new(name, Box::new(file), head);
        source.length = Some(metadata.len());
        Ok(source)
    }

    /// What can only be read once, from its beginning.
    fn piped(name: String, mut reader: Box<dyn Read + Send>, skip: u64) -> io::Result<Self> {
        let head = head(&mut reader)?;
        let mut all = Cursor::new(head.clone()).chain(reader);
        io::copy(&mut (&mut all).take(skip), &mut io::sink())?;
        Ok(Self::new(name, Box::new(all), head))
    }

    fn new(name: String, reader: Box<dyn Read + Send>, head: Vec<u8>) -> Self {
        Self {
            name,
            reader: BufReader::with_capacity(limits::IMPORT_HEAD_BYTES, reader),
            at: Mark::default(),
            head: Head(head.into()),
            length: None,
            line: Vec::new(),
        }
    }

    /// Begins at a position, if this is the input in which it was.
    fn go_on(&mut self, from: &Position) -> Result<(), ClientError> {
        let other = |why: &str| ClientError::Position {
            place: format!("line {} of {}", from.at.lines + 1, self.name),
            why: why.to_owned(),
        };
        if self.head.hash(from.at) != from.head {
            let why = "it begins otherwise than what was imported: give the same input";
            return Err(other(why));
        }
        self.at = from.at;
        if from.at.bytes == 0 {
            return Ok(());
        }
        let mut last = [0];
        if self.reader.read_exact(&mut last).is_err() {
            let why = "it is shorter than what was imported: give the same input";
            return Err(other(why));
        }
        let is_end = self.reader.fill_buf().is_ok_and(<[u8]>::is_empty);
        match last == *b"\n" || is_end {
            true => Ok(()),
            false => Err(other(
                "no line begins there any more: give the input as it was",
            )),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, if that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Up to where it has been read.
    pub(super) fn at(&self) -> Mark {
        self.at
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Reads a line, whose text is [`Self::text`] then.
    pub(super) fn advance(&mut self) -> Result<Option<Place>, ClientError> {
        let before = self.at;
        let (read, too_long) = self.read_line().map_err(|source| ClientError::Input {
            from: self.name.clone(),
            source,
        })?;
        if read == 0 {
            return Ok(None);
        }
        if before.bytes == 0 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        self.at = Mark {
            lines: before.lines + 1,
            bytes: before.bytes + read,
        };
        Ok(Some(Place {
            line: self.at.lines,
            before,
            too_long: too_long.then_some(read),
        }))
    }

    /// Bytes of the next line, and whether they are too many to be kept.
    fn read_line(&mut self) -> io::Result<(u64, bool)> {
        self.line.clear();
        let max = limits::IMPORT_LINE_BYTES_MAX as u64 + 1;
        let mut bounded = (&mut self.reader).take(max);
        let read = bounded.read_until(b'\n', &mut self.line)? as u64;
        let is_cut = read == max && !self.line.ends_with(b"\n");
        if !is_cut {
            return Ok((read, false));
        }
        self.line.clear();
        let rest = self.reader.skip_until(b'\n')? as u64;
        Ok((read + rest, true))
    }

    /// The line that was read last.
    pub(super) fn text(&self) -> &[u8] {
        self.line.trim_ascii()
    }
}

fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let wanted = limits::IMPORT_HEAD_BYTES as u64;
    reader.take(wanted).read_to_end(&mut head)?;
    Ok(head)
}
