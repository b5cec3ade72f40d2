//! `anabranch import`: documents from JSON lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch::Namespace;
use serde::Deserialize;
use serde_json::json;

use super::batches::Batches;
use super::complaints::Complaints;
use super::delivery::Delivery;
use super::patience::Patience;
use super::pipeline::Pipeline;
use super::position::{Ledger, Mark, Position, State};
use super::progress::{Progress, documents, summary};
use super::record::Rules;
use super::source::Source;
use crate::client::Common;
use crate::client::connection::{Call, Connection};
use crate::client::error::ClientError;
use crate::client::output::{Output, grouped};
use crate::http::session;

/// `anabranch import`
#[derive(clap::Args)]
#[command(
    allow_missing_positional = true,
    after_long_help = "\
A line is {\"key\":..,\"value\":{..}}, as `anabranch export` writes it; its \"version\" is not looked at. Each document is \
made equal to its value, as `anabranch put` does it. Of several lines with the same key the last one counts.

A line that is no such object, or that the node refuses, is left out: standard error says which and why, the others are \
imported, and the command exits with 6.

Documents are written in batches, each all or nothing and under an idempotency key: what is sent again since a connection \
broke is not done again. That takes the same node, so all goes to the first of --url that answers. Give a node's own \
address, not one behind which there are several."
)]
pub(crate) struct Import {
    /// The namespace to write to
    #[arg(required_unless_present = "all")]
    namespace: Option<String>,
    /// The lines; `-` for standard input
    file: PathBuf,
    /// Write each document to the namespace that its line has as "ns"
    #[arg(long, conflicts_with = "namespace")]
    all: bool,
    /// Leave documents as they are that are there
    #[arg(long)]
    if_absent: bool,
    /// Stop at the first line that is wrong, and write nothing of what comes after it
    #[arg(long)]
    strict: bool,
    /// Write the lines that are left out to this file, as {"line":..,"key":..,"reason":..}
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Keep in this file how far the import is; if it is there, go on from what it says
    #[arg(long, value_name = "STATE_FILE")]
    resume: Option<PathBuf>,
    /// Go on from where an import without --resume has stopped, as it printed it
    #[arg(long, value_name = "POSITION", conflicts_with = "resume")]
    from: Option<Position>,
    /// Go on at another node than the one where the import was begun
    #[arg(long)]
    any_node: bool,
    /// How long to bear with a node that is busy or can't be reached, such as 30s
    #[arg(long, value_name = "TIME", value_parser = session::parse_wait, default_value = "30s")]
    wait: Duration,
    #[command(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct Cluster {
    node: ThisNode,
}

#[derive(Deserialize)]
struct ThisNode {
    replica: String,
}

impl Import {
    pub(in crate::client) fn run(&self) -> Result<(), ClientError> {
        let into = self.namespace.as_deref().map(Namespace::new).transpose()?;
        let kept = self.kept(into.as_ref())?;
        let position = kept.as_ref().map(|state| &state.position);
        let source = Source::open(&self.file, position)?;
        let (connection, mut output) = self.common.open()?;
        let progress = Progress::through(source.length());
        let patience = Patience::new(self.wait);
        let begun_at = position.map(|position| &*position.node);
        let wanted = begun_at.filter(|_| !self.any_node);
        let (connection, node) = patience.ask(&progress, || find(&connection, wanted))?;

        let was_finished = kept.as_ref().is_some_and(|state| state.finished);
        let goes_on = kept.is_some();
        let mut state = kept.unwrap_or_else(|| begin(into.as_ref(), &source));
        state.position.node = node;
        state.finished = false;
        let from = state.position.at;
        if from.lines > 0 && !was_finished {
            let line = grouped(from.lines + 1);
            progress.say(&format!("anabranch: going on from line {line}"));
        }
        progress.begins_at(state.totals.documents, from.bytes);
        let delivery = Delivery {
            connection,
            patience,
            progress: &progress,
            run: state.position.run.clone(),
            is_strict: self.strict,
        };
        let rules = Rules {
            into,
            if_absent: self.if_absent,
        };
        let mut ledger = Ledger::new(state, self.resume.clone());
        ledger.keep()?;
        let name = source.name().to_owned();
        let pipeline = Pipeline {
            head: source.head().clone(),
            delivery: &delivery,
            ledger: &mut ledger,
            complaints: Complaints::open(self.errors.as_deref(), goes_on)?,
        };
        let batches = Batches::new(source, rules, self.strict);
        if let Err(error) = pipeline.run(batches) {
            return Err(self.stopped(error, &mut ledger));
        }
        ledger.finish()?;
        let is_old = was_finished && ledger.state.position.at == from;
        let took = progress.end();
        self.report(&mut output, &name, &ledger.state, from, took, is_old)
    }

