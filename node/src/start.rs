//! From a data directory to a running replica.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anabranch_core::persist::{Continuity, Fetch, Fetched, LogRecord};
use anabranch_core::{Incarnation, Replica, ReplicaId, Room, limits};
use anabranch_net::Identity;
use anabranch_store::Store;

use crate::{Config, OpenError};

/// What a driver begins with.
pub(crate) struct Started {
    pub(crate) replica: Replica,
    pub(crate) store: Arc<Store>,
    pub(crate) identity: Option<Identity>,
}

/// Opens the store and brings the replica up to the end of the log. Blocks.
pub(crate) fn start(config: &Config) -> Result<Started, OpenError> {
    let identity = match &config.gossip {
        Some(gossip) => Some(Identity::from_pem(
            &gossip.ca_pem,
            &gossip.cert_pem,
            &gossip.key_pem,
        )?),
        None => None,
    };
    let fresh = Incarnation(rand::random());
    let (store, recovery) =
        Store::open_directory(&config.data_dir, fresh, config.store_cache_bytes)?;
    let replica = match &identity {
        Some(identity) => identity.replica_id(),
        None => standalone_id(&config.data_dir)?,
    };
    if let Some(identity) = identity
        .as_ref()
        .filter(|identity| identity.name() != config.name)
    {
        tracing::warn!(
            name = %config.name, certificate = %identity.name(),
            "the certificate was issued to another name; peers see the certificate's"
        );
    }
    match recovery.continuity {
        Continuity::Proven => {}
        Continuity::New => tracing::info!(data_dir = %config.data_dir.display(), "new store"),
        Continuity::Broken => tracing::info!(
            incarnation = %recovery.incarnation,
            "the machine restarted, or the data was copied or restored: writing under a new incarnation"
        ),
    }
    let spare = Incarnation(rand::random());
    let room = room(config);
    let mut config = anabranch_core::Config::new(replica, &config.name, &config.datacenter, spare);
    config.room = room;
    let (mut replica, from) = Replica::recover(config, recovery)?;
    let mut next = from;
    loop {
        let records = read_log(&store, next)?;
        let Some(last) = records.last() else { break };
        next = last.lsn.next();
        replica.replay(records)?;
    }
    replica.begin(from);
    Ok(Started {
        replica,
        store: Arc::new(store),
        identity,
    })
}

fn room(config: &Config) -> Room {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Room {
        receipts_max: config.receipts_max,
        receipts_kept_ms: milliseconds(config.receipts_kept),
        session_wait_ms_max: milliseconds(config.session_wait_max),
        ..Room::default()
    }
}

fn read_log(store: &Store, from: anabranch_core::Lsn) -> Result<Vec<LogRecord>, OpenError> {
    match store.fetch(&Fetch::Log {
        from,
        bytes_max: limits::LOG_READ_BYTES_MAX,
    })? {
        Fetched::Log(records) => Ok(records),
        Fetched::Document(_) | Fetched::Page(_) | Fetched::Receipt(_) => Ok(Vec::new()),
    }
}

/// A node without certificates keeps a random id beside its data.
fn standalone_id(data_dir: &Path) -> Result<ReplicaId, OpenError> {
    let path = data_dir.join("replica-id");
    let failed = |source| OpenError::ReplicaId {
        path: path.clone(),
        source,
    };
    match std::fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map(ReplicaId)
            .map_err(|_| failed(io::Error::other("not 16 bytes; remove the file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = ReplicaId(rand::random());
            let mut file = std::fs::File::create_new(&path).map_err(failed)?;
            file.write_all(&id.0)
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}
