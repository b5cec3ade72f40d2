//! What a person sees: a heading for each step, a line when it ends, a table when all have.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::runner::{Outcome, StepResult};
use crate::steps::Step;

/// Prints, in colour where that helps.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    place: Place,
    colour: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    #[cfg(test)]
    Nowhere,
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Good,
    Bad,
    Odd,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "1;32",
            Self::Bad => "1;31",
            Self::Odd => "33",
        }
    }
}

impl Report {
    /// On standard output; in colour on a terminal, unless NO_COLOR is set.
    #[must_use]
    pub fn to_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            place: Place::Stdout,
            colour: std::io::stdout().is_terminal() && !refused,
        }
    }

    #[cfg(test)]
    pub(crate) fn to_nowhere() -> Self {
        Self {
            place: Place::Nowhere,
            colour: false,
        }
    }

    /// Before a step runs.
    pub fn begin(&self, step: &Step, number: usize, of: usize) {
        self.print(&self.heading(step, number, of));
    }

    /// After it ran, or did not.
    pub fn end(&self, outcome: &Outcome) {
        self.print(&self.ending(outcome));
    }

    /// After all.
    pub fn summary(&self, outcomes: &[Outcome]) {
        self.print(&self.table(outcomes));
    }

    fn heading(&self, step: &Step, number: usize, of: usize) -> String {
        let name = self.paint(Style::Bold, &format!("[{number}/{of}] {}", step.name));
        let command = self.paint(Style::Dim, &step.command_line());
        let note = step
            .note
            .map(|note| format!("      {}\n", self.paint(Style::Odd, note)));
        format!("\n{name}\n      {command}\n{}", note.unwrap_or_default())
    }

    fn ending(&self, outcome: &Outcome) -> String {
        let took = duration(outcome.took);
        match &outcome.result {
            StepResult::Passed => format!(
                "{} {} in {took}\n",
                self.paint(Style::Good, "passed"),
                outcome.step.name
            ),
            StepResult::Failed(status) => {
                let failed = self.paint(Style::Bad, "FAILED");
                format!(
                    "{failed} {} after {took}, status {status}\n",
                    outcome.step.name
                )
            }
            StepResult::NotStarted(why) => {
                let failed = self.paint(Style::Bad, "FAILED");
                format!(
                    "{failed} {}: cargo cannot be started: {why}\n",
                    outcome.step.name
                )
            }
            StepResult::Skipped => String::new(),
        }
    }

    fn table(&self, outcomes: &[Outcome]) -> String {
        let width = outcomes
            .iter()
            .map(|outcome| outcome.step.name.len())
            .max()
            .unwrap_or(0);
        let mut table = format!("\n{}\n", self.paint(Style::Bold, "Summary"));
        for outcome in outcomes {
            let (style, word) = match outcome.result {
                StepResult::Passed => (Style::Good, "passed "),
                StepResult::Failed(_) | StepResult::NotStarted(_) => (Style::Bad, "FAILED "),
                StepResult::Skipped => (Style::Odd, "skipped"),
            };
            let took = match outcome.result {
                StepResult::Skipped => String::new(),
                _ => duration(outcome.took),
            };
            table += &format!(
                "  {}  {:width$}  {took:>10}\n",
                self.paint(style, word),
                outcome.step.name
            );
        }
        let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
        table += &format!("  {:7}  {:width$}  {:>10}\n", "", "total", duration(total));
        table + &self.advice(outcomes)
    }

    fn advice(&self, outcomes: &[Outcome]) -> String {
        let failed = outcomes.iter().filter(|outcome| {
            matches!(
                outcome.result,
                StepResult::Failed(_) | StepResult::NotStarted(_)
            )
        });
        let mut advice = String::new();
        for Outcome { step, .. } in failed {
            advice += &format!(
                "\n{} failed. To run it again:\n",
                self.paint(Style::Bad, step.name)
            );
            advice += &format!("  {}\n", step.command_line());
            if let Some(hint) = step.hint {
                advice += &format!("  ({hint})\n");
            }
        }
        advice
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    /// A reader that went away (`cargo xtask test | head`) is no reason to stop testing.
    fn print(&self, text: &str) {
        match self.place {
            Place::Stdout => {
                let mut stdout = std::io::stdout().lock();
                let _ = stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush());
            }
            #[cfg(test)]
            Place::Nowhere => {}
        }
    }
}

fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, result: StepResult, seconds: u64) -> Outcome {
        Outcome {
            step: Step::cargo(name, &["fmt", "--all"]).hint("a hint"),
            result,
            took: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn the_summary_says_what_to_run_again_and_only_for_failures() {
        let outcomes = [
            outcome("format", StepResult::Failed(1), 2),
            outcome("clippy", StepResult::Skipped, 0),
            outcome("tests", StepResult::Passed, 65),
        ];
        let table = Report::to_nowhere().table(&outcomes);
        let expected = "
Summary
  FAILED   format       2.0 s
  skipped  clippy            
  passed   tests   1 min 05 s
           total   1 min 07 s

format failed. To run it again:
  cargo fmt --all
  (a hint)
";
        assert_eq!(table, expected);
    }

    #[test]
    fn colour_is_only_paint() {
        let outcomes = [outcome("format", StepResult::Failed(1), 2)];
        let colourful = Report {
            colour: true,
            ..Report::to_nowhere()
        };
        let mut painted = colourful.table(&outcomes);
        assert!(painted.contains("\x1b[1;31m"));
        for style in [Style::Bold, Style::Dim, Style::Good, Style::Bad, Style::Odd] {
            painted = painted.replace(&format!("\x1b[{}m", style.code()), "");
        }
        assert_eq!(
            painted.replace("\x1b[0m", ""),
            Report::to_nowhere().table(&outcomes)
        );
    }
}