    /// What there is to go on from.
    fn kept(&self, into: Option<&Namespace>) -> Result<Option<State>, ClientError> {
        let into = into.map(|namespace| namespace.as_str().to_owned());
        if let Some(from) = &self.from {
            return Ok(Some(State::new(into, from.clone())));
        }
        let Some(path) = &self.resume else {
            return Ok(None);
        };
        let state = State::load(path)?;
        match &state {
            Some(state) if state.into != into => Err(other_target(path, state)),
            _ => Ok(state),
        }
    }

    /// An error, with how far all came and how to go on.
    fn stopped(&self, error: ClientError, ledger: &mut Ledger) -> ClientError {
        let kept = ledger.keep();
        let position = &ledger.state.position;
        let advice = match (&self.resume, kept) {
            (Some(_), Ok(())) => "run the same command again to go on from there".to_owned(),
            (Some(path), Err(_)) => format!(
                "{} does not say so, and the same command goes on from what it says",
                path.display()
            ),
            (None, _) => format!("add --from {position} to go on from there"),
        };
        ClientError::Stopped {
            source: Box::new(error),
            lines: position.at.lines,
            bytes: position.at.bytes,
            advice,
        }
    }

    fn report(
        &self,
        output: &mut Output,
        name: &str,
        state: &State,
        from: Mark,
        took: Duration,
        is_old: bool,
    ) -> Result<(), ClientError> {
        let (totals, at) = (&state.totals, state.position.at);
        let unchanged = totals.documents - totals.created - totals.changed;
        if output.is_json() {
            output.value(&json!({
                "documents": totals.documents,
                "created": totals.created,
                "changed": totals.changed,
                "unchanged": unchanged,
                "skipped": totals.skipped,
                "left_out": totals.left_out,
                "lines": at.lines,
                "bytes": at.bytes,
                "begun_after_line": from.lines,
                "seconds": took.as_secs_f64(),
            }))?;
        } else {
            let speed = match (is_old, from.lines) {
                (true, _) => format!("{}, finished before", documents(totals.documents)),
                // The time is of a part of it.
                (false, 1..) => documents(totals.documents),
                (false, 0) => summary(totals.documents, at.bytes, took),
            };
            output.line(&format!(
                "imported {name}: {speed}; {} created, {} changed, {} unchanged, {} skipped",
                grouped(totals.created),
                grouped(totals.changed),
                grouped(unchanged),
                grouped(totals.skipped),
            ))?;
        }
        match totals.left_out {
            0 => Ok(()),
            count => Err(ClientError::LeftOut { count }),
        }
    }
}

fn begin(into: Option<&Namespace>, source: &Source) -> State {
    let position = Position {
        at: Mark::default(),
        run: format!("{:032x}", rand::random::<u128>()),
        node: String::new(),
        head: source.head().hash(Mark::default()),
    };
    State::new(into.map(|into| into.as_str().to_owned()), position)
}

fn other_target(path: &Path, state: &State) -> ClientError {
    let into = state.into.as_deref().unwrap_or("--all");
    ClientError::Position {
        place: path.display().to_string(),
        why: format!(
            "it is of an import into {into}; give the same, or another file to begin anew"
        ),
    }
}

/// The node that an import is for: one in particular if it has been begun, or else the first that answers.
fn find(
    connection: &Connection,
    wanted: Option<&str>,
) -> Result<(Connection, String), ClientError> {
    let mut failure = None;
    let mut found = Vec::new();
    for node in connection.nodes() {
        let asked = node.call(&Call::get("/v1/cluster".to_owned()));
        let replica = match asked.and_then(|answer| answer.parse::<Cluster>()) {
            Ok(cluster) => cluster.node.replica,
            Err(error) if error.may_pass() => {
                failure = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match wanted {
            Some(wanted) if wanted != replica => found.push(replica),
            _ => return Ok((node, replica)),
        }
    }
    // The right one may be among those that did not answer.
    Err(failure.unwrap_or_else(|| ClientError::OtherNode {
        begun: wanted.unwrap_or_default().to_owned(),
        found,
    }))
}
