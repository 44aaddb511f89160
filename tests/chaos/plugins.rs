//! Plugins written for one test: a folder with a manifest and, in Python, a program.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Gateway, HELLO, Plan, Request};

/// Longer than any test waits: whatever ends sooner did not end by its timeout.
pub(crate) const NEVER_MS: u64 = 30_000;

/// A plugin's folder and its place in the configuration.
#[derive(Clone)]
pub(crate) struct Folder {
    name: String,
    manifest: Value,
    /// The Python program, if it is one.
    program: Option<String>,
    config: Value,
}

impl Folder {
    /// The misbehaving plugin under a name of its own. It sees whole bodies and `x-misbehave`, may change anything
    /// in `onRequest`, fails closed, and has all the time it wants.
    pub(crate) fn misbehaving(name: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_hookway")).with_file_name("hookway-misbehaving");
        assert!(program.exists(), "{} is missing: run `cargo build --workspace` first", program.display());
        Self::new(name, json!({"command": ["hookway-misbehaving"]}), None)
            .hook("onRequest", json!({"body": "full"}))
    }

    /// A plugin in Python, with the SDK that comes with the gateway and `config` and `plugin` at hand.
    pub(crate) fn python(name: &str, program: &str) -> Self {
        let program =
            format!("import hookway\nplugin = hookway.Plugin(threads=4)\n{program}\nplugin.run()\n");
        Self::new(name, json!({"main": "plugin.py"}), Some(program))
    }

    fn new(name: &str, program: Value, python: Option<String>) -> Self {
        let manifest = json!({"name": name, "version": "1.0.0", "protocol": 1, "hooks": {}});
        Self { name: name.to_owned(), manifest, program: python, config: json!({}) }.manifest(program)
    }

    /// Declares a hook: `more` over what every hook here has.
    pub(crate) fn hook(mut self, hook: &str, more: Value) -> Self {
        let mut spec = json!({"headers": ["x-misbehave"], "timeoutMs": NEVER_MS, "onFailure": "closed"});
        merge(&mut spec, more);
        self.manifest["hooks"][hook] = spec;
        self
    }

    pub(crate) fn without_hook(mut self, hook: &str) -> Self {
        self.manifest["hooks"].as_object_mut().unwrap().remove(hook);
        self
    }

    /// Further keys of the manifest.
    pub(crate) fn manifest(mut self, more: Value) -> Self {
        merge(&mut self.manifest, more);
        self
    }

    pub(crate) fn priority(self, priority: i32) -> Self {
        self.manifest(json!({ "priority": priority }))
    }

    /// What `mode` of the misbehaving plugin does to each call without `x-misbehave`.
    pub(crate) fn mode(self, mode: &str) -> Self {
        self.config(json!({ "mode": mode }))
    }

    pub(crate) fn config(mut self, more: Value) -> Self {
        merge(&mut self.config, more);
        self
    }

    /// The files of its folder, by their paths beside the configuration.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        self.files_in("plugins")
    }

    /// The same, in another folder.
    pub(crate) fn files_in(&self, folder: &str) -> Vec<(String, String)> {
        let file = |name: &str, text: &str| (format!("{folder}/{}/{name}", self.name), text.to_owned());
        let manifest = file("plugin.json", &self.manifest.to_string());
        std::iter::once(manifest)
            .chain(self.program.iter().map(|program| file("plugin.py", program)))
            .collect()
    }

    /// `[[plugin]]` of the configuration.
    pub(crate) fn entry(&self) -> String {
        let Self { name, config, .. } = self;
        format!("[[plugin]]\nname = \"{name}\"\npath = \"plugins/{name}\"\nconfig = {}\n", toml(config))
    }
}

/// A shipped plugin, where it is.
pub(crate) fn shipped(name: &str, config: Value) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name);
    format!("[[plugin]]\nname = \"{name}\"\npath = \"{}\"\nconfig = {}\n", path.display(), toml(&config))
}

/// The configuration: `base`, then the plugins in the order given. Chains have all the time they want.
pub(crate) fn configuration(base: &str, plugins: &[Folder]) -> String {
    let budget = if base.contains("[plugins]") { "" } else { "[plugins]\nchain_budget = \"60s\"\n" };
    let entries: String = plugins.iter().map(Folder::entry).collect();
    format!("{budget}{base}\n{entries}")
}

pub(crate) fn plan(base: &str, plugins: &[Folder]) -> Plan {
    let files = plugins.iter().flat_map(Folder::files);
    files.fold(Plan::new(&configuration(base, plugins)), |plan, (path, text)| plan.file(&path, &text))
}

pub(crate) async fn start(base: &str, plugins: &[Folder]) -> Gateway {
    plan(base, plugins).start().await
}

/// The smallest chat request, to be answered by a misbehaving plugin in this way.
pub(crate) fn misbehave(mode: &str) -> Request {
    Request::chat(HELLO).field("x-misbehave", mode)
}

/// The smallest chat request, to which a misbehaving plugin gives this verdict.
pub(crate) fn verdict(verdict: &Value) -> Request {
    misbehave(&format!("echo_verdict={verdict}"))
}

fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    into.as_object_mut().unwrap().extend(more);
}

/// JSON's strings and numbers are TOML's too.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{} = {}", json!(key), toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Null => panic!("TOML has no null"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
