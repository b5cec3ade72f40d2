//! What the workspace is made of, as cargo tells it.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::cargo;

/// The members of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The repository's root directory.
    pub root: PathBuf,
    /// The members, by name.
    pub packages: Vec<Package>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// As in its manifest.
    pub name: String,
    /// Where its manifest is.
    pub manifest: PathBuf,
    /// What it asks for directly.
    pub dependencies: Vec<Dependency>,
    /// What it is built into.
    pub targets: Vec<Target>,
    /// Names of its features.
    pub features: Vec<String>,
}

/// A direct dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The package's own name, whatever it is renamed to.
    pub name: String,
    /// Who gets to see it.
    pub kind: DependencyKind,
}

/// When a dependency is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyKind {
    /// Always.
    Normal,
    /// For tests, examples and benches.
    Development,
    /// For the build script.
    Build,
}

/// A library, a binary, a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `lib`, `bin`, `test` and so on.
    pub kinds: Vec<String>,
    /// The file that it starts in.
    pub root_file: PathBuf,
}

/// Why the workspace could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// cargo did not start.
    Start(std::io::Error),
    /// cargo refused; its own words.
    Cargo(String),
    /// cargo's answer is not JSON.
    Json(serde_json::Error),
    /// cargo's answer lacks something.
    Shape(&'static str),
}

impl fmt::Display for WorkspaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "cannot start cargo: {error}; is it in PATH?"),
            Self::Cargo(words) => write!(f, "`cargo metadata` failed; run it to see why:\n{words}"),
            Self::Json(error) => write!(f, "`cargo metadata` answered what is not JSON: {error}"),
            Self::Shape(what) => write!(
                f,
                "`cargo metadata` answered without `{what}`; is this cargo too new for xtask?"
            ),
        }
    }
}

impl std::error::Error for WorkspaceError {}

impl Workspace {
    /// Asks cargo about the workspace around the current directory.
    ///
    /// # Errors
    /// When cargo can't be asked, or its answer can't be understood.
    pub fn load() -> Result<Self, WorkspaceError> {
        let output = cargo::command()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .map_err(WorkspaceError::Start)?;
        if !output.status.success() {
            return Err(WorkspaceError::Cargo(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        Self::parse(&output.stdout)
    }

    /// Reads the answer of `cargo metadata --no-deps`.
    ///
    /// # Errors
    /// When it is not what cargo promises to answer.
    pub fn parse(metadata: &[u8]) -> Result<Self, WorkspaceError> {
        let value: Value = serde_json::from_slice(metadata).map_err(WorkspaceError::Json)?;
        let mut packages = list(&value, "packages")?
            .iter()
            .map(Package::parse)
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            root: text(&value, "workspace_root")?.into(),
            packages,
        })
    }

    /// The member of that name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Self, WorkspaceError> {
        let features = value
            .get("features")
            .and_then(Value::as_object)
            .ok_or(WorkspaceError::Shape("features"))?;
        Ok(Self {
            name: text(value, "name")?,
            manifest: text(value, "manifest_path")?.into(),
            dependencies: list(value, "dependencies")?
                .iter()
                .map(Dependency::parse)
                .collect::<Result<_, _>>()?,
            targets: list(value, "targets")?
                .iter()
                .map(Target::parse)
                .collect::<Result<_, _>>()?,
            features: features.keys().cloned().collect(),
        })
    }

    /// Names of the direct dependencies of one kind.
    pub fn dependencies_of(&self, kind: DependencyKind) -> impl Iterator<Item = &str> {
        self.dependencies
            .iter()
            .filter(move |dependency| dependency.kind == kind)
            .map(|dependency| dependency.name.as_str())
    }
}

impl Dependency {
    fn parse(value: &Value) -> Result<Self, WorkspaceError> {
        let kind = match value.get("kind").and_then(Value::as_str) {
            None => DependencyKind::Normal,
            Some("dev") => DependencyKind::Development,
            Some("build") => DependencyKind::Build,
            Some(_) => return Err(WorkspaceError::Shape("a known kind of dependency")),
        };
        Ok(Self {
            name: text(value, "name")?,
            kind,
        })
    }
}

impl Target {
    fn parse(value: &Value) -> Result<Self, WorkspaceError> {
        let kinds = list(value, "kind")?;
        Ok(Self {
            name: text(value, "name")?,
            kinds: kinds
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            root_file: text(value, "src_path")?.into(),
        })
    }

    /// Whether it is of that kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kinds.iter().any(|own| own == kind)
    }
}

fn text(value: &Value, field: &'static str) -> Result<String, WorkspaceError> {
    let text = value.get(field).and_then(Value::as_str);
    text.map(str::to_owned).ok_or(WorkspaceError::Shape(field))
}

fn list<'a>(value: &'a Value, field: &'static str) -> Result<&'a Vec<Value>, WorkspaceError> {
    value
        .get(field)
        .and_then(Value::as_array)
        .ok_or(WorkspaceError::Shape(field))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const METADATA: &str = r#"{"workspace_root": "/r", "packages": [
        {"name": "b", "manifest_path": "/r/b/Cargo.toml", "features": {"planted": []},
         "targets": [{"name": "b", "kind": ["bin"], "src_path": "/r/b/src/main.rs"}],
         "dependencies": [{"name": "x", "kind": null}, {"name": "y", "kind": "dev"}, {"name": "z", "kind": "build"}]},
        {"name": "a", "manifest_path": "/r/a/Cargo.toml", "features": {}, "dependencies": [],
         "targets": [{"name": "a", "kind": ["lib"], "src_path": "/r/a/src/lib.rs"}]}]}"#;

    #[test]
    fn tells_kinds_of_dependencies_targets_and_features_apart() {
        let workspace = Workspace::parse(METADATA.as_bytes()).unwrap();
        let names: Vec<_> = workspace
            .packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        let b = workspace.package("b").unwrap();
        assert!(b.dependencies_of(DependencyKind::Normal).eq(["x"]));
        assert!(b.dependencies_of(DependencyKind::Development).eq(["y"]));
        assert!(b.dependencies_of(DependencyKind::Build).eq(["z"]));
        assert_eq!(workspace.package("c"), None);
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_that_names_what_lacks() {
        let error = Workspace::parse(b"{}").unwrap_err();
        assert!(error.to_string().contains("`packages`"), "{error}");
        assert!(matches!(
            Workspace::parse(b"cargo?"),
            Err(WorkspaceError::Json(_))
        ));
    }
}
