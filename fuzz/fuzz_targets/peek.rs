//! `cargo +nightly fuzz run peek`: a body that passes at any endpoint is one JSON object, and says of its model and of
//! streaming what `serde_json` reads there.
#![no_main]

use hookway::chat::peek;
use hookway::hook::Endpoint;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|body: &[u8]| {
    for endpoint in Endpoint::ALL {
        let Ok(found) = peek(endpoint, body) else { continue };
        let tree: Map<String, Value> = serde_json::from_slice(body).expect("what passes is an object");
        assert_eq!(found.model.as_deref(), tree.get("model").and_then(Value::as_str));
        assert_eq!(found.stream, tree.get("stream") == Some(&Value::Bool(true)));
    }
});
