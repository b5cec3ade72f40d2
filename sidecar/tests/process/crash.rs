//! `kill -9` under load: nothing acknowledged is ever missing.
//!
//! Writers count what was acknowledged. What was under way when the process died may be there or not; all
//! else must be.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get, increment, listing, put, wait_for_document};
use crate::node::{NodeProcess, PATIENCE, Plan};

const NAMESPACE: &str = "load";
const WRITERS_PER_NODE: usize = 4;
const COUNTERS: usize = 7;
/// What a life must have acknowledged before it ends.
const WRITES_PER_LIFE: u64 = 250;

/// Where a node's writers find it, and how far they are.
#[derive(Default)]
struct Target {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// None while it is down.
    url: Option<String>,
    /// How often it was started.
    lives: u64,
    /// Writes acknowledged in this life.
    acknowledged: u64,
    stop: bool,
}

impl Target {
    fn is_up(&self, node: &NodeProcess) {
        let mut state = self.state.lock().unwrap();
        state.url = Some(node.url.clone());
        state.lives += 1;
        state.acknowledged = 0;
        self.changed.notify_all();
    }

    fn is_down(&self) {
        self.state.lock().unwrap().url = None;
    }

    fn stop(&self) {
        self.state.lock().unwrap().stop = true;
        self.changed.notify_all();
    }

    fn acknowledge(&self) {
        self.state.lock().unwrap().acknowledged += 1;
        self.changed.notify_all();
    }

    /// Waits for work to have been done in this life.
    fn wait_for_writes(&self) {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| {
                state.acknowledged < WRITES_PER_LIFE
            })
            .unwrap();
        assert!(
            state.acknowledged >= WRITES_PER_LIFE,
            "the writers are stuck"
        );
    }

    /// Where to write next, in a life after the given one; none at the end.
    fn next(&self, after_life: u64) -> Option<(String, u64)> {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| {
                !state.stop && (state.url.is_none() || state.lives <= after_life)
            })
            .unwrap();
        match &state.url {
            _ if state.stop => None,
            Some(url) if state.lives > after_life => Some((url.clone(), state.lives)),
            _ => panic!("the node did not come back"),
        }
    }
}

/// What one writer knows.
#[derive(Default)]
struct Ledger {
    /// Per counter: acknowledged, and with an outcome that is not known.
    counters: HashMap<String, (i64, i64)>,
    /// Documents whose creation was acknowledged.
    created: Vec<(String, Value)>,
}

/// Writes until told to stop: counters that others write, too, and documents of its own.
fn write(writer: &str, target: &Target) -> Ledger {
    let mut ledger = Ledger::default();
    let agent = agent();
    let mut dead_life = 0;
    let mut n = 0;
    while let Some((url, life)) = target.next(dead_life) {
        n += 1;
        let acknowledged = if n % 2 == 0 {
            let (key, document) = (format!("{writer}-{n:06}"), json!({"n": n}));
            let acknowledged = put(
                &agent,
                &format!("{url}/v1/docs/{NAMESPACE}/{key}"),
                &document,
            );
            if acknowledged {
                ledger.created.push((key, document));
            }
            acknowledged
        } else {
            let key = format!("counter-{}", n % COUNTERS);
            let url = format!("{url}/v1/docs/{NAMESPACE}/{key}");
            let acknowledged = increment(&agent, &url, &format!("/by/{writer}"));
            let count = ledger.counters.entry(key).or_default();
            match acknowledged {
                true => count.0 += 1,
                false => count.1 += 1,
            }
            acknowledged
        };
        match acknowledged {
            true => target.acknowledge(),
            false => dead_life = life,
        }
    }
    ledger
}

/// Holds a namespace against what writers were promised.
fn check(documents: &[Value], ledgers: &[(String, Ledger)]) -> i64 {
    let by_key: HashMap<&str, &Value> = documents
        .iter()
        .map(|document| (document["key"].as_str().unwrap(), &document["value"]))
        .collect();
    let mut promised = 0;
    for (writer, ledger) in ledgers {
        for (key, document) in &ledger.created {
            assert_eq!(
                by_key.get(&**key),
                Some(&document),
                "{key} was acknowledged"
            );
            promised += 1;
        }
        for (key, (acknowledged, unknown)) in &ledger.counters {
            let found = by_key
                .get(&**key)
                .and_then(|document| document["by"][writer].as_i64())
                .unwrap_or(0);
            assert!(
                (*acknowledged..=acknowledged + unknown).contains(&found),
                "{key} by {writer}: {acknowledged} acknowledged, {unknown} unknown, {found} found"
            );
            promised += acknowledged;
        }
    }
    promised
}

