//! The gateway in one thread: a client's connection is a pipe in memory, the upstream the built-in echo, and hooks
//! are ready at once. What is left is the gateway's own work, without kernel and neighbours.
//!
//! Used by benches and by the test that counts allocations: `#[path = "../benches/pipe/mod.rs"] mod pipe;`.

#![allow(dead_code, unreachable_pub, reason = "no program uses all of it")]
#![allow(clippy::unwrap_used, reason = "a bench or test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hookway::chain::{Generation, Member, MemberHook, Published};
use hookway::config::{Config, Environment};
use hookway::edge::Edge;
use hookway::hook::{
    BodyNeed, Call, Hook, HookFailure, HookName, HookSpec, Mutates, OnFailure, Policy, Verdict, When,
};
use hookway::metrics::Metrics;
use hookway::record::{Live, Recorder};
use hookway::relay::Relay;
use hookway::route::Routes;
use hookway::token;
use hookway::upstream::Upstream;
use memchr::memmem;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

/// Holds the largest request and answer, so that nobody waits for room.
const PIPE_BYTES: usize = 2 << 20;

/// A plugin without process or socket: its verdict is there before it is asked.
pub struct Ready(pub Verdict);

impl Hook for Ready {
    async fn call(&self, _: Call<'_>) -> Result<Verdict, HookFailure> {
        Ok(self.0.clone())
    }
}

/// A chain of `hooks` that each see `body` and give `verdict`, in front of the echo upstream.
pub fn generation(hooks: usize, body: &BodyNeed, verdict: &Verdict) -> Generation<Ready> {
    generation_of(hooks, body, || Ready(verdict.clone()))
}

/// The same with hooks of any kind.
pub fn generation_of<H: Hook>(hooks: usize, body: &BodyNeed, hook: impl Fn() -> H) -> Generation<H> {
    let home = Environment::from([("HOME".to_owned(), "/nonexistent".to_owned())]);
    let config = Config::built_in(&home).unwrap();
    let metrics = Metrics::new();
    let member = |at: usize| {
        let name = format!("hook-{at}");
        let spec = spec(body.clone());
        Member {
            version: "1.0.0".into(),
            priority: 100,
            hooks: vec![MemberHook::new(spec, metrics.hook(&name, HookName::OnRequest)).unwrap()],
            hook: Arc::new(hook()),
            name: name.into(),
        }
    };
    Generation {
        number: 1,
        routes: Routes::new(&config),
        upstreams: config
            .upstreams
            .iter()
            .map(|each| Upstream::new(each.clone(), &metrics).unwrap())
            .collect(),
        config: Arc::new(config),
        members: (0..hooks).map(member).collect(),
        since: SystemTime::now(),
    }
}

fn spec(body: BodyNeed) -> HookSpec {
    HookSpec {
        name: HookName::OnRequest,
        headers: Vec::new(),
        body,
        mutates: Mutates::anything(),
        when: When::default(),
        timeout: Duration::from_secs(1),
        on_failure: OnFailure::always(Policy::Closed),
        body_bytes_max: usize::MAX,
        idempotent: false,
    }
}

/// A chat body of about `bytes`, in messages of 800 bytes.
pub fn chat_body(bytes: usize, stream: bool) -> String {
    let message = json!({"role": "user", "content": "word ".repeat(150)});
    let messages = vec![message.clone(); bytes / message.to_string().len() + 1];
    json!({"model": "gpt-4o-mini", "temperature": 0.7, "messages": messages, "stream": stream}).to_string()
}

/// A kept connection to a gateway, from the client's end.
pub struct Client {
    pipe: DuplexStream,
    answer: Vec<u8>,
    _serves: watch::Sender<bool>,
}

impl Client {
    /// Serves `generation` on the current runtime for as long as the client lives.
    pub fn of<H: Hook>(generation: Generation<H>) -> Self {
        let limits = generation.config.limits.clone();
        let published = Arc::new(Published::new(generation));
        let (token, _) = token::load(Some(&"t".repeat(32)), None, Path::new("/nonexistent")).unwrap();
        let relay = Relay::new(published, Recorder::new(Arc::new(Metrics::new()), Live::default()), token);
        let edge = Arc::new(Edge::new(Arc::new(relay), limits));
        let (pipe, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (serves, shutdown) = watch::channel(false);
        tokio::spawn(async move { edge.serve_http1(Box::new(theirs), &shutdown).await });
        Self { pipe, answer: Vec::with_capacity(PIPE_BYTES), _serves: serves }
    }

    /// Sends one request and takes all that comes until the gateway closes.
    pub async fn ask_once(mut self, request: &[u8]) -> Vec<u8> {
        self.pipe.write_all(request).await.unwrap();
        self.pipe.read_to_end(&mut self.answer).await.unwrap();
        self.answer
    }

    /// Sends one request and takes its whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> &[u8] {
        self.pipe.write_all(request).await.unwrap();
        self.answer.clear();
        while !is_whole(&self.answer) {
            assert!(self.pipe.read_buf(&mut self.answer).await.unwrap() > 0, "the gateway hung up");
        }
        &self.answer
    }
}

pub fn request(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer key\r\n\
         content-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Whether `answer` is one whole response: of the length it says, or chunked and ended.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memmem::find(answer, b"\r\n\r\n") else { return false };
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
    match head.split(|&byte| byte == b'\n').find_map(content_length) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

fn content_length(line: &[u8]) -> Option<usize> {
    let (name, value) = line.split_at_checked("content-length:".len())?;
    let value = name.eq_ignore_ascii_case(b"content-length:").then(|| std::str::from_utf8(value))?;
    value.ok()?.trim().parse().ok()
}
