//! Over real sockets: what is under way at a shutdown finishes, and what does not arrive is not waited for.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Bed;
use crate::http::server;

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buffer = [0; 1_024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn requests_under_way_are_finished_and_no_new_ones_taken() {
    let bed = Bed::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(
        listener,
        bed.router.clone(),
        bed.closing.clone(),
    ));

    let mut writer = TcpStream::connect(address).await.unwrap();
    let head = "PUT /v1/docs/carts/alice HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 7\r\nexpect: 100-continue\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    // The handler asks for the body: the request is under way.
    read_until(&mut writer, "100 Continue\r\n\r\n").await;
    let mut reader = TcpStream::connect(address).await.unwrap();
    reader
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut reader, "retry: 1000").await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "ok\n").await;

    bed.close.send_replace(true);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the feed ends properly");
    assert_eq!(
        idle.read(&mut [0; 16]).await.unwrap(),
        0,
        "idle connections close"
    );
    writer.write_all(b"{\"a\":1}").await.unwrap();
    read_until(&mut writer, "\"created\":true").await;
    assert!(serving.await.unwrap(), "everything finished in time");
    assert!(TcpStream::connect(address).await.is_err());
    assert!(bed.node.get("carts", "alice").await.unwrap().is_some());
}

/// With virtual time, which goes on to the next deadline once nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_what_it_wants_is_closed() {
    let bed = Bed::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(
        listener,
        bed.router.clone(),
        bed.closing.clone(),
    ));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut said = Vec::new();
    slow.read_to_end(&mut said).await.unwrap();
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    bed.close.send_replace(true);
    assert!(serving.await.unwrap());
}
