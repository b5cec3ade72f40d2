//! One connection's life: agreeing on it, carrying frames both ways, ending.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, FrameStats, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use crate::certificate::{Holder, holder};
use crate::event::{Event, LinkId, LinkStatus};
use crate::failure::{CloseCode, Failure, close, refused_as_duplicate};
use crate::frame::{Decoder, encode};
use crate::hello::{GENERATION_BYTES, HELLO_BYTES, Hello, decides};
use crate::limits::FRAME_GROWTH_BYTES;
use crate::membership::Input;
use crate::net::Shared;
use crate::outbox::Outbox;
use crate::peers::Seat;
use crate::pulse::Pulse;

static LAST_LINK: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: Holder,
    pub(crate) outbox: Outbox,
    outgoing: bool,
    connection: Connection,
    /// Why this side closed it, if it did.
    farewell: OnceLock<String>,
    since: Instant,
    frame_bytes_sent: AtomicU64,
    frame_bytes_received: AtomicU64,
    member_bytes_sent: AtomicU64,
    member_bytes_received: AtomicU64,
    /// Room for datagrams while none waits.
    datagram_room: usize,
    pulse: Pulse,
}

impl Link {
    fn new(connection: &Connection, peer: Holder, outgoing: bool) -> Self {
        Self {
            id: LinkId(LAST_LINK.fetch_add(1, Ordering::Relaxed) + 1),
            peer,
            outbox: Outbox::default(),
            outgoing,
            connection: connection.clone(),
            farewell: OnceLock::new(),
            since: Instant::now(),
            frame_bytes_sent: AtomicU64::new(0),
            frame_bytes_received: AtomicU64::new(0),
            member_bytes_sent: AtomicU64::new(0),
            member_bytes_received: AtomicU64::new(0),
            datagram_room: connection.datagram_send_buffer_space(),
            pulse: Pulse::new(Instant::now()),
        }
    }

    /// Sends a datagram, if the peer takes them and it fits the path; whether it arrives is not known.
    pub(crate) fn send_datagram(&self, bytes: Bytes) {
        let length = bytes.len() as u64;
        if let Err(error) = self.connection.send_datagram(bytes) {
            tracing::debug!(peer = %self.peer.name, %error, "nothing said of members");
            return;
        }
        self.member_bytes_sent.fetch_add(length, Ordering::Relaxed);
    }

    /// Whether all datagrams are on their way.
    pub(crate) fn is_flushed(&self) -> bool {
        self.connection.close_reason().is_some()
            || self.connection.datagram_send_buffer_space() >= self.datagram_room
    }

    /// Looks whether anything was heard. Some when the link has become silent (true), or is not any more (false).
    pub(crate) fn listen(&self, now: Instant, silent_after: Duration) -> Option<bool> {
        let heard = frames_heard(&self.connection.stats().frame_rx);
        self.pulse.look(now, heard, silent_after)
    }

    /// Closes the link from this side; the first reason counts.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        // Only whoever sets the reason closes, so that both ends are told the same one.
        if self.farewell.set(reason.to_owned()).is_ok() {
            close(&self.connection, code, reason);
        }
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let stats = self.connection.stats();
        let (unheard, silent) = self
            .pulse
            .state(Instant::now(), frames_heard(&stats.frame_rx));
        LinkStatus {
            link: self.id,
            peer: self.peer.replica,
            peer_name: self.peer.name.clone(),
            remote: self.connection.remote_address(),
            outgoing: self.outgoing,
            since: self.since,
            rtt: stats.path.rtt,
            frame_bytes_sent: self.frame_bytes_sent.load(Ordering::Relaxed),
            frame_bytes_received: self.frame_bytes_received.load(Ordering::Relaxed),
            udp_bytes_sent: stats.udp_tx.bytes,
            udp_bytes_received: stats.udp_rx.bytes,
            unheard,
            silent,
            member_bytes_sent: self.member_bytes_sent.load(Ordering::Relaxed),
            member_bytes_received: self.member_bytes_received.load(Ordering::Relaxed),
        }
    }
}

/// Frames in packets of the peer's that were decrypted: whatever else arrives proves nothing.
fn frames_heard(received: &FrameStats) -> u64 {
    received.acks
        + received.crypto
        + received.datagram
        + received.max_data
        + received.max_stream_data
        + received.new_connection_id
        + received.ping
        + received.retire_connection_id
        + received.stream
}

/// A connection that both ends have agreed to use.
pub(crate) struct Agreed {
    link: Arc<Link>,
    seat: Seat,
    send: SendStream,
    recv: RecvStream,
}

impl Agreed {
    pub(crate) fn peer(&self) -> &Holder {
        &self.link.peer
    }
}

/// Brings a fresh connection to agreement (see [`crate::hello`]), or closes it and says why.
pub(crate) async fn agree(
    shared: &Shared,
    connection: &Connection,
    outgoing: bool,
) -> Result<Agreed, Failure> {
    let limit = shared.config.handshake_timeout;
    let result = tokio::time::timeout(limit, try_agree(shared, connection, outgoing));
    let result = result.await.unwrap_or(Err(Failure::Timeout(limit)));
    result.inspect_err(|failure| failure.close(connection))
}

async fn try_agree(
    shared: &Shared,
    connection: &Connection,
    outgoing: bool,
) -> Result<Agreed, Failure> {
    let peer = peer_of(connection)?;
    let own = shared.config.identity.replica_id();
    if peer.replica == own {
        return Err(Failure::Itself);
    }
    let replica = peer.replica;
    exchange(shared, connection, Link::new(connection, peer, outgoing))
        .await
        .map_err(
            |failure| match refused_as_duplicate(connection.close_reason().as_ref()) {
                true => Failure::AlreadyLinked { peer: replica },
                false => failure,
            },
        )
}

