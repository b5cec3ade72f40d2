//! Request headers of which there may be one.

use axum::http::HeaderMap;

use super::problem::{Kind, Problem};

/// A header that says something which can't be.
pub(super) fn bad_header(name: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadHeader, detail).with("header", name)
}

/// What a header says, if it is given.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad_header(
            name,
            format!("`{name}` is given twice; give it once"),
        ));
    }
    let text = value.to_str().map_err(|_| {
        bad_header(
            name,
            format!("`{name}` must be printable ASCII; it is {value:?}"),
        )
    })?;
    Ok(Some(text.trim()))
}
