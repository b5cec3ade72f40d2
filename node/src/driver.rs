//! The thread that owns the replica: it feeds inputs in, and carries outputs out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anabranch_core::persist::{Fetched, StoreError, Ticket};
use anabranch_core::{
    Answer, FetchId, Input, LinkId, Lsn, Notice, Now, Output, Replica, Request, RequestError,
    RequestId, Session, Visible,
};
use anabranch_net::{Event, Net};
use anabranch_store::{
    CommitError, Committer, Completion, Engine, FetchThread, FoldReport, Folder,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::report::{Report, report};

/// Requests between callers and the replica.
pub(crate) const COMMANDS_MAX: usize = 1_024;
/// Network events between the links and the replica.
pub(crate) const EVENTS_MAX: usize = 1_024;
/// Batches kept for feeds that are slow; a slower one reads the log.
pub(crate) const CHANGES_MAX: usize = 4_096;
/// Inputs taken from one queue before the others get their turn.
const INPUTS_PER_TURN: usize = 64;

/// What a caller sends to the replica's thread.
pub(crate) enum Command {
    Request {
        request: Request,
        session: Session,
        answer: oneshot::Sender<Result<Answer, RequestError>>,
    },
    Status {
        answer: oneshot::Sender<Report>,
    },
    Shutdown,
}

/// What the store's threads report. One message for each thing that was asked of them, so the queue is
/// bounded by what the replica has under way.
enum Done {
    Commit(Completion),
    Fold(FoldReport),
    Fetch(u64, Result<Fetched, StoreError>),
}

/// The ends of the driver's channels that stay with it.
pub(crate) struct Wires {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) changes: broadcast::Sender<Arc<Visible>>,
    pub(crate) visible: watch::Sender<Lsn>,
    pub(crate) placed: watch::Sender<()>,
    pub(crate) net: Uplink,
}

/// The network, or for a node on its own the end of the channel that it would report by.
pub(crate) enum Uplink {
    Alone(#[expect(dead_code, reason = "held so that the channel stays open")] mpsc::Sender<Event>),
    Net(Net),
}

impl Uplink {
    pub(crate) fn get(&self) -> Option<&Net> {
        match self {
            Self::Alone(_) => None,
            Self::Net(net) => Some(net),
        }
    }
}

pub(crate) struct Driver {
    replica: Replica,
    committer: Committer,
    folder: Folder,
    fetcher: FetchThread,
    done: mpsc::UnboundedReceiver<Done>,
    wires: Wires,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Answer, RequestError>>>,
    requests: u64,
    /// Commits and fetches under way.
    under_way: usize,
    started: Instant,
    /// Set once no more requests are taken.
    closing: bool,
}

impl Driver {
    /// Starts the replica's thread.
    pub(crate) fn spawn(
        replica: Replica,
        engine: &Arc<dyn Engine>,
        wires: Wires,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let (report, done) = mpsc::unbounded_channel();
        let committer = {
            let report = report.clone();
            Committer::spawn(engine.clone(), move |completion| {
                let _ = report.send(Done::Commit(completion));
            })?
        };
        let folder = {
            let report = report.clone();
            Folder::spawn(engine.clone(), move |said| {
                let _ = report.send(Done::Fold(said));
            })?
        };
        let fetcher = FetchThread::spawn(engine.clone(), move |id, result| {
            let _ = report.send(Done::Fetch(id, result));
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("anabranch-replica".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let driver = Self {
                        replica,
                        committer,
                        folder,
                        fetcher,
                        done,
                        wires,
                        waiting: HashMap::new(),
                        requests: 0,
                        under_way: 0,
                        started: Instant::now(),
                        closing: false,
                    };
                    driver.run().await;
                });
            })
    }

    async fn run(mut self) {
        let sleep = tokio::time::sleep_until(self.deadline());
        tokio::pin!(sleep);
        // A replica that recovered may have work of its own.
        self.handle(Input::Tick);
        while !(self.closing && self.under_way == 0) {
            let deadline = self.deadline();
            if sleep.deadline() != deadline {
                sleep.as_mut().reset(deadline);
            }
            let open = !self.closing && !self.replica.is_saturated();
            tokio::select! {
                Some(done) = self.done.recv() => {
                    self.take_done(done);
                    for _ in 1..INPUTS_PER_TURN {
                        let Ok(done) = self.done.try_recv() else { break };
                        self.take_done(done);
                    }
                }
                event = self.wires.events.recv(), if open => match event {
                    Some(event) => {
                        self.take_event(event);
                        for _ in 1..INPUTS_PER_TURN {
                            if self.replica.is_saturated() { break }
                            let Ok(event) = self.wires.events.try_recv() else { break };
                            self.take_event(event);
                        }
                    }
                    // The node keeps the other end; it is gone only when the node is.
                    None => self.closing = true,
                },
                command = self.wires.commands.recv(), if open => match command {
                    Some(command) => {
                        self.take_command(command);
                        for _ in 1..INPUTS_PER_TURN {
                            if self.closing || self.replica.is_saturated() { break }
                            let Ok(command) = self.wires.commands.try_recv() else { break };
                            self.take_command(command);
                        }
                    }
                    None => self.closing = true,
                },
                () = &mut sleep => self.handle(Input::Tick),
            }
        }
        self.say_goodbye().await;
    }

