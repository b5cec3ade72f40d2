//! Documents of ours.

use std::time::Instant;

use anabranch_core::measure::Bare;
use anabranch_core::{Edit, Intent, Path};
use serde_json::json;

use super::{Cart, Feed, RUNS, median, name, sku, words};
use crate::Outcome;

fn write(document: &mut Bare, edits: Vec<Edit>) -> Outcome<usize> {
    let changes = document.write(&Intent::Edits(edits))?;
    Ok(changes.iter().map(bytes::Bytes::len).sum())
}

fn line(at: usize) -> Outcome<Edit> {
    Ok(Edit::Put {
        path: Path::parse(&format!("/items/{}", sku(at)))?,
        value: json!({"name": name(at), "price": 2.55}),
    })
}

fn quantity(at: usize) -> Outcome<Path> {
    Ok(Path::parse(&format!("/items/{}/qty", sku(at)))?)
}

pub(super) struct Quantities(Bare);

impl Cart for Quantities {
    fn new() -> Self {
        Self(Bare::new(1))
    }

    fn add_line(&mut self, at: usize) -> Outcome<usize> {
        let path = quantity(at)?;
        write(&mut self.0, vec![line(at)?, Edit::Adjust { path, by: 1 }])
    }

    fn one_more(&mut self, at: usize) -> Outcome<usize> {
        let path = quantity(at)?;
        write(&mut self.0, vec![Edit::Adjust { path, by: 1 }])
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

pub(super) struct Counters(Bare);

impl Cart for Counters {
    fn new() -> Self {
        Self(Bare::new(1))
    }

    fn add_line(&mut self, at: usize) -> Outcome<usize> {
        let path = quantity(at)?;
        write(
            &mut self.0,
            vec![line(at)?, Edit::Increment { path, by: 1 }],
        )
    }

    fn one_more(&mut self, at: usize) -> Outcome<usize> {
        let path = quantity(at)?;
        write(&mut self.0, vec![Edit::Increment { path, by: 1 }])
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

pub(super) struct Posts(Bare);

impl Feed for Posts {
    fn new() -> Self {
        Self(Bare::new(1))
    }

    fn append(&mut self, post: usize) -> Outcome<usize> {
        let path = Path::parse("/posts")?;
        let value = json!({"author": "alice", "text": words(post)});
        write(&mut self.0, vec![Edit::Append { path, value }])
    }

    fn like(&mut self, post: usize) -> Outcome<usize> {
        let path = Path::parse(&format!("/posts/{post}/likes"))?;
        write(&mut self.0, vec![Edit::Increment { path, by: 1 }])
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

/// How long it takes to read a whole cart, and to make it equal to what it is but for one quantity.
pub(super) fn reading() -> Outcome<()> {
    println!("\nreading and putting a whole cart\n");
    println!("| lines | read as JSON | PUT, one line differs |");
    println!("|---|---|---|");
    for lines in [1, 10, 100] {
        let mut cart = Quantities::new();
        for at in 0..lines {
            cart.add_line(at)?;
        }
        let (mut read, mut put) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let begun = Instant::now();
            let value = cart.0.read();
            read.push(begun.elapsed());
            let mut value = value.ok_or("the cart is there")?;
            value["items"][sku(0)]["qty"] = json!(run + 2);
            let begun = Instant::now();
            cart.0.write(&Intent::Replace(value))?;
            put.push(begun.elapsed());
        }
        println!(
            "| {lines} | {:.1} us | {:.1} us |",
            median(read),
            median(put)
        );
    }
    Ok(())
}
