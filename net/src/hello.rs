//! How two replicas agree on one link.
//!
//! Each side opens its one stream and starts it with a [`Hello`]. Getting the peer's proves that the peer has
//! accepted our certificate (in TLS 1.3 the dialling side can't know that from the handshake).
//!
//! When both dial at once there are two connections, and both ends must keep the same one. So only one end
//! decides: the one with the smaller replica id judges every new connection by [`judge`], one after the other, and
//! sends the taken one a [`Verdict::Take`] number, its *generation*, which grows within a process. The other end
//! takes a link up when that number arrives, and the higher generation wins there. Nobody else decides anything,
//! so there is nothing to disagree about.

use anabranch_core::ReplicaId;
use bytes::{Buf, BufMut};

const MAGIC: [u8; 4] = *b"ANB1";

/// Bytes of a hello on the wire.
pub(crate) const HELLO_BYTES: usize = 28;
/// Bytes of the generation that the deciding end sends on.
pub(crate) const GENERATION_BYTES: usize = 8;

/// A link as its two ends call it: the deciding process and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Of the deciding end's process; zero: none.
    pub(crate) instance: u64,
    pub(crate) number: u64,
}

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Drawn at random by each process when it starts, so that a restart shows.
    pub(crate) instance: u64,
    /// The last link with this peer that went down here, as far as remembered.
    pub(crate) lost: Generation,
}

impl Hello {
    pub(crate) fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u64_le(self.instance);
        out.put_u64_le(self.lost.instance);
        out.put_u64_le(self.lost.number);
        bytes
    }

    /// None if these bytes are not a hello.
    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let mut input = bytes.strip_prefix(&MAGIC)?;
        let instance = input.get_u64_le();
        let lost = Generation {
            instance: input.get_u64_le(),
            number: input.get_u64_le(),
        };
        Some(Self { instance, lost })
    }
}

/// Whether `own` is the end that decides about links with `peer`.
pub(crate) fn decides(own: ReplicaId, peer: ReplicaId) -> bool {
    own < peer
}

/// The link that a peer already has, as the deciding end knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) peer_instance: u64,
    pub(crate) generation: Generation,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It becomes the peer's link, in place of the standing one if there is any.
    Take,
    /// The standing link stays.
    Refuse,
}

/// The deciding end's rule. A standing link goes only when the peer can't be using it any more: its process is
/// another one, or it says that it has lost that link. Otherwise the new connection is the loser of a race.
pub(crate) fn judge(standing: Option<Standing>, hello: Hello) -> Verdict {
    let Some(standing) = standing else {
        return Verdict::Take;
    };
    let restarted = standing.peer_instance != hello.instance;
    let lost = hello.lost.instance == standing.generation.instance
        && hello.lost.number >= standing.generation.number;
    if restarted || lost {
        Verdict::Take
    } else {
        Verdict::Refuse
    }
}

/// The other end's rule, for a connection that the deciding end has taken.
pub(crate) fn follow(standing: Option<Standing>, taken: Generation) -> Verdict {
    match standing {
        Some(standing)
            if standing.generation.instance == taken.instance
                && standing.generation.number >= taken.number =>
        {
            Verdict::Refuse
        }
        Some(_) | None => Verdict::Take,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HERE: u64 = 10;
    const PEER: u64 = 20;

    fn generation(number: u64) -> Generation {
        Generation {
            instance: HERE,
            number,
        }
    }

    fn standing(number: u64) -> Option<Standing> {
        Some(Standing {
            peer_instance: PEER,
            generation: generation(number),
        })
    }

    #[test]
    fn hello_round_trips_and_nothing_else_is_one() {
        let hello = Hello {
            instance: 1,
            lost: Generation {
                instance: u64::MAX,
                number: 3,
            },
        };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        assert_eq!(Hello::decode(&[0; HELLO_BYTES]), None);
    }

    #[test]
    fn the_loser_of_a_race_is_refused() {
        let fresh = Hello {
            instance: PEER,
            lost: Generation::default(),
        };
        assert_eq!(judge(None, fresh), Verdict::Take);
        assert_eq!(judge(standing(7), fresh), Verdict::Refuse);
        assert_eq!(
            judge(
                standing(7),
                Hello {
                    lost: generation(6),
                    ..fresh
                }
            ),
            Verdict::Refuse
        );
    }

    #[test]
    fn a_link_that_the_peer_has_lost_is_replaced() {
        let hello = Hello {
            instance: PEER,
            lost: generation(7),
        };
        assert_eq!(judge(standing(7), hello), Verdict::Take);
        let other_process = Hello {
            lost: Generation {
                instance: HERE + 1,
                number: 9,
            },
            ..hello
        };
        assert_eq!(judge(standing(7), other_process), Verdict::Refuse);
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_link() {
        let hello = Hello {
            instance: PEER + 1,
            lost: Generation::default(),
        };
        assert_eq!(judge(standing(7), hello), Verdict::Take);
    }

    #[test]
    fn the_following_end_takes_the_newest_whatever_order_they_arrive_in() {
        assert_eq!(follow(None, generation(1)), Verdict::Take);
        assert_eq!(follow(standing(1), generation(2)), Verdict::Take);
        assert_eq!(follow(standing(2), generation(1)), Verdict::Refuse);
        let restarted = Generation {
            instance: HERE + 1,
            number: 1,
        };
        assert_eq!(follow(standing(2), restarted), Verdict::Take);
    }

    /// 100,000 of them, changed at random: each is refused, or read as what it says and nothing else.
    #[test]
    fn whatever_comes_is_refused_or_is_what_it_says() {
        let mut bits: u64 = 1;
        let mut refused = 0;
        for _ in 0..100_000 {
            let hello = Hello {
                instance: bits,
                lost: generation(bits >> 7),
            };
            let mut bytes = hello.encode();
            for _ in 0..2 {
                // Knuth's MMIX generator.
                bits = bits
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(bits >> 33).unwrap() % HELLO_BYTES;
                bytes[at] ^= (bits >> 25).to_le_bytes()[0];
            }
            match Hello::decode(&bytes) {
                Some(read) => assert_eq!(read.encode(), bytes),
                None => refused += 1,
            }
        }
        assert!((10_000..50_000).contains(&refused), "{refused}");
    }
}
