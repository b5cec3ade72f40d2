//! Server-sent events, as the HTML standard has a reader parse them (9.2.6), from any bytes.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits;

/// One event.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct FeedEvent {
    pub(super) kind: String,
    pub(super) data: String,
}

/// Events out of bytes, and the last id among them.
pub(super) struct Feed<R> {
    lines: BufReader<R>,
    last_id: Option<String>,
}

impl<R: Read> Feed<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self {
            lines: BufReader::new(bytes),
            last_id: None,
        }
    }

    /// The id of the last event that was given out whole, or that had no data.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event; none at the end, where what is not whole is dropped.
    pub(super) fn next(&mut self) -> io::Result<Option<FeedEvent>> {
        let mut event = FeedEvent::default();
        let mut id = None;
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(id) = id.take() {
                    self.last_id = Some(id);
                }
                if event.data.is_empty() {
                    event = FeedEvent::default();
                    continue;
                }
                return Ok(Some(event));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => {
                    event.data.push('\n');
                    event.data.push_str(value);
                }
                "id" => id = Some(value.to_owned()),
                // Comments, which show that the other end is alive, and what later versions may say.
                _ => {}
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let max = limits::FEED_LINE_BYTES_MAX;
        let read = self.lines.by_ref().take(max).read_line(&mut line)?;
        if line.ends_with('\n') {
            line.truncate(line.trim_end_matches(['\n', '\r']).len());
            return Ok(Some(line));
        }
        if read as u64 == max {
            let why = format!("a line of the feed has more than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_read_whole() {
        let text = "id: 4\nretry: 1000\n\n: alive\n\nid: 5\nevent: change\ndata: {\"a\":\ndata:1}\r\n\r\nid: 6\ndata: cut";
        let mut feed = Feed::new(text.as_bytes());
        assert_eq!(feed.last_id(), None);
        let event = feed.next().unwrap().unwrap();
        assert_eq!((&*event.kind, &*event.data), ("change", "{\"a\":\n1}"));
        assert_eq!(feed.last_id(), Some("5"));
        // The last one was cut off: neither it nor its id counts.
        assert_eq!(feed.next().unwrap(), None);
        assert_eq!(feed.last_id(), Some("5"));
    }

    #[test]
    fn the_greeting_gives_a_position_without_an_event() {
        let mut feed = Feed::new("id: 4\n\n".as_bytes());
        assert_eq!(feed.next().unwrap(), None);
        assert_eq!(feed.last_id(), Some("4"));
    }

    #[test]
    fn endless_lines_end() {
        let mut feed = Feed::new(io::repeat(b'x'));
        assert_eq!(feed.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
