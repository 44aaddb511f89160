//! Reading `permissions` of a manifest, and OmniRoute's words for them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Exec, Files, Network, Permissions, steps};
use crate::document::{Node, Section, Value, Wrong, boolean, one_of, parsed, text};

/// OmniRoute's words, each meaning what it means there.
#[derive(Clone, Copy)]
pub(in crate::package) enum Word {
    Network,
    FileRead,
    FileWrite,
    Env,
    Exec,
}

/// What a manifest of OmniRoute may ask for.
pub(in crate::package) const WORDS: [(&str, Word); 5] = [
    ("network", Word::Network),
    ("file-read", Word::FileRead),
    ("file-write", Word::FileWrite),
    ("env", Word::Env),
    ("exec", Word::Exec),
];

/// What OmniRoute's `env` adds to the variables every plugin gets there. None of them holds a secret.
const OMNIROUTE_ENV: [&str; 4] = ["HOSTNAME", "PORT", "TMPDIR", "TZ"];

impl Permissions {
    fn of_words(words: Vec<Word>) -> Self {
        let mut permissions = Self::default();
        for word in words {
            match word {
                Word::Network => permissions.network = Network::Any,
                Word::FileRead => drop(permissions.fs.read.insert("/".to_owned())),
                Word::FileWrite => drop(permissions.fs.write.insert("/".to_owned())),
                Word::Env => permissions.env.extend(OMNIROUTE_ENV.map(str::to_owned)),
                Word::Exec => permissions.exec = Exec::Any,
            }
        }
        permissions
    }
}

/// `permissions`, or `requires.permissions` of OmniRoute.
pub(in crate::package) fn read(root: &mut Section<'_, '_>) -> Permissions {
    const KEY: &str = "permissions";
    let required = root.optional_table("requires", "{ \"permissions\": [\"network\"] }", |requires| {
        requires.get("omniroute", text);
        requires.list(KEY, one_of(&WORDS))
    });
    let required = required.flatten();
    if required.is_some() && root.has(KEY) {
        root.problem(KEY, "permissions and requires.permissions are both there; leave one of them out");
    }
    if let Some(Node { value: Value::List(_), .. }) = root.node(KEY) {
        return root.list(KEY, one_of(&WORDS)).map(Permissions::of_words).unwrap_or_default();
    }
    let asked_for = root.optional_table(KEY, "{ \"env\": [\"TZ\"] }", asked_for);
    asked_for.or(required.map(Permissions::of_words)).unwrap_or_default()
}

fn asked_for(section: &mut Section<'_, '_>) -> Permissions {
    let fs = section.optional_table("fs", "{ \"read\": [\"/etc/ssl\"] }", |fs| Files {
        read: set(fs.list("read", parsed(path))),
        write: set(fs.list("write", parsed(path))),
    });
    let network = match section.node("network").map(|node| &node.value) {
        Some(Value::List(_)) => {
            section.list("network", parsed(port)).map(|ports| Network::Ports(set(Some(ports))))
        }
        Some(Value::String(_)) => section.get("network", parsed(network)),
        Some(_) | None => section.get("network", |_| Err(Wrong::Type(NETWORK_FORMS.to_owned()))),
    };
    let exec = match section.node("exec").map(|node| &node.value) {
        Some(Value::List(_)) => {
            section.list("exec", parsed(program)).map(|programs| Exec::Programs(set(Some(programs))))
        }
        Some(_) | None => section.get("exec", nothing),
    };
    Permissions {
        env: set(section.list("env", parsed(variable))),
        fs: fs.unwrap_or_default(),
        network: network.unwrap_or_default(),
        exec: exec.unwrap_or_default(),
        ..Permissions::default()
    }
}

fn set<T: Ord>(items: Option<Vec<T>>) -> BTreeSet<T> {
    items.unwrap_or_default().into_iter().collect()
}

pub(super) fn network(text: &str) -> Result<Network, String> {
    match text {
        "none" => Ok(Network::None),
        "any" => Ok(Network::Any),
        _ => Err(network_forms()),
    }
}

const NETWORK_FORMS: &str = "\"none\", \"any\" or a list of ports like [\"tcp:443\"]";

pub(super) fn network_forms() -> String {
    format!("is not {NETWORK_FORMS}")
}

fn nothing(node: &Node) -> Result<Exec, Wrong> {
    match boolean(node) {
        Ok(false) => Ok(Exec::None),
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

/// One spelling for each path, so that two manifests can be compared.
fn path(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let climbs = path.components().any(|step| step == Component::ParentDir);
    if text.is_empty() || climbs || text.contains('\0') {
        return Err(
            "is no path; write one without .., absolute or relative to the plugin's folder".to_owned()
        );
    }
    let plain: PathBuf = steps(path).into_iter().collect();
    let plain = plain.to_string_lossy().into_owned();
    Ok(if plain.is_empty() { ".".to_owned() } else { plain })
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.strip_prefix("tcp:").and_then(|port| port.parse::<u16>().ok());
    port.filter(|port| *port > 0).ok_or_else(|| "is no port; write it like \"tcp:443\"".to_owned())
}

fn program(text: &str) -> Result<String, String> {
    let climbs = Path::new(text).components().any(|step| step == Component::ParentDir);
    if text.is_empty() || climbs || text.contains('\0') {
        return Err("is no program; write a name like \"git\", or an absolute path".to_owned());
    }
    Ok(text.to_owned())
}
