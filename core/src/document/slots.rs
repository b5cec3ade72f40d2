//! Where the parts of an entry stand in an automerge map.
//!
//! ```text
//! name           registers, maps, lists, texts; a counter that was the first thing here
//! U+0000 c name  a counter beside something else
//! U+0000 q name  a quantity: one automerge counter for each writer that created it unaware of others
//! U+0000 s name  a set: a map whose keys are its elements, as canonical JSON
//! U+0000 X name  the grave of what was removed here, for each kind X
//! U+0000 + X name  that it has been made again since
//! U+0000 U+0000, U+0000 +  the same of the document
//! ```
//! Different kinds have places of their own so that writing one never hides, in automerge's terms, what
//! somebody else does to another at the same time.

use automerge::ObjType;

/// What can stand at an entry besides registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Map,
    List,
    Text,
    Counter,
    Quantity,
    Set,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Map,
        Self::List,
        Self::Text,
        Self::Counter,
        Self::Quantity,
        Self::Set,
    ];

    /// As errors name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Map => "a map",
            Self::List => "a list",
            Self::Text => "a text",
            Self::Counter => "a counter",
            Self::Quantity => "a quantity",
            Self::Set => "a set",
        }
    }

    pub(super) fn of(object: ObjType) -> Self {
        match object {
            ObjType::Map | ObjType::Table => Self::Map,
            ObjType::List => Self::List,
            ObjType::Text => Self::Text,
        }
    }

    /// What it is to automerge; none for numbers.
    pub(super) fn object(self) -> Option<ObjType> {
        match self {
            Self::Map | Self::Set => Some(ObjType::Map),
            Self::List => Some(ObjType::List),
            Self::Text => Some(ObjType::Text),
            Self::Counter | Self::Quantity => None,
        }
    }

    /// The key of the map under which its parts stand, for an entry's name.
    pub(super) fn slot(self, name: &str) -> String {
        match self {
            Self::Map | Self::List | Self::Text => name.to_owned(),
            Self::Counter => format!("\0c{name}"),
            Self::Quantity => format!("\0q{name}"),
            Self::Set => format!("\0s{name}"),
        }
    }

    fn mark(self) -> char {
        match self {
            Self::Map => 'M',
            Self::List => 'L',
            Self::Text => 'T',
            Self::Counter => 'C',
            Self::Quantity => 'Q',
            Self::Set => 'S',
        }
    }

    fn marked(mark: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.mark() == mark)
    }

    /// The key of the map under which its grave stands.
    pub(super) fn grave(self, name: &str) -> String {
        format!("\0{}{name}", self.mark())
    }

    /// The key of the map under which it stands that it was made again.
    pub(super) fn revival(self, name: &str) -> String {
        format!("\0+{}{name}", self.mark())
    }
}

/// The document's grave.
pub(super) const ROOT_GRAVE: &str = "\0\0";
/// That the document was made again.
pub(super) const ROOT_REVIVAL: &str = "\0+";

/// The keys that are not entries' names, from and to.
pub(super) const RESERVED: (&str, &str) = ("\0", "\u{1}");

/// What a key of an automerge map stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot<'k> {
    Entry(&'k str),
    /// Of a counter, a quantity or a set.
    Part(Kind, &'k str),
    Grave(Kind, &'k str),
    Revival(Kind, &'k str),
    /// The document's, or a key of no meaning to us.
    Other,
}

impl<'k> Slot<'k> {
    /// The entry's name.
    pub(super) fn name(self) -> Option<&'k str> {
        match self {
            Self::Entry(name)
            | Self::Part(_, name)
            | Self::Grave(_, name)
            | Self::Revival(_, name) => Some(name),
            Self::Other => None,
        }
    }

    pub(super) fn parse(key: &'k str) -> Self {
        let Some(rest) = key.strip_prefix('\0') else {
            return Self::Entry(key);
        };
        let mut rest = rest.chars();
        let mark = rest.next();
        let name = rest.as_str();
        match mark {
            Some('c') => Self::Part(Kind::Counter, name),
            Some('q') => Self::Part(Kind::Quantity, name),
            Some('s') => Self::Part(Kind::Set, name),
            Some('+') => {
                let mut rest = name.chars();
                let kind = rest.next().and_then(Kind::marked);
                kind.map_or(Self::Other, |kind| Self::Revival(kind, rest.as_str()))
            }
            Some(mark) => Kind::marked(mark).map_or(Self::Other, |kind| Self::Grave(kind, name)),
            None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_as_what_it_was_written_for() {
        for name in ["", "a", "qty", "cqsMLTCQS", "ä/~"] {
            assert_eq!(Slot::parse(name), Slot::Entry(name));
            for kind in Kind::ALL {
                assert_eq!(Slot::parse(&kind.grave(name)), Slot::Grave(kind, name));
                assert_eq!(Slot::parse(&kind.revival(name)), Slot::Revival(kind, name));
            }
            for kind in [Kind::Counter, Kind::Quantity, Kind::Set] {
                assert_eq!(Slot::parse(&kind.slot(name)), Slot::Part(kind, name));
            }
        }
        assert_eq!(Slot::parse(ROOT_GRAVE), Slot::Other);
        assert_eq!(Slot::parse(ROOT_REVIVAL), Slot::Other);
        assert_eq!(Slot::parse("\0"), Slot::Other);
    }
}