    /// Everything is durable: the links go last, and what they still report is of no more interest.
    async fn say_goodbye(self) {
        let Wires {
            net, mut events, ..
        } = self.wires;
        if let Uplink::Net(net) = net {
            let rest = async move { while events.recv().await.is_some() {} };
            tokio::join!(net.shutdown(), rest);
        }
    }

    fn deadline(&self) -> Instant {
        // A year away is never; later instants may not exist.
        let wait_ms = self
            .replica
            .wake_at()
            .min(self.now().mono_ms + 31_536_000_000);
        self.started + Duration::from_millis(wait_ms)
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            mono_ms: milliseconds(self.started.elapsed()),
            wall_ms: milliseconds(wall),
        }
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Commit(Completion::Durable {
                through, commits, ..
            }) => {
                self.under_way = self.under_way.saturating_sub(commits);
                self.handle(Input::Persisted { through });
            }
            Done::Commit(Completion::Failed {
                from,
                through,
                commits,
                error,
            }) => {
                self.under_way = self.under_way.saturating_sub(commits);
                if !matches!(error, CommitError::Full(_)) {
                    tracing::error!(%error, "the store failed; this node takes no more writes until it is restarted");
                }
                let error = StoreError::from(error);
                self.handle(Input::PersistFailed {
                    from,
                    through,
                    error,
                });
            }
            Done::Fold(FoldReport::Folded { id, result, .. }) => {
                self.under_way = self.under_way.saturating_sub(1);
                self.handle(Input::Folded { id, result });
            }
            Done::Fold(FoldReport::Damaged(damage)) => match damage.range {
                Some(range) => self.handle(Input::Damaged {
                    range,
                    what: damage.what,
                }),
                None => tracing::error!(what = damage.what, "the store is damaged"),
            },
            // Whatever else the store comes to report, nobody here waits for it.
            Done::Commit(_) | Done::Fold(_) => {}
            Done::Fetch(id, result) => {
                self.under_way = self.under_way.saturating_sub(1);
                if let Err(error) = &result {
                    tracing::error!(%error, "the store can't be read");
                }
                self.handle(Input::Fetched {
                    id: FetchId(id),
                    result,
                });
            }
        }
    }

    fn take_event(&mut self, event: Event) {
        self.handle(match event {
            Event::LinkUp {
                link,
                peer,
                peer_name,
                remote,
                ..
            } => {
                tracing::info!(%peer_name, %remote, "link up");
                Input::LinkUp {
                    link: LinkId(link.0),
                    peer,
                }
            }
            Event::Frame { link, bytes } => Input::Frame {
                link: LinkId(link.0),
                bytes,
            },
            Event::Sent { link, bytes } => Input::Sent {
                link: LinkId(link.0),
                bytes,
            },
            Event::LinkDown { link, reason } => {
                tracing::info!(%reason, "link down");
                Input::LinkDown {
                    link: LinkId(link.0),
                }
            }
        });
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Request {
                request,
                session,
                answer,
            } => {
                self.requests += 1;
                let id = RequestId(self.requests);
                self.waiting.insert(id, answer);
                self.handle(Input::Request {
                    id,
                    request,
                    session,
                });
            }
            Command::Status { answer } => {
                let _ = answer.send(report(
                    self.replica.status(self.now()),
                    self.folder.upkeep(),
                    self.wires.net.get(),
                ));
            }
            Command::Shutdown => self.closing = true,
        }
    }

    fn handle(&mut self, input: Input) {
        self.replica.handle(self.now(), input);
        while let Some(output) = self.replica.poll() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist(commit) => {
                self.under_way += 1;
                if self.committer.submit(commit).is_err() {
                    self.under_way = 0;
                    self.replica.handle(
                        self.now(),
                        Input::PersistFailed {
                            from: Ticket(0),
                            through: Ticket(u64::MAX),
                            error: StoreError::Failed("its thread is gone".to_owned()),
                        },
                    );
                }
            }
            Output::Fold(fold) => {
                self.under_way += 1;
                let id = fold.id;
                if self.folder.submit(fold).is_err() {
                    self.under_way -= 1;
                    let result = Err(StoreError::Failed("the folding thread is gone".to_owned()));
                    self.replica
                        .handle(self.now(), Input::Folded { id, result });
                }
            }
            Output::Fetch { id, fetch } => {
                self.under_way += 1;
                if self.fetcher.submit(id.0, fetch).is_err() {
                    self.under_way -= 1;
                    let result = Err(StoreError::Failed("the reading thread is gone".to_owned()));
                    self.replica
                        .handle(self.now(), Input::Fetched { id, result });
                }
            }
            Output::Send { link, frame } => {
                if let Some(net) = self.wires.net.get()
                    && let Err(error) = net.send(anabranch_net::LinkId(link.0), frame)
                {
                    // A link that just went down says so by an event of its own.
                    tracing::debug!(%error, "frame not sent");
                }
            }
            Output::Disconnect { link, reason } => {
                if let Some(net) = self.wires.net.get() {
                    net.disconnect(anabranch_net::LinkId(link.0), &reason);
                }
            }
            Output::Reply { id, reply } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    // Whoever asked may have gone away.
                    let _ = answer.send(reply);
                }
            }
            Output::Visible(visible) => {
                self.wires.visible.send_replace(visible.lsn);
                // Nobody listening is fine.
                let _ = self.wires.changes.send(Arc::new(visible));
            }
            Output::Notice(notice) => {
                if let Notice::Placed { here: false, .. } = notice {
                    self.wires.placed.send_replace(());
                }
                log(&notice);
            }
        }
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::ChangeRefused {
            document,
            hash,
            reason,
        } => {
            let hash = anabranch_core::ReplicaId::of_public_key(hash);
            tracing::warn!(%document, %hash, %reason, "a change was not let into its document");
        }
        Notice::HistoryAhead { peer, incarnation } => tracing::error!(
            %peer, %incarnation,
            "a peer holds more of this node's own history than it does itself: its data went back in time. It writes under a new \
             incarnation from now on; writes taken since the start may be missing elsewhere. Restore backups into an empty directory"
        ),
        Notice::BadFrame { peer, reason } => {
            tracing::warn!(%peer, %reason, "a peer sent what can't be read, and was disconnected");
        }
        Notice::OtherProtocol { peer, reason } => {
            tracing::error!(%peer, %reason, "a peer speaks no protocol that this node speaks, and was disconnected");
        }
        Notice::BadRecord { lsn, reason } => {
            tracing::error!(lsn = lsn.0, %reason, "a record of the log can't be read");
        }
        Notice::RecordsLost {
            rewritten,
            waiting,
            lost,
        } => tracing::error!(
            rewritten,
            waiting,
            lost,
            "records of the log can't be read; writes of this node that came after them were written anew, wait for what others \
             may still have, or are lost here. Check the disk"
        ),
        Notice::DiskFull { why } => tracing::error!(
            %why,
            "the disk is full: writes are refused, reads go on; writes are taken again as soon as there is room"
        ),
        Notice::DiskHasRoom => tracing::info!("the disk has room again"),
        Notice::FoldFailed { why } => tracing::error!(
            %why,
            "changes could not be moved from the log to their documents; it is tried again"
        ),
        Notice::DocumentsDamaged { what, .. } => tracing::error!(
            %what,
            "documents can't be read from the disk; they are asked for at other datacenters. Check the disk"
        ),
        Notice::DocumentsRepaired {
            peer, documents, ..
        } => {
            tracing::warn!(%peer, documents, "documents that could not be read have come from a peer");
        }
        Notice::LogTooShort {
            peer,
            namespace,
            origin,
            seq,
        } => tracing::info!(
            %peer, %namespace, %origin, first = seq.0,
            "a peer lacks batches that this node's log does not hold any more; it gets what it lacks by a repair"
        ),
        Notice::NamespaceRepaired {
            peer,
            namespace,
            documents,
            took_ms,
        } => {
            tracing::info!(%peer, %namespace, documents, took_ms, "what was missing here has come from a peer");
        }
        Notice::RootsDiffer { peer, namespace } => tracing::error!(
            %peer, %namespace,
            "a peer does not hold the same as this node, although both have seen the same batches: something was lost or is broken \
             on either side. It is being looked for and repaired; check the disks"
        ),
        Notice::RepairRefused {
            peer,
            namespace,
            why,
        } => tracing::error!(
            %peer, %namespace, %why,
            "what a peer offered for a repair can't be true, and was not let in; the peer is not asked again for a while"
        ),
        Notice::Placed {
            namespace,
            datacenters,
            here,
        } => {
            let datacenters = datacenters
                .as_ref()
                .map(|names| names.iter().collect::<Vec<_>>());
            let datacenters = datacenters.map_or("all".to_owned(), |names| names.join(", "));
            tracing::info!(%namespace, %datacenters, here, "a namespace is placed");
        }
        Notice::LetGo { namespace } => tracing::info!(
            %namespace,
            "the datacenters that are to hold a namespace keep all of it: nothing of it is here any more"
        ),
        Notice::MemberSetAside {
            peer,
            name,
            away_ms,
            by_policy,
        } => tracing::warn!(
            %name, %peer, away_s = away_ms / 1_000, by_policy,
            "a member is set aside: this node keeps nothing for it and waits for it no longer; it counts again once it is back and has \
             caught up"
        ),
        Notice::MemberWelcomed {
            peer,
            name,
            caught_up,
        } => tracing::info!(%name, %peer, caught_up, "a member that was set aside counts again"),
        _ => tracing::warn!(?notice, "notice"),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
