//! Sessions on the command line: what one command has seen, the next one sees, at whatever node.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch::Token;

use super::Common;
use super::connection::{Answer, Call, Connection};
use super::error::ClientError;
use super::output::Output;
use crate::http::session;

/// How a command goes on with a session.
#[derive(clap::Args)]
pub(super) struct Visit {
    /// Go on with the session in this file, and keep it there: what one command has seen, the next one sees, at any node
    #[arg(long, value_name = "FILE", env = "ANABRANCH_SESSION")]
    session: Option<PathBuf>,
    /// Go on with the session of this token, as an answer gave it (`--output json` prints them)
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
    /// How long the node may wait for other datacenters (for what the session has seen there, and for their
    /// acknowledgements), such as 2s or 500ms
    #[arg(long, value_name = "TIME", value_parser = session::parse_wait)]
    wait: Option<Duration>,
}

impl Visit {
    pub(super) fn open(&self, common: &Common) -> Result<(Session, Output), ClientError> {
        let kept = match &self.session {
            None => None,
            Some(path) => Some((path.clone(), read(path)?)),
        };
        let mut token = self.token.clone().unwrap_or_default();
        if let Some((_, kept)) = &kept {
            token.merge(kept);
        }
        let wait = self.wait;
        let connection = Connection::new(&common.url, wait.unwrap_or_default())?;
        let session = Session {
            connection,
            token,
            kept,
            wait,
        };
        Ok((session, Output::new(common.output)))
    }
}

/// Requests that go on with one session.
pub(super) struct Session {
    connection: Connection,
    token: Token,
    /// The file that it is kept in, and what that said at last.
    kept: Option<(PathBuf, Token)>,
    wait: Option<Duration>,
}

impl Session {
    /// A new one, that nobody goes on with.
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            token: Token::default(),
            kept: None,
            wait: None,
        }
    }

    /// Asks, takes anything but success for an error, and remembers in any case what was seen.
    pub(super) fn call(&mut self, mut call: Call<'_>) -> Result<Answer, ClientError> {
        if !self.token.is_empty() {
            call.headers.push((session::TOKEN, self.token.to_string()));
        }
        if let Some(wait) = self.wait {
            call.headers
                .push((session::WAIT, format!("{}ms", wait.as_millis())));
        }
        let reply = self.connection.ask(&call)?;
        if let Some(token) = &reply.answer.token {
            self.saw(token.parse().map_err(|_| ClientError::NotAnabranch)?)?;
        }
        reply.success()
    }

    fn saw(&mut self, token: Token) -> Result<(), ClientError> {
        self.token = token;
        if let Some((path, before)) = &mut self.kept {
            *before = keep(path, before, &self.token)?;
        }
        Ok(())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::SessionFile { path, source }
}

/// A file that is not there is a new session.
fn read(path: &Path) -> Result<Token, ClientError> {
    match File::open(path) {
        Ok(file) => {
            file.lock_shared().map_err(failed(path))?;
            token_in(&file, path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Token::default()),
        Err(error) => Err(failed(path)(error)),
    }
}

/// The first line: what is behind it is left from a longer token, of which somebody was stopped in writing a
/// shorter one.
fn token_in(file: &File, path: &Path) -> Result<Token, ClientError> {
    let mut text = String::new();
    let max = anabranch::limits::TOKEN_BYTES_MAX as u64 * 2;
    file.take(max)
        .read_to_string(&mut text)
        .map_err(failed(path))?;
    match text.lines().next() {
        None => Ok(Token::default()),
        Some(line) => line.trim().parse().map_err(|source| ClientError::Session {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a session down, together with what other commands have seen meanwhile that keep theirs in the same file.
fn keep(path: &Path, before: &Token, seen: &Token) -> Result<Token, ClientError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed(path))?;
    file.lock().map_err(failed(path))?;
    let there = token_in(&file, path)?;
    let mut seen = seen.clone();
    if there != *before {
        seen.merge(&there);
    }
    let line = format!("{seen}\n");
    let mut to = &file;
    to.rewind()
        .and_then(|()| to.write_all(line.as_bytes()))
        .and_then(|()| file.set_len(line.len() as u64))
        .map_err(failed(path))?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // Two tokens as a node gave them: of one batch each, of two writers in the namespace `a`.
    const ONE: &str = "AQEBYQEBAQEBAQEBAQE";
    const OTHER: &str = "AQEBYQECAgICAgICAgI";

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    #[test]
    fn a_session_is_kept_between_commands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session");
        let new = read(&path).unwrap();
        assert!(new.is_empty());
        let mut both = token(ONE);
        both.merge(&token(OTHER));
        assert_eq!(keep(&path, &new, &both).unwrap(), both);
        assert_eq!(read(&path).unwrap(), both);
        // The answer says all that counts, so what it leaves out is not carried along.
        assert_eq!(keep(&path, &both, &token(ONE)).unwrap(), token(ONE));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{ONE}\n"));
        // Unless somebody else has written it.
        assert_eq!(keep(&path, &new, &token(OTHER)).unwrap(), both);
        assert_eq!(read(&path).unwrap(), both);
    }

    #[test]
    fn what_is_left_of_a_longer_token_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session");
        std::fs::write(&path, format!("{ONE}\nAQEBAQ")).unwrap();
        assert_eq!(read(&path).unwrap(), token(ONE));
        std::fs::write(&path, "not a token\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains("remove the file"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
