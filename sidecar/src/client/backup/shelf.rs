//! What is in a directory of backups, or among some files, and which of them go together.

use std::path::{Path, PathBuf};

use anabranch::backup::{BackupId, Summary, in_order, leading_to};

use super::{EXTENSION, failed, open, time};
use crate::client::error::ClientError;

/// A backup that lies somewhere, as far as both its ends tell.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) summary: Result<Summary, ClientError>,
}

fn glance(path: &Path) -> Result<Summary, ClientError> {
    Summary::glance(open(path)?).map_err(failed(path))
}

/// The backups in a directory, by time; those that can't be looked at come first.
pub(super) fn list(directory: &Path) -> Result<Vec<Found>, ClientError> {
    let unreadable = |source| ClientError::Input {
        from: directory.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            let summary = glance(&path);
            found.push(Found { path, summary });
        }
    }
    let key = |found: &Found| {
        let summary = found.summary.as_ref().ok();
        let when = summary.map(|summary| (summary.header.time_ms, summary.totals.log_end));
        (when, found.path.clone())
    };
    found.sort_by_key(key);
    Ok(found)
}

/// The newest backup of a replica that can be gone on from.
pub(super) fn newest(directory: &Path, replica: [u8; 16]) -> Result<Option<Summary>, ClientError> {
    let mut summaries: Vec<Summary> = whole(list(directory)?)
        .into_iter()
        .map(|(_, summary)| summary)
        .collect();
    summaries.retain(|summary| summary.header.replica == replica);
    let is_complete = |summary: &&Summary| leading_to(&summaries, summary.header.id).is_ok();
    Ok(summaries.iter().rev().find(is_complete).cloned())
}

fn whole(found: Vec<Found>) -> Vec<(PathBuf, Summary)> {
    let whole = found
        .into_iter()
        .filter_map(|found| Some((found.path, found.summary.ok()?)));
    whole.collect()
}

/// The files to restore, in order: those of a directory that lead to one backup or the newest, or all that are given.
pub(super) fn chain(from: &[PathBuf], at: Option<&str>) -> Result<Vec<PathBuf>, ClientError> {
    let (found, is_directory) = match from {
        [one] if one.is_dir() => (whole(list(one)?), true),
        files => {
            let each = files.iter().map(|path| Ok((path.clone(), glance(path)?)));
            (each.collect::<Result<Vec<_>, ClientError>>()?, false)
        }
    };
    let summaries: Vec<Summary> = found.iter().map(|(_, summary)| summary.clone()).collect();
    let order = match (at, is_directory) {
        (Some(at), _) => leading_to(&summaries, named(&summaries, at)?),
        (None, false) => in_order(&summaries),
        (None, true) => match tip(&summaries)? {
            Some(tip) => leading_to(&summaries, tip),
            None => in_order(&summaries),
        },
    };
    Ok(order?.into_iter().map(|at| found[at].0.clone()).collect())
}

/// The one whose id begins so.
fn named(summaries: &[Summary], at: &str) -> Result<BackupId, ClientError> {
    let mut found = summaries
        .iter()
        .filter(|summary| summary.header.id.to_string().starts_with(at));
    match (found.next(), found.next()) {
        (Some(one), None) if at.len() >= 4 => Ok(one.header.id),
        _ => Err(ClientError::BackupName {
            given: at.to_owned(),
        }),
    }
}

/// The newest one, if all are of one node.
fn tip(summaries: &[Summary]) -> Result<Option<BackupId>, ClientError> {
    let Some(newest) = summaries.last() else {
        return Ok(None);
    };
    let other = summaries
        .iter()
        .rev()
        .find(|summary| summary.header.replica != newest.header.replica);
    match other {
        None => Ok(Some(newest.header.id)),
        Some(other) => {
            let describe = |summary: &Summary| {
                let header = &summary.header;
                format!(
                    "{} of {} ({})",
                    super::short(&header.id),
                    header.name,
                    time(header.time_ms)
                )
            };
            Err(ClientError::SeveralNodes {
                found: vec![describe(newest), describe(other)],
            })
        }
    }
}
