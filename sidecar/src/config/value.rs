//! Values as they were given, and their reading.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Place, SettingsError};

/// A value before anybody knows what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    List(Vec<String>),
    Flag(bool),
    /// What fits no setting.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::List(list) => write!(f, "{list:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A value and where it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) raw: Raw,
}

impl Found {
    fn wrong(&self, expected: &'static str) -> SettingsError {
        SettingsError::Value {
            place: self.place.clone(),
            expected,
            found: self.raw.to_string(),
        }
    }

    fn is_from_file(&self) -> bool {
        matches!(self.place, Place::File { .. })
    }

    pub(super) fn name(&self) -> Result<String, SettingsError> {
        match &self.raw {
            Raw::Text(name) if is_name(name) => Ok(name.clone()),
            _ => Err(self.wrong("a name of 1 to 64 letters, digits, \"-\", \"_\" and \".\"")),
        }
    }

    /// Paths in a file begin where the file is.
    pub(super) fn path(&self) -> Result<PathBuf, SettingsError> {
        match (&self.raw, &self.place) {
            (Raw::Text(path), _) if path.is_empty() => Err(self.wrong("a path")),
            (Raw::Text(path), Place::File { path: file, .. }) => {
                Ok(file.parent().unwrap_or(file).join(path))
            }
            (Raw::Text(path), Place::Env(_) | Place::Flag(_)) => Ok(path.into()),
            (Raw::Integer(_) | Raw::List(_) | Raw::Flag(_) | Raw::Other(_), _) => {
                Err(self.wrong("a path"))
            }
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr, SettingsError> {
        match &self.raw {
            Raw::Text(text) => text.parse().ok(),
            Raw::Integer(_) | Raw::List(_) | Raw::Flag(_) | Raw::Other(_) => None,
        }
        .ok_or_else(|| self.wrong("IP:PORT, such as \"127.0.0.1:7171\" or \"[::]:7172\""))
    }

    pub(super) fn reachable(&self) -> Result<String, SettingsError> {
        match &self.raw {
            Raw::Text(text) if is_reachable(text) => Ok(text.clone()),
            _ => Err(self.wrong("HOST:PORT, such as \"10.0.0.5:7172\"")),
        }
    }

    pub(super) fn list_of_reachable(&self) -> Result<Vec<String>, SettingsError> {
        let list = match &self.raw {
            Raw::List(list) => list.clone(),
            Raw::Text(text) if !self.is_from_file() => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            Raw::Text(_) | Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_) => vec![String::new()],
        };
        if list.iter().all(|text| is_reachable(text)) {
            return Ok(list);
        }
        Err(self.wrong(match self.is_from_file() {
            true => "a list of HOST:PORT, such as [\"10.0.0.6:7172\"]",
            false => "HOST:PORT, or several with commas between them",
        }))
    }

    pub(super) fn flag(&self) -> Result<bool, SettingsError> {
        match &self.raw {
            Raw::Flag(flag) => Some(*flag),
            Raw::Text(text) if !self.is_from_file() => text.parse().ok(),
            Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Other(_) => None,
        }
        .ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn milliseconds(&self) -> Result<Duration, SettingsError> {
        let number = self.number().filter(|ms| (1..=3_600_000).contains(ms));
        number
            .map(Duration::from_millis)
            .ok_or_else(|| self.wrong("milliseconds, 1 to 3600000"))
    }

    pub(super) fn seconds(&self) -> Result<Duration, SettingsError> {
        let number = self.number().filter(|s| (1..=31_536_000).contains(s));
        number
            .map(Duration::from_secs)
            .ok_or_else(|| self.wrong("seconds, 1 to 31536000 (a year)"))
    }

    /// With its unit, such as `7d`.
    pub(super) fn time(&self) -> Result<Duration, SettingsError> {
        let text = match &self.raw {
            Raw::Text(text) => parse_time(text),
            Raw::Integer(_) | Raw::List(_) | Raw::Flag(_) | Raw::Other(_) => None,
        };
        let bounds = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);
        text.filter(|time| bounds.contains(time)).ok_or_else(|| {
            self.wrong("a time of 1 s to 10 years in s, m, h or d, such as \"7d\" or \"90m\"")
        })
    }

    pub(super) fn count(&self) -> Result<u64, SettingsError> {
        let number = self
            .number()
            .filter(|count| (1..=100_000_000).contains(count));
        number.ok_or_else(|| self.wrong("a number from 1 to 100000000"))
    }

    pub(super) fn bytes(&self) -> Result<usize, SettingsError> {
        let number = self.number().filter(|bytes| *bytes >= 1 << 20);
        number
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| self.wrong("a number of bytes, at least 1048576"))
    }

    fn number(&self) -> Option<u64> {
        match &self.raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) if !self.is_from_file() => text.parse().ok(),
            Raw::Text(_) | Raw::List(_) | Raw::Flag(_) | Raw::Other(_) => None,
        }
    }
}

fn parse_time(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

/// As certificates have them: what is shown of a node is what it proves to be.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// As others are told it.
fn is_reachable(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
    text.len() <= 255
        && text.chars().all(allowed)
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}
