//! A node's configuration: one TOML file, under the environment, under the flags.

mod error;
mod file;
pub(crate) mod keys;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch::{Datacenters, Namespace, Timing};

pub(crate) use self::error::{Place, SettingsError};
use self::keys::Key;
use self::value::{Found, Raw};
use crate::limits;

/// Settings as flags. All are text here: what they must be is checked in one place, wherever they come from.
#[derive(clap::Args, Clone, Default, Debug)]
pub(crate) struct Flags {
    /// This node's name, unique in the cluster [env: ANABRANCH_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The datacenter that it stands in [env: ANABRANCH_DATACENTER]
    #[arg(long, value_name = "NAME")]
    pub(crate) datacenter: Option<String>,
    /// Where its data is kept [env: ANABRANCH_DATA_DIR] [default: ./anabranch-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Where to serve HTTP [env: ANABRANCH_HTTP_LISTEN] [default: 127.0.0.1:7171]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) http_listen: Option<String>,
    /// Where to listen for other nodes (UDP) [env: ANABRANCH_GOSSIP_LISTEN] [default: 0.0.0.0:7172]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) gossip_listen: Option<String>,
    /// How others reach this node [env: ANABRANCH_GOSSIP_ADVERTISE] [default: where it listens, or else where others see it]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) gossip_advertise: Option<String>,
    /// Nodes to connect to, with commas between them [env: ANABRANCH_GOSSIP_SEEDS]
    #[arg(long, value_name = "HOST:PORT,..")]
    pub(crate) gossip_seeds: Option<String>,
    /// Whether to connect to nodes that others tell of, too [env: ANABRANCH_GOSSIP_DISCOVER] [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) gossip_discover: Option<String>,
    /// An idle link is pinged this often, and silent 0.45 s later [env: ANABRANCH_GOSSIP_KEEP_ALIVE_MS] [default: 2450]
    #[arg(long, value_name = "MS")]
    pub(crate) gossip_keep_alive_ms: Option<String>,
    /// A link on which nothing arrives for this long is down [env: ANABRANCH_GOSSIP_IDLE_TIMEOUT_MS] [default: 15000]
    #[arg(long, value_name = "MS")]
    pub(crate) gossip_idle_timeout_ms: Option<String>,
    /// How long a connection may take to come up [env: ANABRANCH_GOSSIP_HANDSHAKE_TIMEOUT_MS] [default: 3000]
    #[arg(long, value_name = "MS")]
    pub(crate) gossip_handshake_timeout_ms: Option<String>,
    /// The longest pause between two attempts to connect [env: ANABRANCH_GOSSIP_BACKOFF_MAX_MS] [default: 1000]
    #[arg(long, value_name = "MS")]
    pub(crate) gossip_backoff_max_ms: Option<String>,
    /// The cluster's CA certificate [env: ANABRANCH_TLS_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<String>,
    /// This node's certificate [env: ANABRANCH_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<String>,
    /// Its private key [env: ANABRANCH_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<String>,
    /// The longest that a request may wait for what its session has seen [env: ANABRANCH_SESSION_WAIT_MAX_MS] [default: 20000]
    #[arg(long, value_name = "MS")]
    pub(crate) session_wait_max_ms: Option<String>,
    /// A member that has been away for so long is set aside [env: ANABRANCH_CLUSTER_SET_ASIDE_AFTER] [default: never]
    #[arg(long, value_name = "TIME")]
    pub(crate) cluster_set_aside_after: Option<String>,
    /// How many idempotency keys are remembered [env: ANABRANCH_IDEMPOTENCY_KEYS_MAX] [default: 100000]
    #[arg(long, value_name = "N")]
    pub(crate) idempotency_keys_max: Option<String>,
    /// How long they are remembered [env: ANABRANCH_IDEMPOTENCY_KEPT_S] [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idempotency_kept_s: Option<String>,
    /// Memory for documents and what belongs to them [env: ANABRANCH_STORE_MEMORY_BYTES] [default: 134217728]
    #[arg(long, value_name = "BYTES")]
    pub(crate) store_memory_bytes: Option<String>,
    /// Log that is kept for change feeds and new replicas [env: ANABRANCH_STORE_LOG_KEPT_BYTES] [default: 4294967296]
    #[arg(long, value_name = "BYTES")]
    pub(crate) store_log_kept_bytes: Option<String>,
    /// Log that is kept at most, whoever lacks it [env: ANABRANCH_STORE_LOG_MAX_BYTES] [default: 17179869184]
    #[arg(long, value_name = "BYTES")]
    pub(crate) store_log_max_bytes: Option<String>,
}

