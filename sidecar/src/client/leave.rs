//! `anabranch leave`: a node goes for good.

use super::Common;
use super::connection::Call;
use super::error::ClientError;

/// `anabranch leave`
///
/// The node stops taking requests, waits until another one holds all that was written to it, tells the others that it
/// leaves, and ends. They don't try to reach it any more. Started again on the same data, it is a member again.
#[derive(clap::Args)]
pub(crate) struct Leave {
    /// Leave even if no other node holds all that was written here, and lose it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

impl Leave {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        // With several, it would be chance which of them goes.
        if connection.nodes().count() > 1 {
            return Err(ClientError::OneNode);
        }
        let force = if self.force { "?force=true" } else { "" };
        let call = Call::post(format!("/v1/cluster/leave{force}"), Vec::new(), b"");
        let answer = connection.call(&call)?.json()?;
        if output.is_json() {
            return output.value(&answer);
        }
        let name = answer["name"].as_str().unwrap_or("the node");
        output.line(&format!("{name} leaves the cluster, and stops"))
    }
}
