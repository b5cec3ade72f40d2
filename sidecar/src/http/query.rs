//! Query parameters. One that is not known is an error, since ignoring it would answer another question.

use super::address::unescape;
use super::problem::{Kind, Problem};

/// The parameters of a request that nobody has asked for yet.
pub(super) struct Query {
    rest: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut rest: Vec<(String, String)> = Vec::new();
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                unescape(&text.replace('+', " "))
                    .map_err(|why| refusal(name, format!("the query parameter {pair:?} {why}")))
            };
            let (name, value) = (decoded(name)?, decoded(value)?);
            if rest.iter().any(|(other, _)| *other == name) {
                return Err(refusal(
                    &name,
                    format!("the query parameter `{name}` is given twice; give it once"),
                ));
            }
            rest.push((name, value));
        }
        Ok(Self { rest })
    }

    /// Takes a parameter out.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.rest.iter().position(|(other, _)| other == name)?;
        Some(self.rest.swap_remove(at).1)
    }

    /// Takes a whole number out.
    pub(super) fn number<N: std::str::FromStr>(
        &mut self,
        name: &str,
    ) -> Result<Option<N>, Problem> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| {
            refusal(
                name,
                format!("`{name}` must be a whole number, not {value:?}"),
            )
        })
    }

    /// Takes a yes or no out; given without a value it is a yes.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(value) => Err(refusal(
                name,
                format!("`{name}` must be `true` or `false`, not {value:?}"),
            )),
        }
    }

    /// Refuses what is left, naming what would have been known.
    pub(super) fn end(mut self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.rest.pop() else {
            return Ok(());
        };
        let known = match known {
            [] => "there are none here".to_owned(),
            known => format!("known here: `{}`", known.join("`, `")),
        };
        Err(refusal(
            &name,
            format!("the query parameter `{name}` is not known; {known}"),
        ))
    }
}

pub(super) fn refusal(parameter: &str, detail: String) -> Problem {
    Problem::new(Kind::BadQuery, detail).with("parameter", parameter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let mut query = Query::parse(Some("prefix=a%2Fb+c&values=true&limit=20&x")).unwrap();
        assert_eq!(query.text("prefix").as_deref(), Some("a/b c"));
        assert_eq!(query.text("prefix"), None);
        assert!(query.flag("values").unwrap());
        assert!(query.flag("x").unwrap());
        assert!(!query.flag("y").unwrap());
        assert_eq!(query.number::<u64>("limit").unwrap(), Some(20));
        query.end(&[]).unwrap();
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let detail = |query: &str| {
            let parsed = Query::parse(Some(query));
            let refused = match parsed {
                Err(problem) => problem,
                Ok(mut query) => query
                    .number::<u64>("limit")
                    .and_then(|_| query.flag("values"))
                    .and_then(|_| query.end(&["limit", "values"]))
                    .unwrap_err(),
            };
            assert_eq!(refused.kind(), Kind::BadQuery);
            assert!(refused.json()["parameter"].is_string());
            refused.detail().to_owned()
        };
        assert!(detail("limit=ten").contains("`limit` must be a whole number"));
        assert!(detail("values=maybe").contains("`values` must be"));
        assert!(detail("limit=1&limit=2").contains("`limit` is given twice"));
        assert!(detail("lmit=1").contains("known here: `limit`, `values`"));
        assert!(detail("limit=%f").contains("hexadecimal"));
        assert!(detail("limit=%ff").contains("UTF-8"));
    }
}
