//! Requests to a node.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::node::{NodeProcess, PATIENCE};

/// A connection of its own.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_per_read(Some(PATIENCE))
        .build()
        .into()
}

/// Reads JSON.
#[track_caller]
pub(crate) fn get(agent: &Agent, url: &str) -> Value {
    let mut response = agent.get(url).call().unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    assert_eq!(response.status(), 200, "{url}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Writes a document; true once it is acknowledged, false if the connection broke.
pub(crate) fn put(agent: &Agent, url: &str, document: &Value) -> bool {
    let request = agent.put(url).header("content-type", "application/json");
    acknowledged(request.send(document.to_string()))
}

/// Adds 1 to a counter; true once it is acknowledged, false if the connection broke.
pub(crate) fn increment(agent: &Agent, url: &str, path: &str) -> bool {
    let body = json!({"ops": [{"op": "increment", "path": path, "by": 1}]});
    let request = agent
        .post(format!("{url}/ops"))
        .header("content-type", "application/json");
    acknowledged(request.send(body.to_string()))
}

/// The status is the acknowledgement; the connection goes on being used once the body is read.
fn acknowledged(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> bool {
    let Ok(mut response) = result else {
        return false;
    };
    let status = response.status();
    let body = response.body_mut().read_to_string();
    assert!(status.is_success(), "{status}: {body:?}");
    true
}

/// The whole of a namespace: keys, versions, values.
pub(crate) fn listing(node: &NodeProcess, namespace: &str) -> Vec<Value> {
    let agent = agent();
    let mut documents = Vec::new();
    let mut after = String::new();
    loop {
        let url = format!(
            "{}/v1/docs/{namespace}?limit=1000&values=true{after}",
            node.url
        );
        let mut page = get(&agent, &url);
        let Value::Array(found) = page["documents"].take() else {
            panic!("no documents in {url}");
        };
        documents.extend(found);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return documents,
        }
    }
}

/// Waits until a document has become visible at a node.
pub(crate) fn wait_for_document(node: &NodeProcess, namespace: &str, key: &str) {
    let url = format!("{}/v1/events?ns={namespace}&prefix={key}&after=0", node.url);
    let response = agent().get(url).call().unwrap();
    let deadline = Instant::now() + PATIENCE;
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        if line.unwrap().contains(&format!("\"key\":\"{key}\"")) {
            return;
        }
        assert!(Instant::now() < deadline, "{key} did not come");
    }
    panic!("the feed ended before {key} came");
}

/// One value from `/metrics`.
pub(crate) fn metric(node: &NodeProcess, name: &str) -> f64 {
    let mut response = agent().get(format!("{}/metrics", node.url)).call().unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    value.trim().parse().unwrap()
}

/// Asks for a node's view of the cluster until it shows something.
pub(crate) fn wait_for_view(
    node: &NodeProcess,
    what: &str,
    shows: impl Fn(&Value) -> bool,
) -> Value {
    let agent = agent();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = get(&agent, &format!("{}/v1/cluster", node.url));
        if shows(&view) {
            return view;
        }
        assert!(Instant::now() < deadline, "{what}: {view:#}");
        // Not to wait for something in particular, but to leave the node some of the processor.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
