//! Nodes as processes, which never outlive their test.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anabranch::pki::{CertificateAuthority, Validity};

/// How long anything may take before a test gives up. Nothing depends on it but a failure's delay.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without whatever this process's environment says about nodes.
pub(crate) fn anabranch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ANABRANCH_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    anabranch().args(arguments).output().unwrap()
}

/// What a node is started with.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) http: String,
    /// Its gossip address, if it is to have one, and its seeds.
    pub(crate) gossip: Option<(String, Vec<String>)>,
    /// Settings of the store, as lines of the configuration file.
    pub(crate) store: &'static str,
}

impl Plan {
    /// A node on its own.
    pub(crate) fn alone(root: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            directory: root.join(name),
            http: "127.0.0.1:0".to_owned(),
            gossip: None,
            store: "",
        }
    }

    /// A node that others can meet, with a certificate of this CA.
    pub(crate) fn in_cluster(
        root: &Path,
        name: &str,
        ca: &CertificateAuthority,
        seeds: &[String],
    ) -> Self {
        let plan = Self {
            gossip: Some(("127.0.0.1:0".to_owned(), seeds.to_vec())),
            ..Self::alone(root, name)
        };
        plan.certify(ca, Validity::days(1));
        plan
    }

    /// Writes certificate files.
    pub(crate) fn certify(&self, ca: &CertificateAuthority, validity: Validity) {
        std::fs::create_dir_all(&self.directory).unwrap();
        let issued = ca.issue(&self.name, validity).unwrap();
        for (file, text) in [
            ("ca.pem", ca.to_pem().cert_pem),
            ("node.pem", issued.cert_pem),
            ("node.key", issued.key_pem),
        ] {
            std::fs::write(self.directory.join(file), text).unwrap();
        }
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self) -> PathBuf {
        std::fs::create_dir_all(&self.directory).unwrap();
        let mut text = format!(
            "name = \"{name}\"\ndatacenter = \"{name}\"\ndata_dir = \"data\"\n[http]\nlisten = \"{http}\"\n",
            name = self.name,
            http = self.http
        );
        if let Some((listen, seeds)) = &self.gossip {
            write!(
                text,
                "[gossip]\nlisten = \"{listen}\"\nseeds = {seeds:?}\n\
                 [tls]\nca = \"ca.pem\"\ncert = \"node.pem\"\nkey = \"node.key\"\n"
            )
            .unwrap();
        }
        if !self.store.is_empty() {
            write!(text, "[store]\n{}\n", self.store).unwrap();
        }
        let path = self.directory.join("node.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self) -> NodeProcess {
        let config = self.configure();
        NodeProcess::spawn(anabranch().arg("serve").arg("--config").arg(config))
    }

    /// Starts it where it is expected to end by itself, and gives its status and what it said.
    pub(crate) fn fail(&self) -> (Option<i32>, String) {
        let config = self.configure();
        let output = anabranch()
            .arg("serve")
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        assert!(output.stdout.is_empty(), "it must not say that it is ready");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code(), said)
    }
}

/// A running node. Killed when it is dropped.
pub(crate) struct NodeProcess {
    child: Child,
    /// Where it serves HTTP, as `http://..`.
    pub(crate) url: String,
    /// Its gossip address, or `off`.
    pub(crate) gossip: String,
    log: Arc<Log>,
    /// Held so that the pipe stays open.
    stdout: BufReader<ChildStdout>,
}

#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl NodeProcess {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let shared = log.clone();
        // Ends with the process, whose end of the pipe is the only one.
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
                shared.text.lock().unwrap().push_str(&line);
                shared.grown.notify_all();
                line.clear();
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let Some((http, gossip)) = addresses(&ready) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{ready:?} instead of ready: {}", log.text.lock().unwrap());
        };
        Self {
            url: format!("http://{http}"),
            gossip,
            child,
            log,
            stdout,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end, and gives its status and what it wrote after the ready line.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// As `kill -9` does it: no chance to close anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until its log says something.
    pub(crate) fn wait_for_log(&self, what: &str) {
        let text = self.log.text.lock().unwrap();
        let (text, _) = self
            .log
            .grown
            .wait_timeout_while(text, PATIENCE, |text| !text.contains(what))
            .unwrap();
        assert!(text.contains(what), "{what:?} is not in the log:\n{text}");
    }

    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.url, self.log.text.lock().unwrap());
        }
    }
}

fn addresses(ready: &str) -> Option<(String, String)> {
    let rest = ready.strip_prefix("anabranch: ready http=")?;
    let (http, gossip) = rest.trim_end().split_once(" gossip=")?;
    Some((http.to_owned(), gossip.to_owned()))
}
