//! What a plugin asks to be allowed beyond computing: `permissions`, and what its hooks see and change of requests.
//! Everything is refused that is not asked for.
//!
//! The value is compared, stored and shown: what an upgrade would newly be granted is a difference of two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hook::HookName;

pub use self::access::Access;
pub(super) use self::access::of_hooks;
pub(super) use self::read::{WORDS, read};

mod access;
mod read;

#[cfg(test)]
mod tests;

/// What a manifest asks for, and what an operator granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// Variables of the gateway's environment.
    pub env: BTreeSet<String>,
    pub fs: Files,
    pub network: Network,
    pub exec: Exec,
    /// What its hooks see and change of requests.
    pub hooks: BTreeMap<HookName, Access>,
}

/// Paths at and below which files may be used: absolute, or relative to the plugin's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    pub read: BTreeSet<String>,
    pub write: BTreeSet<String>,
}

/// In JSON `"none"`, `"any"`, or ports like `["tcp:443"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    None,
    /// TCP ports that may be connected to, on any host: the kernel knows no host names.
    Ports(BTreeSet<u16>),
    Any,
}

/// In JSON `false`, `"any"`, or programs like `["git"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Exec {
    #[default]
    None,
    Programs(BTreeSet<String>),
    /// Only OmniRoute's word `exec` asks for so much.
    Any,
}

impl Permissions {
    /// What these allow that `before` did not, in words for an operator who is to grant it.
    pub fn added(&self, before: &Self) -> Vec<String> {
        let env = self.env.difference(&before.env).map(|name| format!("see the variable {name}"));
        let read = files("read", &self.fs.read, &before.fs.read);
        let write = files("write", &self.fs.write, &before.fs.write);
        let none = Access::default();
        let hooks = self.hooks.iter();
        let hooks =
            hooks.flat_map(|(name, access)| access.added(*name, before.hooks.get(name).unwrap_or(&none)));
        hooks
            .chain(env)
            .chain(read)
            .chain(write)
            .chain(self.network.added(&before.network))
            .chain(self.exec.added(&before.exec))
            .collect()
    }

    /// All of it in words.
    pub fn words(&self) -> Vec<String> {
        self.added(&Self::default())
    }

    /// Nothing beyond computing.
    pub fn is_empty(&self) -> bool {
        self.words().is_empty()
    }
}

fn files<'s>(
    verb: &'s str,
    now: &'s BTreeSet<String>,
    before: &'s BTreeSet<String>,
) -> impl Iterator<Item = String> + 's {
    let is_new = |path: &&String| !before.iter().any(|granted| covers(granted, path));
    now.iter().filter(is_new).map(move |path| match path.as_str() {
        "/" => format!("{verb} every file"),
        path if path.starts_with('/') => format!("{verb} what is at {path:?}"),
        path => format!("{verb} what is at {path:?} in its own folder"),
    })
}

/// Whether `granted` is `path` or a folder above it. Neither has `..`; the plugin's folder is below `/` too.
fn covers(granted: &str, path: &str) -> bool {
    let (granted, path) = (Path::new(granted), Path::new(path));
    let same_root = granted.has_root() == path.has_root();
    granted == Path::new("/") || (same_root && steps(path).starts_with(&steps(granted)))
}

fn steps(path: &Path) -> Vec<Component<'_>> {
    path.components().filter(|step| *step != Component::CurDir).collect()
}

impl Network {
    fn added(&self, before: &Self) -> Vec<String> {
        let connect = |port: &u16| format!("connect to port {port} of any host");
        match (self, before) {
            (Self::None, _) | (_, Self::Any) => Vec::new(),
            (Self::Any, Self::None | Self::Ports(_)) => vec!["use the network without limits".to_owned()],
            (Self::Ports(now), Self::None) => now.iter().map(connect).collect(),
            (Self::Ports(now), Self::Ports(before)) => now.difference(before).map(connect).collect(),
        }
    }

    /// The word, or the ports.
    fn written(&self) -> Written {
        match self {
            Self::None => Written::Word("none".to_owned()),
            Self::Any => Written::Word("any".to_owned()),
            Self::Ports(ports) => Written::List(ports.iter().map(|port| format!("tcp:{port}")).collect()),
        }
    }
}

impl Exec {
    fn added(&self, before: &Self) -> Vec<String> {
        let start = |program: &String| format!("start the program {program:?}");
        match (self, before) {
            (Self::None, _) | (_, Self::Any) => Vec::new(),
            (Self::Any, Self::None | Self::Programs(_)) => vec!["start any program".to_owned()],
            (Self::Programs(now), Self::None) => now.iter().map(start).collect(),
            (Self::Programs(now), Self::Programs(before)) => now.difference(before).map(start).collect(),
        }
    }

    fn written(&self) -> Written {
        match self {
            Self::None => Written::No(false),
            Self::Any => Written::Word("any".to_owned()),
            Self::Programs(programs) => Written::List(programs.iter().cloned().collect()),
        }
    }
}

/// The forms a permission has in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    No(bool),
    Word(String),
    List(Vec<String>),
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written().serialize(serializer)
    }
}

impl Serialize for Exec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::List(ports) => {
                ports.iter().map(|text| read::port(text)).collect::<Result<_, _>>().map(Self::Ports)
            }
            Written::Word(word) => read::network(&word),
            Written::No(_) => Err(read::network_forms()),
        }
        .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Exec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::No(false) => Ok(Self::None),
            Written::List(programs) => Ok(Self::Programs(programs.into_iter().collect())),
            Written::Word(word) if word == "any" => Ok(Self::Any),
            Written::No(true) | Written::Word(_) => {
                Err(serde::de::Error::custom("exec is false, \"any\" or a list of programs"))
            }
        }
    }
}
