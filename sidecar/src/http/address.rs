//! From the raw path of a request to names. Percent-encoding is undone here and nowhere else.

use anabranch::{DocumentId, Namespace};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::problem::{Kind, Problem};

/// Where documents are.
pub(crate) const DOCUMENTS: &str = "/v1/docs/";
/// What follows a key where edits are posted to.
const OPS: &str = "/ops";

/// All but the unreserved characters of RFC 3986 (2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name as one part of a path or a query.
pub(crate) fn escape(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The path of a document. A `/` in its key is escaped: then no part of it can be mistaken for anything else.
pub(crate) fn of_document(document: &DocumentId) -> String {
    format!(
        "{DOCUMENTS}{}/{}",
        escape(document.namespace.as_str()),
        escape(document.key.as_str())
    )
}

/// The document that a raw path names.
pub(crate) fn document(path: &str) -> Result<DocumentId, Problem> {
    let (namespace, key) = split(path);
    let id = DocumentId::new(
        &unescape_part("namespace", namespace)?,
        &unescape_part("key", key.unwrap_or_default())?,
    )?;
    Ok(id)
}

/// The document whose edits are posted to a raw path; none if the path does not end in `/ops`.
pub(crate) fn document_of_ops(path: &str) -> Option<Result<DocumentId, Problem>> {
    let path = path.strip_suffix(OPS)?;
    // `/v1/docs/carts/ops` is a document called `ops`, not the edits of one without a name.
    split(path).1?;
    Some(document(path))
}

/// The namespace that a raw path names.
pub(crate) fn namespace(path: &str) -> Result<Namespace, Problem> {
    Ok(Namespace::new(&unescape_part("namespace", split(path).0)?)?)
}

fn split(path: &str) -> (&str, Option<&str>) {
    let rest = path.strip_prefix(DOCUMENTS).unwrap_or_default();
    match rest.split_once('/') {
        Some((namespace, key)) => (namespace, Some(key)),
        None => (rest, None),
    }
}

fn unescape_part(what: &str, part: &str) -> Result<String, Problem> {
    unescape(part).map_err(|why| {
        Problem::new(
            Kind::BadName,
            format!("the {what} {part:?} in the path {why}"),
        )
    })
}

/// Undoes percent-encoding, strictly.
pub(super) fn unescape(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.split_at_checked(2).and_then(|(digits, after)| {
            rest = after;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
        });
        bytes.push(digits.ok_or(
            "has a \"%\" without two hexadecimal digits after it; write \"%\" itself as %25",
        )?);
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8; percent-encode the bytes of its UTF-8 form")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parts(path: &str) -> (String, String) {
        let id = document(path).unwrap();
        (id.namespace.to_string(), id.key.to_string())
    }

    fn refused(path: &str) -> String {
        let problem = document(path).unwrap_err();
        assert_eq!(problem.kind(), Kind::BadName, "{path}");
        problem.detail().to_owned()
    }

    #[test]
    fn a_slash_in_a_key_may_be_escaped_or_plain() {
        let expected = ("carts".to_owned(), "eu/alice".to_owned());
        assert_eq!(parts("/v1/docs/carts/eu/alice"), expected);
        assert_eq!(parts("/v1/docs/carts/eu%2Falice"), expected);
        assert_eq!(parts("/v1/docs/carts/eu%2falice"), expected);
        assert_eq!(parts("/v1/docs/carts//a/").1, "/a/");
    }

    #[test]
    fn names_go_there_and_back() {
        for key in [
            "alice", "a/b", "50 %", "ü/€", "ops", "x/ops", "..", "?#&+", "~-._",
        ] {
            let id = DocumentId::new("n s", key).unwrap();
            assert_eq!(document(&of_document(&id)).unwrap(), id, "{key}");
            let ops = format!("{}/ops", of_document(&id));
            assert_eq!(document_of_ops(&ops).unwrap().unwrap(), id, "{key}");
        }
    }

    #[test]
    fn only_a_plain_suffix_asks_for_edits() {
        let key = |path| document_of_ops(path).map(|id| id.unwrap().key.to_string());
        assert_eq!(key("/v1/docs/carts/a/ops").as_deref(), Some("a"));
        assert_eq!(key("/v1/docs/carts/a/ops/ops").as_deref(), Some("a/ops"));
        assert_eq!(key("/v1/docs/carts/a%2Fops"), None);
        assert_eq!(key("/v1/docs/carts/ops"), None);
        assert_eq!(key("/v1/docs/carts/ops/ops").as_deref(), Some("ops"));
        assert_eq!(key("/v1/docs/carts/a"), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(refused("/v1/docs/carts/%zz").contains("hexadecimal"));
        assert!(refused("/v1/docs/carts/100%").contains("%25"));
        assert!(refused("/v1/docs/carts/%4").contains("hexadecimal"));
        assert!(refused("/v1/docs/carts/%ff").contains("UTF-8"));
        assert!(refused("/v1/docs/carts/").contains("empty"));
        assert!(refused("/v1/docs//a").contains("empty"));
        assert!(refused("/v1/docs/carts/a%00").contains("control"));
        assert!(refused("/v1/docs/a%2Fb/c").contains("separates"));
        assert!(refused(&format!("/v1/docs/c/{}", "k".repeat(1_025))).contains("1024"));
    }
}
