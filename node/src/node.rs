//! The handle that an application holds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_core::{
    Answer, Datacenters, Lsn, Namespace, NamespaceStatus, ReplicaId, Request, RequestError,
    Session, Token, Verified, Visible,
};
use anabranch_net::{Net, Roster};
use anabranch_store::Engine;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::backup::Source;
use crate::driver::{self, Command, Driver, Uplink, Wires};
use crate::report::Report;
use crate::start::{Started, start};
use crate::{Changes, Config, Error, OpenError, Scan, Visitor, members, questions};

/// A running node. Clones share it; it stops when the last one is dropped, or by [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    commands: mpsc::Sender<Command>,
    /// Weak: feeds end when the replica's thread does.
    changes: broadcast::WeakSender<Arc<Visible>>,
    visible: watch::Receiver<Lsn>,
    /// Changes when a namespace is placed elsewhere.
    placed: watch::Receiver<()>,
    gossip: Option<SocketAddr>,
    roster: Option<Roster>,
    source: Source,
    /// Ends when the members are written down for the last time.
    keeper: Mutex<Option<tokio::task::JoinHandle<()>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Node {
    /// Opens the data directory, recovers what it holds, and begins to listen and to connect.
    ///
    /// # Errors
    /// When the directory is in use or damaged, a certificate does not fit, or the gossip address is taken.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let gossip = config.gossip.clone();
        let (data_dir, datacenter) = (config.data_dir.clone(), config.datacenter.clone());
        let placements = config.placements.clone();
        let opening = tokio::task::spawn_blocking(move || start(&config));
        let Started {
            replica,
            store,
            source,
            identity,
            known,
        } = opening
            .await
            .map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
        let (events, incoming) = mpsc::channel(driver::EVENTS_MAX);
        let net = match gossip.zip(identity) {
            None => Uplink::Alone(events),
            Some((gossip, identity)) => {
                let mut settings = anabranch_net::Config::new(gossip.listen, identity);
                settings.datacenter = datacenter;
                settings.advertise = gossip.advertise;
                settings.seeds = gossip.seeds;
                settings.discover = gossip.discover;
                settings.known = known;
                settings.keep_alive = gossip.timing.keep_alive;
                settings.idle_timeout = gossip.timing.idle_timeout;
                settings.handshake_timeout = gossip.timing.handshake_timeout;
                settings.backoff_max = gossip.timing.backoff_max;
                Uplink::Net(Net::bind(settings, events).await?)
            }
        };
        let (commands, requests) = mpsc::channel(driver::COMMANDS_MAX);
        let changes = broadcast::Sender::new(driver::CHANGES_MAX);
        let (now_visible, visible) = watch::channel(replica.log_end());
        let (now_placed, placed) = watch::channel(());
        let feed = changes.downgrade();
        let gossip = net.get().map(Net::local_addr);
        let roster = net.get().map(Net::roster);
        let wires = Wires {
            commands: requests,
            events: incoming,
            changes,
            visible: now_visible,
            placed: now_placed,
            net,
        };
        let engine: Arc<dyn Engine> = store;
        let thread = Driver::spawn(replica, &engine, wires).map_err(OpenError::Thread)?;
        let thread = Mutex::new(Some(thread));
        let keeper = roster
            .clone()
            .map(|roster| tokio::spawn(members::keep(roster, data_dir)));
        let node = Self(Arc::new(Shared {
            commands,
            changes: feed,
            visible,
            placed,
            gossip,
            roster,
            source,
            keeper: Mutex::new(keeper),
            thread,
        }));
        let request = Request::Configure { placements };
        if let Err(error) = node.ask(request, Session::default()).await {
            // What is placed already stays so; the next start says it again.
            tracing::error!(%error, "where the configuration places namespaces was not taken in");
        }
        Ok(node)
    }

    /// Asks the replica anything, for a session. Everything else that reads or writes is built on this.
    ///
    /// # Errors
    /// What the replica refuses, and [`Error::Closed`] when the node is shutting down.
    pub async fn ask(&self, request: Request, session: Session) -> Result<Answer, Error> {
        let (answer, reply) = oneshot::channel();
        let command = Command::Request {
            request,
            session,
            answer,
        };
        let sent = self.0.commands.send(command).await;
        sent.map_err(|_| Error::Closed)?;
        Ok(reply.await.map_err(|_| Error::Closed)??)
    }

    /// A session that has seen nothing yet.
    #[must_use]
    pub fn session(&self) -> Visitor {
        self.resume(Token::default())
    }

    /// A session that goes on here, wherever it was before.
    #[must_use]
    pub fn resume(&self, token: Token) -> Visitor {
        Visitor::new(self.clone(), token)
    }

    /// Follows what becomes visible here: in one namespace or in all, under a key prefix, from now on or
    /// after a position that an earlier feed gave.
    #[must_use]
    pub fn subscribe(
        &self,
        namespace: Option<Namespace>,
        prefix: &str,
        after: Option<Lsn>,
    ) -> Changes {
        // First listen, then look where the log ends, so that nothing falls between.
        let live = match self.0.changes.upgrade() {
            Some(changes) => changes.subscribe(),
            // Shut down: a feed that has ended.
            None => broadcast::channel(1).1,
        };
        let last = after.unwrap_or(*self.0.visible.borrow());
        Changes::new(
            self.clone(),
            live,
            self.0.placed.clone(),
            namespace,
            prefix.to_owned(),
            last,
            after.is_some(),
        )
    }

    /// What the node is doing.
    ///
    /// # Errors
    /// [`Error::Closed`] when it is shutting down.
    pub async fn status(&self) -> Result<Report, Error> {
        let (answer, status) = oneshot::channel();
        self.0
            .commands
            .send(Command::Status { answer })
            .await
            .map_err(|_| Error::Closed)?;
        status.await.map_err(|_| Error::Closed)
    }

    /// Sets a member aside: nothing is kept for it here and nobody waits for it any more, until it comes back and has
    /// caught up. Durable when it returns; this node's own decision, of which no other hears. False if it was so
    /// already.
    ///
    /// # Errors
    /// [`RequestError::NoMember`] for somebody who was never met or is this node, [`RequestError::NotWrittenDown`] when
    /// it is done and may not outlive a restart, and [`Error::Closed`].
    pub async fn set_aside(&self, member: ReplicaId) -> Result<bool, Error> {
        self.decide(member, true).await
    }

    /// Counts a member again that was set aside, whether it is back or not. False if it counted already.
    ///
    /// # Errors
    /// As for [`Node::set_aside`].
    pub async fn welcome(&self, member: ReplicaId) -> Result<bool, Error> {
        self.decide(member, false).await
    }

    async fn decide(&self, member: ReplicaId, aside: bool) -> Result<bool, Error> {
        let request = Request::SetAside { member, aside };
        let answer = self.ask(request, Session::default()).await?;
        questions::is_set_aside(&answer.reply)
    }

    /// A BLAKE3 hash over every document of a namespace: keys, versions and content. Equal on two nodes
    /// exactly if all of that is equal. Reads everything.
    ///
    /// # Errors
    /// As for [`Node::scan`].
    pub async fn fingerprint(&self, namespace: &str) -> Result<([u8; 32], usize), Error> {
        let mut hasher = blake3::Hasher::new();
        let mut scan = Scan {
            limit: 500,
            values: true,
            ..Scan::default()
        };
        let mut documents = 0;
        loop {
            let page = self.scan(namespace, scan.clone()).await?;
            documents += page.documents.len();
            for listed in &page.documents {
                let line = serde_json::to_vec(listed)
                    .map_err(|error| RequestError::Store(error.to_string()))?;
                hasher
                    .update(&(line.len() as u64).to_le_bytes())
                    .update(&line);
            }
            match page.next {
                Some(next) => scan.after = Some(next.as_str().to_owned()),
                None => return Ok((*hasher.finalize().as_bytes(), documents)),
            }
        }
    }

    /// Asks all members whether they hold the same of a namespace as this node does now, and repairs what differs.
    /// Takes a moment: whoever is behind has to catch up first.
    ///
    /// # Errors
    /// [`RequestError::NotReady`] shortly after a start; [`Error::Closed`] when the node is shutting down.
    pub async fn verify(&self, namespace: &str) -> Result<Verified, Error> {
        let namespace = Namespace::new(namespace)?;
        let request = Request::Verify { namespace };
        let answer = self.ask(request, Session::default()).await?;
        questions::verified(answer.reply)
    }

    /// Says in which datacenters a namespace is, none: in all there are. Its documents and what is told of them go to no other. Any node
    /// may be asked; it spreads by itself, and is durable here when this returns. Data moves in the background: where a datacenter is
    /// new, it comes from the others; where one is taken out, the namespace is refused at once, and let go of once the others hold it.
    /// With `force` also to datacenters that no member is known to be in. False if it was so already.
    ///
    /// # Errors
    /// [`RequestError::NoDatacenter`] for one that nobody is in, what a write is refused for, and [`Error::Closed`].
    pub async fn place(
        &self,
        namespace: &str,
        datacenters: Option<Datacenters>,
        force: bool,
    ) -> Result<bool, Error> {
        let request = Request::Place {
            namespace: Namespace::new(namespace)?,
            datacenters,
            force,
        };
        let answer = self.ask(request, Session::default()).await?;
        questions::is_placed(&answer.reply)
    }

    /// The namespaces that this node knows of, and where they are.
    ///
    /// # Errors
    /// [`Error::Closed`] when it is shutting down.
    pub async fn namespaces(&self) -> Result<Vec<NamespaceStatus>, Error> {
        Ok(self.status().await?.replica.namespaces)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.0.source
    }

    pub(crate) fn roster(&self) -> Option<&Roster> {
        self.0.roster.as_ref()
    }

    /// Where it listens for others, if it does.
    #[must_use]
    pub fn gossip_addr(&self) -> Option<SocketAddr> {
        self.0.gossip
    }

    /// Takes no more requests, finishes those under way, makes everything durable, and says goodbye to the
    /// peers. Other clones of this handle get [`Error::Closed`] from then on.
    ///
    /// # Errors
    /// [`Error::Closed`] if it was shut down already.
    pub async fn shutdown(self) -> Result<(), Error> {
        let thread = self
            .0
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or(Error::Closed)?;
        let _ = self.0.commands.send(Command::Shutdown).await;
        let backups = self.0.source.close();
        let end = move || {
            // What they have to say of a panic, they have said.
            let _ = thread.join();
            for backup in backups {
                let _ = backup.join();
            }
        };
        let _ = tokio::task::spawn_blocking(end).await;
        let keeper = self.0.keeper.lock();
        let keeper = keeper.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.await;
        }
        Ok(())
    }
}
