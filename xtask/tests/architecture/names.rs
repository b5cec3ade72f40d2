//! Every path that a source names, with what its `use` lines mean put in, also inside macros.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::{ItemUse, UseTree};

/// A path in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Its segments, such as `std`, `time`, `Instant`. A glob ends in `*`.
    pub(crate) segments: Vec<String>,
    /// The line it is on.
    pub(crate) line: usize,
    /// The few tokens behind it, without spaces.
    pub(crate) behind: String,
}

/// What one leaf of a `use` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// Under which name; `*` for a glob.
    pub(crate) name: String,
    /// For what.
    pub(crate) target: Vec<String>,
}

/// The leaves of a `use`.
pub(crate) fn imports(tree: &UseTree) -> Vec<Import> {
    let mut found = Vec::new();
    flatten(tree, &mut Vec::new(), &mut found);
    found
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<Import>) {
    let mut leaf = |name: String, last: Option<String>| {
        let target = prefix.iter().cloned().chain(last).collect();
        found.push(Import { name, target });
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaf(prefix.last().cloned().unwrap_or_default(), None);
        }
        UseTree::Name(name) => leaf(name.ident.to_string(), Some(name.ident.to_string())),
        UseTree::Rename(rename) if rename.ident == "self" => leaf(rename.rename.to_string(), None),
        UseTree::Rename(rename) => leaf(rename.rename.to_string(), Some(rename.ident.to_string())),
        UseTree::Glob(_) => leaf("*".to_owned(), Some("*".to_owned())),
        UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| flatten(tree, prefix, found)),
    }
}

/// All paths in a source. Names imported anywhere in the file count everywhere in it: that can only
/// find too much, never too little.
pub(crate) fn names(tokens: TokenStream) -> Vec<Name> {
    let mut raw = Vec::new();
    let mut imported = BTreeMap::new();
    collect(tokens, &mut raw, &mut imported);
    let mut names = Vec::new();
    for name in raw {
        for segments in expand(&name.segments, &imported, 0) {
            names.push(Name {
                segments,
                ..name.clone()
            });
        }
    }
    names
}

type Imported = BTreeMap<String, BTreeSet<Vec<String>>>;

/// Enough for a rename of a rename; also ends what is imported under its own name.
const RENAMES_MAX: usize = 4;

fn expand(segments: &[String], imported: &Imported, depth: usize) -> Vec<Vec<String>> {
    let mut expanded = vec![segments.to_vec()];
    if depth < RENAMES_MAX {
        for target in imported.get(&segments[0]).into_iter().flatten() {
            if target[0] != segments[0] {
                let whole = [target, &segments[1..]].concat();
                expanded.extend(expand(&whole, imported, depth + 1));
            } else if target.len() > 1 {
                expanded.push([target, &segments[1..]].concat());
            }
        }
    }
    expanded
}

fn collect(tokens: TokenStream, raw: &mut Vec<Name>, imported: &mut Imported) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "use" => at = take_use(&tokens, at, raw, imported),
            TokenTree::Ident(_) => at = take_path(&tokens, at, raw),
            TokenTree::Group(group) => {
                collect(group.stream(), raw, imported);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads `use ..;`. Where it is not one (`use` in a macro's pattern), only the word is passed over.
fn take_use(
    tokens: &[TokenTree],
    at: usize,
    raw: &mut Vec<Name>,
    imported: &mut Imported,
) -> usize {
    let is_end =
        |token: &TokenTree| matches!(token, TokenTree::Punct(sign) if sign.as_char() == ';');
    let Some(length) = tokens[at..].iter().position(is_end) else {
        return at + 1;
    };
    let statement: TokenStream = tokens[at..=at + length].iter().cloned().collect();
    let Ok(statement) = syn::parse2::<ItemUse>(statement) else {
        return at + 1;
    };
    let line = tokens[at].span().start().line;
    for import in imports(&statement.tree) {
        let behind = String::new();
        raw.push(Name {
            segments: import.target.clone(),
            line,
            behind,
        });
        imported
            .entry(import.name)
            .or_default()
            .insert(import.target);
    }
    at + length + 1
}

fn take_path(tokens: &[TokenTree], at: usize, raw: &mut Vec<Name>) -> usize {
    let mut segments = vec![tokens[at].to_string()];
    let mut end = at + 1;
    while is_path_separator(tokens, end) {
        let Some(TokenTree::Ident(word)) = tokens.get(end + 2) else {
            break;
        };
        segments.push(word.to_string());
        end += 3;
    }
    let behind = tokens[end..]
        .iter()
        .take(3)
        .map(ToString::to_string)
        .collect::<String>()
        .replace(' ', "");
    let line = tokens[at].span().start().line;
    raw.push(Name {
        segments,
        line,
        behind,
    });
    end
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>, joint: bool| matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == ':' && (!joint || sign.spacing() == Spacing::Joint));
    colon(tokens.get(at), true) && colon(tokens.get(at + 1), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, wanted: &str) -> bool {
        names(source.parse().unwrap())
            .iter()
            .any(|name| name.segments.join("::") == wanted)
    }

    #[test]
    fn a_path_is_found_however_it_is_written() {
        for source in [
            "fn f() { std::time::Instant::now(); }",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "use std::{fmt, time::{self, Duration}}; fn f() { time::Instant::now(); }",
            "use std::time as t; fn f() { t::Instant::now(); }",
            "use std as s; use s::time::Instant as I; fn f() { I::now(); }",
            "fn f() { vec![::std::time::Instant::now()] }",
            "macro_rules! m { () => { use std::time; time::Instant::now() } }",
        ] {
            assert!(found(source, "std::time::Instant::now"), "{source}");
        }
    }

    #[test]
    fn words_in_comments_and_strings_are_no_names() {
        let source =
            "/// std::time::Instant\n// std::time::Instant\nfn f() { \"std::time::Instant\" }";
        assert!(
            !names(source.parse::<TokenStream>().unwrap())
                .iter()
                .any(|name| name.segments.len() > 1)
        );
    }

    #[test]
    fn a_name_knows_its_line_and_what_is_behind_it() {
        let names = names("fn f() {\n  a::b().c(1)\n}".parse().unwrap());
        let name = names
            .iter()
            .find(|name| name.segments == ["a", "b"])
            .unwrap();
        assert_eq!((name.line, name.behind.as_str()), (2, "().c"));
    }

    #[test]
    fn a_glob_is_found_as_such() {
        assert!(found("use std::time::*;", "std::time::*"));
    }
}