/// Runs writers against nodes, kills a node at a time and starts it again, and gives what was promised.
fn torment(
    plans: &[Plan],
    nodes: &mut [Option<NodeProcess>],
    kills: usize,
) -> Vec<(String, Ledger)> {
    let targets: Vec<Arc<Target>> = nodes
        .iter()
        .map(|node| {
            let target = Arc::<Target>::default();
            target.is_up(node.as_ref().unwrap());
            target
        })
        .collect();
    let writers: Vec<_> = targets
        .iter()
        .enumerate()
        .flat_map(|(at, target)| {
            (0..WRITERS_PER_NODE).map(move |n| (format!("w{at}{n}"), target.clone()))
        })
        .map(|(name, target)| {
            std::thread::spawn(move || {
                let ledger = write(&name, &target);
                (name, ledger)
            })
        })
        .collect();
    for kill in 0..kills {
        let at = kill % nodes.len();
        targets[at].wait_for_writes();
        targets[at].is_down();
        nodes[at].take().unwrap().kill();
        let node = plans[at].start();
        targets[at].is_up(&node);
        nodes[at] = Some(node);
    }
    for target in &targets {
        target.wait_for_writes();
        target.stop();
    }
    writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect()
}

fn incarnation(node: &NodeProcess) -> Value {
    let view = get(&agent(), &format!("{}/v1/cluster", node.url));
    assert!(view["node"]["incarnation"].is_string(), "{view}");
    view["node"]["incarnation"].clone()
}

/// Nobody else could give back what this one lost.
#[test]
fn a_killed_node_on_its_own_has_all_that_it_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let mut nodes = [Some(plan.start())];
    let before = incarnation(nodes[0].as_ref().unwrap());
    let ledgers = torment(std::slice::from_ref(&plan), &mut nodes, 10);
    let node = nodes[0].take().unwrap();
    let promised = check(&listing(&node, NAMESPACE), &ledgers);
    assert!(promised >= 11 * i64::try_from(WRITES_PER_LIFE).unwrap());
    assert_eq!(
        incarnation(&node),
        before,
        "a killed process goes on with its history"
    );
}

#[test]
fn twenty_kills_in_a_cluster_lose_nothing_and_all_nodes_end_equal() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut plans: Vec<Plan> = Vec::new();
    let mut nodes: Vec<Option<NodeProcess>> = Vec::new();
    let mut addresses = Vec::new();
    for name in ["eu", "us", "ap"] {
        let plan = Plan::in_cluster(root.path(), name, &ca, &addresses);
        let node = plan.start();
        addresses.push(node.gossip.clone());
        plans.push(plan);
        nodes.push(Some(node));
    }
    // From now on each is found where it was, and looks for both others.
    for (at, plan) in plans.iter_mut().enumerate() {
        let others = addresses
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        let others = others.map(|(_, address)| address.clone()).collect();
        plan.gossip = Some((addresses[at].clone(), others));
    }
    let ledgers = torment(&plans, &mut nodes, 20);
    let nodes: Vec<NodeProcess> = nodes.into_iter().map(Option::unwrap).collect();

    // A namespace is in causal order: whoever has a node's last write has all that it had seen before.
    for (plan, node) in plans.iter().zip(&nodes) {
        let url = format!("{}/v1/docs/{NAMESPACE}/last-of-{}", node.url, plan.name);
        assert!(put(&agent(), &url, &json!({})));
    }
    for node in &nodes {
        for plan in &plans {
            wait_for_document(node, NAMESPACE, &format!("last-of-{}", plan.name));
        }
    }
    let documents = listing(&nodes[0], NAMESPACE);
    let promised = check(&documents, &ledgers);
    assert!(promised >= 23 * i64::try_from(WRITES_PER_LIFE).unwrap());
    for node in &nodes[1..] {
        let others = listing(node, NAMESPACE);
        assert_eq!(others.len(), documents.len());
        for (one, other) in documents.iter().zip(&others) {
            assert_eq!(one, other, "versions and values are the same everywhere");
        }
    }
}