async fn exchange(shared: &Shared, connection: &Connection, link: Link) -> Result<Agreed, Failure> {
    let link = Arc::new(link);
    let replica = link.peer.replica;
    let peers = &shared.peers;
    let duplicate = || Failure::AlreadyLinked { peer: replica };

    let mut send = connection.open_uni().await?;
    send.write_all(&peers.hello(replica).encode()).await?;
    let mut recv = connection.accept_uni().await?;
    let mut hello = [0; HELLO_BYTES];
    recv.read_exact(&mut hello).await?;
    let hello = Hello::decode(&hello).ok_or(Failure::NotHello)?;

    let seat = if decides(shared.config.identity.replica_id(), replica) {
        let (seat, number) = peers.decide(&link, hello).ok_or_else(duplicate)?;
        send.write_all(&number.to_le_bytes()).await?;
        seat
    } else {
        let mut number = [0; GENERATION_BYTES];
        recv.read_exact(&mut number).await?;
        peers
            .follow(&link, hello, u64::from_le_bytes(number))
            .ok_or_else(duplicate)?
    };
    Ok(Agreed {
        link,
        seat,
        send,
        recv,
    })
}

fn peer_of(connection: &Connection) -> Result<Holder, Failure> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(Failure::Certificate("there is none"))?;
    let certificate = chain.first().ok_or(Failure::Certificate("there is none"))?;
    holder(certificate).map_err(Failure::Certificate)
}

/// Carries the link from its `LinkUp` to its `LinkDown`.
pub(crate) async fn run(shared: Arc<Shared>, agreed: Agreed) {
    let Agreed {
        link,
        seat,
        send,
        recv,
    } = agreed;
    // The permit keeps this peer's ups and downs in turn; the semaphore is never closed.
    let Ok(_turn) = seat.turn.clone().acquire_owned().await else {
        return;
    };
    if link.connection.close_reason().is_some() {
        // Gone before its turn came: the user has never heard of it.
        return;
    }
    shared.peers.up(link.clone());
    let status = link.status();
    shared.roster.handle(Input::LinkUp {
        peer: status.peer,
        name: link.peer.name.clone(),
        remote: status.remote,
        outgoing: link.outgoing,
    });
    tracing::info!(peer = %link.peer.name, remote = %status.remote, outgoing = link.outgoing, "link up");
    let event = Event::LinkUp {
        link: link.id,
        peer: status.peer,
        peer_name: status.peer_name,
        remote: status.remote,
        outgoing: status.outgoing,
    };
    let failure = match shared.events.send(event).await {
        Ok(()) => tokio::select! {
            result = read(&link, recv, &shared.events) => match result { Err(failure) => failure },
            result = write(&link, send, &shared.events) => match result { Err(failure) => failure },
            error = link.connection.closed() => error.into(),
            failure = listen(&shared, &link) => failure,
        },
        Err(_) => Failure::Deaf,
    };
    failure.close(&link.connection);
    // Our own streams notice a local close as "lost", without the reason.
    let failure = match link.farewell.get() {
        Some(reason) if matches!(failure, Failure::ClosedHere(_)) => {
            Failure::ClosedHere(reason.clone())
        }
        _ => failure,
    };
    tracing::info!(peer = %link.peer.name, remote = %status.remote, "link down: {failure}");
    shared
        .complaints
        .log(&status.remote.ip().to_string(), &failure);
    shared.peers.down(link.id);
    shared.roster.handle(Input::LinkDown { peer: status.peer });
    let reason = failure.to_string();
    if shared
        .events
        .send(Event::LinkDown {
            link: link.id,
            reason,
        })
        .await
        .is_err()
    {
        tracing::debug!("nobody takes events any more");
    }
    drop(seat);
}

/// Takes what the peer tells about members.
async fn listen(shared: &Shared, link: &Link) -> Failure {
    loop {
        let bytes = match link.connection.read_datagram().await {
            Ok(bytes) => bytes,
            Err(error) => return error.into(),
        };
        link.member_bytes_received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let peer = link.peer.replica;
        // A small datagram would keep the whole UDP receive buffer alive.
        let bytes = Bytes::copy_from_slice(&bytes);
        shared.roster.handle(Input::Datagram { peer, bytes });
    }
}

async fn read(
    link: &Link,
    mut recv: RecvStream,
    events: &mpsc::Sender<Event>,
) -> Result<Infallible, Failure> {
    let mut decoder = Decoder::default();
    loop {
        let chunk = recv
            .read_chunk(FRAME_GROWTH_BYTES, true)
            .await?
            .ok_or(Failure::StreamEnded)?;
        let mut input: Bytes = chunk.bytes;
        while let Some(bytes) = decoder.next(&mut input)? {
            link.frame_bytes_received
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let event = Event::Frame {
                link: link.id,
                bytes,
            };
            events.send(event).await.map_err(|_| Failure::Deaf)?;
        }
    }
}

async fn write(
    link: &Link,
    mut send: SendStream,
    events: &mpsc::Sender<Event>,
) -> Result<Infallible, Failure> {
    loop {
        let batch = link.outbox.take().await;
        let mut chunks = encode(&batch.frames);
        let (frames, bytes) = (batch.frames.len(), batch.bytes);
        drop(batch);
        send.write_all_chunks(&mut chunks).await?;
        link.outbox.written(frames, bytes);
        link.frame_bytes_sent
            .fetch_add(bytes as u64, Ordering::Relaxed);
        events
            .send(Event::Sent {
                link: link.id,
                bytes,
            })
            .await
            .map_err(|_| Failure::Deaf)?;
    }
}
