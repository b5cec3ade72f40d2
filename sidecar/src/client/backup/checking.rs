//! Looking at backups without a node.

use std::io::Write as _;
use std::path::Path;

use anabranch::backup::{Summary, leading_to};
use serde_json::{Value, json};

use super::shelf::{self, Found};
use super::{content, described, kind, len, read, short, time};
use crate::client::error::ClientError;
use crate::client::output::{Output, bytes, grouped, table};
use crate::client::porting::progress::Progress;

/// What lies in a directory. Only both ends of each file are looked at.
pub(super) fn list(directory: &Path, output: &mut Output) -> Result<(), ClientError> {
    let found = shelf::list(directory)?;
    if output.is_json() {
        let all: Vec<Value> = found.iter().map(|found| view(found, None)).collect();
        return output.value(&Value::Array(all));
    }
    let head = [
        "ID",
        "KIND",
        "NODE",
        "TIME",
        "DOCUMENTS",
        "RECORDS",
        "SIZE",
        "AFTER",
        "FILE",
    ];
    let rows = found.iter().filter_map(|found| {
        let summary = found.summary.as_ref().ok()?;
        let (header, totals) = (&summary.header, &summary.totals);
        let documents = match header.base {
            None => grouped(totals.documents),
            Some(_) => String::new(),
        };
        Some([
            short(&header.id),
            kind(summary).to_owned(),
            header.name.clone(),
            time(header.time_ms),
            documents,
            grouped(totals.records),
            bytes(len(&found.path).unwrap_or_default()),
            header.base.map(|base| short(&base.id)).unwrap_or_default(),
            file_name(&found.path),
        ])
    });
    for line in table(head, &rows.collect::<Vec<_>>()) {
        output.line(&line)?;
    }
    for error in found
        .iter()
        .filter_map(|found| found.summary.as_ref().err())
    {
        let _ = writeln!(std::io::stderr(), "anabranch: {error}");
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn view(found: &Found, verified: Option<bool>) -> Value {
    let mut view = match &found.summary {
        Ok(summary) => described(summary, &found.path, len(&found.path).unwrap_or_default()),
        Err(error) => json!({"file": found.path.display().to_string(), "error": error.to_string()}),
    };
    if let (Value::Object(view), Some(verified)) = (&mut view, verified) {
        view.insert("verified".to_owned(), verified.into());
    }
    view
}

/// Reads a backup, or all of a directory.
pub(super) fn check(path: &Path, output: &mut Output) -> Result<(), ClientError> {
    if !path.is_dir() {
        let progress = Progress::through(len(path));
        let summary = read(path, &progress)?;
        progress.end();
        let size = len(path).unwrap_or_default();
        return match output.is_json() {
            true => output.value(&described(&summary, path, size)),
            false => output.line(&format!("{}: {}", path.display(), verdict(&summary, size))),
        };
    }
    let mut found = shelf::list(path)?;
    let mut bad = 0;
    for found in &mut found {
        let progress = Progress::through(len(&found.path));
        found.summary = read(&found.path, &progress);
        progress.end();
    }
    let summaries: Vec<Summary> = found
        .iter()
        .filter_map(|found| found.summary.as_ref().ok().cloned())
        .collect();
    for found in &mut found {
        if let Ok(summary) = &found.summary
            && let Err(error) = leading_to(&summaries, summary.header.id)
        {
            found.summary = Err(error.into());
        }
        bad += usize::from(found.summary.is_err());
        if output.is_json() {
            continue;
        }
        let name = file_name(&found.path);
        match &found.summary {
            Ok(summary) => {
                let size = len(&found.path).unwrap_or_default();
                output.line(&format!("{name}: {}", verdict(summary, size)))?;
            }
            Err(error) => output.line(&format!("{name}: {error}"))?,
        }
    }
    if output.is_json() {
        let view = |found: &Found| view(found, Some(found.summary.is_ok()));
        output.value(&Value::Array(found.iter().map(view).collect()))?;
    }
    match bad {
        0 => Ok(()),
        count => Err(ClientError::BadBackups { count }),
    }
}

fn verdict(summary: &Summary, size: u64) -> String {
    let header = &summary.header;
    format!(
        "whole: {} backup {} of {}, {}, {}",
        kind(summary),
        short(&header.id),
        header.name,
        time(header.time_ms),
        content(summary, size)
    )
}
