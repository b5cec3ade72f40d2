//! Every setting, once: its key in the file, its environment variable, its flag.

/// A setting.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Key {
    /// In the file, with its section.
    pub(crate) name: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// Its flag.
    pub(crate) flag: &'static str,
}

macro_rules! keys {
    ($($constant:ident: $name:literal, $env:literal, $flag:literal;)*) => {
        $(pub(super) static $constant: Key = Key { name: $name, env: $env, flag: $flag };)*
        /// All of them.
        pub(crate) static ALL: &[&Key] = &[$(&$constant),*];
    };
}

keys! {
    NAME: "name", "ANABRANCH_NAME", "--name";
    DATACENTER: "datacenter", "ANABRANCH_DATACENTER", "--datacenter";
    DATA_DIR: "data_dir", "ANABRANCH_DATA_DIR", "--data-dir";
    HTTP_LISTEN: "http.listen", "ANABRANCH_HTTP_LISTEN", "--http-listen";
    GOSSIP_LISTEN: "gossip.listen", "ANABRANCH_GOSSIP_LISTEN", "--gossip-listen";
    GOSSIP_ADVERTISE: "gossip.advertise", "ANABRANCH_GOSSIP_ADVERTISE", "--gossip-advertise";
    GOSSIP_SEEDS: "gossip.seeds", "ANABRANCH_GOSSIP_SEEDS", "--gossip-seeds";
    GOSSIP_DISCOVER: "gossip.discover", "ANABRANCH_GOSSIP_DISCOVER", "--gossip-discover";
    GOSSIP_KEEP_ALIVE: "gossip.keep_alive_ms", "ANABRANCH_GOSSIP_KEEP_ALIVE_MS", "--gossip-keep-alive-ms";
    GOSSIP_IDLE_TIMEOUT: "gossip.idle_timeout_ms", "ANABRANCH_GOSSIP_IDLE_TIMEOUT_MS", "--gossip-idle-timeout-ms";
    GOSSIP_HANDSHAKE_TIMEOUT: "gossip.handshake_timeout_ms", "ANABRANCH_GOSSIP_HANDSHAKE_TIMEOUT_MS", "--gossip-handshake-timeout-ms";
    GOSSIP_BACKOFF_MAX: "gossip.backoff_max_ms", "ANABRANCH_GOSSIP_BACKOFF_MAX_MS", "--gossip-backoff-max-ms";
    TLS_CA: "tls.ca", "ANABRANCH_TLS_CA", "--tls-ca";
    TLS_CERT: "tls.cert", "ANABRANCH_TLS_CERT", "--tls-cert";
    TLS_KEY: "tls.key", "ANABRANCH_TLS_KEY", "--tls-key";
    SESSION_WAIT_MAX: "session.wait_max_ms", "ANABRANCH_SESSION_WAIT_MAX_MS", "--session-wait-max-ms";
    CLUSTER_SET_ASIDE_AFTER: "cluster.set_aside_after", "ANABRANCH_CLUSTER_SET_ASIDE_AFTER", "--cluster-set-aside-after";
    IDEMPOTENCY_KEYS_MAX: "idempotency.keys_max", "ANABRANCH_IDEMPOTENCY_KEYS_MAX", "--idempotency-keys-max";
    IDEMPOTENCY_KEPT: "idempotency.kept_s", "ANABRANCH_IDEMPOTENCY_KEPT_S", "--idempotency-kept-s";
    STORE_MEMORY: "store.memory_bytes", "ANABRANCH_STORE_MEMORY_BYTES", "--store-memory-bytes";
    STORE_LOG_KEPT: "store.log_kept_bytes", "ANABRANCH_STORE_LOG_KEPT_BYTES", "--store-log-kept-bytes";
    STORE_LOG_MAX: "store.log_max_bytes", "ANABRANCH_STORE_LOG_MAX_BYTES", "--store-log-max-bytes";
}

/// The sections of the file.
pub(super) const SECTIONS: [&str; 8] = [
    "cluster",
    "gossip",
    "http",
    "idempotency",
    "namespaces",
    "session",
    "store",
    "tls",
];

/// Environment variables of the command line that are no settings of a node.
const OTHER_ENV: [&str; 6] = [
    "ANABRANCH_CONFIG",
    "ANABRANCH_LOG",
    "ANABRANCH_LOG_FORMAT",
    "ANABRANCH_OUTPUT",
    "ANABRANCH_SESSION",
    "ANABRANCH_URL",
];

/// The known key that somebody probably meant.
pub(super) fn nearest(given: &str) -> Option<&'static str> {
    let known = ALL.iter().map(|key| key.name).chain(SECTIONS);
    closest(given, known)
}

/// What to make of an environment variable: none if it is known, or else the known one that is nearest, if any is.
///
/// It is not an error: systems that start containers set variables of their own under a service's name.
pub(crate) fn unknown_env(given: &str) -> Option<Option<&'static str>> {
    let known = || ALL.iter().map(|key| key.env).chain(OTHER_ENV);
    (given.starts_with("ANABRANCH_") && !known().any(|name| name == given))
        .then(|| closest(given, known()))
}

fn closest(given: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    const SIMILAR: f64 = 0.8;
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    // A key in the wrong section is a mistake, too: its last part counts, a little less.
    let similarity = |name: &str| {
        strsim::jaro_winkler(given, name)
            .max(0.95 * strsim::jaro_winkler(&last(given), &last(name)))
    };
    known
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        for (given, meant) in [
            ("http.lisen", Some("http.listen")),
            ("datacentre", Some("datacenter")),
            ("gossip.seed", Some("gossip.seeds")),
            ("seeds", Some("gossip.seeds")),
            ("htpp", Some("http")),
            ("session.wait_max", Some("session.wait_max_ms")),
            ("idempotence.kept_s", Some("idempotency.kept_s")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(given), meant, "{given}");
        }
    }

    #[test]
    fn only_our_own_unknown_variables_are_told() {
        assert_eq!(unknown_env("PATH"), None);
        assert_eq!(unknown_env("ANABRANCH_NAME"), None);
        assert_eq!(unknown_env("ANABRANCH_URL"), None);
        assert_eq!(
            unknown_env("ANABRANCH_DATADIR"),
            Some(Some("ANABRANCH_DATA_DIR"))
        );
    }
}
