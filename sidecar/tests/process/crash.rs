//! `kill -9` under load: nothing acknowledged is ever missing.
//!
//! Writers count what was acknowledged. What was under way when the process died may be there or not; all
//! else must be.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get, increment, listing, metric, put, wait_for_document};
use crate::node::{NodeProcess, PATIENCE, Plan};

const NAMESPACE: &str = "load";
const WRITERS_PER_NODE: usize = 4;
const COUNTERS: usize = 7;
/// What a life must have acknowledged before it ends, unless a test has less patience.
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
    fn wait_for_writes(&self, count: u64) {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.acknowledged < count)
            .unwrap();
        assert!(state.acknowledged >= count, "the writers are stuck");
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
fn write(writer: &str, target: &Target, text_bytes: usize) -> Ledger {
    let mut ledger = Ledger::default();
    let agent = agent();
    let mut dead_life = 0;
    let mut n = 0;
    while let Some((url, life)) = target.next(dead_life) {
        n += 1;
        let acknowledged = if n % 2 == 0 {
            let (key, document) = (format!("{writer}-{n:06}"), document(n, text_bytes));
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

fn document(n: usize, text_bytes: usize) -> Value {
    let mut text = String::new();
    for at in 1.. {
        if text.len() >= text_bytes {
            break;
        }
        text += &(at * n).to_string();
    }
    json!({"n": n, "text": text})
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

/// How nodes are tormented.
struct Torment<'a> {
    kills: usize,
    /// What a life must have acknowledged before it ends.
    writes_per_life: u64,
    /// Of each document, about.
    text_bytes: usize,
    /// Chooses the moment, when there was work enough: is given the number of the kill.
    wait: &'a mut dyn FnMut(usize),
    /// Looks at what is left, before the node starts again.
    look: &'a mut dyn FnMut(),
}

/// Runs writers against nodes, kills a node at a time and starts it again, and gives what was promised.
fn torment(
    plans: &[Plan],
    nodes: &mut [Option<NodeProcess>],
    Torment {
        kills,
        writes_per_life,
        text_bytes,
        wait,
        look,
    }: Torment<'_>,
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
                let ledger = write(&name, &target, text_bytes);
                (name, ledger)
            })
        })
        .collect();
    for kill in 0..kills {
        let at = kill % nodes.len();
        targets[at].wait_for_writes(writes_per_life);
        wait(kill);
        targets[at].is_down();
        nodes[at].take().unwrap().kill();
        look();
        let node = plans[at].start();
        targets[at].is_up(&node);
        nodes[at] = Some(node);
    }
    for target in &targets {
        target.wait_for_writes(writes_per_life);
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
    let ledgers = torment(
        std::slice::from_ref(&plan),
        &mut nodes,
        Torment {
            kills: 10,
            writes_per_life: WRITES_PER_LIFE,
            text_bytes: 0,
            wait: &mut |_| {},
            look: &mut || {},
        },
    );
    let node = nodes[0].take().unwrap();
    let promised = check(&listing(&node, NAMESPACE), &ledgers);
    assert!(promised >= 11 * i64::try_from(WRITES_PER_LIFE).unwrap());
    assert_eq!(
        incarnation(&node),
        before,
        "a killed process goes on with its history"
    );
}

/// When the documents' file was last written.
fn modified(documents: &Path) -> SystemTime {
    std::fs::metadata(documents).unwrap().modified().unwrap()
}

/// Waits until the documents' file is written.
fn wait_for_a_fold(documents: &Path) -> SystemTime {
    let before = modified(documents);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = modified(documents);
        if now != before {
            return now;
        }
        assert!(Instant::now() < deadline, "nothing is folded");
        // Not to wait for something in particular, but to leave the node some of the processor.
        std::thread::park_timeout(Duration::from_micros(100));
    }
}

/// With so little memory changes go to their documents, and the checkpoint moves, all the time; the counters are
/// compacted on the way, since so many changes of them come together, and the log is let go and its files are used
/// again.
#[test]
fn a_node_killed_while_it_folds_and_compacts_has_all_that_it_acknowledged() {
    const KILLS: usize = 25;
    const WRITES: u64 = 80;
    let root = tempfile::tempdir().unwrap();
    let plan = Plan {
        store: "memory_bytes = 1048576\nlog_kept_bytes = 1048576\nlog_max_bytes = 2097152",
        ..Plan::alone(root.path(), "eu")
    };
    let documents = plan.directory.join("data/documents.redb");
    let mut nodes = [Some(plan.start())];
    let begun = std::cell::Cell::new(SystemTime::UNIX_EPOCH);
    let mut amid = 0;
    let ledgers = torment(
        std::slice::from_ref(&plan),
        &mut nodes,
        Torment {
            kills: KILLS,
            writes_per_life: WRITES,
            text_bytes: 2_000,
            wait: &mut |kill| {
                begun.set(wait_for_a_fold(&documents));
                // Not to wait for something in particular: it dies at another point of the fold each time.
                let delay = Duration::from_micros(kill as u64 * 7_919 % 6_000);
                let until = Instant::now() + delay;
                while Instant::now() < until {
                    std::thread::park_timeout(until - Instant::now());
                }
            },
            look: &mut || amid += usize::from(modified(&documents) != begun.get()),
        },
    );
    let node = nodes[0].take().unwrap();
    let promised = check(&listing(&node, NAMESPACE), &ledgers);
    println!(
        "{KILLS} kills, {amid} of them amid the writing of documents; {promised} writes, none lost"
    );
    assert!(promised >= (KILLS as i64 + 1) * i64::try_from(WRITES).unwrap());
    assert!(
        amid >= KILLS / 5,
        "{amid} kills came while documents were written"
    );
    let folds = metric(&node, "anabranch_folds_total");
    assert!(folds > 0.0, "the last life folded nothing");
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
    let ledgers = torment(
        &plans,
        &mut nodes,
        Torment {
            kills: 20,
            writes_per_life: WRITES_PER_LIFE,
            text_bytes: 0,
            wait: &mut |_| {},
            look: &mut || {},
        },
    );
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
