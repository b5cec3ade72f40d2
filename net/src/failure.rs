//! Why a connection did not become a link, or a link ended: in words for both ends' operators.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;
use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::frame::FrameError;
use crate::limits::{COMPLAINTS_MAX, REASON_BYTES_MAX};

/// Application codes with which a side closes a connection. On the wire: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CloseCode {
    ShuttingDown = 1,
    Disconnected = 2,
    AlreadyLinked = 3,
    Replaced = 4,
    Itself = 5,
    Protocol = 6,
    Overflow = 7,
    Timeout = 8,
    Certificate = 9,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(u32::from(code as u8))
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{why}")]
    Lost {
        kind: &'static str,
        why: String,
        quiet: bool,
    },
    #[error("can't resolve the address: {0}; check the name, it has to be HOST:PORT")]
    Resolve(io::Error),
    #[error(
        "the address resolves to nothing that can be reached from the listening address's family"
    )]
    NoAddress,
    #[error("can't dial: {0}")]
    Dial(#[from] quinn::ConnectError),
    #[error("no agreement within {} ms: the peer is too slow, or not a node of this version", .0.as_millis())]
    Timeout(Duration),
    #[error(
        "this node has been reached under its own identity; if it isn't itself, two nodes use one certificate"
    )]
    Itself,
    #[error("the two nodes are linked already")]
    AlreadyLinked { peer: ReplicaId },
    #[error(
        "the peer's certificate can't be used: {0}; issue a new one with `anabranch init PKI --node NAME`"
    )]
    Certificate(&'static str),
    #[error("the peer broke the protocol: it did not begin with a hello")]
    NotHello,
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer ended its stream")]
    StreamEnded,
    #[error("{0}")]
    ClosedHere(String),
    #[error("nobody takes this node's events any more")]
    Deaf,
}

impl Failure {
    /// What to close the connection with; a connection that is closed already ignores it.
    pub(crate) fn code(&self) -> CloseCode {
        match self {
            Self::Lost { .. } | Self::Resolve(_) | Self::NoAddress | Self::Dial(_) => {
                CloseCode::Disconnected
            }
            Self::ClosedHere(_) => CloseCode::Disconnected,
            Self::Timeout(_) => CloseCode::Timeout,
            Self::Itself => CloseCode::Itself,
            Self::AlreadyLinked { .. } => CloseCode::AlreadyLinked,
            Self::Certificate(_) => CloseCode::Certificate,
            Self::NotHello | Self::Frame(_) | Self::StreamEnded => CloseCode::Protocol,
            Self::Deaf => CloseCode::ShuttingDown,
        }
    }

    /// A name for failures that are the same to an operator. Never from the wire: it bounds what is logged.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Lost { kind, .. } => kind,
            Self::Resolve(_) => "resolve",
            Self::NoAddress => "no address",
            Self::Dial(_) => "dial",
            Self::Timeout(_) => "timeout",
            Self::Itself => "itself",
            Self::AlreadyLinked { .. } => "already linked",
            Self::Certificate(_) => "certificate",
            Self::NotHello | Self::Frame(_) | Self::StreamEnded => "protocol",
            Self::ClosedHere(_) => "closed here",
            Self::Deaf => "deaf",
        }
    }

    /// Whether it is a part of normal work, which nobody needs to be warned of.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Lost { quiet, .. } => *quiet,
            Self::Itself | Self::AlreadyLinked { .. } | Self::ClosedHere(_) | Self::Deaf => true,
            Self::Resolve(_)
            | Self::NoAddress
            | Self::Dial(_)
            | Self::Timeout(_)
            | Self::Certificate(_) => false,
            Self::NotHello | Self::Frame(_) | Self::StreamEnded => false,
        }
    }

    /// Closes the connection and says why to the peer.
    pub(crate) fn close(&self, connection: &quinn::Connection) {
        close(connection, self.code(), &self.to_string());
    }
}

/// Closes a connection with a reason, cut to what a close frame carries well.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    connection.close(code.into(), &reason.as_bytes()[..end]);
}

impl From<quinn::ReadError> for Failure {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(error) => error.into(),
            _ => Self::StreamEnded,
        }
    }
}

