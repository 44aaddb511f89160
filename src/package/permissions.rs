//! `permissions`: what a plugin asks to be allowed beyond computing. Everything is refused that is not asked for.

use crate::document::{Node, Section, Value, Wrong, boolean, one_of, parsed, text};

/// What one of OmniRoute's words asks for is as broad as it sounds, so it names no variable and grants none.
const OMNIROUTE_WORDS: [(&str, ()); 5] =
    [("network", ()), ("file-read", ()), ("file-write", ()), ("env", ()), ("exec", ())];

/// The environment variables asked for. The other permissions are checked for their shape and not yet granted.
pub(super) fn read(root: &mut Section<'_, '_>) -> Vec<String> {
    root.optional_table("requires", "{ \"permissions\": [\"network\"] }", |requires| {
        requires.get("omniroute", text);
        requires.list("permissions", one_of(&OMNIROUTE_WORDS));
    });
    const KEY: &str = "permissions";
    if let Some(Node { value: Value::List(_), .. }) = root.node(KEY) {
        root.list(KEY, one_of(&OMNIROUTE_WORDS));
        return Vec::new();
    }
    root.optional_table(KEY, "{ \"env\": [\"TZ\"] }", asked_for).unwrap_or_default()
}

fn asked_for(section: &mut Section<'_, '_>) -> Vec<String> {
    section.optional_table("fs", "{ \"read\": [\"/etc/ssl\"] }", |fs| {
        fs.list("read", parsed(path));
        fs.list("write", parsed(path));
    });
    match section.node("network").map(|node| &node.value) {
        Some(Value::List(_)) => drop(section.list("network", parsed(port))),
        Some(_) | None => drop(section.get("network", parsed(network))),
    }
    match section.node("exec").map(|node| &node.value) {
        Some(Value::List(_)) => drop(section.list("exec", text)),
        Some(_) | None => drop(section.get("exec", nothing)),
    }
    section.list("env", parsed(variable)).unwrap_or_default()
}

fn network(text: &str) -> Result<(), String> {
    match text {
        "none" | "any" => Ok(()),
        _ => Err("is not \"none\", \"any\" or a list of ports; write it like [\"tcp:443\"]".to_owned()),
    }
}

fn nothing(node: &Node) -> Result<(), Wrong> {
    match boolean(node) {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => Err(Wrong::Type("false, or a list of programs".to_owned())),
    }
}

/// The gateway's own variables hold its secrets and are nobody else's.
fn variable(name: &str) -> Result<String, String> {
    let is_name = |first: u8, rest: &[u8]| {
        (first.is_ascii_alphabetic() || first == b'_')
            && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    match name.as_bytes() {
        _ if name.starts_with("HOOKWAY_") => Err("is the gateway's own; leave it out".to_owned()),
        [first, rest @ ..] if is_name(*first, rest) => Ok(name.to_owned()),
        _ => Err("is not the name of a variable; write letters, digits and _".to_owned()),
    }
}

fn path(text: &str) -> Result<(), String> {
    let climbs = text.split('/').any(|part| part == "..");
    if text.is_empty() || climbs {
        return Err(
            "is no path; write one without .., absolute or relative to the plugin's folder".to_owned()
        );
    }
    Ok(())
}

fn port(text: &str) -> Result<(), String> {
    let port = text.strip_prefix("tcp:").and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(()),
        Some(0) | None => Err("is no port; write it like \"tcp:443\"".to_owned()),
    }
}
