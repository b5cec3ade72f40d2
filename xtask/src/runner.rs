//! Runs a table of steps and keeps what came of each.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cargo;
use crate::report::Report;
use crate::steps::{Step, StepKind};
use crate::workspace::Workspace;

/// A step and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub result: StepResult,
    /// How long it took.
    pub took: Duration,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Well.
    Passed,
    /// With this status, which is not 0.
    Failed(u8),
    /// It could not be started.
    NotStarted(String),
    /// An earlier check had failed.
    Skipped,
}

/// Runs all steps in order, each as [`StepKind`] says.
pub fn run(steps: &[Step], workspace: &Workspace, report: &Report) -> Vec<Outcome> {
    run_with(steps, report, |step| execute(step, workspace))
}

fn run_with(
    steps: &[Step],
    report: &Report,
    mut execute: impl FnMut(&Step) -> StepResult,
) -> Vec<Outcome> {
    let mut check_failed = false;
    let mut outcomes = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let begun = Instant::now();
        let result = if check_failed && step.kind == StepKind::Check {
            StepResult::Skipped
        } else {
            report.begin(step, index + 1, steps.len());
            execute(step)
        };
        check_failed |= step.kind == StepKind::Check && result != StepResult::Passed;
        let outcome = Outcome {
            step: step.clone(),
            result,
            took: begun.elapsed(),
        };
        report.end(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

fn execute(step: &Step, workspace: &Workspace) -> StepResult {
    let status = cargo::command()
        .args(&step.arguments)
        .envs(step.environment.iter().copied())
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => StepResult::Passed,
        Ok(status) => StepResult::Failed(shell_status(status)),
        Err(error) => StepResult::NotStarted(error.to_string()),
    }
}

/// The status as a shell shows it: 128 and the signal's number for what a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| signal + 128);
    #[cfg(not(unix))]
    let signal = None;
    let code = status.code().or(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX).max(1)
}

/// The worst status among the outcomes, 0 when all is well.
#[must_use]
pub fn status(outcomes: &[Outcome]) -> u8 {
    let statuses = outcomes.iter().map(|outcome| match outcome.result {
        StepResult::Passed | StepResult::Skipped => 0,
        StepResult::Failed(status) => status,
        StepResult::NotStarted(_) => 1,
    });
    statuses.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, kind: StepKind) -> Step {
        Step {
            kind,
            ..Step::cargo(name, &["x"])
        }
    }

    fn table() -> Vec<Step> {
        vec![
            step("check 1", StepKind::Check),
            step("check 2", StepKind::Check),
            step("test 1", StepKind::Test),
            step("test 2", StepKind::Test),
        ]
    }

    fn results(failing: &str) -> Vec<Outcome> {
        run_with(&table(), &Report::to_nowhere(), |step| {
            if step.name == failing {
                StepResult::Failed(101)
            } else {
                StepResult::Passed
            }
        })
    }

    #[test]
    fn a_failed_check_skips_checks_and_runs_tests() {
        let outcomes = results("check 1");
        let kinds: Vec<_> = outcomes.iter().map(|outcome| &outcome.result).collect();
        let expected = [
            &StepResult::Failed(101),
            &StepResult::Skipped,
            &StepResult::Passed,
            &StepResult::Passed,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(status(&outcomes), 101);
    }

    #[test]
    fn a_failed_test_stops_nothing() {
        let outcomes = results("test 1");
        assert_eq!(outcomes[3].result, StepResult::Passed);
        assert_eq!(status(&outcomes), 101);
    }

    #[test]
    fn all_well_is_zero_and_not_started_is_not() {
        assert_eq!(status(&results("none")), 0);
        let mut outcomes = results("none");
        outcomes[0].result = StepResult::NotStarted("no cargo".to_owned());
        assert_eq!(status(&outcomes), 1);
    }
}
