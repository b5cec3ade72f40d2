//! `anabranch restore`: a data directory out of backups.

use std::io::BufReader;
use std::path::PathBuf;

use anabranch::backup::Restoring;
use serde_json::json;

use super::{READ_BYTES, content, len, open, shelf, short, time};
use crate::client::error::ClientError;
use crate::client::output::{Format, Output, grouped};
use crate::client::porting::progress::{Progress, documents};

/// `anabranch restore`
#[derive(clap::Args)]
#[command(after_long_help = "\
The directory must be empty, or not be there. Until the restore is at its end, `anabranch serve` refuses it; a restore that was \
stopped is run again and begins anew.

The restored node writes under a new incarnation, so nothing that it writes is taken for what the original wrote after the \
backup. Start it with the certificate of the node that it replaces, or with one of its own if that node still runs.")]
pub(crate) struct Restore {
    /// A directory of backups, of which the newest is restored; or a full backup and the incremental ones that follow it
    #[arg(required = true, value_name = "FROM")]
    from: Vec<PathBuf>,
    /// The data directory to make
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Restore this backup (`anabranch backup --list`), and not the newest
    #[arg(long, value_name = "ID")]
    at: Option<String>,
    /// How to print
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ANABRANCH_OUTPUT",
        default_value = "text"
    )]
    output: Format,
}

impl Restore {
    pub(in crate::client) fn run(&self) -> Result<(), ClientError> {
        let chain = shelf::chain(&self.from, self.at.as_deref())?;
        let mut restoring = Restoring::begin(&self.data_dir)?;
        let mut said = Vec::new();
        let mut seconds = 0.0;
        for path in &chain {
            let progress = Progress::through(len(path));
            let from = BufReader::with_capacity(READ_BYTES, open(path)?);
            let taken = restoring.take(from, |seen| progress.is_at(seen.documents, seen.bytes));
            let summary = taken.map_err(|source| ClientError::RestoreFrom {
                path: path.clone(),
                source,
            })?;
            seconds += progress.end().as_secs_f64();
            let size = len(path).unwrap_or_default();
            let (header, content) = (&summary.header, content(&summary, size));
            let (id, name) = (short(&header.id), &header.name);
            said.push(format!(
                "{id} of {name}, {}: {content}",
                time(header.time_ms)
            ));
        }
        let restored = restoring.finish()?;
        let mut output = Output::new(self.output);
        let last = restored.chain.last();
        if output.is_json() {
            return output.value(&json!({
                "data_dir": self.data_dir.display().to_string(),
                "backups": restored.chain.iter().map(|one| one.header.id.to_string()).collect::<Vec<_>>(),
                "node": last.map(|last| &last.header.name),
                "time": last.map(|last| time(last.header.time_ms)),
                "documents": restored.documents,
                "records": restored.records,
                "records_to_replay": restored.records_to_replay,
                "log_end": last.map(|last| last.totals.log_end),
                "seconds": seconds,
            }));
        }
        for line in said {
            output.line(&line)?;
        }
        output.line(&format!(
            "restored into {}: {} and {} log records, of which {} go to their documents at the first start",
            self.data_dir.display(),
            documents(restored.documents),
            grouped(restored.records),
            grouped(restored.records_to_replay),
        ))?;
        output.line(
            "next: start it with `anabranch serve` and this data directory; it writes under a new incarnation and catches up \
             with the other nodes by itself",
        )
    }
}
