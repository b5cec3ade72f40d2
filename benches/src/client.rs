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
    /// How much of it is the answer's head.
    head: usize,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
            head: 0,
        })
    }

    /// A field of the last answer's head.
    pub(crate) fn header(&self, name: &str) -> Outcome<&str> {
        header(&self.answer[..self.head], name)?
            .ok_or_else(|| format!("the answer has no {name}").into())
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
        self.head = head;
        let length = match header(&self.answer[..head], "content-length")? {
            Some(length) => length.parse()?,
            None => 0,
        };
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

fn header<'a>(head: &'a [u8], name: &str) -> Outcome<Option<&'a str>> {
    let fields = std::str::from_utf8(head)?.lines().skip(1);
    let mut fields = fields.filter_map(|line| line.split_once(':'));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    Ok(found.map(|(_, value)| value.trim()))
}
