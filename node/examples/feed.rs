//! A social feed in three datacenters: posts, likes, comments, and timelines that are written with the post.
//!
//! ```sh
//! cargo run --release -p anabranch --example feed
//! ```

mod datacenters;

use std::time::Duration;

use anabranch::typed::{Counter, Set};
use anabranch::{Node, Token};
use datacenters::{Datacenters, Result};
use serde::{Deserialize, Serialize};

/// What somebody has posted, and who reads it: the document `people/NAME`.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Person {
    followers: Set<String>,
    posts: Vec<Post>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Post {
    /// Elements with an id keep their identity, whatever is posted around them.
    id: String,
    text: String,
    likes: Counter,
    comments: Vec<Comment>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Comment {
    by: String,
    text: String,
}

/// What somebody reads: the document `timelines/NAME`. Here posts stand as they were written; who opens one
/// gets its likes and comments from its author's document.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Timeline {
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Entry {
    id: String,
    by: String,
    text: String,
}

const SOCIAL: &str = "social";
/// Timelines are for reading what is new, so they need not keep everything.
const ENTRIES_MAX: usize = 100;
const NEWEST: usize = 20;

fn person(name: &str) -> String {
    format!("people/{name}")
}

fn timeline(name: &str) -> String {
    format!("timelines/{name}")
}

/// Posts: to the author's own document and to the timelines of all who follow, in one write. Everywhere, all
/// of it becomes visible at once. The token says what somebody has seen who has seen this.
async fn post(node: &Node, author: &str, id: &str, text: &str) -> Result<Token> {
    let mut session = node.session();
    let mut home = session.draft::<Person>(SOCIAL, &person(author)).await?;
    home.posts.push(Post {
        id: id.to_owned(),
        text: text.to_owned(),
        ..Post::default()
    });
    let readers: Vec<String> = home
        .followers
        .iter()
        .cloned()
        .chain([author.to_owned()])
        .collect();
    let mut writes = vec![home.into_write()?];
    for reader in readers {
        let mut timeline = session
            .draft::<Timeline>(SOCIAL, &timeline(&reader))
            .await?;
        let entry = Entry {
            id: id.to_owned(),
            by: author.to_owned(),
            text: text.to_owned(),
        };
        timeline.entries.push(entry);
        let old = timeline.entries.len().saturating_sub(ENTRIES_MAX);
        timeline.entries.drain(..old);
        writes.push(timeline.into_write()?);
    }
    session.batch(SOCIAL, writes.into_iter().flatten()).await?;
    Ok(session.token().clone())
}

/// Changes one post of somebody's.
async fn on_post(
    node: &Node,
    author: &str,
    id: &str,
    change: impl FnOnce(&mut Post),
) -> Result<()> {
    node.try_edit(SOCIAL, &person(author), |person: &mut Person| {
        // An error leaves the document as it was.
        let post = person
            .posts
            .iter_mut()
            .find(|post| post.id == id)
            .ok_or("there is no such post")?;
        change(post);
        Ok(())
    })
    .await
}

async fn like(node: &Node, author: &str, id: &str) -> Result<()> {
    on_post(node, author, id, |post| post.likes.add(1)).await
}

async fn comment(node: &Node, author: &str, id: &str, by: &str, text: &str) -> Result<()> {
    let comment = Comment {
        by: by.to_owned(),
        text: text.to_owned(),
    };
    on_post(node, author, id, |post| post.comments.push(comment)).await
}

/// The newest posts of a timeline, newest first.
async fn newest(node: &Node, reader: &str) -> Result<Vec<Entry>> {
    let timeline = node
        .read::<Timeline>(SOCIAL, &timeline(reader))
        .await?
        .unwrap_or_default();
    Ok(timeline.entries.into_iter().rev().take(NEWEST).collect())
}

#[tokio::main]
async fn main() -> Result<()> {
    let names = ["frankfurt", "virginia", "singapore"];
    let datacenters = Datacenters::start(&names, Duration::from_millis(80)).await?;
    let [frankfurt, virginia, singapore] = &datacenters.nodes[..] else {
        return Err("three datacenters were started".into());
    };

    println!("\n1  Ada has two followers, and posts in Frankfurt");
    frankfurt
        .edit(SOCIAL, &person("ada"), |ada: &mut Person| {
            ada.followers.extend(["ben".to_owned(), "cleo".to_owned()]);
        })
        .await?;
    post(frankfurt, "ada", "p1", "Good morning from the river.").await?;
    datacenters.equal(SOCIAL).await?;
    show(&datacenters, "ben").await?;

    println!("2  The links are cut, and life goes on in all three");
    datacenters.cut();
    post(frankfurt, "ada", "p2", "The water is rising.").await?;
    like(frankfurt, "ada", "p1").await?;
    like(virginia, "ada", "p1").await?;
    like(virginia, "ada", "p1").await?;
    comment(virginia, "ada", "p1", "ben", "Morning!").await?;
    comment(singapore, "ada", "p1", "cleo", "Good evening, rather.").await?;
    post(
        singapore,
        "ada",
        "p3",
        "Written on a flight, by way of Singapore.",
    )
    .await?;
    show(&datacenters, "ben").await?;
    println!("3  The links are back");
    datacenters.heal();
    datacenters.equal(SOCIAL).await?;
    show(&datacenters, "ben").await?;
    for node in &datacenters.nodes {
        let ada: Person = node.read(SOCIAL, &person("ada")).await?.unwrap_or_default();
        let first = ada
            .posts
            .iter()
            .find(|post| post.id == "p1")
            .ok_or("the first post is gone")?;
        assert_eq!(
            (first.likes.value(), first.comments.len(), ada.posts.len()),
            (3, 2, 3)
        );
        assert_eq!(newest(node, "ben").await?.len(), 3);
    }

    println!("4  Ada posts in Frankfurt, and looks in Singapore at once");
    let token = post(frankfurt, "ada", "p4", "Is this visible over there?").await?;
    let without = newest(singapore, "ada")
        .await?
        .iter()
        .any(|entry| entry.id == "p4");
    // With the token, Singapore waits until it has what Ada has seen: here, the 80 ms that it is away. It travels as
    // text, in a cookie or a header.
    let mut session = singapore.resume(token.to_string().parse()?);
    let timeline: Timeline = session
        .read(SOCIAL, &timeline("ada"))
        .await?
        .unwrap_or_default();
    let with = timeline.entries.iter().any(|entry| entry.id == "p4");
    let seen = |seen| if seen { "there" } else { "not there yet" };
    println!(
        "   her post, without her session: {}; with it: {}",
        seen(without),
        seen(with)
    );
    assert!(with);
    println!("\nEvery like counted, every comment kept, every timeline the same.");
    datacenters.shutdown().await
}

/// Somebody's timeline in each datacenter, with what the posts have come to.
async fn show(datacenters: &Datacenters, reader: &str) -> Result<()> {
    for (node, name) in datacenters
        .nodes
        .iter()
        .zip(["Frankfurt", "Virginia", "Singapore"])
    {
        println!("   {reader}'s timeline in {name}");
        for entry in newest(node, reader).await? {
            let author: Person = node
                .read(SOCIAL, &person(&entry.by))
                .await?
                .unwrap_or_default();
            let post = author.posts.iter().find(|post| post.id == entry.id);
            let likes = post.map_or(0, |post| post.likes.value());
            println!("     {}: {:<44} {likes} likes", entry.by, entry.text);
            for comment in post.iter().flat_map(|post| &post.comments) {
                println!("       {}: {}", comment.by, comment.text);
            }
        }
    }
    println!();
    Ok(())
}