impl Flags {
    fn get(&self, key: &Key) -> Option<&String> {
        let given = match key.flag {
            "--name" => &self.name,
            "--datacenter" => &self.datacenter,
            "--data-dir" => &self.data_dir,
            "--http-listen" => &self.http_listen,
            "--gossip-listen" => &self.gossip_listen,
            "--gossip-advertise" => &self.gossip_advertise,
            "--gossip-seeds" => &self.gossip_seeds,
            "--gossip-discover" => &self.gossip_discover,
            "--gossip-keep-alive-ms" => &self.gossip_keep_alive_ms,
            "--gossip-idle-timeout-ms" => &self.gossip_idle_timeout_ms,
            "--gossip-handshake-timeout-ms" => &self.gossip_handshake_timeout_ms,
            "--gossip-backoff-max-ms" => &self.gossip_backoff_max_ms,
            "--tls-ca" => &self.tls_ca,
            "--tls-cert" => &self.tls_cert,
            "--tls-key" => &self.tls_key,
            "--session-wait-max-ms" => &self.session_wait_max_ms,
            "--cluster-set-aside-after" => &self.cluster_set_aside_after,
            "--idempotency-keys-max" => &self.idempotency_keys_max,
            "--idempotency-kept-s" => &self.idempotency_kept_s,
            "--store-memory-bytes" => &self.store_memory_bytes,
            "--store-log-kept-bytes" => &self.store_log_kept_bytes,
            "--store-log-max-bytes" => &self.store_log_max_bytes,
            _ => &None,
        };
        given.as_ref()
    }
}

/// A node's settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) datacenter: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) http_listen: SocketAddr,
    pub(crate) session_wait_max: Duration,
    /// When a member that is away is set aside; none: only by command.
    pub(crate) set_aside_after: Option<Duration>,
    /// How many idempotency keys are remembered, and for how long.
    pub(crate) idempotency_keys_max: Option<u64>,
    pub(crate) idempotency_kept: Option<Duration>,
    pub(crate) store_memory_bytes: Option<usize>,
    pub(crate) store_log_kept_bytes: Option<usize>,
    pub(crate) store_log_max_bytes: Option<usize>,
    /// In which datacenters namespaces are, as far as the file says.
    pub(crate) placements: BTreeMap<Namespace, Datacenters>,
    /// None for a node on its own.
    pub(crate) gossip: Option<GossipSettings>,
}

/// How it meets others.
#[derive(Clone, Debug)]
pub(crate) struct GossipSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<String>,
    pub(crate) seeds: Vec<String>,
    pub(crate) discover: bool,
    pub(crate) timing: Timing,
    pub(crate) ca: NamedFile,
    pub(crate) cert: NamedFile,
    pub(crate) key: NamedFile,
}

/// A file, and where it is named.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NamedFile {
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
}

/// Lays the three layers over each other and checks what comes out.
pub(crate) fn resolve(
    file: Option<(&Path, &str)>,
    env: impl Fn(&str) -> Option<OsString>,
    flags: &Flags,
) -> Result<Settings, SettingsError> {
    let mut given: HashMap<&'static str, Found> = HashMap::new();
    let mut placements = BTreeMap::new();
    if let Some((path, text)) = file {
        let read = file::read(path, text)?;
        placements = read.placements;
        given.extend(
            read.settings
                .into_iter()
                .map(|(key, found)| (key.name, found)),
        );
    }
    for key in keys::ALL {
        let env = env(key.env).map(|value| Found {
            place: Place::Env(key),
            raw: value
                .into_string()
                .map_or(Raw::Other("bytes that are no UTF-8"), Raw::Text),
        });
        let flag = flags.get(key).map(|value| Found {
            place: Place::Flag(key),
            raw: Raw::Text(value.clone()),
        });
        if let Some(found) = flag.or(env) {
            given.insert(key.name, found);
        }
    }
    let settings = Layers(given).settings()?;
    Ok(Settings {
        placements,
        ..settings
    })
}