impl From<quinn::ReadExactError> for Failure {
    fn from(error: quinn::ReadExactError) -> Self {
        match error {
            quinn::ReadExactError::ReadError(error) => error.into(),
            quinn::ReadExactError::FinishedEarly(_) => Self::StreamEnded,
        }
    }
}

impl From<quinn::WriteError> for Failure {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => error.into(),
            _ => Self::StreamEnded,
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let lost = |kind, why: String, quiet| Self::Lost { kind, why, quiet };
        match error {
            ConnectionError::TransportError(error) => {
                match tls_alert(error.code).and_then(blames_peer) {
                    Some(why) => lost(
                        why,
                        format!("{why} ({})", printable(error.reason.as_bytes())),
                        false,
                    ),
                    None => lost(
                        "transport",
                        format!("the connection failed here: {error}"),
                        false,
                    ),
                }
            }
            ConnectionError::ConnectionClosed(closed) => {
                match tls_alert(closed.error_code).and_then(blames_us) {
                    Some(why) => lost(why, why.to_owned(), false),
                    None if closed.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                        let why = "the peer refused the connection: it has no room for more, or is shutting down";
                        lost("refused", why.to_owned(), false)
                    }
                    None => {
                        let why = format!("the peer's QUIC layer closed it: {}", closed.error_code);
                        lost("closed by the peer's transport", why, false)
                    }
                }
            }
            ConnectionError::ApplicationClosed(closed) => closed_by_peer(&closed),
            ConnectionError::TimedOut => lost(
                "silent",
                "nothing heard from the peer for too long".to_owned(),
                false,
            ),
            ConnectionError::Reset => lost(
                "reset",
                "the peer does not know this link: it has restarted".to_owned(),
                true,
            ),
            ConnectionError::VersionMismatch => lost(
                "version",
                "the peer speaks another version of QUIC".to_owned(),
                false,
            ),
            ConnectionError::LocallyClosed => {
                Self::ClosedHere("this node is shutting down".to_owned())
            }
            ConnectionError::CidsExhausted => lost(
                "exhausted",
                "out of connection ids: too many connections".to_owned(),
                false,
            ),
        }
    }
}

fn closed_by_peer(closed: &quinn::ApplicationClose) -> Failure {
    let normal = [
        CloseCode::ShuttingDown,
        CloseCode::Disconnected,
        CloseCode::AlreadyLinked,
        CloseCode::Itself,
    ];
    let quiet = normal
        .into_iter()
        .any(|code| closed.error_code == VarInt::from(code));
    let reason = printable(&closed.reason);
    let why = if reason.is_empty() {
        "the peer closed it without a reason: did its process end?".to_owned()
    } else {
        format!("the peer closed it: {reason}")
    };
    Failure::Lost {
        kind: "closed by the peer",
        why,
        quiet,
    }
}

/// Whether the peer closed the connection because there is another between the same two nodes.
pub(crate) fn refused_as_duplicate(error: Option<&ConnectionError>) -> bool {
    matches!(error, Some(ConnectionError::ApplicationClosed(closed))
        if closed.error_code == VarInt::from(CloseCode::AlreadyLinked))
}

/// The TLS alert in a QUIC error code (RFC 9001, 4.8).
fn tls_alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code).checked_sub(0x100)?;
    u8::try_from(code).ok()
}

// Alerts of RFC 8446, 6.
const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const DECRYPT_ERROR: u8 = 51;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Alerts that this side raised about the peer.
fn blames_peer(alert: u8) -> Option<&'static str> {
    Some(match alert {
        UNKNOWN_CA | DECRYPT_ERROR => {
            "the peer's certificate is not signed by this cluster's CA: both nodes need certificates from one CA \
             (`anabranch init PKI --node NAME`) and its `ca.pem`"
        }
        CERTIFICATE_EXPIRED => {
            "the peer's certificate has expired or is not valid yet: issue a new one with \
             `anabranch init PKI --node NAME`, or check both clocks"
        }
        BAD_CERTIFICATE | CERTIFICATE_UNKNOWN => {
            "the peer's certificate is not one for a node of this cluster: issue one with \
             `anabranch init PKI --node NAME`"
        }
        CERTIFICATE_REQUIRED => {
            "the peer showed no certificate: only nodes of this cluster may connect"
        }
        NO_APPLICATION_PROTOCOL => {
            "the peer does not speak `anabranch/1`: it is no Anabranch node, or of an incompatible version"
        }
        _ => return None,
    })
}

