//! What a write's token says of its place among the batches of its writer.
//!
//! `core/src/token.rs` has the form. A client hands tokens back as they are; here one is read, since it names
//! the very write that a feed elsewhere will show, which nothing else in an answer does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Outcome;

const FORMAT: u8 = 1;
const TAG_BYTES: usize = 8;

/// The number of the batch that a write went into, from the token of a session that did nothing before.
pub(crate) fn seq(token: &str) -> Outcome<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(token)?;
    let read = || -> Option<u64> {
        let mut rest = bytes.strip_prefix(&[FORMAT])?;
        let spaces = number(&mut rest)?;
        let name_bytes = usize::try_from(number(&mut rest)?).ok()?;
        rest = rest.get(name_bytes..)?;
        let positions = number(&mut rest)?;
        rest = rest.get(TAG_BYTES..)?;
        let seq = number(&mut rest)?;
        (spaces == 1 && positions == 1 && rest.is_empty()).then_some(seq)
    };
    read().ok_or_else(|| {
        format!("the token {token} does not name one position: has its form (core/src/token.rs) changed?").into()
    })
}

/// LEB128.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn a_tokens_one_position_is_read_and_anything_else_is_refused() {
        let sound = [&[1, 1, 5][..], b"carts", &[1], &[7; 8], &[0xac, 0x02]].concat();
        assert_eq!(seq(&token(&sound)).unwrap(), 300);
        // A node's own kind of token, in the same form.
        assert!(token(&sound).parse::<anabranch::Token>().is_ok());
        assert!(seq("!").is_err());
        for end in 0..sound.len() {
            assert!(seq(&token(&sound[..end])).is_err(), "{end}");
        }
        for (at, value) in [(0, 2), (1, 2), (8, 2)] {
            let mut other = sound.clone();
            other[at] = value;
            assert!(seq(&token(&other)).is_err(), "{at}");
        }
        assert!(seq(&token(&[&sound[..], &[0]].concat())).is_err());
    }
}
