//! How many datacenters a writer waits for, and what came of it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

/// How far a write must have come before its caller is told. It is taken and durable here in any case: this is about
/// the answer alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ack {
    /// Durable at the replica that is asked.
    #[default]
    Local,
    /// Durable in so many datacenters, this one counted; several replicas may stand in one.
    Datacenters(u16),
    /// Durable in every datacenter that is known and has a member that is not set aside.
    All,
}

impl Ack {
    /// Whether being durable here is enough.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::Datacenters(0 | 1))
    }
}

/// Text that says none of `local`, `all` and a number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "must be `local`, `all`, or a number of datacenters from 1 to 65535 (this one counted), not {0:?}"
)]
pub struct AckError(String);

impl FromStr for Ack {
    type Err = AckError;

    fn from_str(text: &str) -> Result<Self, AckError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            "local" => Ok(Self::Local),
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(1..) if !digits => Err(AckError(text.to_owned())),
                Ok(1) => Ok(Self::Local),
                Ok(count @ 2..) => Ok(Self::Datacenters(count)),
                Ok(0) | Err(_) => Err(AckError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Datacenters(count) => write!(f, "{count}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for Ack {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Datacenters(count) => serializer.serialize_u16(*count),
            Self::Local | Self::All => serializer.collect_str(self),
        }
    }
}

/// Who holds a write durably, as far as its replica has been told by the time of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Acknowledged {
    /// What the caller waited for.
    pub wanted: Ack,
    /// Whether it came to that. If not, the write stands all the same, and goes on its way.
    pub reached: bool,
    /// The datacenters that hold it, this one first, then by name.
    pub held_by: Vec<String>,
    /// The others that are known, by name; one whose name is not known yet is called by its replica's id.
    pub missing: Vec<String>,
    /// Of those that are not counted, since all their members are set aside.
    pub set_aside: Vec<String>,
}

impl Acknowledged {
    /// Datacenters that count.
    #[must_use]
    pub fn known(&self) -> usize {
        self.held_by.len() + self.missing.len()
    }

    /// As JSON, for answers.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        json["known"] = self.known().into();
        json
    }
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "durable in {}", self.held_by.join(", "))?;
        if !self.missing.is_empty() {
            write!(f, "; not acknowledged yet by {}", self.missing.join(", "))?;
        }
        match self.wanted {
            Ack::Datacenters(count) if usize::from(count) > self.known() => {
                let known = self.known();
                let datacenters = if known == 1 {
                    "datacenter is"
                } else {
                    "datacenters are"
                };
                write!(
                    f,
                    "; {count} were asked for, and {known} {datacenters} known here"
                )
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, ack) in [
            ("local", Ack::Local),
            ("1", Ack::Local),
            ("2", Ack::Datacenters(2)),
            ("65535", Ack::Datacenters(u16::MAX)),
            ("all", Ack::All),
        ] {
            assert_eq!(text.parse::<Ack>().unwrap(), ack);
            assert_eq!(ack.to_string().parse::<Ack>().unwrap(), ack);
        }
        for bad in [
            "", "0", "00", "-1", "+2", "2.0", " 2", "ALL", "every", "65536",
        ] {
            let error = bad.parse::<Ack>().unwrap_err();
            assert!(error.to_string().contains("`local`, `all`"), "{error}");
        }
    }

    #[test]
    fn who_lacks_it_is_named() {
        let mut acknowledged = Acknowledged {
            wanted: Ack::All,
            reached: false,
            held_by: vec!["eu".to_owned()],
            missing: vec!["ap".to_owned(), "us".to_owned()],
            set_aside: Vec::new(),
        };
        assert_eq!(
            acknowledged.to_string(),
            "durable in eu; not acknowledged yet by ap, us"
        );
        acknowledged.wanted = Ack::Datacenters(5);
        assert!(
            acknowledged
                .to_string()
                .ends_with("5 were asked for, and 3 datacenters are known here")
        );
        assert_eq!(acknowledged.json()["known"], 3);
        assert_eq!(acknowledged.json()["wanted"], 5);
    }
}
