//! Documents as your own types: structs with serde's derives, whose fields say how they merge.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use anabranch::typed::{Counter, Quantity, Set, Text};
//! use anabranch::{Config, Node};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(default)] // what a document lacks, because somebody else or an older version wrote it
//! struct Cart {
//!     status: String,               // a register: of two values that are written at once, one wins
//!     lines: BTreeMap<String, Line>, // a map: both sides' entries are kept
//!     coupons: Set<String>,         // both sides' elements are kept
//!     note: Text,                   // both sides' words are kept
//!     changes: Counter,             // both sides' steps add up
//! }
//!
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(default)]
//! struct Line {
//!     pieces: Quantity,             // both sides' adjustments add up
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let node = Node::open(Config::new(dir)).await?;
//! node.edit("carts", "alice", |cart: &mut Cart| {
//!     cart.lines.entry("22752".to_owned()).or_default().pieces.adjust(2);
//!     cart.coupons.insert("SPRING");
//!     cart.changes.add(1);
//! })
//! .await?;
//! let cart: Cart = node.read("carts", "alice").await?.expect("it was just written");
//! assert_eq!(cart.lines["22752"].pieces.value(), 2);
//! # node.shutdown().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # What an edit writes
//! [`Node::edit`](crate::Node::edit) reads the document, hands it to your code, compares what comes back with
//! what was there, and writes the difference as edits with their intent: `adjust(2)` becomes *2 more*, not
//! *it is 5 now*. What did not change is not written, and if nothing did, nothing is. The edits are made on
//! the version that was read: what others wrote in the meantime, here or in another datacenter, merges with
//! them. So there is no conflict to handle and no loop to write, and no update is lost.
//!
//! | field | what is written | two at once |
//! |---|---|---|
//! | numbers, `String`, `bool`, `Option`, unit variants | the new value | one wins |
//! | [`Counter`], [`Quantity`] | what was added | the sum |
//! | [`Set`] | elements added and removed | both; add wins over remove |
//! | [`Text`] | characters inserted and deleted | both |
//! | structs, maps (`BTreeMap<String, _>`), variants with content | what changed inside | both |
//! | `Vec`, tuples | elements inserted, removed, changed inside | both |
//!
//! Elements of a list that are structs with a field `id` (a string or a number) are the same if their `id` is.
//! Other elements are the same if they are equal; those that changed are matched with those most like them.
//! Counters, quantities, sets and texts are themselves in structs and maps; directly in a list (`Vec<Counter>`)
//! they are plain values.
//!
//! Give enums whose variants have content a tag (`#[serde(tag = "kind")]`): then two variants that are written at once
//! read as one of them. Without a tag both names stand in the document, and it does not read. For the same reason
//! prefer structs to tuples: a list that is created twice has the elements of both.
//!
//! A field that the type does not know is left alone, so that versions of a program which know different
//! fields can share documents.
//!
//! # What a document may lack
//! Documents are written by many: another service, an older version of yours, a datacenter that has not seen a
//! field yet. So give structs `#[serde(default)]`, as above; without it a document that lacks the field does not
//! read, and the error says which. The four field types need no default: missing, they are 0 or empty.
//!
//! What others write must be of the field's kind: a JSON array or string that was put is a list or a register, and
//! reads as a [`Set`] or [`Text`], but does not become one by an edit, which is refused. Let such writers use the edits
//! of sets and texts from the beginning, or remove what they put. A number that was put can be counted either way; once
//! it is counted, a [`Counter`] is no [`Quantity`].
//!
//! # Several documents at once
//! [`Node::draft`](crate::Node::draft) reads a document to be changed; the writes that come of several drafts go
//! into one [`Node::batch`](crate::Node::batch), which becomes visible everywhere as one.
//!
//! # Other serialisers
//! To `serde_json` and others, counters and quantities are numbers, sets arrays, and texts strings.

mod alignment;
mod difference;
mod draft;
mod editing;
mod error;
mod number;
mod pairing;
mod reading;
mod serializer;
mod set;
mod text;
mod tree;

use serde::{Deserialize, Deserializer};

pub use draft::Draft;
pub use error::TypedError;
pub use number::{Counter, Quantity};
pub use set::Set;
pub use text::Text;

/// A name as a part of a JSON Pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Reads what a field type holds; where there is nothing, or null, it is empty, as a document sees it.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    // serde offers a field that is missing as an option. Formats that don't name their fields
    // would take that for a tag in their bytes, which the serialising side never wrote.
    if deserializer.is_human_readable() {
        Option::deserialize(deserializer).map(Option::unwrap_or_default)
    } else {
        T::deserialize(deserializer)
    }
}
