//! `?ack=`: how many datacenters a writer waits for, and what the answer says of them.

use anabranch::{Ack, Acknowledged};
use serde_json::Value;

use super::problem::Problem;
use super::query::{Query, refusal};

/// The parameter.
pub(crate) const ACK: &str = "ack";

/// What a write asks for beyond being durable here, which it always is.
pub(super) fn asked(query: &mut Query) -> Result<Ack, Problem> {
    match query.text(ACK) {
        None => Ok(Ack::Local),
        Some(text) => text
            .parse()
            .map_err(|error| refusal(ACK, format!("`{ACK}` {error}"))),
    }
}

/// The member of a body that says who holds the write.
pub(super) fn shown(acknowledged: &Acknowledged) -> Value {
    let mut shown = acknowledged.json();
    if !acknowledged.reached {
        shown["detail"] = format!(
            "the write stands and goes on its way: {acknowledged}. To wait again, repeat it with its idempotency key, or \
             write with a longer Anabranch-Wait"
        )
        .into();
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::problem::Kind;

    #[test]
    fn it_is_read_or_refused() {
        let ask = |query| asked(&mut Query::parse(Some(query)).unwrap());
        for (query, ack) in [
            ("", Ack::Local),
            ("ack=local", Ack::Local),
            ("ack=1", Ack::Local),
            ("ack=2", Ack::Datacenters(2)),
            ("ack=all", Ack::All),
        ] {
            assert_eq!(ask(query).unwrap(), ack, "{query}");
        }
        for bad in ["ack", "ack=0", "ack=-1", "ack=ALL", "ack=2.5", "ack=70000"] {
            let problem = ask(bad).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadQuery, "{bad}");
            assert_eq!(problem.json()["parameter"], "ack");
            assert!(problem.detail().contains("`all`"), "{}", problem.detail());
        }
    }
}
