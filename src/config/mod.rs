//! Configuration: text in, a checked [`Config`] out, or every error at once with its file, line and column.
//!
//! A `Config` that exists is whole: names are unique, every reference resolves, every number is in its range.
//! Who watches the file, and what a change does, is not decided here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

pub use self::diff::{Changes, Difference, diff};
pub use self::load::{ConfigText, environment_of_this_process, load, load_control, load_with_plugins, parse};
pub use crate::document::{Errors, Position};
use crate::limits;

mod diff;
mod load;
mod place;
mod plugin;
mod route;
mod server;
mod upstream;

#[cfg(test)]
mod tests;

/// The whole checked configuration. Compared to decide what a reload changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub admin: Admin,
    /// `~` expanded; relative paths are relative to the config file.
    pub state_dir: PathBuf,
    pub plugins: PluginSettings,
    pub limits: Limits,
    pub shutdown_grace: Duration,
    pub log: Log,
    /// Reload when the file changes.
    pub watch: bool,
    /// In file order; the first is where a model no route names goes. Never empty: without any, `echo`.
    pub upstreams: Vec<Upstream>,
    pub routes: Vec<Route>,
    pub plugin_entries: Vec<PluginEntry>,
}

impl Config {
    /// Nothing answers requests but the built-in echo.
    pub fn has_only_echo(&self) -> bool {
        self.upstreams.iter().all(|upstream| upstream.kind == UpstreamKind::Echo)
    }
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: Option<Tls>,
    /// Worker threads of the data plane.
    pub threads: usize,
    /// Where a new process asks this one for its listening sockets on an upgrade.
    pub upgrade_socket: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
    pub token_file: Option<PathBuf>,
}

/// What a command needs of the config to reach the running gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `[admin] address`
    pub address: SocketAddr,
    /// `[admin] token_file`; whether it can be read is not known yet.
    pub token_file: Option<PathBuf>,
    /// `[state] dir`
    pub state_dir: PathBuf,
}

/// `[plugins]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSettings {
    pub dirs: Vec<PathBuf>,
    pub sandbox: Sandbox,
    pub chain_budget: Duration,
    pub drain: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as this version can, which is not at all.
    BestEffort,
    Off,
}

impl Sandbox {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub header_bytes: u64,
    pub body_bytes: u64,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    pub write_timeout: Duration,
    /// How long a client that closed its sending side may wait for something of its answer.
    pub half_close_wait: Duration,
    /// Requests whose body is whole.
    pub requests_in_flight: u64,
    /// Requests whose body is on its way.
    pub bodies_in_flight: u64,
    /// Bytes per second that a client has to send of its body, or take of its answer, over `rate_window`; 0: any.
    pub body_rate: u64,
    pub answer_rate: u64,
    pub rate_window: Duration,
    /// Bytes that all bodies together hold in memory, half for requests and half for answers.
    pub buffered: u64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// `tracing_subscriber` filter directives, for example `info` or `info,hookway::relay=debug`.
    pub level: String,
    /// One line per request.
    pub access: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// `[[upstream]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub kind: UpstreamKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamKind {
    /// The built-in one: answers in OpenAI's format without network.
    Echo,
    OpenAi(Box<OpenAiUpstream>),
}

/// An upstream that speaks OpenAI's HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAiUpstream {
    pub tls: bool,
    /// A name or an address; an IPv6 address stands in brackets, as in the URL.
    pub host: String,
    pub port: u16,
    /// Path of `base_url` without a trailing slash, for example `/v1`. What follows `/v1` in a request is appended.
    pub path: String,
    /// None: the client's own `authorization` goes upstream.
    pub api_key: Option<Secret>,
    /// Set on every request to this upstream.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub http2: Http2,
    /// PEM file to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub chunk_timeout: Duration,
    pub total_timeout: Duration,
    pub idle_connections: usize,
    /// A request may go out once more when a reused connection turns out to have died.
    pub resend: bool,
    pub breaker: Breaker,
}

/// A secret value. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `http2` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Over TLS when the upstream offers it; never over clear text.
    Auto,
    Never,
    /// Always; over clear text with prior knowledge (h2c).
    Only,
}

/// `breaker` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it; 0 switches it off.
    pub failures: u32,
    pub open_for: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: limits::BREAKER_FAILURES, open_for: limits::BREAKER_OPEN_FOR }
    }
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// As written, for logs and metrics.
    pub pattern: String,
    pub model: globset::GlobMatcher,
    /// Indexes into [`Config::upstreams`], in the order they are tried.
    pub upstreams: Vec<usize>,
    pub retry: Retry,
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.upstreams == other.upstreams && self.retry == other.retry
    }
}

/// `retry` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at each upstream, the first included.
    pub attempts: u32,
    pub on: Vec<RetryOn>,
    pub backoff: Duration,
    /// The longest pause, and the longest `retry-after` of an upstream that is waited for.
    pub max_backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![RetryOn::Connect, RetryOn::Timeout, RetryOn::RateLimited, RetryOn::ServerError],
            backoff: limits::RETRY_BACKOFF,
            max_backoff: limits::RETRY_AFTER_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// Connecting or TLS failed, or the connection was lost before the answer's header.
    Connect,
    Timeout,
    /// `"429"`
    RateLimited,
    /// `"5xx"`
    ServerError,
}

/// `[[plugin]]`
#[derive(Clone, Debug)]
pub struct PluginEntry {
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    pub enabled: bool,
    pub priority: Option<i32>,
    pub config: Map<String, Value>,
    /// Where in the file its path stands, for errors about its folder.
    pub at: Position,
}

/// An entry that only moved within the file is the same entry.
impl PartialEq for PluginEntry {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, path, enabled, priority, config, at: _ } = self;
        *name == other.name
            && *path == other.path
            && *enabled == other.enabled
            && *priority == other.priority
            && *config == other.config
    }
}

/// The environment variables config reads (`HOME`, API keys), so that parsing stays a pure function.
pub type Environment = BTreeMap<String, String>;
