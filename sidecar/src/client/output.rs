//! Printing for people and for programs.

use std::io::{IsTerminal as _, Stdout, Write as _};

use serde_json::Value;

use super::error::ClientError;

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Standard output in a format.
pub(super) struct Output {
    format: Format,
    out: Stdout,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            out: std::io::stdout(),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A value: over several lines for a person at a terminal, on one for everything else.
    pub(super) fn value(&mut self, value: &Value) -> Result<(), ClientError> {
        if !self.is_json() && self.out.is_terminal() {
            self.line(&format!("{value:#}"))
        } else {
            self.line(&value.to_string())
        }
    }

    /// A line. Written at once: whoever follows a feed wants it now.
    pub(super) fn line(&mut self, line: &str) -> Result<(), ClientError> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }
}

/// Rows in columns under a head.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}
