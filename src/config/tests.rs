//! The shipped config file, the bad ones with their exact error text, and any text at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::{
    Config, Environment, Http2, Log, LogFormat, OpenAiUpstream, Retry, RetryOn, Sandbox, UpstreamKind, load,
    parse,
};
use crate::document::{Entry, Node, Value, tree_of_toml};
use crate::limits;

fn environment() -> Environment {
    [("HOME", "/home/ann"), ("OPENAI_API_KEY", "sk-1"), ("EMPTY", ""), ("TWO_LINES", "a\nb")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with the files that the shipped config's comments name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(["gateway.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    for (file, text) in [
        ("tls/cert.pem", cert.pem().as_str()),
        ("tls/ca.pem", cert.pem().as_str()),
        ("tls/broken.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("tls/key.pem", key.serialize_pem().as_str()),
        ("tls/other.key", other.serialize_pem().as_str()),
        ("admin.token", "0123456789abcdef\n"),
        ("backup.key", "sk-2\n"),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

fn read(text: &str) -> Result<Config, String> {
    let folder = folder();
    parse(text, "hookway.toml", folder.path(), &environment()).map_err(|errors| errors.to_string())
}

/// The shipped file with every key that stands behind a single `#` put in force.
fn shipped_with_every_key() -> String {
    let text = fs::read_to_string(repository().join("config/hookway.toml")).unwrap();
    let uncommented = |line: &str| {
        let code = line.strip_prefix("# ").unwrap_or(line);
        let key = code.split([' ', '=']).next().unwrap_or_default();
        let is_key = code[key.len()..].starts_with(" = ") && !key.is_empty();
        if is_key || code.starts_with("[[") { code.to_owned() } else { line.to_owned() }
    };
    text.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_is_the_built_in_config_with_redact_switched_on() {
    let shipped = load(&repository().join("config/hookway.toml"), &environment()).unwrap();
    let built_in = Config::built_in(&environment()).unwrap();
    let [redact] = &shipped.plugin_entries[..] else { panic!("one plugin is switched on") };
    assert_eq!(redact.name, "redact");
    assert_eq!(redact.path, repository().canonicalize().unwrap().join("plugins/redact"));
    assert_eq!(Config { plugin_entries: Vec::new(), ..shipped }, built_in);
}

#[test]
fn the_defaults_told_in_the_shipped_file_are_the_defaults() {
    let told = read(&shipped_with_every_key()).unwrap();
    let built_in = Config::built_in(&environment()).unwrap();
    assert_eq!(told.listen.upgrade_socket, built_in.listen.upgrade_socket);
    assert_eq!(told.state_dir, built_in.state_dir);
    assert_eq!(told.plugins, built_in.plugins);
    assert_eq!(told.limits, built_in.limits);
    assert_eq!(told.shutdown_grace, built_in.shutdown_grace);
    assert_eq!((told.log, told.watch), (built_in.log, built_in.watch));
    assert_eq!(told.routes[0].retry, Retry::default());
    let bare = read("[[upstream]]\nname = \"openai\"\nbase_url = \"https://api.openai.com/v1\"").unwrap();
    let [UpstreamKind::OpenAi(told), UpstreamKind::OpenAi(bare)] =
        [&told.upstreams[1].kind, &bare.upstreams[0].kind]
    else {
        panic!("both are of kind openai")
    };
    let (api_key, headers, ca_file) = (bare.api_key.clone(), bare.headers.clone(), bare.ca_file.clone());
    assert_eq!(**bare, OpenAiUpstream { api_key, headers, ca_file, ..(**told).clone() });
}

#[test]
fn the_shipped_file_names_every_key_the_parser_knows() {
    const FOREIGN: &str = "qqqqqqqqqqqqqqqqqqqqqqqq";
    let text = shipped_with_every_key();
    let errors = {
        let injected = with_key_in_every_table(&text, FOREIGN);
        read(&injected).unwrap_err()
    };
    let mut known = BTreeSet::new();
    for line in errors.lines().filter(|line| line.contains("unknown key")) {
        let (_, keys) = line.split_once("known here: ").unwrap();
        known.extend(keys.split(", ").map(str::to_owned));
    }
    let mut written = BTreeSet::new();
    collect_keys(&tree_of_toml(&text).unwrap(), &mut written);
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "config/hookway.toml does not name {missing:?}");
    assert!(known.len() > 50, "only {known:?}");
}

/// Puts `key` behind every table header and into every inline table.
fn with_key_in_every_table(text: &str, key: &str) -> String {
    let with_key = |line: &str| {
        if line.starts_with('[') {
            format!("{line}\n{key} = 1")
        } else if line.starts_with('#') {
            line.to_owned()
        } else {
            line.replace("{ ", &format!("{{ {key} = 1, "))
        }
    };
    format!("{key} = 1\n") + &text.lines().map(with_key).collect::<Vec<_>>().join("\n")
}

fn collect_keys(node: &Node, keys: &mut BTreeSet<String>) {
    match &node.value {
        Value::Table(entries) => {
            for Entry { key, node, .. } in entries {
                keys.insert(key.clone());
                collect_keys(node, keys);
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Foreign(_) => {}
    }
}

#[test]
fn every_bad_file_is_refused_with_exactly_its_text() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(repository().join("config/bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let folder = folder();
        let errors = parse(&text, name, folder.path(), &environment()).expect_err(name);
        let golden = file.with_extension("txt");
        let told = format!("{errors}\n");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(told, expected, "{name}: if the new text is right, run again with UPDATE_GOLDEN=1");
    }
}

#[test]
fn every_key_reaches_the_config() {
    let config = read(
        r#"
        listen = { address = "0.0.0.0:443", threads = 3, upgrade_socket = "up.sock",
                   tls = { cert = "tls/cert.pem", key = "tls/key.pem" } }
        admin = { address = "[::1]:9", token_file = "admin.token" }
        state.dir = "/var/lib/hookway"
        plugins = { dirs = ["/opt/p"], sandbox = "best-effort", chain_budget = "2s", drain = "1m" }
        shutdown.grace = "0s"
        log = { format = "json", level = "debug", access = false }
        reload.watch = false
        [limits]
        header_size = "8KiB"
        body_size = 1048576
        header_timeout = "1s"
        body_timeout = "2s"
        idle_timeout = "3s"
        write_timeout = "4s"
        half_close_wait = "0s"
        requests_in_flight = 5
        [[upstream]]
        name = "a"
        base_url = "http://127.0.0.1:9/v1"
        api_key = { file = "backup.key" }
        headers = { X-Team = "red" }
        http2 = "only"
        breaker = { failures = 0 }
        [[upstream]]
        name = "e"
        kind = "echo"
        [[route]]
        model = "org/*"
        upstreams = ["e", "a"]
        retry = { attempts = 1, on = ["429"] }
        [[plugin]]
        name = "p"
        path = "/opt/p/p"
        enabled = false
        priority = -5
        config = { a = [1, 2.5], b = { c = true } }
        "#,
    )
    .unwrap();
    let tls = config.listen.tls.unwrap();
    assert!(tls.cert.is_absolute() && tls.cert.ends_with("tls/cert.pem") && tls.key.ends_with("tls/key.pem"));
    assert_eq!((config.listen.address.port(), config.listen.threads), (443, 3));
    assert!(config.listen.upgrade_socket.unwrap().ends_with("up.sock"));
    assert_eq!(config.admin.address, "[::1]:9".parse().unwrap());
    assert!(config.admin.token_file.unwrap().ends_with("admin.token"));
    assert_eq!(config.state_dir, Path::new("/var/lib/hookway"));
    assert_eq!(config.plugins.dirs, [Path::new("/opt/p")]);
    assert_eq!(config.plugins.sandbox, Sandbox::BestEffort);
    assert_eq!(config.plugins.chain_budget, Duration::from_secs(2));
    assert_eq!(config.plugins.drain, Duration::from_secs(60));
    assert_eq!((config.shutdown_grace, config.watch), (Duration::ZERO, false));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: "debug".to_owned(), access: false });
    assert_eq!((config.limits.header_bytes, config.limits.body_bytes), (8 << 10, 1 << 20));
    let timeouts = [
        config.limits.header_timeout,
        config.limits.body_timeout,
        config.limits.idle_timeout,
        config.limits.write_timeout,
    ];
    assert_eq!(timeouts, [1, 2, 3, 4].map(Duration::from_secs));
    assert_eq!((config.limits.half_close_wait, config.limits.requests_in_flight), (Duration::ZERO, 5));
    let UpstreamKind::OpenAi(upstream) = &config.upstreams[0].kind else { panic!("it is of kind openai") };
    assert_eq!((upstream.tls, upstream.host.as_str(), upstream.port), (false, "127.0.0.1", 9));
    assert_eq!(upstream.path, "/v1");
    assert_eq!(upstream.api_key.as_ref().unwrap().expose(), "sk-2");
    assert_eq!((upstream.headers[0].0.as_str(), upstream.headers[0].1.as_bytes()), ("x-team", &b"red"[..]));
    assert_eq!((upstream.http2, upstream.breaker.failures), (Http2::Only, 0));
    assert_eq!(upstream.breaker.open_for, limits::BREAKER_OPEN_FOR);
    assert_eq!(config.upstreams[1].kind, UpstreamKind::Echo);
    let route = &config.routes[0];
    assert!(route.model.is_match("org/team/model") && !route.model.is_match("other"));
    assert_eq!(route.upstreams, [1, 0]);
    assert_eq!((route.retry.attempts, &route.retry.on[..]), (1, &[RetryOn::RateLimited][..]));
    let plugin = &config.plugin_entries[0];
    assert_eq!((plugin.enabled, plugin.priority), (false, Some(-5)));
    assert_eq!(serde_json::to_string(&plugin.config).unwrap(), r#"{"a":[1,2.5],"b":{"c":true}}"#);
    assert_eq!(plugin.at.line, 35);
}

#[test]
fn a_secret_shows_in_no_error_and_no_debug_text() {
    let with = |line: &str| read(&format!("[[upstream]]\nname = \"a\"\nbase_url = \"http://x\"\n{line}"));
    for line in ["api_key = \"hush\"", "headers = { authorization = \"hush\\u0000\" }", "headers = \"hush\""]
    {
        let errors = with(line).unwrap_err();
        assert!(!errors.contains("hush"), "{errors}");
    }
    let config = with("api_key = { env = \"OPENAI_API_KEY\" }").unwrap();
    assert!(!format!("{config:?}").contains("sk-1"));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let errors = load(Path::new("/nowhere/hookway.toml"), &environment()).unwrap_err().to_string();
    assert!(errors.starts_with("/nowhere/hookway.toml: cannot be read: "), "{errors}");
}

proptest! {
    #[test]
    fn any_text_is_a_config_or_a_list_of_errors(text in "\\PC{0,200}") {
        let told = read(&text);
        prop_assert!(told.is_ok() || !told.unwrap_err().is_empty());
    }

    #[test]
    fn a_damaged_config_is_a_config_or_a_list_of_errors(
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        replacement in "[ -~\\n]{0,12}",
    ) {
        let mut text = shipped_with_every_key();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        if text.is_char_boundary(start) && text.is_char_boundary(end) {
            text.replace_range(start..end, &replacement);
        }
        let told = read(&text);
        prop_assert!(told.is_ok() || !told.unwrap_err().is_empty());
    }
}
