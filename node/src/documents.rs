//! Reading and writing documents at a node, outside of any session.

use std::time::Duration;

use anabranch_core::{
    Ack, Acknowledged, Conflict, DocumentId, Edit, Guard, Intent, Namespace, Page, PatchOperation,
    Reply, Request, Session, Snapshot, Version, Versions, Write, Written,
};
use serde_json::Value;

use crate::driver::milliseconds;
use crate::{Error, Node, Scan, questions};

impl Node {
    /// Reads a document; none if it is not there. Sees everything that was acknowledged here before.
    ///
    /// # Errors
    /// When the address is no valid name, the store can't be read, or the node is shutting down.
    pub async fn get(&self, namespace: &str, key: &str) -> Result<Option<Snapshot>, Error> {
        let document = DocumentId::new(namespace, key)?;
        let reply = self.reply(questions::read(document)).await?;
        Ok(questions::document(reply)?.0)
    }

    /// Reads a document as it was at a version; none if it was not there then.
    ///
    /// # Errors
    /// [`anabranch_core::RequestError::UnknownVersion`], and as for [`Node::get`].
    pub async fn get_at(
        &self,
        namespace: &str,
        key: &str,
        version: Version,
    ) -> Result<Option<Snapshot>, Error> {
        let request = Request::Read {
            document: DocumentId::new(namespace, key)?,
            at: Some(version),
            conflicts: false,
        };
        Ok(questions::document(self.reply(request).await?)?.0)
    }

    /// Reads a document, and where values in it lost against others that were written at the same time.
    ///
    /// # Errors
    /// As for [`Node::get`].
    pub async fn conflicts(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<(Option<Snapshot>, Vec<Conflict>), Error> {
        let request = Request::Read {
            document: DocumentId::new(namespace, key)?,
            at: None,
            conflicts: true,
        };
        questions::document(self.reply(request).await?)
    }

    /// A document's versions, newest first, leaving out so many of the newest.
    ///
    /// # Errors
    /// When the limit is not 1 to 1,000, and as for [`Node::get`].
    pub async fn versions(
        &self,
        namespace: &str,
        key: &str,
        skip: usize,
        limit: usize,
    ) -> Result<Versions, Error> {
        let document = DocumentId::new(namespace, key)?;
        let request = Request::Versions {
            document,
            skip,
            limit,
        };
        questions::versions(self.reply(request).await?)
    }

    /// What makes a document as it was at one version what it was at another (none: what it is now).
    ///
    /// # Errors
    /// As for [`Node::get_at`].
    pub async fn diff(
        &self,
        namespace: &str,
        key: &str,
        from: Version,
        to: Option<Version>,
    ) -> Result<Vec<PatchOperation>, Error> {
        let document = DocumentId::new(namespace, key)?;
        let request = Request::Diff { document, from, to };
        questions::diff(self.reply(request).await?)
    }

    /// Carries out edits, all or none. Returns once they are durable here.
    ///
    /// # Errors
    /// When an edit does not fit the document (nothing is written then), and as for [`Node::get`].
    pub async fn apply(
        &self,
        namespace: &str,
        key: &str,
        edits: impl IntoIterator<Item = Edit>,
    ) -> Result<Written, Error> {
        let intent = Intent::Edits(edits.into_iter().collect());
        let document = DocumentId::new(namespace, key)?;
        self.write(document, intent, None).await
    }

    /// Makes a document equal to a JSON object, by writing what differs.
    ///
    /// # Errors
    /// When the value is no object, and as for [`Node::apply`].
    pub async fn put(&self, namespace: &str, key: &str, value: Value) -> Result<Written, Error> {
        let document = DocumentId::new(namespace, key)?;
        self.write(document, Intent::Replace(value), None).await
    }

    /// Deletes a document. An edit elsewhere at the same time survives.
    ///
    /// # Errors
    /// As for [`Node::get`].
    pub async fn delete(&self, namespace: &str, key: &str) -> Result<Written, Error> {
        let document = DocumentId::new(namespace, key)?;
        self.write(document, Intent::Delete, None).await
    }

    /// Any write, on a condition if need be. Durable when it returns.
    ///
    /// # Errors
    /// As for [`Node::apply`], and [`anabranch_core::RequestError::Guard`] when the condition does not hold
    /// here.
    pub async fn write(
        &self,
        document: DocumentId,
        intent: Intent,
        guard: Option<Guard>,
    ) -> Result<Written, Error> {
        let request = questions::write(document, intent, guard);
        questions::written(self.reply(request).await?)
    }

    /// Writes several documents of a namespace: all or none, here and wherever it arrives. What became of
    /// each, in order. No writes, such as those of drafts that nobody changed, are nothing to do.
    ///
    /// # Errors
    /// [`anabranch_core::RequestError::OneOf`] with what is wrong with one of them, and as for
    /// [`Node::apply`].
    pub async fn batch(
        &self,
        namespace: &str,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Vec<Written>, Error> {
        let namespace = Namespace::new(namespace)?;
        let writes: Vec<Write> = writes.into_iter().collect();
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let request = questions::batch(namespace, writes);
        questions::all_written(self.reply(request).await?)
    }

    /// The same, and waits until as many datacenters hold it durably as are asked for, but no longer than `wait` from
    /// now on. Who holds it is told in any case: if they have not become as many in time, the write stands all the same
    /// and goes on its way. None for [`Ack::Local`], which waits for nobody.
    ///
    /// # Errors
    /// As for [`Node::batch`].
    pub async fn batch_acknowledged(
        &self,
        namespace: &str,
        writes: impl IntoIterator<Item = Write>,
        ack: Ack,
        wait: Duration,
    ) -> Result<(Vec<Written>, Option<Acknowledged>), Error> {
        let request = questions::batch_for(
            ack,
            Namespace::new(namespace)?,
            writes.into_iter().collect(),
        );
        let session = Session {
            wait_ms: milliseconds(wait),
            ..Session::default()
        };
        questions::all_acknowledged(self.ask(request, session).await?.reply)
    }

    /// Lists documents in key order, a page at a time.
    ///
    /// # Errors
    /// When the limit is not 1 to 1,000, and as for [`Node::get`].
    pub async fn scan(&self, namespace: &str, scan: Scan) -> Result<Page, Error> {
        questions::page(self.reply(questions::scan(namespace, scan)?).await?)
    }

    async fn reply(&self, request: Request) -> Result<Reply, Error> {
        Ok(self.ask(request, Session::default()).await?.reply)
    }
}
