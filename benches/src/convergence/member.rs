//! A node process of a datacenter.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anabranch::pki::{CertificateAuthority, Validity};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::place::Place;
use crate::Outcome;
use crate::client::Connection;
use crate::procfs::Process;

/// How long a node may take to stop when asked to, before it is killed.
const STOP: Duration = Duration::from_secs(30);
const LOG: &str = "node.log";
/// Complaints of a node that are passed on.
const COMPLAINTS_MAX: usize = 5;

/// What a node is started with.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) gossip: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) memory_mib: Option<usize>,
}

/// A child that is killed when dropped.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running node. It is killed when dropped.
pub(crate) struct Member {
    child: Kept,
    pub(crate) place: Place,
    pub(crate) http: SocketAddr,
    pub(crate) gossip: SocketAddr,
    pub(crate) process: Process,
    pub(crate) name: String,
    directory: PathBuf,
}

impl Plan {
    /// Writes the files that it needs.
    fn prepare(&self, ca: &CertificateAuthority) -> Outcome<PathBuf> {
        std::fs::create_dir_all(&self.directory)?;
        let issued = ca.issue(&self.name, Validity::days(1))?;
        // They would find each other past the relays.
        let mut text = format!(
            "name = \"{name}\"\ndatacenter = \"{name}\"\ndata_dir = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [gossip]\nlisten = \"{}\"\nseeds = {:?}\ndiscover = false\n\
             [tls]\nca = \"ca.pem\"\ncert = \"node.pem\"\nkey = \"node.key\"\n",
            self.gossip,
            self.seeds,
            name = self.name,
        );
        if let Some(mib) = self.memory_mib {
            write!(text, "[store]\nmemory_bytes = {}\n", mib << 20)?;
        }
        let config = self.directory.join("node.toml");
        for (file, text) in [
            ("ca.pem", ca.to_pem().cert_pem),
            ("node.pem", issued.cert_pem),
            ("node.key", issued.key_pem),
            ("node.toml", text),
        ] {
            std::fs::write(self.directory.join(file), text)?;
        }
        Ok(config)
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(self, ca: &CertificateAuthority) -> Outcome<Member> {
        let (program, config) = (self.program.clone(), self.prepare(ca)?);
        let log = self.directory.join(LOG);
        let complaints = File::create(&log)?;
        let spawn = self
            .place
            .run("spawn", move || spawn(&program, &config, complaints))?;
        let mut child = spawn.done().await?;
        let stdout = child.0.stdout.take().ok_or("a node without output")?;
        // Ends with the child at the latest.
        let read = Place::here().run("ready", move || {
            let mut ready = String::new();
            BufReader::new(stdout).read_line(&mut ready)?;
            Ok(ready)
        })?;
        let ready = read.done().await?;
        let address = |name: &str| {
            let word = ready
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse::<SocketAddr>().ok())
        };
        let (Some(http), Some(gossip)) = (address("http="), address("gossip=")) else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("node {} did not come up: {ready}{said}", self.name).into());
        };
        Ok(Member {
            process: Process::Other(child.0.id()),
            child,
            place: self.place,
            http,
            gossip,
            name: self.name,
            directory: self.directory,
        })
    }
}

fn spawn(program: &Path, config: &Path, complaints: File) -> Outcome<Kept> {
    let child = Command::new(program)
        .args(["serve", "--log", "info", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints)
        // A terminal's Ctrl-C is for this program, which then stops its nodes.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    Ok(Kept(child))
}

impl Member {
    /// What its `/v1/cluster` says.
    pub(crate) async fn cluster(&self) -> Outcome<Value> {
        let http = self.http;
        let task = self.place.run_async("status", move || async move {
            let mut connection = Connection::open(http).await?;
            Ok(serde_json::from_slice(
                connection.get("/v1/cluster").await?,
            )?)
        })?;
        task.done().await
    }

    /// Its live links: to whom, and the round trip that QUIC has measured.
    pub(crate) async fn links(&self) -> Outcome<Vec<(String, f64)>> {
        let cluster = self.cluster().await?;
        let members = cluster["members"].as_array().into_iter().flatten();
        let up = members.filter(|member| member["link"] == "up");
        let links = up.map(|member| {
            let name = member["name"].as_str().unwrap_or_default().to_owned();
            (name, member["rtt_ms"].as_f64().unwrap_or(f64::NAN))
        });
        Ok(links.collect())
    }

    /// Sends several bodies to one address, one after the other.
    pub(crate) async fn post_all(&self, path: &'static str, bodies: Vec<String>) -> Outcome<()> {
        let http = self.http;
        let task = self.place.run_async("post", move || async move {
            let mut connection = Connection::open(http).await?;
            for body in bodies {
                connection.post(path, &body).await?;
            }
            Ok(())
        })?;
        task.done().await
    }

    /// Whether it still runs, and what it had to complain of.
    pub(crate) fn complaints(&mut self) -> Outcome<Vec<String>> {
        if let Some(status) = self.child.0.try_wait()? {
            return Err(format!(
                "node {} has ended with {status}: {}",
                self.name,
                self.tail()
            )
            .into());
        }
        let log = std::fs::read_to_string(self.directory.join(LOG))?;
        let bad = |line: &&str| {
            [" WARN ", " ERROR ", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        };
        let bad = log.lines().filter(bad).take(COMPLAINTS_MAX);
        Ok(bad.map(|line| format!("{}: {line}", self.name)).collect())
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(COMPLAINTS_MAX)..].join("\n")
    }

    /// As a service manager stops it.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.child.0.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.ok_or("a process without a number")?, Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP {
            if let Some(status) = self.child.0.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => {
                        Err(
                            format!("node {} ended with {status}: {}", self.name, self.tail())
                                .into(),
                        )
                    }
                };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("node {} does not stop: {}", self.name, self.tail()).into())
    }
}
