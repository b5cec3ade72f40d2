//! The datagrams of the membership. Each may be lost, doubled or late, and a peer may write anything into them.
//!
//! The first byte says what it is; what is not known is for a later version, and ignored.

use std::net::{IpAddr, SocketAddr};

use anabranch_core::ReplicaId;
use bytes::{Buf, BufMut, Bytes};

use crate::limits::MEMBER_DATAGRAM_BYTES_MAX;

const SWIM: u8 = 1;
const HELLO: u8 = 2;
const NOTED: u8 = 3;
const DIGEST: u8 = 4;
const HAVE: u8 = 5;
const ANNOUNCEMENTS: u8 = 6;

const REPLICA_BYTES: usize = 16;
const HOLDING_BYTES: usize = REPLICA_BYTES + 8;
const HAVE_HEAD_BYTES: usize = 2 + 2 * REPLICA_BYTES;

/// Longest packet of the failure detector.
pub(crate) const SWIM_PACKET_BYTES_MAX: usize = MEMBER_DATAGRAM_BYTES_MAX - 1;
/// Most holdings in one `Have`.
pub(crate) const HOLDINGS_MAX: usize =
    (MEMBER_DATAGRAM_BYTES_MAX - HAVE_HEAD_BYTES) / HOLDING_BYTES;

/// A replica's announcement that somebody holds, by its version.
pub(crate) type Holding = (ReplicaId, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A packet of the failure detector.
    Swim(Bytes),
    /// Said on a new link, and again until it is noted: whence the peer's packets come, what is known here, who speaks.
    Hello {
        observed: SocketAddr,
        digest: u64,
        announcement: Bytes,
    },
    /// The version in which the peer's own announcement is held here.
    Noted { version: u64 },
    /// A hash of all that is held.
    Digest(u64),
    /// All that is held of the replicas between two, both included.
    Have {
        /// Whether it answers another one, and so wants no `Have` in return.
        answer: bool,
        from: ReplicaId,
        through: ReplicaId,
        holdings: Vec<Holding>,
    },
    /// Announcements.
    Announcements(Vec<Bytes>),
}

/// Not a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a datagram that can't be read")]
pub(crate) struct Malformed;

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Swim(packet) => {
                out.put_u8(SWIM);
                out.put_slice(packet);
            }
            Self::Hello {
                observed,
                digest,
                announcement,
            } => {
                out.put_u8(HELLO);
                put_address(&mut out, *observed);
                out.put_u64_le(*digest);
                out.put_slice(announcement);
            }
            Self::Noted { version } => {
                out.put_u8(NOTED);
                out.put_u64_le(*version);
            }
            Self::Digest(digest) => {
                out.put_u8(DIGEST);
                out.put_u64_le(*digest);
            }
            Self::Have {
                answer,
                from,
                through,
                holdings,
            } => {
                out.put_u8(HAVE);
                out.put_u8(u8::from(*answer));
                out.put_slice(&from.0);
                out.put_slice(&through.0);
                for (replica, version) in holdings {
                    out.put_slice(&replica.0);
                    out.put_u64_le(*version);
                }
            }
            Self::Announcements(announcements) => {
                out.put_u8(ANNOUNCEMENTS);
                for announcement in announcements {
                    out.put_u16_le(announcement_length(announcement));
                    out.put_slice(announcement);
                }
            }
        }
        out.into()
    }

    /// None if it is of a kind that this version does not know.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Option<Self>, Malformed> {
        if bytes.is_empty() || bytes.len() > MEMBER_DATAGRAM_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(Some(match bytes.get_u8() {
            SWIM => Self::Swim(bytes),
            HELLO => Self::Hello {
                observed: take_address(&mut bytes)?,
                digest: take_number(&mut bytes)?,
                announcement: bytes,
            },
            NOTED => Self::Noted {
                version: take_number(&mut bytes)?,
            },
            DIGEST => Self::Digest(take_number(&mut bytes)?),
            HAVE => {
                let answer = bytes.try_get_u8().map_err(|_| Malformed)? != 0;
                let (from, through) = (take_replica(&mut bytes)?, take_replica(&mut bytes)?);
                let mut holdings = Vec::with_capacity(bytes.len() / HOLDING_BYTES);
                while bytes.has_remaining() {
                    holdings.push((take_replica(&mut bytes)?, take_number(&mut bytes)?));
                }
                Self::Have {
                    answer,
                    from,
                    through,
                    holdings,
                }
            }
            ANNOUNCEMENTS => {
                let mut announcements = Vec::new();
                while bytes.has_remaining() {
                    let length = bytes.try_get_u16_le().map_err(|_| Malformed)?;
                    let length = usize::from(length);
                    if length == 0 || length > bytes.len() {
                        return Err(Malformed);
                    }
                    announcements.push(bytes.split_to(length));
                }
                Self::Announcements(announcements)
            }
            _ => return Ok(None),
        }))
    }
}

