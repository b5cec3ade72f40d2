//! Taking inbound connections, no more at a time than there is room for.

use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use crate::failure::Failure;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKES_BEFORE_RETRY, HANDSHAKES_MAX};
use crate::link::{agree, run};
use crate::net::Shared;

/// Runs until the endpoint is closed.
pub(crate) async fn listen(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let remote = incoming.remote_address().ip().to_string();
        let under_way = HANDSHAKES_MAX - shared.handshakes.available_permits();
        if under_way >= HANDSHAKES_BEFORE_RETRY && incoming.may_retry() {
            // An error here means that it can't be asked to, which `may_retry` has excluded.
            if incoming.retry().is_err() {
                tracing::debug!(remote, "could not ask a remote to prove its address");
            }
            continue;
        }
        let full = shared.endpoint.open_connections() >= CONNECTIONS_MAX;
        let permit = shared.handshakes.clone().try_acquire_owned();
        let (Ok(permit), false) = (permit, full) else {
            let why = format!(
                "refused: {under_way} handshakes and {} connections at once",
                shared.endpoint.open_connections()
            );
            shared.complaints.log(
                &remote,
                &Failure::Lost {
                    kind: "no room",
                    why,
                    quiet: false,
                },
            );
            incoming.refuse();
            continue;
        };
        shared.tasks.spawn(serve(shared.clone(), incoming, permit));
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let remote = incoming.remote_address().ip().to_string();
    let agreed = async {
        let limit = shared.config.handshake_timeout;
        let connecting = incoming.accept()?;
        let connection = tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| Failure::Timeout(limit))??;
        agree(&shared, &connection, false).await
    };
    match agreed.await {
        Ok(agreed) => {
            drop(permit);
            run(shared, agreed).await;
        }
        Err(failure) => shared.complaints.log(&remote, &failure),
    }
}
