//! A node process: started, watched, killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::callers::Quiet;
use crate::client::Connection;
use crate::procfs::Process;
use crate::{Outcome, carts};

/// The program to serve with: the given one, or that beside this one.
pub(crate) fn program(given: Option<PathBuf>) -> Outcome<PathBuf> {
    let program = match given {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("anabranch"),
    };
    if program.exists() {
        return Ok(program);
    }
    let program = program.display();
    Err(format!("{program} is not there: run `cargo build --release` first").into())
}

pub(crate) struct Served {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) process: Process,
    spawned: Instant,
    log: tempfile::NamedTempFile,
}

impl Served {
    pub(crate) async fn start(
        program: &Path,
        dir: &Path,
        memory_mib: Option<usize>,
    ) -> Outcome<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(File::create(log.path())?)
            .kill_on_drop(true);
        if let Some(mib) = memory_mib {
            command.args(["--store-memory-bytes", &(mib << 20).to_string()]);
        }
        let spawned = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let addr = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let Some(addr) = addr else {
            let said = std::fs::read_to_string(log.path())?;
            return Err(format!("the node did not come up: {line:?} {said}").into());
        };
        Ok(Self {
            addr: addr.parse()?,
            process: Process::Other(child.id().ok_or("the node has ended")?),
            child,
            spawned,
            log,
        })
    }

    /// Reads one cart: how long it is now since the process was begun.
    pub(crate) async fn first_answer(&self, cart: usize) -> Outcome<Duration> {
        let mut connection = Connection::open(self.addr).await?;
        connection.get(&document(cart)).await?;
        Ok(self.spawned.elapsed())
    }

    /// Waits until all that was written is in the documents, and nothing is moved on the disk any more.
    pub(crate) async fn rest(&self) -> Outcome<()> {
        let mut connection = Connection::open(self.addr).await?;
        let mut quiet = Quiet::new(self.process)?;
        loop {
            tokio::time::sleep(Quiet::EVERY).await;
            let metrics = String::from_utf8(connection.get("/metrics").await?.to_vec())?;
            let left = metric(&metrics, "anabranch_unfolded_bytes")?
                + metric(&metrics, "anabranch_unpersisted_bytes")?;
            if metric(&metrics, "anabranch_store_failed")? > 0.0 {
                return Err("the node's store has failed".into());
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            if quiet.look(left as u64)? {
                return Ok(());
            }
        }
    }

    /// As `kill -9` does it.
    pub(crate) async fn kill(mut self) -> Outcome<()> {
        self.child.kill().await?;
        self.complain()
    }

    /// As a service manager does it.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let pid = self.child.id().ok_or("the node has ended")?;
        let asked = Command::new("kill").arg(pid.to_string()).status().await?;
        if !asked.success() {
            return Err("the node could not be told to stop".into());
        }
        let status = self.child.wait().await?;
        if !status.success() {
            return Err(format!("the node ended with {status}").into());
        }
        self.complain()
    }

    /// Passes on what the node had to complain of.
    fn complain(&self) -> Outcome<()> {
        let log = std::fs::read_to_string(self.log.path())?;
        let bad = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        for line in bad.take(5) {
            eprintln!("  the node said: {line}");
        }
        Ok(())
    }
}

/// Where a cart is read.
pub(crate) fn document(cart: usize) -> String {
    format!("/v1/docs/{}/{}", carts::NAMESPACE, carts::key(cart))
}

fn metric(text: &str, name: &str) -> Outcome<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line
        .ok_or_else(|| format!("/metrics has no {name}"))?
        .trim()
        .parse()?)
}
