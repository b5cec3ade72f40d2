//! The carts that are written to: ten items each.

use anabranch::{Config, Edit, Node, Path};
use serde_json::{Map, Value, json};

use crate::Outcome;

pub(crate) const NAMESPACE: &str = "carts";
pub(crate) const ITEMS: usize = 10;

pub(crate) fn key(cart: usize) -> String {
    format!("cart-{cart:06}")
}

pub(crate) fn item(at: usize) -> String {
    format!("{}", 22_000 + at * 13)
}

/// The edit that is measured: one more of an item.
pub(crate) fn one_more(at: usize) -> Outcome<Edit> {
    Ok(Edit::Increment {
        path: Path::parse(&format!("/items/{}/qty", item(at)))?,
        by: 1,
    })
}

/// Fills carts, many at a time.
pub(crate) async fn fill(node: &Node, carts: usize) -> Outcome<()> {
    let mut writes = tokio::task::JoinSet::new();
    for cart in 0..carts {
        let node = node.clone();
        writes.spawn(async move {
            let prices: Map<String, Value> = (0..ITEMS)
                .map(|at| (item(at), json!({"price": 2.55})))
                .collect();
            node.put(NAMESPACE, &key(cart), json!({ "items": prices }))
                .await?;
            let edits = (0..ITEMS).map(one_more).collect::<Outcome<Vec<_>>>()?;
            node.apply(NAMESPACE, &key(cart), edits).await?;
            Outcome::Ok(())
        });
        if writes.len() >= 64
            && let Some(done) = writes.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = writes.join_next().await {
        done??;
    }
    Ok(())
}

/// A node on its own in a directory.
pub(crate) async fn alone(dir: &std::path::Path) -> Outcome<Node> {
    Ok(Node::open(Config::new(dir)).await?)
}
