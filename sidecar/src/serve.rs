//! `anabranch serve`: one node from its start to its end.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anabranch::{Config, Gossip, LeaveError, Node, OpenError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::config::{self, Flags, GossipSettings, NamedFile, Settings, SettingsError, keys};
use crate::{http, limits};

/// Options of `anabranch serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "ANABRANCH_CONFIG")]
    config: Option<PathBuf>,
    /// What to log to stderr, such as `info` or `anabranch=debug,warn`
    #[arg(
        long,
        value_name = "FILTER",
        env = "ANABRANCH_LOG",
        default_value = "info"
    )]
    log: String,
    /// How to log
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ANABRANCH_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    #[command(flatten)]
    flags: Flags,
}

/// How to log.
#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "TCP address {address} is in use: stop the other process, or choose another address with `http.listen` or --http-listen"
    )]
    AddressInUse { address: SocketAddr },
    #[error(
        "cannot listen on TCP address {address}: {source}; it has to be one of this machine's addresses (`http.listen`)"
    )]
    Address {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot start: {0}; this machine is out of threads, memory or file descriptors")]
    Start(std::io::Error),
    #[error("stopped without having left the cluster: {0}. Start it again to try again")]
    Leave(#[from] LeaveError),
    #[error(
        "the store did not close within {} s; everything acknowledged is durable, look at the disk",
        limits::CLOSE_TIMEOUT.as_secs()
    )]
    Close,
}

impl ServeError {
    fn exit_code(&self) -> ExitCode {
        match self {
            // What is wrong with a certificate is mended in the configuration, too.
            Self::Settings(_) | Self::Open(OpenError::Identity(_)) => ExitCode::from(2),
            Self::Open(_)
            | Self::AddressInUse { .. }
            | Self::Address { .. }
            | Self::Start(_)
            | Self::Leave(_)
            | Self::Close => ExitCode::from(1),
        }
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell is no reason to panic.
            let _ = writeln!(std::io::stderr(), "anabranch: {error}");
            error.exit_code()
        }
    }
}

fn serve(args: &Args) -> Result<(), ServeError> {
    begin_log(args)?;
    let settings = settings(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(live(&settings));
    // Requests that did not finish in time must not hold the process up.
    runtime.shutdown_background();
    result
}

fn begin_log(args: &Args) -> Result<(), SettingsError> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| SettingsError::LogFilter(error.to_string()))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        match keys::unknown_env(&name) {
            Some(Some(nearest)) => tracing::warn!(
                "the environment variable {name} is no setting and has no effect; did you mean {nearest}?"
            ),
            Some(None) => {
                tracing::warn!("the environment variable {name} is no setting and has no effect");
            }
            None => {}
        }
    }
    Ok(())
}

fn settings(args: &Args) -> Result<Settings, SettingsError> {
    let text = match &args.config {
        None => None,
        Some(path) => Some(read(path).map_err(|source| SettingsError::File {
            path: path.clone(),
            source,
        })?),
    };
    let file = args.config.as_deref().zip(text.as_deref());
    config::resolve(file, |name| std::env::var_os(name), &args.flags)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let max = limits::SETTINGS_FILE_BYTES_MAX;
    let file = std::fs::File::open(path)?;
    file.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        let why = format!("it has more than {max} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

fn node_config(settings: &Settings) -> Result<Config, SettingsError> {
    let mut config = Config::new(&settings.data_dir).named(&settings.name, &settings.datacenter);
    if let Some(bytes) = settings.store_memory_bytes {
        config.memory_bytes = bytes;
    }
    if let Some(bytes) = settings.store_log_kept_bytes {
        config.log_kept_bytes = bytes as u64;
    }
    if let Some(bytes) = settings.store_log_max_bytes {
        config.log_max_bytes = bytes as u64;
    }
    config.session_wait_max = settings.session_wait_max;
    config.set_aside_after = settings.set_aside_after;
    config.placements.clone_from(&settings.placements);
    if let Some(keys) = settings.idempotency_keys_max {
        config.receipts_max = keys;
    }
    if let Some(kept) = settings.idempotency_kept {
        config.receipts_kept = kept;
    }
    match &settings.gossip {
        None => tracing::info!("no certificates are configured (`tls`): this node runs alone"),
        Some(gossip) => config = config.gossiping(gossip_config(gossip)?),
    }
    Ok(config)
}

fn gossip_config(settings: &GossipSettings) -> Result<Gossip, SettingsError> {
    let pem = |file: &NamedFile| {
        read(&file.path).map_err(|source| SettingsError::Certificate {
            place: file.place.clone(),
            path: file.path.clone(),
            source,
        })
    };
    let (ca, cert) = (pem(&settings.ca)?, pem(&settings.cert)?);
    let mut gossip =
        Gossip::new(settings.listen, ca, cert, pem(&settings.key)?).seeds(&settings.seeds);
    gossip.timing = settings.timing;
    gossip.advertise.clone_from(&settings.advertise);
    gossip.discover = settings.discover;
    Ok(gossip)
}

async fn live(settings: &Settings) -> Result<(), ServeError> {
    let config = node_config(settings)?;
    let mut signals = Signals::new().map_err(ServeError::Start)?;
    let listener = listen(settings.http_listen).await?;
    let node = tokio::select! {
        node = Node::open(config) => node?,
        () = signals.next() => return Ok(()),
    };
    let http = listener.local_addr().map_err(ServeError::Start)?;
    let (close, closing) = watch::channel(false);
    let (leave, mut order) = watch::channel(None);
    let router = http::router(
        node.clone(),
        settings.session_wait_max,
        closing.clone(),
        leave,
    );
    let mut serving = tokio::spawn(http::server::serve(listener, router, closing));
    announce(http, node.gossip_addr());

    let order = tokio::select! {
        () = signals.next() => None,
        order = order.wait_for(Option::is_some) => order.ok().and_then(|order| *order),
    };
    tracing::info!("shutting down: finishing the requests under way");
    close.send_replace(true);
    tokio::select! {
        drained = &mut serving => if !matches!(drained, Ok(true)) {
            tracing::warn!("some requests did not finish in time, and are cut off");
        },
        () = signals.next() => tracing::warn!("told twice: requests under way are cut off"),
    }
    let left = match order {
        None => Ok(()),
        Some(http::LeaveOrder { force }) => node.leave(limits::LEAVE_WAIT, force).await,
    };
    let closed = tokio::time::timeout(limits::CLOSE_TIMEOUT, node.shutdown()).await;
    closed.map_err(|_| ServeError::Close)?.ok();
    left?;
    tracing::info!("closed");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
            _ => ServeError::Address { address, source },
        })
}

/// The one line on stdout, for whoever started this process and waits.
fn announce(http: SocketAddr, gossip: Option<SocketAddr>) {
    let gossip = gossip.map_or("off".to_owned(), |address| address.to_string());
    let mut stdout = std::io::stdout();
    // Nobody listening is fine.
    let _ = writeln!(stdout, "anabranch: ready http={http} gossip={gossip}");
    let _ = stdout.flush();
}

/// What tells this process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Nobody waits for it. But unless it is caught, a limit on the size of files (`ulimit -f`) ends the process where
    /// it would find a full disk.
    _file_size: Signal,
}

/// `SIGXFSZ`, on Linux (but for MIPS and PA-RISC), macOS and the BSDs.
const FILE_SIZE: i32 = 25;

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
