//! A crate's modules as the compiler finds them: from the root file along its `mod` lines, tests left out.

use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use syn::{Item, ItemMod};

use crate::stripped;

/// One file of a crate.
pub(crate) struct Module {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// Its place in the crate; empty for the root.
    pub(crate) path: Vec<String>,
    /// What is in it, without tests.
    pub(crate) tokens: TokenStream,
    /// The same, parsed.
    pub(crate) items: Vec<Item>,
}

/// Reads the crate that begins in `root_file`.
pub(crate) fn load(root_file: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    read(root_file, Vec::new(), &mut modules);
    modules
}

/// A crate of one file, for tests of checkers.
#[cfg(test)]
pub(crate) fn of_source(source: &str) -> Vec<Module> {
    vec![parse(PathBuf::from("lib.rs"), Vec::new(), source)]
}

fn read(file: &Path, path: Vec<String>, modules: &mut Vec<Module>) {
    let source =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let module = parse(file.to_owned(), path, &source);
    let directory = directory_of_children(file, &module.path);
    let mut children = Vec::new();
    files_of(&module.items, &directory, &module.path, &mut children);
    modules.push(module);
    for (file, path) in children {
        read(&file, path, modules);
    }
}

fn parse(file: PathBuf, path: Vec<String>, source: &str) -> Module {
    let tokens =
        stripped::parse(source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed: syn::File =
        syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Module {
        file,
        path,
        tokens,
        items: parsed.items,
    }
}

/// `a/mod.rs` and the crate's root have their children beside them, `a.rs` has them in `a/`.
fn directory_of_children(file: &Path, path: &[String]) -> PathBuf {
    let is_mod_file = file.file_name().is_some_and(|name| name == "mod.rs");
    if path.is_empty() || is_mod_file {
        file.parent().expect("a file is in a directory").to_owned()
    } else {
        file.with_extension("")
    }
}

fn files_of(
    items: &[Item],
    directory: &Path,
    path: &[String],
    children: &mut Vec<(PathBuf, Vec<String>)>,
) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let path = [path, std::slice::from_ref(&name)].concat();
        match &module.content {
            Some((_, items)) => files_of(items, &directory.join(&name), &path, children),
            None => children.push((file_of(module, directory, &name), path)),
        }
    }
}

fn file_of(module: &ItemMod, directory: &Path, name: &str) -> PathBuf {
    let chosen = module
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("path"));
    assert!(
        !chosen,
        "module {name}: no `#[path]` here, a module is where its name says"
    );
    let flat = directory.join(format!("{name}.rs"));
    if flat.exists() {
        flat
    } else {
        directory.join(name).join("mod.rs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_found_along_its_mod_lines() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architecture/main.rs");
        let modules = load(&root);
        let paths: Vec<String> = modules
            .iter()
            .map(|module| module.path.join("::"))
            .collect();
        assert_eq!(paths[0], "");
        assert!(paths.contains(&"surface".to_owned()), "{paths:?}");
        assert!(
            !paths.iter().any(|path| path.contains("tests")),
            "{paths:?}"
        );
    }
}
