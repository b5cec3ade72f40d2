//! One shopping cart in two datacenters that lose each other, and what becomes of it.
//!
//! ```sh
//! cargo run --release -p anabranch --example cart
//! ```

mod datacenters;

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::Node;
use anabranch::typed::{Quantity, Set, Text};
use datacenters::{Datacenters, Result};
use serde::{Deserialize, Serialize};

/// The field types say what happens when two datacenters write at once; see `anabranch::typed`.
#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Cart {
    /// By article.
    lines: BTreeMap<String, Line>,
    coupons: Set<String>,
    note: Text,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Line {
    pieces: Quantity,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Wishes {
    lines: BTreeMap<String, Line>,
}

const SHOP: &str = "shop";
const CART: &str = "carts/alice";
const WISHES: &str = "wishes/alice";

impl Cart {
    fn put_in(&mut self, article: &str, pieces: i64) {
        self.lines
            .entry(article.to_owned())
            .or_default()
            .pieces
            .adjust(pieces);
    }

    fn pieces(&self, article: &str) -> Option<i64> {
        self.lines.get(article).map(|line| line.pieces.value())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let datacenters =
        Datacenters::start(&["frankfurt", "virginia"], Duration::from_millis(46)).await?;
    let (frankfurt, virginia) = (&datacenters.nodes[0], &datacenters.nodes[1]);

    println!(
        "\nFrankfurt and Virginia, 46 ms apart, each with a node of its own. The link is cut.\n"
    );
    datacenters.cut();

    // Alice's requests reach one datacenter from her phone and the other from her laptop. Neither waits: a
    // write is acknowledged once it is durable where it was made.
    println!("1  Both create Alice's cart: two of the same tea, and each something else");
    frankfurt
        .edit(SHOP, CART, |cart: &mut Cart| {
            cart.put_in("tea", 2);
            cart.put_in("honey", 1);
            cart.coupons.insert("SPRING");
        })
        .await?;
    virginia
        .edit(SHOP, CART, |cart: &mut Cart| {
            cart.put_in("tea", 2);
            cart.put_in("cup", 3);
            cart.note.push_str("Please ring twice.");
        })
        .await?;
    let cart = rejoin(&datacenters).await?;
    // One cart, with both sides' lines; and as each put in two teas, there are four.
    assert_eq!(
        (cart.pieces("tea"), cart.pieces("honey"), cart.pieces("cup")),
        (Some(4), Some(1), Some(3))
    );

    println!("2  Virginia takes the tea out of the cart while Frankfurt puts another one in");
    datacenters.cut();
    virginia
        .edit(SHOP, CART, |cart: &mut Cart| cart.lines.remove("tea"))
        .await?;
    frankfurt
        .edit(SHOP, CART, |cart: &mut Cart| cart.put_in("tea", 1))
        .await?;
    let cart = rejoin(&datacenters).await?;
    // The removal took the four that it saw, and not the one that it did not.
    assert_eq!(cart.pieces("tea"), Some(1));

    println!("3  Both write the note, and change the coupons");
    datacenters.cut();
    frankfurt
        .edit(SHOP, CART, |cart: &mut Cart| {
            cart.note.push_str(" Or leave it at the door.");
            cart.coupons.insert("WELCOME");
        })
        .await?;
    virginia
        .edit(SHOP, CART, |cart: &mut Cart| {
            cart.note.splice(7, 0, "only ");
            cart.note.splice(12, 10, "knock");
            cart.coupons.remove("SPRING");
        })
        .await?;
    let cart = rejoin(&datacenters).await?;
    assert_eq!(cart.note, "Please only knock. Or leave it at the door.");
    assert_eq!(cart.coupons, ["WELCOME".to_owned()].into_iter().collect());

    println!(
        "4  Virginia moves a kettle from the wish list into the cart: two documents, one write"
    );
    frankfurt
        .edit(SHOP, WISHES, |wishes: &mut Wishes| {
            wishes
                .lines
                .entry("kettle".to_owned())
                .or_default()
                .pieces
                .adjust(1);
        })
        .await?;
    datacenters.equal(SHOP).await?;
    let mut feed = frankfurt.subscribe(None, "", None);
    let mut wishes = virginia.draft::<Wishes>(SHOP, WISHES).await?;
    let mut cart = virginia.draft::<Cart>(SHOP, CART).await?;
    let kettle = wishes
        .lines
        .remove("kettle")
        .ok_or("the kettle is not on the list")?;
    cart.lines.insert("kettle".to_owned(), kettle);
    let writes = [wishes.into_write()?, cart.into_write()?];
    virginia.batch(SHOP, writes.into_iter().flatten()).await?;
    // In Frankfurt they become visible in one moment: nobody sees the kettle in both places, or in none.
    let change = feed.next().await?;
    let documents: Vec<_> = change
        .documents
        .iter()
        .map(|document| document.key.as_str())
        .collect();
    println!(
        "   Frankfurt sees one change, to {}",
        documents.join(" and ")
    );
    assert_eq!(documents.len(), 2);
    let cart = rejoin(&datacenters).await?;
    assert_eq!(cart.pieces("kettle"), Some(1));

    println!("Nothing was lost, nothing counted twice.");
    datacenters.shutdown().await
}

/// Shows what either side has, heals the link, and shows what both have then.
async fn rejoin(datacenters: &Datacenters) -> Result<Cart> {
    let [frankfurt, virginia] = &datacenters.nodes[..] else {
        return Err("two datacenters are needed".into());
    };
    show("Frankfurt", &read(frankfurt).await?);
    show("Virginia", &read(virginia).await?);
    datacenters.heal();
    datacenters.equal(SHOP).await?;
    let (cart, there) = (read(frankfurt).await?, read(virginia).await?);
    assert_eq!(cart, there);
    show("= both", &cart);
    println!();
    Ok(cart)
}

async fn read(node: &Node) -> Result<Cart> {
    Ok(node.read(SHOP, CART).await?.unwrap_or_default())
}

fn show(who: &str, cart: &Cart) {
    let or_none = |list: Vec<String>| match &list[..] {
        [] => "-".to_owned(),
        _ => list.join(", "),
    };
    let lines = cart
        .lines
        .iter()
        .map(|(article, line)| format!("{article} {}", line.pieces));
    let lines = or_none(lines.collect());
    let coupons = or_none(cart.coupons.iter().cloned().collect());
    println!(
        "   {who:<10} {lines:<32} coupons {coupons:<16} note {:?}",
        &*cart.note
    );
}
