//! Generated JSON for tests, and an own reading of it that knows neither [`super::strict`] nor `serde_json::Value`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;

/// What a JSON text says, read without `serde_json::Value`: of objects the members, in order.
pub(crate) fn members(json: &str) -> Option<Vec<(String, String)>> {
    struct Members(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                        members.push((key, value.get().to_owned()));
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Members>(json).ok().map(|Members(members)| members)
}

/// Whether an object somewhere in valid JSON has a key twice or one of `serde_json`'s own.
pub(crate) fn is_ambiguous(json: &str) -> bool {
    if let Some(members) = members(json) {
        let mut keys = BTreeMap::new();
        return members.iter().any(|(key, value)| {
            key.starts_with("$serde_json::private::")
                || keys.insert(key.clone(), ()).is_some()
                || is_ambiguous(value)
        });
    }
    serde_json::from_str::<Vec<&RawValue>>(json)
        .is_ok_and(|items| items.iter().any(|item| is_ambiguous(item.get())))
}

/// Valid JSON without the choices of who wrote it, again without `serde_json::Value`.
pub(crate) fn normal(json: &str) -> String {
    if let Some(members) = members(json) {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{key:?}:{}", normal(value))).collect();
        return format!("{{{}}}", members.join(","));
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json) {
        let items: Vec<String> = items.iter().map(|item| normal(item.get())).collect();
        return format!("[{}]", items.join(","));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => format!("{text:?}"),
        Err(_) => json.trim().to_ascii_lowercase().replace('+', ""),
    }
}

pub(crate) fn key() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "a",
        "content",
        "messages",
        "",
        "é",
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
    ]);
    (name, prop::collection::vec(any::<bool>(), 0..4)).prop_map(|(name, escaped)| {
        let mut escaped = escaped.into_iter().chain(std::iter::repeat(false));
        name.chars()
            .map(
                |c| {
                    if escaped.next() == Some(true) { format!("\\u{:04x}", c as u32) } else { c.to_string() }
                },
            )
            .collect()
    })
}

/// JSON with few different keys, a third of them `serde_json`'s own, written with and without escapes.
pub(crate) fn json() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "7",
        "-0.5e3",
        "1E999",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "\"[1]\"",
        "\"{\\\"a\\\":1}\"",
    ]);
    scalar.prop_map(str::to_owned).prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key(), inner), 0..5).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
