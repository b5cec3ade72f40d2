//! The three layers, and what is refused.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::{Flags, Settings, SettingsError, resolve};

const WHOLE: &str = r#"
name = "eu-1"
datacenter = "eu"
data_dir = "/var/lib/anabranch"

[http]
listen = "127.0.0.1:8181"

[gossip]
listen = "0.0.0.0:7172"
advertise = "10.0.0.5:7172"
seeds = ["10.0.0.6:7172", "us.example:7172"]
idle_timeout_ms = 3_000

[tls]
ca = "pki/ca.pem"
cert = "pki/eu-1.pem"
key = "/secret/eu-1.key"

[session]
wait_max_ms = 5_000

[cluster]
set_aside_after = "7d"

[idempotency]
keys_max = 1_000
kept_s = 3_600

[namespaces.carts]
datacenters = "all"
"#;

fn layered(file: &str, env: &[(&str, &str)], flags: &Flags) -> Result<Settings, SettingsError> {
    let env = |name: &str| {
        let found = env.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.into())
    };
    resolve(Some((Path::new("/etc/node.toml"), file)), env, flags)
}

fn refused(file: &str) -> String {
    layered(file, &[], &Flags::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_whole_contract_is_read() {
    let settings = layered(WHOLE, &[], &Flags::default()).unwrap();
    assert_eq!(settings.name, "eu-1");
    assert_eq!(settings.http_listen.port(), 8181);
    assert_eq!(settings.session_wait_max, Duration::from_secs(5));
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(settings.set_aside_after, Some(week));
    assert_eq!(settings.idempotency_keys_max, Some(1_000));
    assert_eq!(settings.idempotency_kept, Some(Duration::from_secs(3_600)));
    let gossip = settings.gossip.unwrap();
    assert_eq!(gossip.seeds, ["10.0.0.6:7172", "us.example:7172"]);
    assert_eq!(gossip.advertise.as_deref(), Some("10.0.0.5:7172"));
    assert_eq!(gossip.timing.idle_timeout, Duration::from_secs(3));
    assert_eq!(gossip.timing.keep_alive, Duration::from_millis(2_450));
    // Relative to the file.
    assert_eq!(gossip.ca.path, Path::new("/etc/pki/ca.pem"));
    assert_eq!(gossip.key.path, Path::new("/secret/eu-1.key"));
}

#[test]
fn nothing_given_is_a_node_on_its_own() {
    let settings = resolve(None, |_| None, &Flags::default()).unwrap();
    assert_eq!(settings.http_listen.to_string(), "127.0.0.1:7171");
    assert_eq!(settings.data_dir, Path::new("anabranch-data"));
    assert_eq!(settings.session_wait_max, Duration::from_secs(20));
    assert!(settings.gossip.is_none());
}

#[test]
fn flags_lie_over_the_environment_over_the_file() {
    let env = [
        ("ANABRANCH_NAME", "from-env"),
        ("ANABRANCH_DATACENTER", "from-env"),
        ("ANABRANCH_GOSSIP_SEEDS", "a:1, b:2"),
        ("ANABRANCH_GOSSIP_IDLE_TIMEOUT_MS", "250"),
    ];
    let flags = Flags {
        name: Some("from-flag".to_owned()),
        tls_ca: Some("ca.pem".to_owned()),
        ..Flags::default()
    };
    let settings = layered(WHOLE, &env, &flags).unwrap();
    assert_eq!(
        (&*settings.name, &*settings.datacenter),
        ("from-flag", "from-env")
    );
    let gossip = settings.gossip.unwrap();
    assert_eq!(gossip.seeds, ["a:1", "b:2"]);
    assert_eq!(gossip.timing.idle_timeout, Duration::from_millis(250));
    // A flag's path begins where the command was given.
    assert_eq!(gossip.ca.path, Path::new("ca.pem"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    assert_eq!(
        refused("name = \"a\"\n\n[http]\nlisen = \"127.0.0.1:1\"\n"),
        "/etc/node.toml, line 4: `http.lisen` is not a setting; did you mean `http.listen`?"
    );
    assert!(
        refused("[htpp]\nlisten = 1").contains("`htpp` is not a setting; did you mean `http`?")
    );
    assert!(refused("namespaces.carts.datacentres = []").contains("did you mean `datacenters`?"));
    assert!(refused("zzz = 1").contains("`anabranch serve --help` lists them"));
    // The first by line, not by the alphabet.
    assert!(refused("zzz = 1\naaa = 1").contains("line 1: `zzz`"));
}

#[test]
fn a_bad_value_is_named_with_what_was_expected_and_found() {
    assert_eq!(
        refused("[http]\nlisten = 7171"),
        "/etc/node.toml, line 2: `http.listen` must be IP:PORT, such as \"127.0.0.1:7171\" or \"[::]:7172\", not 7171"
    );
    for (file, says) in [
        ("name = \"a b\"", "must be a name of 1 to 64"),
        ("name = 1.5", "not a fraction"),
        ("data_dir = []", "must be a path, not []"),
        ("http = 1", "must be a section"),
        ("gossip.seeds = \"a:1\"", "must be a list of HOST:PORT"),
        ("gossip.seeds = [\"a\"]", "must be a list of HOST:PORT"),
        (
            "gossip.seeds = [1]",
            "an array with other things than strings",
        ),
        ("gossip.idle_timeout_ms = 0", "must be milliseconds"),
        ("gossip.idle_timeout_ms = \"5s\"", "not \"5s\""),
        ("session.wait_max_ms = 0", "must be milliseconds"),
        ("idempotency.keys_max = 0", "a number from 1 to"),
        ("idempotency.kept_s = \"1d\"", "must be seconds"),
        ("store.memory_bytes = 1", "at least 1048576"),
        (
            "namespaces.\"a/b\".datacenters = \"all\"",
            "must be a namespace",
        ),
        ("name = ", "line 1"),
        ("name = \"a\"\nname = \"b\"", "line 2"),
    ] {
        let message = refused(file);
        assert!(message.contains(says), "{file}: {message}");
    }
    let env = [("ANABRANCH_HTTP_LISTEN", "localhost")];
    let message = layered("", &env, &Flags::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("the environment variable ANABRANCH_HTTP_LISTEN must be IP:PORT"),
        "{message}"
    );
    let flags = Flags {
        gossip_seeds: Some("a".to_owned()),
        ..Flags::default()
    };
    let message = layered("", &[], &flags).unwrap_err().to_string();
    assert!(
        message.starts_with("--gossip-seeds must be HOST:PORT"),
        "{message}"
    );
}

#[test]
fn gossip_needs_certificates_and_names() {
    assert!(refused("gossip.seeds = [\"a:1\"]").contains("`gossip.seeds` needs certificates"));
    assert!(refused("tls.ca = \"ca.pem\"").contains("`tls.cert` is not"));
    let files = "tls.ca = \"a\"\ntls.cert = \"b\"\ntls.key = \"c\"\n";
    assert!(refused(files).contains("`name` is not set"));
    assert!(refused(&format!("name = \"a\"\n{files}")).contains("`datacenter` is not set"));
}

#[test]
fn a_placement_is_read_or_its_key_is_named() {
    let file = "[namespaces.carts]\ndatacenters = [\"us\", \"eu\"]\n[namespaces.wishes]\ndatacenters = \"all\"";
    let settings = layered(file, &[], &Flags::default()).unwrap();
    let placed = settings.placements.iter();
    let placed: Vec<_> = placed
        .map(|(namespace, names)| (namespace.as_str(), names.iter().collect::<Vec<_>>()))
        .collect();
    assert_eq!(placed, [("carts", vec!["eu", "us"])]);
    for (list, says) in [
        ("[]", "one datacenter at least"),
        ("[\"\"]", "must not be empty"),
        ("[1]", "must be a list of datacenters' names"),
        ("\"eu\"", "must be a list of datacenters' names"),
    ] {
        let message = refused(&format!("[namespaces.carts]\ndatacenters = {list}"));
        assert!(
            message.contains("line 2: `namespaces.carts.datacenters`"),
            "{message}"
        );
        assert!(message.contains(says), "{list}: {message}");
    }
}

#[test]
fn every_key_is_a_flag_and_a_variable_of_the_same_name() {
    for key in super::keys::ALL {
        let env = key.name.replace('.', "_").to_uppercase();
        assert_eq!(key.env, format!("ANABRANCH_{env}"));
        assert_eq!(key.flag, format!("--{}", key.name.replace(['.', '_'], "-")));
    }
    let command = <Flags as clap::Args>::augment_args(clap::Command::new("serve"));
    let mut flags: Vec<_> = command
        .get_arguments()
        .map(|argument| format!("--{}", argument.get_long().unwrap()))
        .collect();
    let mut keys: Vec<_> = super::keys::ALL.iter().map(|key| key.flag).collect();
    flags.sort();
    keys.sort_unstable();
    assert_eq!(flags, keys);
}

#[test]
fn every_key_is_documented() {
    let documented = include_str!("../../../docs/configuration.md");
    for key in super::keys::ALL {
        let row = format!("| `{}` | `{}` | `{}` |", key.name, key.env, key.flag);
        assert!(
            documented.contains(&row),
            "docs/configuration.md lacks {row}"
        );
    }
}

#[test]
fn times_have_units() {
    let after = |value: &str| {
        let text = format!("[cluster]\nset_aside_after = {value}\n");
        layered(&text, &[], &Flags::default()).map(|settings| settings.set_aside_after)
    };
    for (value, seconds) in [("1s", 1), ("90m", 5_400), ("36h", 129_600), ("7d", 604_800)] {
        let time = after(&format!("\"{value}\"")).unwrap();
        assert_eq!(time, Some(Duration::from_secs(seconds)), "{value}");
    }
    for bad in [
        "7",
        "\"7\"",
        "\"\"",
        "\"0s\"",
        "\"d\"",
        "\"1w\"",
        "\"-1d\"",
        "\"1.5h\"",
        "\"99999999999999999999d\"",
        "\"9000d\"",
    ] {
        let error = after(bad).unwrap_err().to_string();
        assert!(error.contains("such as \"7d\""), "{bad}: {error}");
    }
}
