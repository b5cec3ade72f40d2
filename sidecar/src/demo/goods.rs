//! What goes into the carts: made up at a rate, or replayed from invoices. And the ledger of what must be
//! in them in the end.

use std::collections::BTreeMap;

use anabranch::{Edit, Node, Path};
use serde_json::Value;

use super::{Failure, NAMESPACE};

/// One line that somebody puts into a cart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) cart: String,
    pub(super) item: String,
    pub(super) pieces: i64,
    pub(super) price: f64,
}

impl Line {
    /// The edits that it stands for. Pieces are a quantity: put in by an order, taken out by a cancellation,
    /// which may come before it, from another datacenter.
    pub(super) fn edits(&self) -> Result<[Edit; 2], Failure> {
        let item = self.item.replace('~', "~0").replace('/', "~1");
        let path = |name: &str| Path::parse(&format!("/items/{item}/{name}")).map_err(Failure::new);
        Ok([
            Edit::Adjust {
                path: path("qty")?,
                by: self.pieces,
            },
            Edit::Put {
                path: path("price")?,
                value: Value::from(self.price),
            },
        ])
    }
}

/// Pieces by cart and item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ledger(BTreeMap<String, BTreeMap<String, i64>>);

impl Ledger {
    pub(super) fn enter(&mut self, line: &Line) {
        let cart = self.0.entry(line.cart.clone()).or_default();
        *cart.entry(line.item.clone()).or_default() += line.pieces;
    }

    pub(super) fn carts(&self) -> usize {
        self.0.len()
    }

    pub(super) fn pieces(&self) -> i64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    /// Compares a node's carts with what was ordered. Names the carts that differ.
    pub(super) async fn differences(&self, node: &Node) -> Result<Vec<String>, Failure> {
        let mut differing = Vec::new();
        for (cart, items) in &self.0 {
            let stored = node.get(NAMESPACE, cart).await.map_err(Failure::new)?;
            let stored = stored
                .map(|snapshot| pieces_of(&snapshot.value))
                .unwrap_or_default();
            if stored != *items {
                differing.push(cart.clone());
            }
        }
        Ok(differing)
    }
}

fn pieces_of(cart: &Value) -> BTreeMap<String, i64> {
    let items = cart.get("items").and_then(Value::as_object);
    let pieces = |item: &Value| item.get("qty").and_then(Value::as_i64).unwrap_or(0);
    items
        .map(|items| {
            items
                .iter()
                .map(|(name, item)| (name.clone(), pieces(item)))
                .collect()
        })
        .unwrap_or_default()
}
