//! What a GET of a document asks for: it as it is, as it was, or what became of it.

use anabranch::{DocumentId, Request, Version};

use super::problem::Problem;
use super::query::{Query, refusal};

const KNOWN: [&str; 7] = ["at", "conflicts", "diff", "limit", "skip", "to", "versions"];
/// Each asks for something else.
const EITHER: [&str; 4] = ["at", "conflicts", "diff", "versions"];
/// Versions in one answer unless told otherwise.
const VERSIONS: usize = 100;

#[derive(PartialEq, Debug)]
pub(super) enum Question {
    /// The document as it is.
    Now,
    /// That, and where values lost against others.
    Conflicts,
    /// As it was.
    At(Version),
    /// Its history.
    Versions { skip: usize, limit: usize },
    /// What changed.
    Diff { from: Version, to: Option<Version> },
}

impl Question {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut query = Query::parse(query)?;
        let (conflicts, versions) = (query.flag("conflicts")?, query.flag("versions")?);
        let (at, from) = (version(&mut query, "at")?, version(&mut query, "diff")?);
        let to = version(&mut query, "to")?;
        let (skip, limit) = (query.number("skip")?, query.number("limit")?);
        query.end(&KNOWN)?;

        let asked = [at.is_some(), conflicts, from.is_some(), versions];
        let mut asked = EITHER
            .iter()
            .zip(asked)
            .filter_map(|(name, is)| is.then_some(*name));
        if let (Some(one), Some(other)) = (asked.next(), asked.next()) {
            return Err(refusal(
                other,
                format!("`{one}` and `{other}` ask for different things; send a request for each"),
            ));
        }
        let only = |parameter: &str, with: &str| {
            let detail = format!("`{parameter}` has a meaning only together with `{with}`");
            Err(refusal(parameter, detail))
        };
        match (skip, limit) {
            (Some(_), _) if !versions => return only("skip", "versions"),
            (_, Some(_)) if !versions => return only("limit", "versions"),
            _ => {}
        }
        Ok(match (at, from, to) {
            (_, None, Some(_)) => return only("to", "diff"),
            (_, Some(from), to) => Self::Diff { from, to },
            (Some(at), None, None) => Self::At(at),
            (None, None, None) if conflicts => Self::Conflicts,
            (None, None, None) if versions => Self::Versions {
                skip: skip.unwrap_or(0),
                limit: limit.unwrap_or(VERSIONS),
            },
            (None, None, None) => Self::Now,
        })
    }

    /// What to ask of the replica.
    pub(super) fn of(&self, document: DocumentId) -> Request {
        let read = |at, conflicts| Request::Read {
            document: document.clone(),
            at,
            conflicts,
        };
        match self {
            Self::Now => read(None, false),
            Self::Conflicts => read(None, true),
            Self::At(version) => read(Some(version.clone()), false),
            Self::Versions { skip, limit } => Request::Versions {
                document,
                skip: *skip,
                limit: *limit,
            },
            Self::Diff { from, to } => Request::Diff {
                document,
                from: from.clone(),
                to: to.clone(),
            },
        }
    }
}

fn version(query: &mut Query, name: &str) -> Result<Option<Version>, Problem> {
    let Some(text) = query.text(name) else {
        return Ok(None);
    };
    let version = text
        .parse()
        .map_err(|error| refusal(name, format!("`{name}`: {error}")))?;
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::problem::Kind;

    #[test]
    fn each_parameter_asks_for_its_own() {
        let ask = |query: &str| Question::parse(Some(query)).unwrap();
        let (a, b) = ("0a".repeat(32), "0b".repeat(32));
        let version = |text: &String| text.parse::<Version>().unwrap();
        assert_eq!(ask(""), Question::Now);
        assert_eq!(ask("conflicts=false&versions=false"), Question::Now);
        assert_eq!(ask("conflicts=true"), Question::Conflicts);
        assert_eq!(
            ask(&format!("at={a}&conflicts=false")),
            Question::At(version(&a))
        );
        let (skip, limit) = (0, 100);
        assert_eq!(ask("versions"), Question::Versions { skip, limit });
        let (skip, limit) = (7, 2);
        assert_eq!(
            ask("versions=true&skip=7&limit=2"),
            Question::Versions { skip, limit }
        );
        let (from, to) = (version(&a), None);
        assert_eq!(ask(&format!("diff={a}")), Question::Diff { from, to });
        let (from, to) = (version(&a), Some(version(&b)));
        assert_eq!(
            ask(&format!("diff={a}&to={b}")),
            Question::Diff { from, to }
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let v = "0a".repeat(32);
        for (query, parameter) in [
            ("conflicts&versions".to_owned(), "versions"),
            (format!("at={v}&conflicts=true"), "conflicts"),
            (format!("at={v}&diff={v}"), "diff"),
            (format!("at={v}&to={v}"), "to"),
            (format!("diff={v}&versions"), "versions"),
            ("skip=1".to_owned(), "skip"),
            ("limit=1&conflicts=true".to_owned(), "limit"),
            ("versions&limit=-1".to_owned(), "limit"),
            ("at=now".to_owned(), "at"),
            ("diff=".to_owned(), "diff"),
            ("version=1".to_owned(), "version"),
        ] {
            let problem = Question::parse(Some(&query)).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadQuery, "{query}");
            assert_eq!(problem.json()["parameter"], parameter, "{query}");
        }
    }
}
