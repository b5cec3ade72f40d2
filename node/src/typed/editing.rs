//! Reading and editing typed documents, at a node and in a session.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Draft, reading};
use crate::{Error, Key, Node, Visitor};

impl Node {
    /// Reads a document as a type; none if it is not there. See [`crate::typed`].
    ///
    /// # Errors
    /// [`TypedError::Unfit`](super::TypedError::Unfit) when it is not what the type says, and as for
    /// [`Node::get`].
    pub async fn read<T: DeserializeOwned>(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<T>, Error> {
        self.session().read(namespace, key).await
    }

    /// Changes a document as a type: hands it to a closure, or a new one if it is not there, and writes what the
    /// closure changed; nothing if it changed nothing. Gives what the closure gives, once the write is durable
    /// here. What others write in the meantime merges with it. See [`crate::typed`].
    ///
    /// # Errors
    /// When the document and the type don't go together, and as for [`Node::apply`].
    pub async fn edit<T, R>(
        &self,
        namespace: &str,
        key: &str,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.session().edit(namespace, key, change).await
    }

    /// As [`Node::edit`], with a closure that may refuse: then nothing is written.
    ///
    /// # Errors
    /// The closure's, and as for [`Node::edit`].
    pub async fn try_edit<T, R, E>(
        &self,
        namespace: &str,
        key: &str,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned + Default,
        E: From<Error>,
    {
        self.session().try_edit(namespace, key, change).await
    }

    /// Reads a document in order to change it, or a new one if it is not there. Drafts of several documents
    /// make one atomic [`Node::batch`].
    ///
    /// # Errors
    /// When the document and the type don't go together, and as for [`Node::get`].
    pub async fn draft<T>(&self, namespace: &str, key: &str) -> Result<Draft<T>, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.session().draft(namespace, key).await
    }
}

impl Visitor {
    /// Reads a document as a type; none if it is not there.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::read`].
    pub async fn read<T: DeserializeOwned>(
        &mut self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<T>, Error> {
        let snapshot = self.get(namespace, key).await?;
        let read = snapshot.map(|snapshot| reading::read(&snapshot.value));
        Ok(read.transpose()?)
    }

    /// Changes a document as a type, as [`Node::edit`] does.
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::edit`].
    pub async fn edit<T, R>(
        &mut self,
        namespace: &str,
        key: &str,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.try_edit(namespace, key, |document| Ok(change(document)))
            .await
    }

    /// As [`Self::edit`], with a closure that may refuse: then nothing is written.
    ///
    /// # Errors
    /// The closure's, and as for [`Self::edit`].
    pub async fn try_edit<T, R, E>(
        &mut self,
        namespace: &str,
        key: &str,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned + Default,
        E: From<Error>,
    {
        let mut draft = self.draft(namespace, key).await?;
        let given = change(&mut draft)?;
        let write = draft.into_write().map_err(Error::from)?;
        if write.is_some() {
            self.batch(namespace, write).await?;
        }
        Ok(given)
    }

    /// Reads a document in order to change it, or a new one if it is not there. Drafts of several documents
    /// make one atomic [`Visitor::batch`].
    ///
    /// # Errors
    /// As for [`Self::ask`] and [`Node::draft`].
    pub async fn draft<T>(&mut self, namespace: &str, key: &str) -> Result<Draft<T>, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let snapshot = self.get(namespace, key).await?;
        Ok(Draft::new(Key::new(key)?, snapshot)?)
    }
}