/// Puts announcements into as few datagrams as they need.
pub(crate) fn pack(announcements: impl IntoIterator<Item = Bytes>) -> Vec<Message> {
    let mut packed: Vec<(usize, Vec<Bytes>)> = Vec::new();
    for announcement in announcements {
        let bytes = 2 + announcement.len();
        match packed.last_mut() {
            Some((filled, last)) if *filled + bytes <= MEMBER_DATAGRAM_BYTES_MAX => {
                *filled += bytes;
                last.push(announcement);
            }
            _ => packed.push((1 + bytes, vec![announcement])),
        }
    }
    let messages = packed.into_iter();
    messages
        .map(|(_, last)| Message::Announcements(last))
        .collect()
}

fn announcement_length(announcement: &Bytes) -> u16 {
    u16::try_from(announcement.len()).expect("checked against ANNOUNCEMENT_BYTES_MAX when read")
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16_le(address.port());
}

fn take_address(bytes: &mut Bytes) -> Result<SocketAddr, Malformed> {
    let ip = match bytes.try_get_u8() {
        Ok(4) => IpAddr::from(take_array::<4>(bytes)?),
        Ok(6) => IpAddr::from(take_array::<16>(bytes)?),
        _ => return Err(Malformed),
    };
    let port = bytes.try_get_u16_le().map_err(|_| Malformed)?;
    Ok((ip, port).into())
}

fn take_array<const N: usize>(bytes: &mut Bytes) -> Result<[u8; N], Malformed> {
    let mut array = [0; N];
    bytes.try_copy_to_slice(&mut array).map_err(|_| Malformed)?;
    Ok(array)
}

fn take_replica(bytes: &mut Bytes) -> Result<ReplicaId, Malformed> {
    take_array(bytes).map(ReplicaId)
}

fn take_number(bytes: &mut Bytes) -> Result<u64, Malformed> {
    bytes.try_get_u64_le().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::limits::ANNOUNCEMENT_BYTES_MAX;

    fn samples() -> Vec<Message> {
        let id = |n| ReplicaId([n; 16]);
        let announcement = Bytes::from_static(b"an announcement");
        let hello = |observed: &str| Message::Hello {
            observed: observed.parse().unwrap(),
            digest: 77,
            announcement: announcement.clone(),
        };
        vec![
            Message::Swim(Bytes::from_static(b"packet")),
            hello("10.0.0.5:7172"),
            hello("[fe80::1]:1"),
            Message::Noted { version: u64::MAX },
            Message::Digest(3),
            Message::Have {
                answer: true,
                from: id(0),
                through: id(255),
                holdings: vec![(id(1), 2), (id(3), 4)],
            },
            Message::Announcements(vec![announcement.clone(), announcement]),
        ]
    }

    #[test]
    fn messages_round_trip_and_cut_ones_are_told() {
        for message in samples() {
            let bytes = message.encode();
            assert_eq!(Message::decode(bytes.clone()), Ok(Some(message.clone())));
            for cut in 0..bytes.len() {
                // A cut one may be a shorter one of the same kind, but never itself, and never a panic.
                let read = Message::decode(bytes.slice(..cut));
                assert_ne!(read, Ok(Some(message.clone())), "cut at {cut}");
            }
        }
        assert_eq!(Message::decode(Bytes::from_static(&[99, 1])), Ok(None));
        assert_eq!(Message::decode(Bytes::new()), Err(Malformed));
        let long = vec![SWIM; MEMBER_DATAGRAM_BYTES_MAX + 1];
        assert_eq!(Message::decode(long.into()), Err(Malformed));
    }

    #[test]
    fn what_is_packed_fits_and_is_all_there() {
        let sizes = [1, ANNOUNCEMENT_BYTES_MAX, 200, 200, 200, 200, 200, 200, 5];
        let announcements = sizes.map(|size| Bytes::from(vec![1; size]));
        let messages = pack(announcements.clone());
        assert_eq!(messages.len(), 3);
        let mut unpacked = Vec::new();
        for message in messages {
            let bytes = message.encode();
            assert!(bytes.len() <= MEMBER_DATAGRAM_BYTES_MAX);
            let Ok(Some(Message::Announcements(some))) = Message::decode(bytes) else {
                panic!("not announcements");
            };
            unpacked.extend(some);
        }
        assert_eq!(unpacked, announcements);
    }

    #[test]
    fn the_fullest_messages_fit() {
        let full = Message::Have {
            answer: false,
            from: ReplicaId([0; 16]),
            through: ReplicaId([255; 16]),
            holdings: vec![(ReplicaId([1; 16]), 1); HOLDINGS_MAX],
        };
        assert!(full.encode().len() <= MEMBER_DATAGRAM_BYTES_MAX);
        let hello = Message::Hello {
            observed: "[::1]:1".parse().unwrap(),
            digest: 0,
            announcement: vec![0; ANNOUNCEMENT_BYTES_MAX].into(),
        };
        assert!(hello.encode().len() <= MEMBER_DATAGRAM_BYTES_MAX);
    }
}
