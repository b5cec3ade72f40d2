//! A source file without its tests: what is under `#[cfg(test)]` or `#[test]` is taken out, token by token,
//! so that it works inside macros, impls, match arms and blocks alike.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Parses a source into tokens and takes the tests out.
pub(crate) fn parse(source: &str) -> Result<TokenStream, String> {
    // A byte order mark or a `#!` line is not a token.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    source
        .parse::<TokenStream>()
        .map(strip)
        .map_err(|error| error.to_string())
}

fn strip(stream: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let body = after_attributes(&tokens, at);
        if (at..body).any(|index| is_test_attribute(&tokens[index])) {
            at = end_of_item(&tokens, body);
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), strip(group.stream()));
                inner.set_span(group.span());
                kept.push(TokenTree::Group(inner));
            }
            other => kept.push(other.clone()),
        }
        at += 1;
    }
    kept.into_iter().collect()
}

/// The first token at or after `at` that belongs to no outer attribute.
fn after_attributes(tokens: &[TokenTree], mut at: usize) -> usize {
    while is_punct(tokens.get(at), '#') && is_group(tokens.get(at + 1), Delimiter::Bracket) {
        at += 2;
    }
    at
}

fn end_of_item(tokens: &[TokenTree], body: usize) -> usize {
    const TO_SEMICOLON: [&str; 5] = ["use", "const", "static", "type", "let"];
    const TO_BRACE: [&str; 11] = [
        "fn",
        "mod",
        "struct",
        "enum",
        "union",
        "trait",
        "impl",
        "unsafe",
        "async",
        "extern",
        "macro_rules",
    ];
    let keyword = after_visibility(tokens, body);
    let word = |at: usize| tokens.get(at).map(ToString::to_string).unwrap_or_default();
    let is_const_fn = word(keyword) == "const" && TO_BRACE.contains(&word(keyword + 1).as_str());
    let to_brace = is_const_fn || TO_BRACE.contains(&word(keyword).as_str());
    let to_semicolon = !to_brace && TO_SEMICOLON.contains(&word(keyword).as_str());
    for (index, token) in tokens.iter().enumerate().skip(body) {
        let ends = match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => true,
            TokenTree::Punct(punct) => punct.as_char() == ',' && !to_brace && !to_semicolon,
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && to_brace,
            _ => false,
        };
        if ends {
            return index + 1;
        }
    }
    tokens.len()
}

fn after_visibility(tokens: &[TokenTree], at: usize) -> usize {
    if !is_ident(tokens.get(at), "pub") {
        at
    } else if is_group(tokens.get(at + 1), Delimiter::Parenthesis) {
        at + 2
    } else {
        at + 1
    }
}

fn is_test_attribute(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
    match &inner[..] {
        [only] => is_ident(Some(only), "test"),
        [name, TokenTree::Group(condition)] => {
            is_ident(Some(name), "cfg") && means_test(condition.stream())
        }
        _ => false,
    }
}

/// True for `test` and `all(.., test, ..)`; not for `any(..)` or `not(..)`, which also hold without tests.
fn means_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    tokens
        .split(|token| is_punct(Some(token), ','))
        .any(|part| match part {
            [only] => is_ident(Some(only), "test"),
            [name, TokenTree::Group(inner)] => {
                is_ident(Some(name), "all") && means_test(inner.stream())
            }
            _ => false,
        })
}

fn is_ident(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_go_and_the_rest_stays() {
        for (with, without) in [
            (
                "fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}",
                "fn a() {} fn c() {}",
            ),
            ("#[cfg(test)] use x::{a, b}; fn c() {}", "fn c() {}"),
            (
                "#[cfg(test)] #[derive(Debug)] pub(crate) struct T(u8); fn c() {}",
                "fn c() {}",
            ),
            ("#[cfg(test)] mod tests; mod real;", "mod real;"),
            (
                "#[cfg(all(unix, test))] pub const fn a() -> [u8; 2] { [1, 2] } struct S;",
                "struct S;",
            ),
            (
                "#[cfg(test)] const A: T = T { x: 1 }; struct S;",
                "struct S;",
            ),
            (
                "enum E { A, #[cfg(test)] B { x: u8 }, C }",
                "enum E { A, C }",
            ),
            (
                "fn a() { #[cfg(test)] let x = { 1 }; b() }",
                "fn a() { b() }",
            ),
            ("/// Words.\n #[test] fn t() {} fn c() {}", "fn c() {}"),
            ("#[cfg(not(test))] fn a() {}", "#[cfg(not(test))] fn a() {}"),
            (
                "#[cfg(any(test, feature = \"x\"))] fn a() {}",
                "#[cfg(any(test, feature = \"x\"))] fn a() {}",
            ),
        ] {
            let expected = without.parse::<TokenStream>().unwrap().to_string();
            assert_eq!(parse(with).unwrap().to_string(), expected, "{with}");
        }
    }

    #[test]
    fn what_is_not_rust_is_an_error() {
        assert!(parse("fn a( {").is_err());
    }
}
