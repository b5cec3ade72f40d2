//! Which crate a path in a module leads to, through imports, renames, aliases and modules.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Item, Visibility};

use crate::modules::Module;
use crate::names;

/// Longer chains of imports than this are followed no further.
const HOPS_MAX: usize = 32;

type Path = Vec<String>;

/// A crate's modules with what is named in each.
pub(crate) struct Scope {
    guarded: Vec<String>,
    modules: BTreeMap<Path, Contents>,
    public: BTreeSet<String>,
    private: BTreeSet<String>,
}

#[derive(Default)]
struct Contents {
    imports: BTreeMap<String, Vec<Path>>,
    globs: Vec<Path>,
    /// What the right side of a `type` names.
    aliases: BTreeMap<String, Vec<Path>>,
    items: BTreeSet<String>,
}

impl Scope {
    /// Takes a crate in; `guarded` are the crates that paths are traced to.
    pub(crate) fn new(modules: &[Module], guarded: &[&str]) -> Self {
        let mut scope = Self {
            guarded: guarded.iter().map(|&name| name.to_owned()).collect(),
            modules: BTreeMap::new(),
            public: BTreeSet::new(),
            private: BTreeSet::new(),
        };
        for module in modules {
            scope.add(&module.path, &module.items);
        }
        scope.private = &scope.private - &scope.public;
        scope
    }

    /// Whether a type or trait of that name is public somewhere in the crate. That `pub` means reachable
    /// from outside is kept by the lint `unreachable_pub`.
    pub(crate) fn is_public(&self, name: &str) -> bool {
        self.public.contains(name)
    }

    /// Whether types of that name are all private.
    pub(crate) fn is_private(&self, name: &str) -> bool {
        self.private.contains(name)
    }

    /// The guarded crate that the path leads to, seen from the module.
    pub(crate) fn guarded(&self, module: &[String], path: &[String]) -> Option<&str> {
        self.resolve(module, path, 0)
    }

    fn add(&mut self, path: &[String], items: &[Item]) {
        for item in items {
            if let Item::Mod(module) = item
                && let Some((_, items)) = &module.content
            {
                self.add(&[path, &[module.ident.to_string()]].concat(), items);
            }
            if let Some((name, visibility)) = type_or_trait(item) {
                let public = matches!(visibility, Visibility::Public(_));
                if public {
                    &mut self.public
                } else {
                    &mut self.private
                }
                .insert(name);
            }
        }
        let contents = self.modules.entry(path.to_vec()).or_default();
        items.iter().for_each(|item| contents.add(item));
    }

    fn resolve(&self, module: &[String], path: &[String], hops: usize) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.within(&[], rest, hops),
            "self" => self.within(module, rest, hops),
            "super" => self.resolve_from_parent(module, rest, hops),
            _ => self.within(module, path, hops),
        }
    }

    fn resolve_from_parent(&self, module: &[String], rest: &[String], hops: usize) -> Option<&str> {
        let (_, parent) = module.split_last()?;
        let again = rest.first().is_some_and(|next| next == "super");
        if again {
            self.resolve(parent, rest, hops)
        } else {
            self.within(parent, rest, hops)
        }
    }

    fn within(&self, module: &[String], path: &[String], hops: usize) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        if hops > HOPS_MAX {
            return None;
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.within(&child, rest, hops + 1);
        }
        let contents = self.modules.get(module);
        let named =
            contents.and_then(|contents| self.through_names(module, contents, first, rest, hops));
        if named.is_some() || contents.is_some_and(|contents| contents.items.contains(first)) {
            return named;
        }
        if let Some(name) = self.guarded.iter().find(|name| *name == first) {
            return Some(name);
        }
        let globs = contents.into_iter().flat_map(|contents| &contents.globs);
        globs
            .filter(|glob| {
                matches!(glob[0].as_str(), "crate" | "self" | "super")
                    || contents.is_some_and(|c| c.items.contains(&glob[0]))
            })
            .find_map(|glob| self.resolve(module, &[glob, path].concat(), hops + 1))
    }

    fn through_names(
        &self,
        module: &[String],
        contents: &Contents,
        first: &String,
        rest: &[String],
        hops: usize,
    ) -> Option<&str> {
        let imports = contents.imports.get(first).into_iter().flatten();
        let imported = imports
            // `use automerge;` and the like name the crate itself.
            .filter(|target| target[..] != std::slice::from_ref(first)[..])
            .find_map(|target| self.resolve(module, &[target, rest].concat(), hops + 1));
        let aliases = contents.aliases.get(first).into_iter().flatten();
        imported.or_else(|| {
            aliases
                .filter(|target| target[0] != *first)
                .find_map(|target| self.resolve(module, target, hops + 1))
        })
    }
}

impl Contents {
    fn add(&mut self, item: &Item) {
        match item {
            Item::Use(item) => {
                for import in names::imports(&item.tree) {
                    if import.name == "*" {
                        let glob = &import.target[..import.target.len() - 1];
                        self.globs.extend((!glob.is_empty()).then(|| glob.to_vec()));
                    } else {
                        self.imports
                            .entry(import.name)
                            .or_default()
                            .push(import.target);
                    }
                }
            }
            Item::ExternCrate(item) => {
                let name = item
                    .rename
                    .as_ref()
                    .map_or(&item.ident, |(_, name)| name)
                    .to_string();
                self.imports
                    .entry(name)
                    .or_default()
                    .push(vec![item.ident.to_string()]);
            }
            Item::Type(item) => {
                let mut paths = Paths::default();
                paths.visit_type(&item.ty);
                self.aliases.insert(item.ident.to_string(), paths.0);
                self.items.insert(item.ident.to_string());
            }
            Item::Mod(item) => {
                self.items.insert(item.ident.to_string());
            }
            other => self
                .items
                .extend(type_or_trait(other).map(|(name, _)| name)),
        }
    }
}

fn type_or_trait(item: &Item) -> Option<(String, &Visibility)> {
    let (ident, visibility) = match item {
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Union(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        _ => return None,
    };
    Some((ident.to_string(), visibility))
}

/// Collects the paths in a piece of syntax.
#[derive(Default)]
pub(crate) struct Paths(pub(crate) Vec<Path>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(segments(path));
        syn::visit::visit_path(self, path);
    }
}

/// A path as words.
pub(crate) fn segments(path: &syn::Path) -> Path {
    path.segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect()
}
