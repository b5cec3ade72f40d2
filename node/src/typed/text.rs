//! Fields that are written together: [`Text`].

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tree;

/// A text that several people write: a note, a description. What two datacenters write at the same time is all
/// kept, and what one writer typed stays together. (A `String` is a register: of two, one wins.)
///
/// Missing in a document, or null, it reads as empty. In JSON it is a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Text(String);

impl Text {
    /// Writes at the end.
    pub fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Replaces `delete` characters from the character `at` on. Positions count Unicode code points, as
    /// [`str::chars`] does.
    ///
    /// # Panics
    /// When that goes past the end.
    pub fn splice(&mut self, at: usize, delete: usize, insert: &str) {
        let len = self.0.chars().count();
        let end = at.checked_add(delete).filter(|end| *end <= len);
        let Some(end) = end else {
            panic!(
                "the text has {len} characters: the splice at {at} that deletes {delete} goes past its end"
            );
        };
        let byte = |position| {
            self.0
                .char_indices()
                .nth(position)
                .map_or(self.0.len(), |(byte, _)| byte)
        };
        self.0.replace_range(byte(at)..byte(end), insert);
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(tree::TEXT, &self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::or_empty(deserializer).map(Self)
    }
}
