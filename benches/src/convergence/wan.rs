//! The WAN tool: hosts in network namespaces, joined by links with delay, loss and rate.
//!
//! It is spoken to over its standard input, and takes its hosts down when that ends: so they go, too, if this
//! program is killed. It has a process group of its own, since a terminal's Ctrl-C would end it before it could.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::place::Place;
use super::topology::Topology;
use crate::Outcome;
use crate::procfs::Process;

/// How long it may take to take its hosts down.
const TAKE_DOWN: Duration = Duration::from_secs(10);

pub(crate) struct Wan {
    child: Child,
    input: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    hosts: Vec<String>,
}

/// What the tool says of one direction.
#[derive(Deserialize)]
struct Direction {
    from: String,
    to: String,
    bytes: u64,
}

/// What has to be there, or else what to do.
fn check(program: &Path) -> Outcome<()> {
    if !program.is_file() {
        return Err(format!(
            "{} is not there: build the WAN tool and give its program with --wan, or leave --wan out and use the \
             built-in relay",
            program.display()
        )
        .into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("--wan makes network namespaces: run this as root, or leave --wan out and use the built-in relay".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("--wan needs /dev/net/tun: `modprobe tun`, or leave --wan out and use the built-in relay".into());
    }
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    if !ip.is_ok_and(|status| status.success()) {
        return Err("--wan needs the program `ip`: install iproute2".into());
    }
    Ok(())
}

impl Wan {
    /// One host for each datacenter, and one for the new replica.
    pub(crate) fn start(program: &Path, topology: &Topology) -> Outcome<Self> {
        check(program)?;
        // Several runs at a time have hosts of their own.
        let own = std::process::id();
        let hosts: Vec<String> = (0..=topology.len())
            .map(|at| format!("c{own}n{at}"))
            .collect();
        let mut command = Command::new(program);
        command.args(&hosts);
        for a in 0..hosts.len() {
            for b in a + 1..hosts.len() {
                let us = topology.round_trip_ms(a, b) * 1_000.0;
                command.args(["--link", &format!("{}-{}:rtt={us}us", hosts[a], hosts[b])]);
            }
        }
        let log = tempfile::NamedTempFile::new()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log.path())?)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let input = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("the WAN tool has no output")?);
        let mut wan = Self {
            child,
            input,
            answers,
            hosts,
        };
        let mut ready = String::new();
        wan.answers.read_line(&mut ready)?;
        if !ready.starts_with("ready ") {
            let said = std::fs::read_to_string(log.path())?;
            return Err(format!("the WAN tool did not come up: {ready}{said}").into());
        }
        Ok(wan)
    }

    pub(crate) fn place(&self, host: usize) -> Place {
        Place::namespace(&namespace(&self.hosts[host]))
    }

    /// A host's address inside the network.
    pub(crate) fn ip(host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    pub(crate) fn process(&self) -> Process {
        Process::Other(self.child.id())
    }

    pub(crate) fn cut(&mut self, host: usize) -> Outcome<()> {
        self.tell(&format!("cut {}", self.hosts[host]))
    }

    pub(crate) fn heal(&mut self, host: usize) -> Outcome<()> {
        self.tell(&format!("heal {}", self.hosts[host]))
    }

    /// Loss in parts of a million and kbit/s, 0 for no limit.
    pub(crate) fn shape(&mut self, a: usize, b: usize, loss_ppm: u32, kbit: u64) -> Outcome<()> {
        let loss = f64::from(loss_ppm) / 1e4;
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        self.tell(&format!("set {a} {b} loss={loss}% rate={kbit}kbit"))
    }

    /// Bytes of IP packets that were delivered, by who sent them to whom.
    pub(crate) fn bytes(&mut self) -> Outcome<BTreeMap<(usize, usize), u64>> {
        let answer = self.ask("stats")?;
        let directions: Vec<Direction> = serde_json::from_str(&answer)
            .map_err(|error| format!("the WAN tool's `stats` can't be read: {error}: {answer}"))?;
        let place = |name: &str| self.hosts.iter().position(|host| host == name);
        let known = directions.iter().filter_map(|direction| {
            let pair = (place(&direction.from)?, place(&direction.to)?);
            Some((pair, direction.bytes))
        });
        Ok(known.collect())
    }

    fn tell(&mut self, command: &str) -> Outcome<()> {
        match self.ask(command)?.trim() {
            "ok" => Ok(()),
            said => Err(format!("the WAN tool answered `{command}` with {said:?}").into()),
        }
    }

    fn ask(&mut self, command: &str) -> Outcome<String> {
        let input = self.input.as_mut().ok_or("the WAN tool has been stopped")?;
        let mut answer = String::new();
        let asked = writeln!(input, "{command}").and_then(|()| input.flush());
        asked.map_err(|error| format!("the WAN tool has ended: {error}"))?;
        if self.answers.read_line(&mut answer)? == 0 {
            return Err("the WAN tool has ended".into());
        }
        Ok(answer)
    }
}

fn namespace(host: &str) -> String {
    format!("wan-{host}")
}

impl Drop for Wan {
    fn drop(&mut self) {
        drop(self.input.take());
        let begun = Instant::now();
        while begun.elapsed() < TAKE_DOWN {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It may be gone already; what it has left behind goes in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for host in &self.hosts {
            let namespace = namespace(host);
            if Path::new("/var/run/netns").join(&namespace).exists() {
                let _ = Command::new("ip")
                    .args(["netns", "del", &namespace])
                    .status();
            }
        }
    }
}
