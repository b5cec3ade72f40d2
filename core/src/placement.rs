//! Where a namespace is: in which datacenters its documents, batches and summaries may be.
//!
//! A setting is said by whoever changes it, with a version above all that it knows of, and goes to everybody. Of two the greater counts, so
//! all come to the same one, in whatever order they hear of them.
//!
//! ```text
//! setting     = version by:16 datacenters
//! datacenters = count [name:text, rising]        none of them: all there are
//! ```

use std::collections::BTreeSet;

use serde::Serialize;

use crate::codec::{DecodeError, Reader, Writer};
use crate::{NameError, ReplicaId, id, limits};

/// Versions end here, far from where they could not be counted on; nobody comes here by counting.
const VERSION_MAX: u64 = 1 << 53;

/// The datacenters that a namespace is in, by name: at least one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(transparent)]
pub struct Datacenters(BTreeSet<String>);

/// Why a list of datacenters was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatacentersError {
    /// Nobody would hold the namespace.
    #[error(
        "a namespace must be in one datacenter at least; to have it in all of them, name no list"
    )]
    Empty,
    /// Over the limit.
    #[error("a namespace may name {max} datacenters at most; here are {count}")]
    TooMany {
        /// How many.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// One that can't be a datacenter's name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Datacenters {
    /// Checks and takes names. One that comes twice counts once.
    ///
    /// # Errors
    /// When there are none or too many, or one is empty, too long or contains a control character.
    pub fn new<S: Into<String>>(
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, DatacentersError> {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        let (count, max) = (names.len(), limits::DATACENTERS_MAX);
        if count == 0 {
            return Err(DatacentersError::Empty);
        }
        if count > max {
            return Err(DatacentersError::TooMany { count, max });
        }
        for name in &names {
            id::check("datacenter", name, limits::DATACENTER_BYTES_MAX)?;
        }
        Ok(Self(names))
    }

    /// Whether one is among them.
    #[must_use]
    pub fn contains(&self, datacenter: &str) -> bool {
        self.0.contains(datacenter)
    }

    /// Their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn encode(names: Option<&Self>, writer: &mut Writer) {
        writer.count(names.map_or(0, |names| names.0.len()));
        let names = names.into_iter().flat_map(Self::iter);
        names.for_each(|name| writer.bytes(name.as_bytes()));
    }

    fn decode(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let count = reader.count("datacenters", limits::DATACENTERS_MAX)?;
        let mut names = BTreeSet::new();
        for _ in 0..count {
            let name = reader.text("datacenter", limits::DATACENTER_BYTES_MAX)?;
            id::check("datacenter", &name, limits::DATACENTER_BYTES_MAX)?;
            if names.last().is_some_and(|last| *last >= name) {
                let (what, value) = ("order of datacenters", names.len() as u64);
                return Err(DecodeError::Unknown { what, value });
            }
            names.insert(name);
        }
        Ok((!names.is_empty()).then_some(Self(names)))
    }
}

/// What somebody has said of a namespace. The greater of two counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Setting {
    pub(crate) version: u64,
    pub(crate) by: ReplicaId,
    /// None: all there are. It decides only between what one replica has said twice, having forgotten the first.
    pub(crate) datacenters: Option<Datacenters>,
}

impl Setting {
    /// Whether the namespace is in a datacenter.
    pub(crate) fn is_in(&self, datacenter: &str) -> bool {
        let named = self.datacenters.as_ref();
        named.is_none_or(|named| named.contains(datacenter))
    }

    /// The version of what is said next; none: there are none left.
    pub(crate) fn version_after(before: Option<&Self>, at_least: u64) -> Option<u64> {
        let next = before.map_or(1, |before| before.version.saturating_add(1));
        Some(next.max(at_least)).filter(|next| *next <= VERSION_MAX)
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(self.version);
        writer.array(&self.by.0);
        Datacenters::encode(self.datacenters.as_ref(), writer);
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let version = reader.number("version of a placement")?;
        if version == 0 || version > VERSION_MAX {
            let (what, value) = ("version of a placement", version);
            return Err(DecodeError::Unknown { what, value });
        }
        Ok(Self {
            version,
            by: ReplicaId(reader.array("replica")?),
            datacenters: Datacenters::decode(reader)?,
        })
    }
}

/// What a replica keeps of one namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Placing {
    /// None: nobody has said anything yet.
    pub(crate) setting: Option<Setting>,
    /// What this replica's own configuration said last. It is told to nobody.
    pub(crate) configured: Option<Datacenters>,
}

impl Placing {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.setting.is_some().into());
        if let Some(setting) = &self.setting {
            setting.encode(writer);
        }
        Datacenters::encode(self.configured.as_ref(), writer);
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let setting = match reader.u8("setting")? {
            0 => None,
            _ => Some(Setting::decode(reader)?),
        };
        Ok(Self {
            setting,
            configured: Datacenters::decode(reader)?,
        })
    }
}
