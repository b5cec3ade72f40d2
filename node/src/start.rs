//! From a data directory to a running replica.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anabranch_core::persist::{Continuity, Fetch, Fetched, LogRecord};
use anabranch_core::{Incarnation, Input, Now, Output, Replica, ReplicaId, Room, compact, limits};
use anabranch_net::{Identity, KnownMember};
use anabranch_store::Store;

use crate::backup::Source;
use crate::driver::milliseconds;
use crate::{Config, OpenError, members};

/// What a driver begins with.
pub(crate) struct Started {
    pub(crate) replica: Replica,
    pub(crate) store: Arc<Store>,
    pub(crate) source: Source,
    pub(crate) identity: Option<Identity>,
    /// Members that an earlier run knew.
    pub(crate) known: Vec<KnownMember>,
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
        Store::open_directory(&config.data_dir, fresh, compact, budget(config, 4, 16))?;
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
    let known = match &identity {
        Some(_) => members::read(&config.data_dir),
        None => Vec::new(),
    };
    let store = Arc::new(store);
    let source = Source::new(
        &store,
        config.name.clone(),
        replica.0,
        identity.is_none(),
        config.log_max_bytes,
    );
    let spare = Incarnation(rand::random());
    let room = room(config);
    let gossip = config.gossip.as_ref();
    let mut config = anabranch_core::Config::new(replica, &config.name, &config.datacenter, spare);
    config.room = room;
    if let Some(gossip) = gossip {
        config.summary_key = summary_key(&gossip.ca_pem);
    }
    let log_end = recovery.log_end;
    let (mut replica, from) = Replica::recover(config, recovery)?;
    let mut next = from;
    loop {
        let records = read_log(&store, next)?;
        let Some(last) = records.last() else { break };
        next = last.lsn.next();
        replica.replay(records)?;
        fold_in_between(&mut replica, &store)?;
    }
    replica.begin(log_end);
    Ok(Started {
        replica,
        store,
        source,
        identity,
        known,
    })
}

fn room(config: &Config) -> Room {
    Room {
        tips: config.tips,
        fold_after_ms: milliseconds(config.fold_after),
        fold_idle_ms: milliseconds(config.fold_idle),
        receipts_max: config.receipts_max,
        receipts_kept_ms: milliseconds(config.receipts_kept),
        session_wait_ms_max: milliseconds(config.session_wait_max),
        set_aside_after_ms: config.set_aside_after.map(milliseconds),
        loaded_bytes_max: budget(config, 6, 16),
        unfolded_bytes_max: budget(config, 4, 16),
        recent_log_bytes_max: budget(config, 1, 16),
        unpersisted_bytes_max: budget(config, 1, 16),
        log_bytes_kept: config.log_kept_bytes.min(config.log_max_bytes),
        log_bytes_max: config.log_max_bytes,
        ..Room::default()
    }
}

/// The same for all nodes of a cluster. Those who write documents have no business with the CA's certificate.
fn summary_key(ca_pem: &str) -> [u8; 32] {
    // Line ends may have been changed on the way.
    let text: String = ca_pem.split_whitespace().collect();
    blake3::derive_key("anabranch 2026-11-22 key of summaries", text.as_bytes())
}

/// A long replay goes on to the documents as it comes, or it would not fit into memory.
fn fold_in_between(replica: &mut Replica, store: &Store) -> Result<(), OpenError> {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = Now {
        mono_ms: 0,
        wall_ms: milliseconds(wall),
    };
    while replica.is_short_of_memory() {
        replica.handle(now, Input::Tick);
        while let Some(output) = replica.poll() {
            if let Output::Fold(fold) = output {
                store.fold(&fold).map_err(OpenError::Read)?;
                let (id, result) = (fold.id, Ok(()));
                replica.handle(now, Input::Folded { id, result });
            }
        }
    }
    Ok(())
}

/// A part of the memory that a node may take. What is left is for what can't be weighed well.
fn budget(config: &Config, part: usize, of: usize) -> usize {
    (config.memory_bytes / of).saturating_mul(part)
}

fn read_log(store: &Store, from: anabranch_core::Lsn) -> Result<Vec<LogRecord>, OpenError> {
    let fetched = store.fetch(&Fetch::Log {
        from,
        bytes_max: limits::LOG_READ_BYTES_MAX,
    });
    match fetched.map_err(OpenError::Read)? {
        Fetched::Log(records) => Ok(records),
        // No store answers another question than it was asked.
        _ => Ok(Vec::new()),
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
        // A crash or a full disk came between making the file and filling it; nothing was written under it.
        Ok(bytes) if bytes.is_empty() => {
            std::fs::remove_file(&path).map_err(failed)?;
            standalone_id(data_dir)
        }
        Ok(bytes) => bytes
            .try_into()
            .map(ReplicaId)
            .map_err(|_| failed(io::Error::other("not 16 bytes; remove the file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = ReplicaId(rand::random());
            let whole = data_dir.join("replica-id.new");
            let mut file = std::fs::File::create(&whole).map_err(failed)?;
            file.write_all(&id.0)
                .and_then(|()| file.sync_all())
                .and_then(|()| std::fs::rename(&whole, &path))
                .and_then(|()| std::fs::File::open(data_dir)?.sync_all())
                .map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_that_was_cut_short_is_made_again_and_a_damaged_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replica-id");
        std::fs::write(&path, b"").unwrap();
        std::fs::write(dir.path().join("replica-id.new"), b"half").unwrap();
        let made = standalone_id(dir.path()).unwrap();
        assert_eq!(standalone_id(dir.path()).unwrap(), made);
        std::fs::write(&path, b"three").unwrap();
        let error = standalone_id(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::ReplicaId { .. }), "{error}");
    }
}
