//! What a session has seen, as an opaque text that travels with its client between datacenters.
//!
//! ```text
//! token  = format:u8  spaces:[space]          as base64url without padding
//! space  = namespace:text  positions:[tag:8 seq]
//! ```
//! A position covers everything that its writer had seen, since batches arrive in causal order: after a
//! write it is all that the token needs to say of a namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::{DecodeError, Reader, Writer};
use crate::{Namespace, OriginTag, Seq, limits};

const FORMAT: u8 = 1;

/// What a session has seen. Empty for a new one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Token(BTreeMap<Namespace, BTreeMap<OriginTag, Seq>>);

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Over the limit.
    #[error("a session token may have {max} bytes at most; this one has {len}: begin a new session", max = limits::TOKEN_BYTES_MAX)]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// Not what a node gave out.
    #[error(
        "this is no session token; hand back, unchanged, what a node gave in an earlier answer"
    )]
    Text,
    /// Not what this version of a node gives out.
    #[error(
        "this is no session token ({0}); hand back, unchanged, what a node gave in an earlier answer"
    )]
    Form(#[from] DecodeError),
}

impl Token {
    /// True for a session that has seen nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The positions that it names in a namespace.
    pub(crate) fn positions(
        &self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = (OriginTag, Seq)> + '_ {
        let positions = self.0.get(namespace);
        positions
            .into_iter()
            .flatten()
            .map(|(tag, seq)| (*tag, *seq))
    }

    /// Says these positions, and no others, of a namespace.
    pub(crate) fn set(
        &mut self,
        namespace: &Namespace,
        positions: impl IntoIterator<Item = (OriginTag, Seq)>,
    ) {
        let positions: BTreeMap<_, _> = positions.into_iter().collect();
        if positions.is_empty() {
            self.0.remove(namespace);
        } else {
            self.0.insert(namespace.clone(), positions);
        }
    }

    /// Bytes of its text.
    pub(crate) fn text_bytes(&self) -> usize {
        text_bytes(
            self.0
                .iter()
                .map(|(namespace, positions)| space_bytes(namespace, positions.values())),
        )
    }

    /// Bytes of its text at most, if it came to name one position in a namespace and no other there.
    pub(crate) fn text_bytes_with_one(&self, namespace: &Namespace) -> usize {
        let others = self.0.iter().filter(|(other, _)| *other != namespace);
        let others =
            others.map(|(namespace, positions)| space_bytes(namespace, positions.values()));
        text_bytes(others.chain([space_bytes(namespace, [&Seq(u64::MAX)])]))
    }

    /// Whoever has seen this has seen what either has. For sessions that come together.
    pub fn merge(&mut self, other: &Self) {
        for (namespace, positions) in &other.0 {
            let here = self.0.entry(namespace.clone()).or_default();
            for (tag, seq) in positions {
                let at = here.entry(*tag).or_insert(*seq);
                *at = (*at).max(*seq);
            }
        }
    }
}

fn number_bytes(number: u64) -> usize {
    let bits = (u64::BITS - number.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

fn space_bytes<'a>(namespace: &Namespace, seqs: impl IntoIterator<Item = &'a Seq>) -> usize {
    let (mut count, mut positions) = (0, 0);
    for seq in seqs {
        count += 1;
        positions += 8 + number_bytes(seq.0);
    }
    let name = namespace.as_str().len();
    number_bytes(name as u64) + name + number_bytes(count) + positions
}

fn text_bytes(spaces: impl Iterator<Item = usize>) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for space in spaces {
        count += 1;
        bytes += space;
    }
    // Three bytes are four characters, and what is left over is not padded.
    ((1 + number_bytes(count) + bytes) * 4).div_ceil(3)
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer::default();
        writer.u8(FORMAT);
        writer.count(self.0.len());
        for (namespace, positions) in &self.0 {
            writer.bytes(namespace.as_str().as_bytes());
            writer.count(positions.len());
            for (tag, seq) in positions {
                writer.array(&tag.0);
                writer.number(seq.0);
            }
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(writer.finish()))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > limits::TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { len: text.len() });
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Text)?;
        let mut reader = Reader::new(bytes.into());
        match reader.u8("token format")? {
            FORMAT => {}
            other => {
                let what = "token format";
                let value = other.into();
                return Err(DecodeError::Unknown { what, value }.into());
            }
        }
        let mut token = Self::default();
        for _ in 0..reader.count("namespaces", limits::TOKEN_BYTES_MAX)? {
            let namespace = reader.namespace()?;
            let mut positions = Vec::new();
            for _ in 0..reader.count("positions", limits::TOKEN_BYTES_MAX)? {
                positions.push((OriginTag(reader.array("origin")?), reader.seq()?));
            }
            token.set(&namespace, positions);
        }
        reader.finish()?;
        Ok(token)
    }
}

impl serde::Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = Token> {
        let positions = prop::collection::btree_map(any::<[u8; 8]>(), 1_u64..u64::MAX, 1..5);
        prop::collection::btree_map("[a-z]{1,8}", positions, 0..4).prop_map(|spaces| {
            let mut token = Token::default();
            for (namespace, positions) in spaces {
                let positions = positions
                    .into_iter()
                    .map(|(tag, seq)| (OriginTag(tag), Seq(seq)));
                token.set(&Namespace::new(&namespace).unwrap(), positions);
            }
            token
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(token in token()) {
            prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }

        #[test]
        fn its_length_is_known_before_it_is_written(mut token in token(), name in "[a-z]{1,2}", seq in 1..u64::MAX) {
            prop_assert_eq!(token.text_bytes(), token.to_string().len());
            let namespace = Namespace::new(&name).unwrap();
            let most = token.text_bytes_with_one(&namespace);
            token.set(&namespace, [(OriginTag([1; 8]), Seq(seq))]);
            prop_assert!((token.text_bytes()..token.text_bytes() + 16).contains(&most));
        }

        #[test]
        fn what_is_damaged_is_refused_or_read_but_never_panics(token in token(), at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_-]") {
            let mut text = token.to_string();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            let _ = text.parse::<Token>();
        }

        #[test]
        fn merging_covers_both(a in token(), b in token()) {
            let mut both = a.clone();
            both.merge(&b);
            for part in [&a, &b] {
                let mut again = both.clone();
                again.merge(part);
                prop_assert_eq!(&again, &both);
            }
        }
    }

    #[test]
    fn a_new_session_is_short() {
        assert_eq!(Token::default().to_string(), "AQA");
        assert_eq!("AQA".parse::<Token>().unwrap(), Token::default());
        assert!("".parse::<Token>().is_err());
        assert!("!".parse::<Token>().is_err());
    }
}