/// Alerts that the peer raised about this side.
fn blames_us(alert: u8) -> Option<&'static str> {
    Some(match alert {
        UNKNOWN_CA | DECRYPT_ERROR => {
            "the peer refused this node's certificate: it trusts another CA; both nodes need certificates from one CA \
             (`anabranch init PKI --node NAME`) and its `ca.pem`"
        }
        CERTIFICATE_EXPIRED => {
            "the peer refused this node's certificate as expired or not valid yet: issue a new one with \
             `anabranch init PKI --node NAME`, or check both clocks"
        }
        BAD_CERTIFICATE | CERTIFICATE_UNKNOWN => {
            "the peer refused this node's certificate: issue one with `anabranch init PKI --node NAME`"
        }
        CERTIFICATE_REQUIRED => "the peer wants a certificate and got none",
        NO_APPLICATION_PROTOCOL => {
            "the peer does not speak `anabranch/1`: it is no Anabranch node, or of an incompatible version"
        }
        _ => return None,
    })
}

/// Text from the wire as it may stand in a log: short, one line, no control characters.
fn printable(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(REASON_BYTES_MAX)];
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Keeps a misconfigured or hostile remote from flooding the log.
pub(crate) struct Complaints {
    interval: Duration,
    seen: Mutex<HashMap<(String, &'static str), Seen>>,
}

struct Seen {
    warned: Instant,
    suppressed: u64,
}

impl Complaints {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            seen: Mutex::default(),
        }
    }

    /// Whether to warn now; if so, how many of the same were held back since the last time.
    pub(crate) fn due(&self, remote: &str, kind: &'static str, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = seen.get_mut(&(remote.to_owned(), kind)) {
            if now.duration_since(entry.warned) < self.interval {
                entry.suppressed += 1;
                return None;
            }
            entry.warned = now;
            return Some(std::mem::take(&mut entry.suppressed));
        }
        if seen.len() >= COMPLAINTS_MAX {
            seen.retain(|_, entry| now.duration_since(entry.warned) < self.interval);
        }
        if seen.len() >= COMPLAINTS_MAX {
            return None;
        }
        seen.insert(
            (remote.to_owned(), kind),
            Seen {
                warned: now,
                suppressed: 0,
            },
        );
        Some(0)
    }

    /// Logs a failure: as a warning if it is worth one and due, else for debugging.
    pub(crate) fn log(&self, remote: &str, failure: &Failure) {
        if failure.is_quiet() {
            tracing::debug!(remote, "connection ended: {failure}");
            return;
        }
        match self.due(remote, failure.kind(), Instant::now()) {
            Some(0) => tracing::warn!(remote, "connection failed: {failure}"),
            Some(suppressed) => {
                tracing::warn!(remote, suppressed, "connection failed again: {failure}");
            }
            None => tracing::debug!(remote, "connection failed: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_complaint_is_made_once_per_interval() {
        let complaints = Complaints::new(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(complaints.due("a", "timeout", at(0)), Some(0));
        assert_eq!(complaints.due("a", "timeout", at(1)), None);
        assert_eq!(complaints.due("a", "timeout", at(59)), None);
        assert_eq!(complaints.due("a", "certificate", at(1)), Some(0));
        assert_eq!(complaints.due("b", "timeout", at(1)), Some(0));
        assert_eq!(complaints.due("a", "timeout", at(60)), Some(2));
    }

    #[test]
    fn many_remotes_neither_grow_memory_nor_the_log() {
        let complaints = Complaints::new(Duration::from_secs(60));
        let now = Instant::now();
        let warned = (0..10 * COMPLAINTS_MAX)
            .filter(|n| complaints.due(&n.to_string(), "timeout", now).is_some());
        assert_eq!(warned.count(), COMPLAINTS_MAX);
        assert_eq!(
            complaints.due("new", "timeout", now + Duration::from_secs(61)),
            Some(0)
        );
    }

    #[test]
    fn text_from_the_wire_is_made_printable() {
        assert_eq!(printable(b"a\nb\x1b[31m\xff"), "a b [31m\u{fffd}");
        assert!(printable(&[b'x'; 10_000]).len() <= REASON_BYTES_MAX);
    }
}
