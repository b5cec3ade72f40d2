//! Nodes that should not meet, and clear words about it on both sides.

use std::time::{Duration, SystemTime};

use anabranch::pki::{CertificateAuthority, Validity};
use serde_json::json;

use crate::client::{agent, put, wait_for_document, wait_for_view};
use crate::node::{Plan, run};

#[test]
fn nodes_under_two_authorities_do_not_meet_and_say_why() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("one").unwrap();
    let other = CertificateAuthority::generate("two").unwrap();
    let eu = Plan::in_cluster(root.path(), "eu", &ca, &[]).start();
    let us = Plan::in_cluster(root.path(), "us", &other, std::slice::from_ref(&eu.gossip)).start();
    us.wait_for_log("both nodes need certificates from one CA");
    eu.wait_for_log("both nodes need certificates from one CA");
    let view = wait_for_view(&us, "the seed's failure", |view| {
        view["seeds"][0]["last_error"].is_string()
    });
    let error = view["seeds"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("anabranch init PKI --node NAME"), "{error}");
    assert_eq!(view["members"], json!([]));
    // Both go on by themselves.
    for node in [&eu, &us] {
        assert!(put(
            &agent(),
            &format!("{}/v1/docs/carts/a", node.url),
            &json!({})
        ));
    }
}

#[test]
fn a_certificate_that_has_expired_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let plan = Plan::in_cluster(root.path(), "eu", &ca, &[]);
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let validity = Validity {
        not_before: now - 2 * day,
        not_after: now - day,
    };
    plan.certify(&ca, validity);
    let (status, said) = plan.fail();
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("has expired: run `anabranch init PKI --node eu`"),
        "{said}"
    );

    let foreign = CertificateAuthority::generate("foreign").unwrap();
    plan.certify(&foreign, Validity::days(1));
    std::fs::write(plan.directory.join("ca.pem"), ca.to_pem().cert_pem).unwrap();
    let (status, said) = plan.fail();
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("is not signed by this cluster's CA"),
        "{said}"
    );
}

#[test]
fn what_init_makes_is_all_that_a_cluster_needs() {
    let root = tempfile::tempdir().unwrap();
    let pki = root.path().join("pki");
    let pki = pki.to_str().unwrap();
    assert!(run(&["init", pki]).status.success());
    assert!(
        run(&["init", pki, "--node", "eu", "--node", "us"])
            .status
            .success()
    );
    let again = run(&["init", pki]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("nothing is ever overwritten")
    );

    let start = |name: &str, seeds: &[String]| {
        let mut plan = Plan::alone(root.path(), name);
        plan.gossip = Some(("127.0.0.1:0".to_owned(), seeds.to_vec()));
        std::fs::create_dir_all(&plan.directory).unwrap();
        for (from, to) in [
            ("ca.pem".to_owned(), "ca.pem"),
            (format!("{name}.pem"), "node.pem"),
            (format!("{name}.key"), "node.key"),
        ] {
            std::fs::copy(format!("{pki}/{from}"), plan.directory.join(to)).unwrap();
        }
        plan.start()
    };
    let eu = start("eu", &[]);
    let us = start("us", std::slice::from_ref(&eu.gossip));
    assert!(put(
        &agent(),
        &format!("{}/v1/docs/carts/a", eu.url),
        &json!({})
    ));
    wait_for_document(&us, "carts", "a");
    let view = wait_for_view(&eu, "the other member", |view| {
        view["members"][0]["name"] == "us"
    });
    assert_eq!(view["members"][0]["link"], "up");
    assert_eq!(view["members"][0]["datacenter"], "us");
    let metrics = agent().get(format!("{}/metrics", eu.url)).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    for name in ["link_up", "lag_seconds", "rtt_seconds", "sent_bytes_total"] {
        let line = format!("anabranch_peer_{name}{{peer=\"us\",datacenter=\"us\"}}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}
