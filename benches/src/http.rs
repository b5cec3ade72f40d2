//! Durable writes over HTTP: a node process, and clients that each keep one connection.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::carts;
use crate::spread::Spread;
use crate::{Outcome, floor};

pub(crate) async fn measure(program: Option<PathBuf>, carts: usize, seconds: u64) -> Outcome<()> {
    let time = Duration::from_secs(seconds);
    let program = match program {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("anabranch"),
    };
    if !program.exists() {
        return Err(format!(
            "{} is not there: run `cargo build --release` first",
            program.display()
        )
        .into());
    }
    let dir = tempfile::tempdir()?;
    let node = carts::alone(dir.path()).await?;
    carts::fill(&node, carts).await?;
    node.shutdown().await?;
    let (_child, addr) = serve(&program, dir.path()).await?;
    println!(
        "HTTP, increments over {carts} carts of {} items, {seconds} s each, clients on the same machine",
        carts::ITEMS
    );
    let (lone_rate, lone) = floor::commits(1, time / 2)?;
    println!("  floor: bare commits of one 200-byte record     {lone_rate:>9.0}/s   {lone}");
    for clients in [1, 64] {
        let (rate, spread) = run(addr, carts, clients, time).await?;
        println!(
            "  {clients:>3} clients                                    {rate:>9.0}/s   {spread}"
        );
    }
    Ok(())
}

async fn serve(program: &std::path::Path, dir: &std::path::Path) -> Outcome<(Child, SocketAddr)> {
    let mut child = Command::new(program)
        .args(["serve", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let addr = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http="));
    let addr = addr
        .ok_or_else(|| format!("the node did not come up: {line:?}"))?
        .parse()?;
    Ok((child, addr))
}

async fn run(
    addr: SocketAddr,
    carts: usize,
    clients: usize,
    time: Duration,
) -> Outcome<(f64, Spread)> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        tasks.spawn(async move {
            let mut random = SmallRng::seed_from_u64(client as u64);
            let mut connection = Connection::open(addr).await?;
            let mut spread = Spread::default();
            while started.elapsed() < time {
                let key = carts::key(random.random_range(0..carts));
                let item = carts::item(random.random_range(0..carts::ITEMS));
                let body = format!(
                    r#"{{"ops":[{{"op":"increment","path":"/items/{item}/qty","by":1}}]}}"#
                );
                let begun = Instant::now();
                connection
                    .post(&format!("/v1/docs/carts/{key}/ops"), &body)
                    .await?;
                spread.add(begun.elapsed());
            }
            Outcome::Ok(spread)
        });
    }
    let mut all = Spread::default();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok((all.len() as f64 / started.elapsed().as_secs_f64(), all))
}

/// A client that keeps its connection. Just enough of HTTP/1.1 to cost little beside the node.
struct Connection {
    stream: BufReader<TcpStream>,
    addr: SocketAddr,
}

impl Connection {
    async fn open(addr: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            addr,
        })
    }

    async fn post(&mut self, path: &str, body: &str) -> Outcome<()> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.addr,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 2") {
            return Err(format!("answered {line:?}").into());
        }
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).await?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).await?;
        Ok(())
    }
}
