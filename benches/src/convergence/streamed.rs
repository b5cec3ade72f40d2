//! The lines of an HTTP/1.1 answer that comes in chunks and never ends.

use crate::Outcome;

/// Longest head or line: past it, this is no feed.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What has come of such an answer.
#[derive(Default)]
pub(crate) struct Streamed {
    state: State,
    /// Of the head, of a chunk's size, or of a line: what is not complete yet.
    rest: Vec<u8>,
    line: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Size,
    Data {
        left: usize,
    },
    /// The line end behind a chunk.
    Behind,
}

impl Streamed {
    /// Whether the head has come, and was as expected.
    pub(crate) fn has_begun(&self) -> bool {
        self.state != State::Head
    }

    /// Takes bytes in, and gives the lines that they complete.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut give: impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    let Some(head) = self.until(&mut bytes, b"\r\n\r\n")? else {
                        return Ok(());
                    };
                    check(&head)?;
                    self.state = State::Size;
                }
                State::Size => {
                    let Some(size) = self.until(&mut bytes, b"\r\n")? else {
                        return Ok(());
                    };
                    let digits = std::str::from_utf8(&size)?
                        .split(';')
                        .next()
                        .unwrap_or_default();
                    let left = usize::from_str_radix(digits.trim(), 16)
                        .map_err(|_| format!("{digits:?} is no size of a chunk"))?;
                    self.state = match left {
                        0 => return Err("the feed has ended".into()),
                        left => State::Data { left },
                    };
                }
                State::Data { left } => {
                    let (now, later) = bytes.split_at(left.min(bytes.len()));
                    bytes = later;
                    self.lines(now, &mut give)?;
                    self.state = match left - now.len() {
                        0 => State::Behind,
                        left => State::Data { left },
                    };
                }
                State::Behind => {
                    if self.until(&mut bytes, b"\r\n")?.is_some() {
                        self.state = State::Size;
                    }
                }
            }
        }
        Ok(())
    }

    /// What stands before this end, once that has come.
    fn until(&mut self, bytes: &mut &[u8], end: &[u8]) -> Outcome<Option<Vec<u8>>> {
        while let Some((byte, later)) = bytes.split_first() {
            *bytes = later;
            self.rest.push(*byte);
            if self.rest.ends_with(end) {
                let mut done = std::mem::take(&mut self.rest);
                done.truncate(done.len() - end.len());
                return Ok(Some(done));
            }
        }
        bounded(&self.rest)?;
        Ok(None)
    }

    fn lines(
        &mut self,
        mut bytes: &[u8],
        give: &mut impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                give(&bytes[..end])?;
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                give(&self.line)?;
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
        bounded(&self.line)
    }
}

fn bounded(rest: &[u8]) -> Outcome<()> {
    match rest.len() > LINE_BYTES_MAX {
        true => Err("a line of the feed does not end".into()),
        false => Ok(()),
    }
}

fn check(head: &[u8]) -> Outcome<()> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked") {
        return Ok(());
    }
    Err(format!("the feed was answered with {head}").into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\na\nbc\n\r\n1;x=y\r\nd\r\n00b\r\nef\n\n0123456\r\n1\r\n\n\r\n";

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut streamed = Streamed::default();
        let mut lines = Vec::new();
        for part in parts {
            let mut give = |line: &[u8]| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            };
            streamed.take(part, &mut give).unwrap();
        }
        assert!(streamed.has_begun());
        lines
    }

    #[test]
    fn lines_are_the_same_wherever_the_bytes_are_cut() {
        let whole = ["a", "bc", "def", "", "0123456"];
        for at in 0..=ANSWER.len() {
            let (one, other) = ANSWER.split_at(at);
            assert_eq!(lines(&[one, other]), whole, "{at}");
        }
        let bytes: Vec<&[u8]> = ANSWER.chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[test]
    fn what_is_no_feed_is_an_error() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for bad in [
            b"HTTP/1.1 503 No\r\n\r\n".to_vec(),
            [&head[..], b"x\r\n"].concat(),
            [&head[..], b"0\r\n\r\n"].concat(),
            vec![b'x'; LINE_BYTES_MAX + 1],
        ] {
            assert!(Streamed::default().take(&bad, |_| Ok(())).is_err());
        }
    }
}
