//! What `test` and `ci` do: two tables.

use crate::{cargo, deny};

/// How many seeds the simulator runs in every test.
const SIMULATOR_SEEDS: &str = "2000";

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// A name for people.
    pub name: &'static str,
    /// What cargo is called with.
    pub arguments: Vec<String>,
    /// What is added to the environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// What a reader should know beforehand.
    pub note: Option<&'static str>,
    /// What a failure may be due to, other than the code.
    pub hint: Option<&'static str>,
    /// What happens to the rest when it fails.
    pub kind: StepKind,
}

/// What a failure of a step means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The checks after it are skipped, the tests are not: one slip should not cost a whole round.
    Check,
    /// Everything after it runs all the same.
    Test,
}

impl Step {
    /// A check that calls cargo.
    #[must_use]
    pub fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        Self {
            name,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            environment: Vec::new(),
            note: None,
            hint: None,
            kind: StepKind::Check,
        }
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// With words printed before it runs.
    #[must_use]
    pub fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// With words printed after it failed.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    fn test(mut self) -> Self {
        self.kind = StepKind::Test;
        self
    }

    /// The command as one types it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)));
        let arguments = self.arguments.iter().map(|argument| quoted(argument));
        let words: Vec<String> = environment
            .chain(["cargo".to_owned()])
            .chain(arguments)
            .collect();
        words.join(" ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

/// The steps of `cargo xtask test`.
#[must_use]
pub fn test() -> Vec<Step> {
    let tools = Tools {
        nextest: cargo::has_tool("nextest"),
        continuous_integration: std::env::var_os("CI")
            .is_some_and(|value| !value.is_empty() && value != "false"),
    };
    tests_with(tools)
}

/// The steps of `cargo xtask ci`: the checks, then those of [`test()`].
#[must_use]
pub fn ci() -> Vec<Step> {
    let advisories = std::env::var_os("ANABRANCH_ADVISORIES").is_some_and(|value| value == "1");
    let mut steps = checks();
    steps.extend(deny::install_step());
    steps.push(deny_step(advisories));
    steps.extend(test());
    steps
}

#[derive(Clone, Copy)]
struct Tools {
    nextest: bool,
    continuous_integration: bool,
}

fn tests_with(tools: Tools) -> Vec<Step> {
    // nextest runs no documentation tests, and `cargo test` runs them again unless told not to.
    let run = |name, selection: &[&str]| {
        let mut arguments = match (tools.nextest, tools.continuous_integration) {
            (true, true) => vec!["nextest", "run", "--profile", "ci"],
            (true, false) => vec!["nextest", "run"],
            (false, _) => vec![
                "test",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ],
        };
        arguments.extend(selection);
        Step::cargo(name, &arguments).test()
    };
    let mut steps = vec![
        run("unit and integration tests", &["--workspace"]),
        Step::cargo(
            "documentation tests",
            &["test", "--workspace", "--doc", "--no-fail-fast"],
        )
        .test(),
    ];
    if let Some(note) = (!tools.nextest)
        .then_some("cargo-nextest is not there, which would be faster; `cargo test` it is")
    {
        steps[0].note = Some(note);
    }
    let arguments = [
        "run",
        "--release",
        "--package",
        "anabranch-sim",
        "--",
        "--seeds",
        SIMULATOR_SEEDS,
        "--jobs",
        "2",
    ];
    let hint = "the simulator names the seed that failed, and the command that replays it";
    steps.push(Step::cargo("simulator", &arguments).hint(hint).test());
    // As the simulator was built just now: all that it depends on is there.
    let release: &[&str] = match tools.nextest {
        true => &["--cargo-profile", "release"],
        false => &["--release"],
    };
    let planted = ["--package", "anabranch-sim", "--features", "planted"];
    let selection = [release, &planted].concat();
    steps.push(run("simulator finds planted bugs", &selection));
    steps
}

fn checks() -> Vec<Step> {
    const RUSTFMT: &str =
        "if rustfmt is missing: `rustup component add rustfmt`; to format: `cargo fmt --all`";
    const CLIPPY: &str = "if clippy is missing: `rustup component add clippy`";
    let clippy = |name, selection: &[&str]| {
        let arguments = [
            &["clippy"],
            selection,
            &["--all-targets", "--locked", "--", "-D", "warnings"],
        ]
        .concat();
        Step::cargo(name, &arguments).hint(CLIPPY)
    };
    let mut steps = vec![
        Step::cargo("format", &["fmt", "--all", "--check"]).hint(RUSTFMT),
        clippy("clippy", &["--workspace"]),
        clippy(
            "clippy, planted bugs",
            &["--package", "anabranch-sim", "--features", "planted"],
        ),
    ];
    let documentation = Step::cargo(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--locked"],
    );
    steps.push(documentation.env("RUSTDOCFLAGS", "-D warnings"));
    steps
}

fn deny_step(advisories: bool) -> Step {
    const WHO: &str = "to see who brings a crate in: `cargo tree --workspace --invert CRATE`";
    let always = [
        "deny",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    if advisories {
        return Step::cargo("dependencies", &[&always[..], &["advisories"]].concat()).hint(WHO);
    }
    Step::cargo("dependencies", &always).hint(WHO).note(
        "without security advisories, whose database needs the network: ANABRANCH_ADVISORIES=1 checks them too",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn lines(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::command_line).collect()
    }

    const NEXTEST: Tools = Tools {
        nextest: true,
        continuous_integration: false,
    };

    #[test]
    fn tests_are_everything_with_nextest() {
        let expected = [
            "cargo nextest run --workspace",
            "cargo test --workspace --doc --no-fail-fast",
            "cargo run --release --package anabranch-sim -- --seeds 2000 --jobs 2",
            "cargo nextest run --cargo-profile release --package anabranch-sim --features planted",
        ];
        assert_eq!(lines(&tests_with(NEXTEST)), expected);
    }

    #[test]
    fn without_nextest_the_same_tests_run_and_documentation_tests_run_once() {
        let tools = Tools {
            nextest: false,
            continuous_integration: true,
        };
        let steps = tests_with(tools);
        let lines = lines(&steps);
        assert_eq!(
            lines.iter().filter(|line| line.contains("--doc")).count(),
            1
        );
        assert_eq!(
            lines[0],
            "cargo test --no-fail-fast --lib --bins --tests --examples --workspace"
        );
        assert!(steps[0].note.is_some());
    }

    #[test]
    fn ci_takes_the_profile_that_waits_longer() {
        let tools = Tools {
            continuous_integration: true,
            ..NEXTEST
        };
        assert_eq!(
            tests_with(tools)[0].command_line(),
            "cargo nextest run --profile ci --workspace"
        );
    }

    #[test]
    fn checks_deny_warnings_and_keep_the_lock_file() {
        let lines = lines(&checks());
        assert_eq!(lines[0], "cargo fmt --all --check");
        assert_eq!(
            lines[1],
            "cargo clippy --workspace --all-targets --locked -- -D warnings"
        );
        assert!(lines[2].contains("--features planted"), "{}", lines[2]);
        assert_eq!(
            lines[3],
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked"
        );
    }

    #[test]
    fn advisories_are_checked_only_when_asked_for_and_their_absence_is_said() {
        assert!(
            deny_step(false)
                .note
                .is_some_and(|note| note.contains("ANABRANCH_ADVISORIES=1"))
        );
        assert!(!deny_step(false).command_line().contains("advisories"));
        assert!(deny_step(true).command_line().ends_with("advisories"));
    }
}
