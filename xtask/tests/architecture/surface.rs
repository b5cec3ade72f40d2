//! Whose types a crate's public items must not show.
//!
//! Walks every item that is `pub`: signatures, fields, variants, bounds, aliases, re-exports, and the headers
//! and associated types of impls on public types. Private fields and function bodies are the crate's own.
//! What it cannot see is a type that only inference names (`pub fn f() -> impl Sized` whose hidden type is
//! foreign), and that is no promise to a user either.

use std::path::PathBuf;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Field, Fields, ImplItem, Item, ItemImpl, ItemTrait, TraitItem, Visibility};
use xtask::workspace::Workspace;

use crate::modules::{self, Module};
use crate::scope::{Paths, Scope, segments};
use crate::{names, none, package, relative, workspace};

/// Crates of ours, and whose types stay inside.
const GUARDED: [(&str, &[&str]); 4] = [
    ("anabranch-core", &["automerge"]),
    ("anabranch-store", &["redb"]),
    (
        "anabranch-net",
        &[
            "quinn",
            "quinn_proto",
            "rcgen",
            "rustls",
            "rustls_pki_types",
            "webpki",
            "x509_parser",
        ],
    ),
    (
        "anabranch",
        &[
            "automerge",
            "quinn",
            "quinn_proto",
            "rcgen",
            "redb",
            "rustls",
        ],
    ),
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Leak {
    file: PathBuf,
    line: usize,
    item: String,
    path: String,
}

fn leaks(modules: &[Module], guarded: &[&str]) -> Vec<Leak> {
    let scope = Scope::new(modules, guarded);
    let mut leaks = Vec::new();
    for module in modules {
        let mut surface = Surface {
            scope: &scope,
            file: &module.file,
            module: module.path.clone(),
            item: String::new(),
            leaks: &mut leaks,
        };
        surface.items(&module.items);
    }
    leaks.sort();
    leaks.dedup();
    leaks
}

struct Surface<'a> {
    scope: &'a Scope,
    file: &'a PathBuf,
    module: Vec<String>,
    item: String,
    leaks: &'a mut Vec<Leak>,
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

impl Surface<'_> {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.top_level(item);
        }
    }

    fn top_level(&mut self, item: &Item) {
        match item {
            Item::Fn(item) if is_public(&item.vis) => {
                self.about(&item.sig.ident).visit_signature(&item.sig);
            }
            Item::Struct(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_generics(&item.generics);
                self.fields(&item.fields);
            }
            Item::Union(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_generics(&item.generics);
                item.fields.named.iter().for_each(|field| self.field(field));
            }
            Item::Enum(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_generics(&item.generics);
                // A variant's fields are as public as the enum.
                item.variants
                    .iter()
                    .flat_map(|variant| &variant.fields)
                    .for_each(|field| self.visit_type(&field.ty));
            }
            Item::Trait(item) if is_public(&item.vis) => self.trait_(item),
            Item::Type(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_generics(&item.generics);
                self.visit_type(&item.ty);
            }
            Item::Const(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_type(&item.ty);
            }
            Item::Static(item) if is_public(&item.vis) => {
                self.about(&item.ident).visit_type(&item.ty);
            }
            Item::Use(item) => {
                let line = item.use_token.span.start().line;
                for import in names::imports(&item.tree) {
                    let is_glob = import.name == "*";
                    // What a glob of a guarded crate brings in could not be told apart from our own names.
                    if is_public(&item.vis) || is_glob {
                        "use".clone_into(&mut self.item);
                        self.check(&import.target, line);
                    }
                }
            }
            Item::ExternCrate(item) if is_public(&item.vis) => {
                let line = item.ident.span().start().line;
                self.about(&item.ident)
                    .check(&[item.ident.to_string()], line);
            }
            Item::Impl(item) => self.impl_(item),
            Item::Macro(item) => self.macro_tokens(&item.mac.tokens),
            Item::Mod(item) => {
                if let Some((_, items)) = &item.content {
                    self.module.push(item.ident.to_string());
                    self.items(items);
                    self.module.pop();
                }
            }
            _ => {}
        }
    }

    fn about(&mut self, ident: &syn::Ident) -> &mut Self {
        self.item = ident.to_string();
        self
    }

    fn check(&mut self, path: &[String], line: usize) {
        if self.scope.guarded(&self.module, path).is_some() {
            self.leaks.push(Leak {
                file: self.file.clone(),
                line,
                item: self.item.clone(),
                path: path.join("::"),
            });
        }
    }

    fn fields(&mut self, fields: &Fields) {
        fields.iter().for_each(|field| self.field(field));
    }

    fn field(&mut self, field: &Field) {
        if is_public(&field.vis) {
            self.visit_type(&field.ty);
        }
    }

    fn trait_(&mut self, item: &ItemTrait) {
        self.about(&item.ident).visit_generics(&item.generics);
        item.supertraits
            .iter()
            .for_each(|bound| self.visit_type_param_bound(bound));
        for inner in &item.items {
            match inner {
                TraitItem::Fn(function) => self.visit_signature(&function.sig),
                TraitItem::Const(constant) => self.visit_type(&constant.ty),
                TraitItem::Type(associated) => self.visit_trait_item_type(associated),
                TraitItem::Macro(item) => self.macro_tokens(&item.mac.tokens),
                _ => {}
            }
        }
    }

    fn impl_(&mut self, item: &ItemImpl) {
        self.item = describe(item);
        let Some((_, implemented, _)) = &item.trait_ else {
            return self.inherent(item);
        };
        if !self.is_visible(item) {
            return;
        }
        self.visit_path(implemented);
        self.visit_type(&item.self_ty);
        self.visit_generics(&item.generics);
        for inner in &item.items {
            match inner {
                ImplItem::Type(associated) => self.visit_type(&associated.ty),
                ImplItem::Const(constant) => self.visit_type(&constant.ty),
                // The trait's own signatures, with our types in: only the header can make them foreign.
                _ => {}
            }
        }
    }

    fn inherent(&mut self, item: &ItemImpl) {
        let mut shown = false;
        for inner in &item.items {
            match inner {
                ImplItem::Fn(function) if is_public(&function.vis) => {
                    self.visit_signature(&function.sig);
                }
                ImplItem::Const(constant) if is_public(&constant.vis) => {
                    self.visit_type(&constant.ty);
                }
                ImplItem::Macro(item) => self.macro_tokens(&item.mac.tokens),
                _ => continue,
            }
            shown = true;
        }
        if shown {
            self.visit_generics(&item.generics);
            self.visit_type(&item.self_ty);
        }
    }

    /// A user meets an impl when its type is public, or a public trait or parameter of ours is in its header.
    fn is_visible(&self, item: &ItemImpl) -> bool {
        let mut own = Paths::default();
        own.visit_type(&item.self_ty);
        let last = |path: &Vec<String>| path.last().cloned().unwrap_or_default();
        if own.0.iter().any(|path| self.scope.is_private(&last(path))) {
            return false;
        }
        if let Some((_, implemented, _)) = &item.trait_ {
            own.visit_path(implemented);
        }
        own.0.iter().any(|path| self.scope.is_public(&last(path)))
    }

    /// What a macro makes public can't be told from outside: a bare `pub` and a guarded name in one are one too many.
    fn macro_tokens(&mut self, tokens: &TokenStream) {
        "macro".clone_into(&mut self.item);
        if has_bare_pub(tokens) {
            for name in names::names(tokens.clone()) {
                self.check(&name.segments, name.line);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Surface<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let line = path
            .segments
            .first()
            .map_or(0, |segment| segment.ident.span().start().line);
        self.check(&segments(path), line);
        syn::visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn describe(item: &ItemImpl) -> String {
    let mut paths = Paths::default();
    paths.visit_type(&item.self_ty);
    let name = paths
        .0
        .first()
        .map(|path| path.join("::"))
        .unwrap_or_default();
    format!("impl {name}")
}

fn has_bare_pub(tokens: &TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Group(group) => has_bare_pub(&group.stream()),
        TokenTree::Ident(word) if word == "pub" => {
            !matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
        }
        _ => false,
    })
}

fn of_crate(workspace: &Workspace, name: &str, guarded: &[&str]) -> Vec<String> {
    let library = package(workspace, name)
        .targets
        .iter()
        .find(|target| target.is("lib"));
    let library = library.unwrap_or_else(|| panic!("{name} is not a library"));
    let leaks = leaks(&modules::load(&library.root_file), guarded);
    let place = |leak: &Leak| format!("{}:{}", relative(&leak.file, workspace), leak.line);
    leaks
        .iter()
        .map(|leak| format!("{}: {} in `{}`", place(leak), leak.path, leak.item))
        .collect()
}

#[test]
fn automerge_redb_and_quic_types_stay_inside_the_crate_that_wraps_them() {
    let workspace = workspace();
    let found: Vec<String> = GUARDED
        .iter()
        .flat_map(|(name, guarded)| of_crate(&workspace, name, guarded))
        .collect();
    none(
        &found,
        "these public items show a type that is an implementation detail (make it pub(crate), or wrap it):",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Vec<String> {
        let leaks = leaks(&modules::of_source(source), &["automerge"]);
        leaks.into_iter().map(|leak| leak.path).collect()
    }

    #[test]
    fn every_way_to_show_a_foreign_type_is_found() {
        for source in [
            "pub fn f(d: &automerge::AutoCommit) {}",
            "use automerge::AutoCommit; pub fn f() -> Option<AutoCommit> { None }",
            "use automerge::{self, ObjId as Id}; pub struct S { pub id: Id }",
            "use automerge as am; pub struct S(pub Vec<am::Change>);",
            "pub enum E { A(#[from] automerge::AutomergeError) }",
            "pub enum E { A { why: automerge::AutomergeError } }",
            "pub fn f(d: &impl automerge::ReadDoc) {}",
            "pub fn f<D>(d: D) where D: automerge::ReadDoc {}",
            "pub struct S<D: automerge::ReadDoc>(D);",
            "pub trait T: automerge::ReadDoc {}",
            "pub trait T { fn f(&self) -> automerge::ObjId; }",
            "pub trait T { type A: automerge::ReadDoc; }",
            "pub type Doc = automerge::AutoCommit;",
            "type Doc = automerge::AutoCommit; pub fn f(d: Doc) {}",
            "pub const C: automerge::ObjId = automerge::ROOT;",
            "pub use automerge::ObjId;",
            "pub use automerge::*;",
            "use automerge::*; pub fn f(d: AutoCommit) {}",
            "pub extern crate automerge;",
            "pub struct S; impl S { pub fn f(&self) -> automerge::ObjId { x } }",
            "pub struct S; impl From<automerge::ObjId> for S { fn from(x: automerge::ObjId) -> S { S } }",
            "pub struct S; impl From<S> for automerge::ObjId { fn from(x: S) -> Self { x } }",
            "pub struct S; impl Iterator for S { type Item = automerge::Change; fn next(&mut self) -> Option<Self::Item> { x } }",
            "pub trait T {} impl T for automerge::AutoCommit {}",
            "mod a { pub(crate) use automerge::ObjId; } pub fn f(x: a::ObjId) {}",
            "mod a { pub(crate) use automerge::ObjId as Id; } use crate::a::Id as Other; pub fn f(x: Other) {}",
            "mod a { pub(super) type Id = automerge::ObjId; } pub use a::Id;",
            "use automerge::ObjId; mod a { use super::*; pub fn f(x: ObjId) {} }",
            "mod a { pub mod b { pub fn f(x: super::super::X) {} } } use automerge::ObjId as X;",
            "macro_rules! m { () => { pub fn f(x: automerge::ObjId) {} } }",
            "m! { pub struct S(pub automerge::ObjId); }",
        ] {
            assert!(!of(source).is_empty(), "not found in: {source}");
        }
    }

    #[test]
    fn what_stays_inside_passes() {
        for source in [
            "pub struct S { doc: automerge::AutoCommit } pub struct T(automerge::AutoCommit);",
            "pub struct S { pub(crate) doc: automerge::AutoCommit }",
            "pub fn f() { let d = automerge::AutoCommit::new(); }",
            "pub(crate) fn f(d: automerge::AutoCommit) {} fn g(d: automerge::AutoCommit) {}",
            "pub struct S; impl S { pub(crate) fn f(d: automerge::AutoCommit) {} fn g(d: automerge::AutoCommit) {} }",
            "pub(crate) use automerge::ObjId; use automerge::Change;",
            "struct P; impl automerge::ReadDoc for P {} impl From<automerge::ObjId> for P {}",
            "use automerge::ObjId; pub struct Change(u8); pub fn f(c: Change) {}",
            "mod automerge { pub struct X; } pub fn f(x: automerge::X) {}",
            "pub struct ObjId; mod a { use automerge::ObjId; } pub fn f(x: ObjId) {}",
            "macro_rules! m { () => { pub(crate) fn f(x: automerge::ObjId) {} } }",
            "#[cfg(test)] mod tests { pub fn f(x: automerge::ObjId) {} }",
            "/// Like automerge::ObjId.\npub fn f() {}",
            "pub enum E { A(#[source] Box<dyn std::error::Error + Send + Sync>) }",
        ] {
            assert_eq!(of(source), Vec::<String>::new(), "found in: {source}");
        }
    }

    #[test]
    fn a_leak_says_where_it_is() {
        let found = leaks(
            &modules::of_source("pub struct S {\n pub x: automerge::ObjId\n}"),
            &["automerge"],
        );
        assert_eq!((found[0].line, found[0].item.as_str()), (2, "S"));
    }
}
