//! What the interface has promised and this version does not have yet. It is refused, never ignored: a
//! caller that asks for it relies on it.

use super::problem::{Kind, Problem};
use super::query::{Query, refusal};

/// A problem that names a feature to come.
pub(super) fn feature(what: &str) -> Problem {
    Problem::new(
        Kind::NotSupportedYet,
        format!("{what} is not supported by this version; leave it out, or use a later version"),
    )
    .with("feature", what)
}

/// Refuses what a write may ask for beyond being durable here, which it always is.
pub(super) fn acknowledgement(query: &mut Query) -> Result<(), Problem> {
    let Some(ack) = query.text("ack") else {
        return Ok(());
    };
    match (&*ack, ack.parse::<u16>()) {
        ("local", _) | (_, Ok(1)) => Ok(()),
        ("all", _) | (_, Ok(2..)) => Err(feature("`ack` by more than this node")),
        _ => Err(refusal(
            "ack",
            format!("`ack` must be `local`, `all` or a number of datacenters, not {ack:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_a_write_does_anyway_is_taken() {
        let ask = |query| acknowledgement(&mut Query::parse(Some(query)).unwrap());
        for taken in ["", "ack=local", "ack=1"] {
            ask(taken).unwrap();
        }
        for later in ["ack=2", "ack=all"] {
            assert_eq!(ask(later).unwrap_err().kind(), Kind::NotSupportedYet);
        }
        for bad in ["ack", "ack=0", "ack=-1", "ack=ALL"] {
            assert_eq!(ask(bad).unwrap_err().kind(), Kind::BadQuery, "{bad}");
        }
    }
}
