//! The feed of changes.

use anabranch::{Intent, Key, Write};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;

use super::Bed;
use crate::limits;

/// A feed's body, read event by event.
struct Follower {
    body: Body,
    buffer: String,
}

impl Follower {
    async fn new(bed: &Bed, uri: &str, last_id: Option<&str>) -> Self {
        let mut request = Request::builder().uri(uri);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = bed.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            buffer: String::new(),
        }
    }

    /// The next event's text, or none at the feed's end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = event.to_owned();
                self.buffer = rest.to_owned();
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            let bytes = frame.into_data().unwrap();
            self.buffer.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Id and key of the next change.
    async fn change(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let field = |name: &str| {
            let line = event.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {event}"))
                .to_owned()
        };
        assert_eq!(field("event: "), "change");
        let data: serde_json::Value = serde_json::from_str(&field("data: ")).unwrap();
        assert_eq!(data["lsn"].to_string(), field("id: "));
        assert_eq!(data["local"], true);
        let address = format!("{}/{}", data["ns"], data["key"]).replace('"', "");
        (field("id: "), address)
    }
}

async fn write(bed: &Bed, addresses: &[&str]) {
    for address in addresses {
        let reply = bed.put(&format!("/v1/docs/{address}"), "{}").await;
        assert_eq!(reply.status, 201);
    }
}

#[tokio::test]
async fn changes_come_in_order_and_a_reader_goes_on_where_it_was() {
    let bed = Bed::new().await;
    write(&bed, &["carts/a"]).await;
    let mut feed = Follower::new(&bed, "/v1/events", None).await;
    assert_eq!(feed.next().await.unwrap(), "id: 1\nretry: 1000");
    write(&bed, &["carts/b", "carts/c", "users/d"]).await;
    assert_eq!(feed.change().await, ("2".to_owned(), "carts/b".to_owned()));
    drop(feed);

    write(&bed, &["carts/e"]).await;
    // Its address says less than its header.
    let mut feed = Follower::new(&bed, "/v1/events?after=0", Some("2")).await;
    assert_eq!(feed.next().await.unwrap(), "id: 2\nretry: 1000");
    for expected in ["carts/c", "users/d", "carts/e"] {
        assert_eq!(feed.change().await.1, expected);
    }
    let mut all = Follower::new(&bed, "/v1/events?after=0&ns=carts", None).await;
    all.next().await.unwrap();
    for expected in ["carts/a", "carts/b", "carts/c", "carts/e"] {
        assert_eq!(all.change().await.1, expected);
    }
    let mut some = Follower::new(&bed, "/v1/events?after=0&prefix=d", None).await;
    some.next().await.unwrap();
    assert_eq!(some.change().await.1, "users/d");
}

#[tokio::test]
async fn positions_that_this_log_does_not_have() {
    let bed = Bed::new().await;
    write(&bed, &["carts/a"]).await;
    let gone = bed.get("/v1/events?after=2").await;
    assert_eq!(gone.problem(410, "position-gone")["log_end"], 1);
    let headers = [("last-event-id", "18446744073709551615")];
    bed.call("GET", "/v1/events", &headers, "")
        .await
        .problem(410, "position-gone");
    let headers = [("last-event-id", "x")];
    bed.call("GET", "/v1/events", &headers, "")
        .await
        .problem(400, "bad-header");
    // The end itself is a position.
    Follower::new(&bed, "/v1/events?after=1", None).await;
}

#[tokio::test]
async fn feeds_end_when_the_node_shuts_down() {
    let bed = Bed::new().await;
    let mut feed = Follower::new(&bed, "/v1/events", None).await;
    feed.next().await.unwrap();
    bed.close.send_replace(true);
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn feeds_are_bounded() {
    let bed = Bed::new().await;
    let mut feeds = Vec::new();
    for _ in 0..limits::EVENT_FEEDS_MAX {
        feeds.push(Follower::new(&bed, "/v1/events", None).await);
    }
    let refused = bed.get("/v1/events").await;
    refused.problem(503, "busy");
    assert_eq!(refused.header("retry-after"), "1");
    feeds.pop();
    Follower::new(&bed, "/v1/events", None).await;
}

/// A reader that is cut off inside of what was written together would otherwise never be told of the rest.
#[tokio::test]
async fn what_was_written_together_has_one_id_at_its_end() {
    let bed = Bed::new().await;
    let mut feed = Follower::new(&bed, "/v1/events?prefix=a", None).await;
    feed.next().await.unwrap();
    let writes = ["a1", "b", "a2"].map(|key| Write {
        key: Key::new(key).unwrap(),
        intent: Intent::Replace(serde_json::json!({"n": 1})),
        guard: None,
        base: None,
    });
    bed.node.batch("carts", writes).await.unwrap();
    let first = feed.next().await.unwrap();
    assert!(first.contains("a1") && !first.contains("id:"), "{first}");
    assert!(first.contains(r#""part":1,"parts":2"#), "{first}");
    let batch = |event: &str| {
        let (_, rest) = event.split_once(r#""batch":""#).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let second = feed.next().await.unwrap();
    assert!(
        second.contains("a2") && second.contains(r#""part":2,"parts":2"#),
        "{second}"
    );
    assert_eq!(batch(&first), batch(&second));
    assert!(second.ends_with("\nid: 1"), "{second}");
}
