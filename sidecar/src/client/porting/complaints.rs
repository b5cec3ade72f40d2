//! Lines that were left out: to people, and into a file.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::progress::Progress;
use super::record::BadLine;
use crate::client::error::ClientError;
use crate::limits;

/// Where they are told.
pub(super) struct Complaints {
    shown: u64,
    file: Option<(PathBuf, File)>,
}

impl Complaints {
    /// An import that goes on adds to the file.
    pub(super) fn open(path: Option<&Path>, goes_on: bool) -> Result<Self, ClientError> {
        let open = |path: &Path| {
            File::options()
                .create(true)
                .write(true)
                .append(goes_on)
                .truncate(!goes_on)
                .open(path)
                .map_err(|source| ClientError::OutputFile {
                    path: path.to_owned(),
                    source,
                })
        };
        let file = match path {
            None => None,
            Some(path) => Some((path.to_owned(), open(path)?)),
        };
        Ok(Self { shown: 0, file })
    }

    pub(super) fn tell(
        &mut self,
        lines: &[BadLine],
        progress: &Progress,
    ) -> Result<(), ClientError> {
        for bad in lines {
            self.shown += 1;
            if self.shown <= limits::BAD_LINES_SHOWN_MAX {
                progress.say(&format!("anabranch: line {}: {}", bad.line, bad.reason));
            } else if self.shown == limits::BAD_LINES_SHOWN_MAX + 1 {
                let all = match self.file {
                    Some(_) => "the file of errors has all of them",
                    None => "--errors FILE writes all of them down",
                };
                progress.say(&format!(
                    "anabranch: further lines that are left out are not shown; {all}"
                ));
            }
        }
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let mut text = Vec::new();
        for bad in lines {
            serde_json::to_writer(&mut text, bad).map_err(|error| ClientError::OutputFile {
                path: path.clone(),
                source: error.into(),
            })?;
            text.push(b'\n');
        }
        file.write_all(&text)
            .map_err(|source| ClientError::OutputFile {
                path: path.clone(),
                source,
            })
    }
}
