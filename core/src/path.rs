//! JSON Pointers (RFC 6901).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A parsed JSON Pointer: the names on the way from the document's root. Empty for the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Path(Vec<String>);

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Does not begin with `/`.
    #[error(
        "the path {0:?} must be empty (the whole document) or begin with \"/\", as in \"/items/22752\""
    )]
    NoSlash(String),
    /// `~` that is followed by neither 0 nor 1.
    #[error("the path {0:?} has a \"~\" that is not \"~0\" (for ~) or \"~1\" (for /)")]
    Escape(String),
    /// Too many parts.
    #[error("the path has {0} parts; {max} is the limit", max = limits::DEPTH_MAX)]
    TooDeep(usize),
    /// A reserved name.
    #[error("the path {0:?} has a part that begins with U+0000, which is reserved")]
    Reserved(String),
}

impl Path {
    /// Parses a JSON Pointer.
    ///
    /// # Errors
    /// When it is not one, is too deep, or names something reserved.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Ok(Self::default())
            } else {
                Err(PathError::NoSlash(text.to_owned()))
            };
        };
        let parts = rest
            .split('/')
            .map(|part| unescape(part).ok_or_else(|| PathError::Escape(text.to_owned())));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.len() > limits::DEPTH_MAX {
            return Err(PathError::TooDeep(parts.len()));
        }
        if parts.iter().any(|part| part.starts_with('\0')) {
            return Err(PathError::Reserved(text.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The names, from the root.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The path up to its last name, and that name; none for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(&[String], &str)> {
        self.0
            .split_last()
            .map(|(last, parents)| (parents, last.as_str()))
    }

    pub(crate) fn of(parts: &[String]) -> Self {
        Self(parts.to_vec())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.to_owned());
        Self(parts)
    }

    pub(crate) fn begins_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

fn unescape(part: &str) -> Option<String> {
    let mut out = String::with_capacity(part.len());
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|part| write!(f, "/{}", part.replace('~', "~0").replace('/', "~1")))
    }
}

impl Serialize for Path {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pointers_read_as_rfc_6901_says() {
        assert_eq!(Path::parse("").unwrap().parts(), [] as [String; 0]);
        assert_eq!(Path::parse("/").unwrap().parts(), [""]);
        assert_eq!(
            Path::parse("/a~1b/m~0n//3").unwrap().parts(),
            ["a/b", "m~n", "", "3"]
        );
        assert_eq!(Path::parse("/a~1b/m~0n").unwrap().to_string(), "/a~1b/m~0n");
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert!(matches!(Path::parse("a"), Err(PathError::NoSlash(_))));
        assert!(matches!(Path::parse("/a~2"), Err(PathError::Escape(_))));
        assert!(matches!(Path::parse("/~"), Err(PathError::Escape(_))));
        assert!(matches!(
            Path::parse(&"/x".repeat(65)),
            Err(PathError::TooDeep(65))
        ));
        assert!(matches!(Path::parse("/\0x"), Err(PathError::Reserved(_))));
    }
}
