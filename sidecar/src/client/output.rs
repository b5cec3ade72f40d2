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

/// A number for people, with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A size for people.
pub(super) fn bytes(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// A length of time for people, from milliseconds.
pub(super) fn span(ms: u64) -> String {
    match ms / 1_000 {
        s @ ..120 => format!("{s} s"),
        s @ ..7_200 => format!("{} min", s / 60),
        s @ ..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_what_people_count_in() {
        for (ms, told) in [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(ms), told);
        }
    }
}
