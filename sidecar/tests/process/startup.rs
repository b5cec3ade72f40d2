//! How a node starts, and how it does not.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};

use anabranch::pki::CertificateAuthority;
use serde_json::json;

use crate::client::{agent, get, put};
use crate::node::{Plan, anabranch, run};

fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("node.toml");
    std::fs::write(&config, "name = \"a\"\n[http]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    contains_all(
        &said,
        &[
            "node.toml, line 3",
            "`http.lisen`",
            "did you mean `http.listen`?",
        ],
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn bad_configuration_exits_with_2_and_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let data = data.to_str().unwrap();
    for (arguments, says) in [
        (
            &["--http-listen", "7171"][..],
            "--http-listen must be IP:PORT",
        ),
        (&["--gossip-seeds", "127.0.0.1:7172"], "anabranch init pki"),
        (&["--config", "/nowhere/node.toml"], "/nowhere/node.toml"),
        (&["--log", "a=b=c"], "--log"),
        (&["--nonsense"], "--nonsense"),
        (
            &[
                "--name",
                "a",
                "--datacenter",
                "a",
                "--tls-ca",
                "/nowhere/ca",
                "--tls-cert",
                "b",
                "--tls-key",
                "c",
            ],
            "cannot read /nowhere/ca",
        ),
    ] {
        let output = run(&[&["serve", "--data-dir", data], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        contains_all(&said, &[says]);
    }
    assert!(
        !std::path::Path::new(data).exists(),
        "nothing is made before it is known to be right"
    );
    let output = anabranch()
        .args(["serve", "--data-dir", data])
        .env("ANABRANCH_HTTP_LISTEN", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    contains_all(
        &String::from_utf8(output.stderr).unwrap(),
        &["ANABRANCH_HTTP_LISTEN"],
    );
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let first = plan.start();
    assert_eq!(first.gossip, "off");
    let (status, said) = plan.fail();
    assert_eq!(status, Some(1));
    let holder = format!("process {}", first.id());
    contains_all(
        &said,
        &["already open in", &holder, "choose another data directory"],
    );
    // The first goes on.
    assert!(put(
        &agent(),
        &format!("{}/v1/docs/carts/a", first.url),
        &json!({})
    ));
}

#[test]
fn ports_in_use_are_named() {
    let root = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let plan = Plan {
        http: address.clone(),
        ..Plan::alone(root.path(), "eu")
    };
    let (status, said) = plan.fail();
    assert_eq!(status, Some(1));
    contains_all(&said, &[&address, "in use", "--http-listen"]);

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut plan = Plan::in_cluster(root.path(), "us", &ca, &[]);
    plan.gossip = Some((address.clone(), Vec::new()));
    let (status, said) = plan.fail();
    assert_eq!(status, Some(1));
    contains_all(&said, &[&address, "in use"]);
}

#[test]
fn a_damaged_store_is_told_not_served() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let mut node = plan.start();
    assert!(put(
        &agent(),
        &format!("{}/v1/docs/carts/a", node.url),
        &json!({"a": 1})
    ));
    node.terminate();
    node.wait();
    let files = std::fs::read_dir(plan.directory.join("data")).unwrap();
    let largest = files
        .map(|file| file.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    for byte in bytes.iter_mut().skip(64) {
        *byte ^= 0xff;
    }
    std::fs::write(&largest, bytes).unwrap();
    let (status, said) = plan.fail();
    assert_eq!(status, Some(1), "{said}");
    contains_all(&said, &["anabranch: ", "damaged"]);
}

#[test]
fn a_request_under_way_is_finished_at_sigterm() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let mut node = plan.start();
    let mut stream = TcpStream::connect(node.url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .write_all(
            b"PUT /v1/docs/carts/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
              content-length: 7\r\nexpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    node.terminate();
    node.wait_for_log("shutting down");
    stream.write_all(b"{\"a\":1}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (status, rest) = node.wait();
    assert_eq!(status.code(), Some(0), "{}", node.log());
    assert_eq!(rest, "", "one line on stdout and no more");

    let again = plan.start();
    let read = get(&agent(), &format!("{}/v1/docs/carts/a", again.url));
    assert_eq!(read, json!({"a": 1}));
}