struct Layers(HashMap<&'static str, Found>);

impl Layers {
    fn get<T>(
        &self,
        key: &Key,
        read: impl FnOnce(&Found) -> Result<T, SettingsError>,
    ) -> Result<Option<T>, SettingsError> {
        self.0.get(key.name).map(read).transpose()
    }

    fn settings(&self) -> Result<Settings, SettingsError> {
        let gossip = self.gossip()?;
        let name = self.get(&keys::NAME, Found::name)?;
        let datacenter = self.get(&keys::DATACENTER, Found::name)?;
        if gossip.is_some() {
            for (missing, value) in [("name", &name), ("datacenter", &datacenter)] {
                if value.is_none() {
                    return Err(SettingsError::Unnamed { missing });
                }
            }
        }
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Settings {
            name: name.unwrap_or_else(|| "node".to_owned()),
            datacenter: datacenter.unwrap_or_else(|| "local".to_owned()),
            data_dir: self
                .get(&keys::DATA_DIR, Found::path)?
                .unwrap_or_else(|| PathBuf::from("anabranch-data")),
            http_listen: self
                .get(&keys::HTTP_LISTEN, Found::address)?
                .unwrap_or_else(|| local(7171)),
            session_wait_max: self
                .get(&keys::SESSION_WAIT_MAX, Found::milliseconds)?
                .unwrap_or(limits::SESSION_WAIT_MAX),
            set_aside_after: self.get(&keys::CLUSTER_SET_ASIDE_AFTER, Found::time)?,
            idempotency_keys_max: self.get(&keys::IDEMPOTENCY_KEYS_MAX, Found::count)?,
            idempotency_kept: self.get(&keys::IDEMPOTENCY_KEPT, Found::seconds)?,
            store_memory_bytes: self.get(&keys::STORE_MEMORY, Found::bytes)?,
            store_log_kept_bytes: self.get(&keys::STORE_LOG_KEPT, Found::bytes)?,
            store_log_max_bytes: self.get(&keys::STORE_LOG_MAX, Found::bytes)?,
            placements: BTreeMap::new(),
            gossip,
        })
    }

    fn gossip(&self) -> Result<Option<GossipSettings>, SettingsError> {
        // All are checked, also where they turn out not to be needed.
        let listen = self.get(&keys::GOSSIP_LISTEN, Found::address)?;
        let advertise = self.get(&keys::GOSSIP_ADVERTISE, Found::reachable)?;
        let seeds = self.get(&keys::GOSSIP_SEEDS, Found::list_of_reachable)?;
        let discover = self.get(&keys::GOSSIP_DISCOVER, Found::flag)?;
        let timing = self.timing()?;
        let Some([ca, cert, key]) = self.tls()? else {
            let asks = keys::ALL
                .iter()
                .filter(|key| key.name.starts_with("gossip."))
                .find_map(|key| self.0.get(key.name));
            return match asks {
                Some(found) => Err(SettingsError::GossipWithoutTls {
                    place: found.place.clone(),
                }),
                None => Ok(None),
            };
        };
        Ok(Some(GossipSettings {
            listen: listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7172))),
            advertise,
            seeds: seeds.unwrap_or_default(),
            discover: discover.unwrap_or(true),
            timing,
            ca,
            cert,
            key,
        }))
    }

    fn timing(&self) -> Result<Timing, SettingsError> {
        let mut timing = Timing::default();
        for (key, field) in [
            (&keys::GOSSIP_KEEP_ALIVE, &mut timing.keep_alive),
            (&keys::GOSSIP_IDLE_TIMEOUT, &mut timing.idle_timeout),
            (
                &keys::GOSSIP_HANDSHAKE_TIMEOUT,
                &mut timing.handshake_timeout,
            ),
            (&keys::GOSSIP_BACKOFF_MAX, &mut timing.backoff_max),
        ] {
            if let Some(value) = self.get(key, Found::milliseconds)? {
                *field = value;
            }
        }
        Ok(timing)
    }

    fn tls(&self) -> Result<Option<[NamedFile; 3]>, SettingsError> {
        let file = |key| {
            self.get(key, |found| {
                Ok(NamedFile {
                    place: found.place.clone(),
                    path: found.path()?,
                })
            })
        };
        let [ca, cert, key] = [&keys::TLS_CA, &keys::TLS_CERT, &keys::TLS_KEY];
        let files = [(ca, file(ca)?), (cert, file(cert)?), (key, file(key)?)];
        let Some(given) = files.iter().find_map(|(_, file)| file.as_ref()) else {
            return Ok(None);
        };
        if let Some((missing, _)) = files.iter().find(|(_, file)| file.is_none()) {
            return Err(SettingsError::PartOfTls {
                place: given.place.clone(),
                missing: missing.name,
            });
        }
        let [ca, cert, key] = files.map(|(_, file)| file);
        Ok(ca
            .zip(cert)
            .zip(key)
            .map(|((ca, cert), key)| [ca, cert, key]))
    }
}
