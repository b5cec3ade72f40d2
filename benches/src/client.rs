//! A client that keeps its connection. Just enough of HTTP/1.1 to cost little beside the node.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;

pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// What has come, of which the answer takes the first part.
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
        })
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Outcome<&[u8]> {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Outcome<&[u8]> {
        self.ask("GET", path, "").await
    }

    /// Asks, and gives the body of an answer that says yes.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Outcome<&[u8]> {
        use std::io::Write as _;
        self.request.clear();
        write!(self.request, "{method} {path} HTTP/1.1\r\nhost: node\r\n")?;
        if !body.is_empty() {
            let length = body.len();
            write!(
                self.request,
                "content-type: application/json\r\ncontent-length: {length}\r\n"
            )?;
        }
        write!(self.request, "\r\n{body}")?;
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let head = loop {
            if let Some(end) = find(&self.answer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let length = content_length(&self.answer[..head])?;
        while self.answer.len() < head + length {
            self.more().await?;
        }
        if !self.answer.starts_with(b"HTTP/1.1 2") {
            let said = String::from_utf8_lossy(&self.answer);
            return Err(format!("{method} {path} was answered with {said}").into());
        }
        Ok(&self.answer[head..])
    }

    async fn more(&mut self) -> Outcome<()> {
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the node closed the connection".into()),
            _ => Ok(()),
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn content_length(head: &[u8]) -> Outcome<usize> {
    const NAME: &str = "content-length:";
    for line in std::str::from_utf8(head)?.lines() {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return Ok(line[NAME.len()..].trim().parse()?);
        }
    }
    Ok(0)
}
