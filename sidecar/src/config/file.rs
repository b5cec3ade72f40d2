//! The TOML file: where each value stands, and what is not known.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anabranch::{Datacenters, Namespace};
use toml::de::{DeTable, DeValue};

use super::error::{Place, SettingsError};
use super::keys::{self, Key};
use super::value::{Found, Raw};

/// What a file says.
#[derive(Default)]
pub(super) struct Read {
    pub(super) settings: Vec<(&'static Key, Found)>,
    /// In which datacenters namespaces are.
    pub(super) placements: BTreeMap<Namespace, Datacenters>,
}

/// Reads the settings in a file's text.
pub(super) fn read(path: &Path, text: &str) -> Result<Read, SettingsError> {
    let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        line: line(text, error.span()),
        why: error.message().to_owned(),
    })?;
    let mut reading = Reading {
        path,
        text,
        read: Read::default(),
        errors: Vec::new(),
    };
    reading.table("", table.get_ref());
    // The parser keeps keys in the alphabet's order; a person goes by lines.
    match reading.errors.into_iter().min_by_key(|(line, _)| *line) {
        Some((_, error)) => Err(error),
        None => Ok(reading.read),
    }
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    read: Read,
    errors: Vec<(usize, SettingsError)>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = match section {
                "" => key.get_ref().to_string(),
                section => format!("{section}.{}", key.get_ref()),
            };
            let place = self.place(&name, key.span());
            let value = value.get_ref();
            if let Some(known) = keys::ALL.iter().find(|known| known.name == name) {
                let raw = raw(value);
                self.read.settings.push((known, Found { place, raw }));
            } else if !section.is_empty() || !keys::SECTIONS.contains(&&*name) {
                let nearest = keys::nearest(&name);
                self.refuse(SettingsError::UnknownKey { place, nearest }, key.span());
            } else if let DeValue::Table(inner) = value {
                match &*name {
                    "namespaces" => self.namespaces(inner),
                    name => self.table(name, inner),
                }
            } else {
                self.wrong(place, "a section, as in [http]", value, key.span());
            }
        }
    }

    /// Each may say in which datacenters it is.
    fn namespaces(&mut self, table: &DeTable<'_>) {
        for (namespace, settings) in table {
            let name = format!("namespaces.{}", namespace.get_ref());
            let place = self.place(&name, namespace.span());
            let Ok(named) = Namespace::new(namespace.get_ref()) else {
                let found = DeValue::String(namespace.get_ref().clone());
                let expected = "a namespace: 1 to 128 bytes without \"/\" and control characters";
                self.wrong(place, expected, &found, namespace.span());
                continue;
            };
            let DeValue::Table(settings) = settings.get_ref() else {
                self.wrong(place, "a section", settings.get_ref(), namespace.span());
                continue;
            };
            for (key, value) in settings {
                let place = self.place(&format!("{name}.{}", key.get_ref()), key.span());
                match (&**key.get_ref(), value.get_ref()) {
                    ("datacenters", DeValue::String(all)) if all == "all" => {}
                    ("datacenters", value) => self.placement(&named, place, value, key.span()),
                    _ => {
                        let nearest = Some("datacenters");
                        self.refuse(SettingsError::UnknownKey { place, nearest }, key.span());
                    }
                }
            }
        }
    }

    fn placement(
        &mut self,
        namespace: &Namespace,
        place: Place,
        value: &DeValue<'_>,
        at: Range<usize>,
    ) {
        let Raw::List(names) = raw(value) else {
            let expected = "a list of datacenters' names, or \"all\"";
            return self.wrong(place, expected, value, at);
        };
        match Datacenters::new(names) {
            Ok(datacenters) => {
                let placements = &mut self.read.placements;
                placements.insert(namespace.clone(), datacenters);
            }
            Err(source) => self.refuse(SettingsError::Placement { place, source }, at),
        }
    }

    fn wrong(
        &mut self,
        place: Place,
        expected: &'static str,
        found: &DeValue<'_>,
        at: Range<usize>,
    ) {
        let found = raw(found).to_string();
        let error = SettingsError::Value {
            place,
            expected,
            found,
        };
        self.refuse(error, at);
    }

    fn refuse(&mut self, error: SettingsError, at: Range<usize>) {
        self.errors.push((at.start, error));
    }

    fn place(&self, key: &str, at: Range<usize>) -> Place {
        Place::File {
            path: self.path.to_owned(),
            line: line(self.text, Some(at)),
            key: key.to_owned(),
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number out of range"), Raw::Integer),
        DeValue::Array(array) => array
            .iter()
            .map(|element| text(element.get_ref()))
            .collect::<Option<_>>()
            .map_or(
                Raw::Other("an array with other things than strings"),
                Raw::List,
            ),
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a section"),
    }
}

fn line(text: &str, at: Option<Range<usize>>) -> usize {
    let before = at.and_then(|at| text.get(..at.start)).unwrap_or(text);
    before.matches('\n').count() + 1
}
