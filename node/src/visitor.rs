//! One client's session, wherever it goes.

use std::time::Duration;

use anabranch_core::{
    DocumentId, Edit, Intent, Namespace, Page, Reply, Request, Session, Snapshot, Token, Write,
    Written,
};
use serde_json::Value;

use crate::{Error, Node, Scan, questions};

const WAIT: Duration = Duration::from_secs(1);

/// A session at a node: it never sees less than it has seen before, here or at another node, and what it
/// writes comes after all of that everywhere. Its [`token`](Self::token) takes it to another node
/// ([`Node::resume`]), also as text.
///
/// ```
/// # use anabranch::{Config, Node, Token};
/// # use serde_json::json;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let eu = Node::open(Config::new(dir.path())).await?;
/// # let us = eu.clone();
/// let mut session = eu.session();
/// session.put("carts", "alice", json!({"items": {}})).await?;
/// let cookie = session.token().to_string();
/// // The next request goes to another datacenter.
/// let mut session = us.resume(cookie.parse::<Token>()?);
/// assert!(session.get("carts", "alice").await?.is_some());
/// # drop(session);
/// # eu.shutdown().await?;
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Visitor {
    node: Node,
    token: Token,
    wait: Duration,
}

impl Visitor {
    pub(crate) fn new(node: Node, token: Token) -> Self {
        Self {
            node,
            token,
            wait: WAIT,
        }
    }

    /// How long a request waits for what the session has seen elsewhere. Default 1 s; the node has a bound
    /// of its own, [`Config::session_wait_max`](crate::Config::session_wait_max).
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What the session has seen, to be taken along.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Has seen from now on what another session has seen, too.
    pub fn join(&mut self, token: &Token) {
        self.token.merge(token);
    }

    /// Asks the replica anything.
    ///
    /// # Errors
    /// [`anabranch_core::RequestError::Behind`] when the node has not come to see in time what the session
    /// has, and as for [`Node::ask`].
    pub async fn ask(&mut self, request: Request) -> Result<Reply, Error> {
        let session = Session {
            token: self.token.clone(),
            wait_ms: u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX),
        };
        let answer = self.node.ask(request, session).await?;
        self.token = answer.token;
        Ok(answer.reply)
    }

    /// Reads a document; none if it is not there.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::get`].
    pub async fn get(&mut self, namespace: &str, key: &str) -> Result<Option<Snapshot>, Error> {
        let document = DocumentId::new(namespace, key)?;
        let reply = self.ask(questions::read(document)).await?;
        Ok(questions::document(reply)?.0)
    }

    /// Carries out edits, all or none.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::apply`].
    pub async fn apply(
        &mut self,
        namespace: &str,
        key: &str,
        edits: impl IntoIterator<Item = Edit>,
    ) -> Result<Written, Error> {
        let intent = Intent::Edits(edits.into_iter().collect());
        self.write(DocumentId::new(namespace, key)?, intent).await
    }

    /// Makes a document equal to a JSON object, by writing what differs.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::put`].
    pub async fn put(
        &mut self,
        namespace: &str,
        key: &str,
        value: Value,
    ) -> Result<Written, Error> {
        let document = DocumentId::new(namespace, key)?;
        self.write(document, Intent::Replace(value)).await
    }

    /// Deletes a document. An edit elsewhere that the session has not seen survives.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::delete`].
    pub async fn delete(&mut self, namespace: &str, key: &str) -> Result<Written, Error> {
        let document = DocumentId::new(namespace, key)?;
        self.write(document, Intent::Delete).await
    }

    /// Writes several documents of a namespace: all or none, here and wherever it arrives.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::batch`].
    pub async fn batch(
        &mut self,
        namespace: &str,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Vec<Written>, Error> {
        let namespace = Namespace::new(namespace)?;
        let writes: Vec<Write> = writes.into_iter().collect();
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let request = questions::batch(namespace, writes);
        questions::all_written(self.ask(request).await?)
    }

    /// Lists documents in key order, a page at a time.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::scan`].
    pub async fn scan(&mut self, namespace: &str, scan: Scan) -> Result<Page, Error> {
        questions::page(self.ask(questions::scan(namespace, scan)?).await?)
    }

    async fn write(&mut self, document: DocumentId, intent: Intent) -> Result<Written, Error> {
        let request = questions::write(document, intent, None);
        questions::written(self.ask(request).await?)
    }
}
