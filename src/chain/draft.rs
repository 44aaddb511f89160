//! A request on its way through the chain: what the client sent and what hooks made of it.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::chat::{self, Refusal};
use crate::hook::{Endpoint, HeaderChanges};
use crate::record::HookRun;

/// The request as the next hook sees it.
pub struct Draft {
    /// Whose dialect the body speaks.
    pub endpoint: Endpoint,
    pub body: Body,
    pub model: Option<String>,
    pub stream: bool,
    /// The client asked for a usage chunk at the end of its stream.
    pub include_usage: bool,
    /// What hooks changed in the header that goes upstream.
    pub headers: HeaderChanges,
    /// The upstream a hook chose, past the routes.
    pub upstream: Option<String>,
    pub metadata: Map<String, Value>,
    /// Every hook call so far, in the order they ended.
    pub runs: Vec<HookRun>,
}

impl Draft {
    /// Reads what the chain and the routes need from a body that has to be one whole JSON object.
    pub fn new(endpoint: Endpoint, body: Bytes) -> Result<Self, Refusal> {
        let peek = chat::peek(endpoint, &body)?;
        Ok(Self {
            endpoint,
            model: peek.model.as_deref().map(str::to_owned),
            stream: peek.stream,
            include_usage: peek.include_usage,
            body: Body::new(body),
            headers: HeaderChanges::default(),
            upstream: None,
            metadata: Map::new(),
            runs: Vec::new(),
        })
    }
}

/// The body in up to three forms. The client's bytes are kept as they came; a tree exists only from the
/// first patch on, and is written out once, when the next reader needs bytes.
pub struct Body {
    bytes: Bytes,
    tree: Option<Value>,
    /// The tree is newer than the bytes.
    stale: bool,
}

impl Body {
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, tree: None, stale: false }
    }

    /// Makes [`Self::bytes`] current.
    pub fn settle(&mut self) {
        if self.stale {
            let tree = self.tree.as_ref().expect("only a tree makes the bytes stale");
            self.bytes = serde_json::to_vec(tree).expect("a JSON tree can be written").into();
            self.stale = false;
        }
    }

    /// The current bytes: the client's own, unless a hook changed them. Call [`Self::settle`] first.
    pub fn bytes(&self) -> &Bytes {
        debug_assert!(!self.stale, "a patched body has to be settled before it is read");
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body as a tree, to be changed in place by [`Self::edit`].
    pub(super) fn tree(&mut self) -> Result<&Value, serde_json::Error> {
        self.load_tree().map(|tree| &*tree)
    }

    /// Changes the tree; the edit either happens whole or leaves the tree as it was.
    pub(super) fn edit<E>(&mut self, edit: impl FnOnce(&mut Value) -> Result<(), E>) -> Result<(), E>
    where
        E: From<serde_json::Error>,
    {
        edit(self.load_tree()?)?;
        self.stale = true;
        Ok(())
    }

    pub(super) fn replace(&mut self, bytes: Bytes) {
        *self = Self::new(bytes);
    }

    fn load_tree(&mut self) -> Result<&mut Value, serde_json::Error> {
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => serde_json::from_slice(&self.bytes)?,
        };
        Ok(self.tree.insert(tree))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_body_stays_the_clients_bytes() {
        let client = Bytes::from_static(br#"{ "model":"m", "seed": 1.0, "x":18446744073709551616 }"#);
        let mut body = Body::new(client.clone());
        assert!(body.tree().is_ok());
        body.settle();
        assert_eq!(body.bytes().as_ptr(), client.as_ptr());
    }

    #[test]
    fn numbers_and_key_order_survive_an_edit() {
        let mut body = Body::new(Bytes::from_static(br#"{"z":1.0,"a":18446744073709551616,"m":"x"}"#));
        body.edit(|tree| -> Result<(), serde_json::Error> {
            tree["m"] = Value::from("y");
            Ok(())
        })
        .unwrap();
        body.settle();
        assert_eq!(&body.bytes()[..], br#"{"z":1.0,"a":18446744073709551616,"m":"y"}"#);
    }
}
