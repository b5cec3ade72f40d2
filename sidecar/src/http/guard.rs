//! Entity tags and conditions (RFC 9110, 8.8.3 and 13.1).

use anabranch::{Guard, Version};
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::problem::{Kind, Problem};

/// A version as an entity tag.
pub(super) fn etag(version: &Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\""))
        .expect("a version is hexadecimal digits and dashes")
}

/// What a write requires of the document.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Option<Guard>, Problem> {
    match (tags(headers, &IF_MATCH)?, tags(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (Some(Tags::Any), None) => Ok(Some(Guard::Exists)),
        (Some(Tags::List(list)), None) => Ok(Some(Guard::AnyOf(strong(list)))),
        (None, Some(Tags::Any)) => Ok(Some(Guard::Absent)),
        (None, Some(Tags::List(list))) => Ok(Some(Guard::NoneOf(
            list.into_iter().map(|tag| tag.version).collect(),
        ))),
        (Some(_), Some(_)) => Err(Problem::new(
            Kind::BadHeader,
            "If-Match and If-None-Match can't both be given on a write; give the one that says what you need",
        )
        .with("header", IF_NONE_MATCH.as_str())),
    }
}

/// What a reader's conditions come to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Reading {
    Wanted,
    NotModified,
    Failed,
}

/// Whether a read wants a document that is at this version.
pub(super) fn of_read(headers: &HeaderMap, version: &Version) -> Result<Reading, Problem> {
    let version = version.to_string();
    match tags(headers, &IF_MATCH)? {
        None | Some(Tags::Any) => {}
        Some(Tags::List(list)) if strong(list.clone()).contains(&version) => {}
        Some(Tags::List(_)) => return Ok(Reading::Failed),
    }
    Ok(match tags(headers, &IF_NONE_MATCH)? {
        Some(Tags::Any) => Reading::NotModified,
        Some(Tags::List(list)) if list.iter().any(|tag| tag.version == version) => {
            Reading::NotModified
        }
        None | Some(Tags::List(_)) => Reading::Wanted,
    })
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Tag {
    weak: bool,
    version: String,
}

/// If-Match compares strongly: a weak tag never matches.
fn strong(tags: Vec<Tag>) -> Vec<String> {
    tags.into_iter()
        .filter(|tag| !tag.weak)
        .map(|tag| tag.version)
        .collect()
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut list = Vec::new();
    let mut given = false;
    for value in headers.get_all(name) {
        given = true;
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        let parsed = parse(text).ok_or_else(|| {
            Problem::new(
                Kind::BadHeader,
                format!(
                    "{name} must be `*` or a list of quoted versions, such as \"5f2c…\", as an ETag gave them; it is {value:?}"
                ),
            )
            .with("header", name.as_str())
        })?;
        list.extend(parsed);
    }
    Ok(given.then_some(Tags::List(list)))
}

fn parse(mut text: &str) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    loop {
        let (weak, quoted) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (version, rest) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push(Tag {
            weak,
            version: version.to_owned(),
        });
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Some(tags);
        }
        text = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn conditions_of_writes() {
        let guard = |pairs: &[_]| of_write(&headers(pairs)).unwrap();
        let any = |versions: &[&str]| versions.iter().map(|&version| version.to_owned()).collect();
        assert_eq!(guard(&[]), None);
        assert_eq!(guard(&[(IF_MATCH, "*")]), Some(Guard::Exists));
        assert_eq!(guard(&[(IF_NONE_MATCH, "*")]), Some(Guard::Absent));
        assert_eq!(
            guard(&[(IF_MATCH, "\"a\" , \"b\"")]),
            Some(Guard::AnyOf(any(&["a", "b"])))
        );
        assert_eq!(
            guard(&[(IF_NONE_MATCH, "W/\"a\",\"b,c\"")]),
            Some(Guard::NoneOf(any(&["a", "b,c"])))
        );
        // A weak tag never matches strongly: the condition can't hold.
        assert_eq!(guard(&[(IF_MATCH, "W/\"a\"")]), Some(Guard::AnyOf(vec![])));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for bad in ["", "abc", "\"a", "\"a\" \"b\"", "\"a\",", "W/a"] {
            let problem = of_write(&headers(&[(IF_MATCH, bad)])).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadHeader, "{bad}");
        }
        let both = headers(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]);
        assert_eq!(of_write(&both).unwrap_err().kind(), Kind::BadHeader);
    }

    #[test]
    fn conditions_of_reads() {
        let version = Version::default();
        let reading = |pairs: &[_]| of_read(&headers(pairs), &version).unwrap();
        assert_eq!(reading(&[]), Reading::Wanted);
        assert_eq!(reading(&[(IF_NONE_MATCH, "\"\"")]), Reading::NotModified);
        assert_eq!(reading(&[(IF_NONE_MATCH, "W/\"\"")]), Reading::NotModified);
        assert_eq!(reading(&[(IF_NONE_MATCH, "*")]), Reading::NotModified);
        assert_eq!(reading(&[(IF_NONE_MATCH, "\"x\"")]), Reading::Wanted);
        assert_eq!(reading(&[(IF_MATCH, "\"x\"")]), Reading::Failed);
        assert_eq!(reading(&[(IF_MATCH, "\"x\", \"\"")]), Reading::Wanted);
        assert_eq!(reading(&[(IF_MATCH, "W/\"\"")]), Reading::Failed);
    }
}
