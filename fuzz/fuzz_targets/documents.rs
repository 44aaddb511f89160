//! `cargo +nightly fuzz run documents`: any text is a document or a list of errors: a configuration, a plugin's
//! manifest, TOML and JSON.
#![no_main]

use hookway::document::Document;
use hookway::package::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    told(Document::read_toml("fuzz.toml", text, |_| Some(())).map_err(|errors| errors.to_string()));
    told(Document::read_json("fuzz.json", text, |_| Some(())).map_err(|errors| errors.to_string()));
    told(Manifest::parse(text).map_err(|errors| errors.to_string()));
    // A configuration may name files, which are read; what they are is not this target's business.
    if !["file", "tls", "path", "dir"].iter().any(|word| text.contains(word)) {
        let config = hookway::config::parse(text, "fuzz.toml", "/nowhere".as_ref(), &Default::default());
        told(config.map_err(|errors| errors.to_string()));
    }
});

/// What is refused is told why.
fn told<T>(read: Result<T, String>) {
    if let Err(errors) = read {
        assert!(!errors.is_empty());
    }
}
