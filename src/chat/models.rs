//! Model lists: several upstreams' `GET /v1/models` answers as one.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The models of one or more upstreams. Each is kept as its upstream wrote it, unknown fields included.
#[derive(Clone, Debug, Default)]
pub struct ModelList<'a> {
    models: Vec<(Cow<'a, str>, &'a RawValue)>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<&'a RawValue>,
}

impl<'a> ModelList<'a> {
    /// Reads one upstream's answer. An entry without an `id` is left out: no client could ask for it.
    pub fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer<'a> = serde_json::from_slice(body)?;
        let models = answer.data.into_iter().filter_map(|raw| {
            let model: Model<'a> = serde_json::from_str(raw.get()).ok()?;
            Some((model.id, raw))
        });
        Ok(Self { models: models.collect() })
    }

    /// All models of `lists`; of those with the same id the first, for its upstream is the one that answers.
    pub fn merge(lists: impl IntoIterator<Item = Self>) -> Self {
        let mut known = HashSet::new();
        let models = lists.into_iter().flat_map(|list| list.models);
        Self { models: models.filter(|(id, _)| known.insert(id.clone())).collect() }
    }

    /// The body of `GET /v1/models`.
    pub fn to_body(&self) -> Bytes {
        let list = List { object: "list", data: self.models.iter().map(|(_, raw)| *raw).collect() };
        serde_json::to_vec(&list).expect("raw values are JSON already").into()
    }

    /// The body of `GET /v1/models/{id}`.
    pub fn pick(&self, id: &str) -> Option<Bytes> {
        let (_, raw) = self.models.iter().find(|(known, _)| known == id)?;
        Some(Bytes::copy_from_slice(raw.get().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = br#"{"object":"list","data":[{"id":"a","owned_by":"one","x":1.0},{"id":"b/c"}]}"#;
    const SECOND: &[u8] =
        br#"{"data":[{"id":"a","owned_by":"two"},{"owned_by":"nobody"},{"id":"d"}],"has_more":false}"#;

    fn merged() -> ModelList<'static> {
        ModelList::merge([FIRST, SECOND].map(|body| ModelList::parse(body).unwrap()))
    }

    #[test]
    fn the_first_of_two_equal_ids_stays_as_it_was_written() {
        let expected =
            r#"{"object":"list","data":[{"id":"a","owned_by":"one","x":1.0},{"id":"b/c"},{"id":"d"}]}"#;
        assert_eq!(merged().to_body(), expected);
    }

    #[test]
    fn one_model_is_picked_by_its_whole_id() {
        assert_eq!(merged().pick("b/c").unwrap(), r#"{"id":"b/c"}"#);
        assert_eq!(merged().pick("b"), None);
    }

    #[test]
    fn no_upstream_is_an_empty_list_and_no_list_is_an_error() {
        assert_eq!(ModelList::merge([]).to_body(), r#"{"object":"list","data":[]}"#);
        for body in [&b""[..], b"<html>", br#"{"models":[]}"#, br#"{"data":[}"#] {
            assert!(ModelList::parse(body).is_err());
        }
    }
}
