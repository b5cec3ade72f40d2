//! What is written.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt as _;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::{carts, footprint};

pub(crate) const FEEDS: &str = "feeds";
/// Posts that a feed begins with, so that there is something to like.
const POSTS: usize = 3;
/// Feeds that are written to: a few popular ones, unlike carts.
pub(crate) const FEED_COUNT: usize = 200;

static ORDERS: AtomicU64 = AtomicU64::new(1_000_000);

/// A kind of writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// Customers change what is in their carts: one more of an item, one reserved or let go, a note.
    Carts { carts: usize },
    /// People post, at the front or at the end, and like posts.
    Feeds,
    /// Carts that have not been there, from this one on.
    NewCarts { from: usize },
}

impl Workload {
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Carts { .. } | Self::NewCarts { .. } => carts::NAMESPACE,
            Self::Feeds => FEEDS,
        }
    }

    /// The n-th write: where it goes, and its body.
    pub(crate) fn request(self, n: u64, random: &mut SmallRng) -> (String, String) {
        let (key, ops) = match self {
            Self::Carts { carts } => {
                let cart = random.random_range(0..carts);
                (carts::key(cart), json!([cart_op(cart, random)]))
            }
            Self::Feeds => (
                feed_key(random.random_range(0..FEED_COUNT)),
                json!([feed_op(random)]),
            ),
            Self::NewCarts { from } => {
                let cart = from + usize::try_from(n).unwrap_or(usize::MAX - from);
                (carts::key(cart), footprint::made(cart)["ops"].take())
            }
        };
        let namespace = self.namespace();
        let body = json!({ "ops": ops }).to_string();
        (format!("/v1/docs/{namespace}/{key}/ops"), body)
    }
}

fn cart_op(cart: usize, random: &mut SmallRng) -> Value {
    let item = carts::item(cart, random.random_range(0..carts::ITEMS));
    match random.random_range(0..10) {
        0..7 => json!({"op": "increment", "path": format!("/items/{item}/qty"), "by": 1}),
        7..9 => {
            let by = if random.random_bool(0.5) { 1 } else { -1 };
            json!({"op": "adjust", "path": format!("/items/{item}/reserved"), "by": by})
        }
        _ => {
            // Never the same twice: a write that changes nothing is none.
            let order = ORDERS.fetch_add(1, Ordering::Relaxed);
            let note = format!(
                "order {order}: leave it at door {}",
                random.random_range(1..200)
            );
            json!({"op": "put", "path": "/note", "value": note})
        }
    }
}

fn feed_op(random: &mut SmallRng) -> Value {
    match random.random_range(0..10) {
        0..3 => {
            json!({"op": "append", "path": "/posts", "value": post(random.random_range(0..1_000_000))})
        }
        3..5 => {
            json!({"op": "insert", "path": "/posts/0", "value": post(random.random_range(0..1_000_000))})
        }
        _ => {
            let path = format!("/posts/{}/likes", random.random_range(0..POSTS));
            json!({"op": "increment", "path": path, "by": 1})
        }
    }
}

fn post(n: usize) -> Value {
    json!({
        "by": format!("user-{:05}", n % 20_000),
        "text": format!("Seen from the train this morning: {n} starlings, and hardly a cloud."),
    })
}

fn feed_key(feed: usize) -> String {
    format!("feed-{feed:05}")
}

/// The batches that make all feeds.
pub(crate) fn made_feeds() -> Vec<String> {
    let feeds: Vec<usize> = (0..FEED_COUNT).collect();
    let batch = |some: &[usize]| {
        let writes: Vec<Value> = some
            .iter()
            .map(|feed| {
                let posts: Vec<Value> = (0..POSTS).map(|at| post(feed * POSTS + at)).collect();
                let put = json!({"op": "put", "path": "/posts", "value": posts});
                json!({"ns": FEEDS, "key": feed_key(*feed), "ops": [put]})
            })
            .collect();
        json!({ "writes": writes }).to_string()
    };
    feeds.chunks(carts::BATCH).map(batch).collect()
}
