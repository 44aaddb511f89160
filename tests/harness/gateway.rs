//! One running gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Log, Message, Request, Wire};

/// The admin token of every gateway here.
pub const TOKEN: &str = "harness-token-0123456789";

/// How a gateway is to be started.
#[derive(Clone)]
pub struct Plan {
    folder: Arc<TempDir>,
    config: String,
    environment: Vec<(String, String)>,
}

/// The program, serving. Killed by its pid when dropped.
pub struct Gateway {
    /// Where clients connect.
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub log: Log,
    child: Child,
    plan: Plan,
}

impl Plan {
    /// `config` without what every gateway here gets: a state folder, free ports, JSON lines. A section it
    /// writes itself is left alone.
    pub fn new(config: &str) -> Self {
        Self { folder: Arc::new(TempDir::new().unwrap()), config: config.to_owned(), environment: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file beside the configuration, such as a certificate or a plugin's.
    pub fn file(self, path: &str, text: &str) -> Self {
        write(&self.folder.path().join(path), text);
        self
    }

    /// The folder of the configuration: where its relative paths start.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_hookway"))
            .args(["-c", "hookway.toml"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("HOOKWAY_ADMIN_TOKEN", TOKEN)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was just built")
    }

    /// Starts the gateway and waits until it serves.
    pub async fn start(self) -> Gateway {
        Gateway::first(self).serving().await
    }

    /// Starts a gateway that will not serve: how it ends, and what it says.
    pub async fn refused(self) -> (ExitStatus, String) {
        let mut gateway = Gateway::first(self);
        (gateway.exited().await, gateway.log.text())
    }
}

impl Gateway {
    pub async fn start(config: &str) -> Self {
        Plan::new(config).start().await
    }

    fn first(plan: Plan) -> Self {
        fs::write(plan.folder.path().join("hookway.toml"), whole(&plan.config)).unwrap();
        Self::spawned(plan, &[])
    }

    /// A gateway that may not serve yet, in hands that end it.
    fn spawned(plan: Plan, arguments: &[&str]) -> Self {
        let mut child = plan.spawn(arguments);
        let log = Log::read(child.stderr.take().unwrap());
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { data: unknown, admin: unknown, log, child, plan }
    }

    async fn serving(mut self) -> Self {
        let serving = self.log.message("serving").await;
        let address = |key: &str| serving[key].as_str().unwrap().parse().unwrap();
        (self.data, self.admin) = (address("data"), address("admin"));
        self
    }

    /// Starts the program once more and has this one hand its sockets over; waits until the new one serves.
    pub async fn upgrade(&self) -> Self {
        let next = Self::spawned(self.plan.clone(), &["--upgrade"]);
        next.log.message("waiting for the sockets of the running gateway").await;
        self.signal(Signal::QUIT);
        next.serving().await
    }

    /// Ends this one in order and starts the program once more, with the same folder.
    pub async fn restart(mut self) -> Self {
        self.signal(Signal::TERM);
        self.exited().await;
        Self::spawned(self.plan.clone(), &[]).serving().await
    }

    /// Starts the program once more, after this one has ended, with the same folder.
    pub async fn restart_ended(self) -> Self {
        Self::spawned(self.plan.clone(), &[]).serving().await
    }

    /// Kills this one and starts the program once more, with the same folder.
    pub async fn killed(mut self) -> Self {
        self.signal(Signal::KILL);
        self.exited().await;
        Self::spawned(self.plan.clone(), &[]).serving().await
    }

    /// Starts the program once more beside this one: how it ends, and what it says.
    pub async fn beside(&self) -> (ExitStatus, String) {
        let mut next = Self::spawned(self.plan.clone(), &[]);
        (next.exited().await, next.log.text())
    }

    /// Starts the program once more with a configuration that keeps it from serving: how it ends, and what it says.
    pub async fn failed_upgrade(&self) -> (ExitStatus, String) {
        let mut next = Self::spawned(self.plan.clone(), &["--upgrade"]);
        (next.exited().await, next.log.text())
    }

    /// A connection to the data plane.
    pub async fn connect(&self) -> Wire {
        Wire::open(self.data).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &Request) -> Message {
        self.connect().await.ask(request).await
    }

    /// One request to the control listener, with the token.
    pub async fn admin(&self, method: &str, path: &str) -> Message {
        let request = Request::new(method, path).field("content-length", "0");
        self.admin_ask(request).await
    }

    /// One request to the control listener, with the token and a JSON body.
    pub async fn admin_json(&self, method: &str, path: &str, body: &Value) -> Message {
        let request = Request::new(method, path).field("content-type", "application/json");
        self.admin_ask(request.body(body.to_string())).await
    }

    async fn admin_ask(&self, request: Request) -> Message {
        let request = request.without("host").field("host", "localhost");
        let request = request.field("authorization", &format!("Bearer {TOKEN}"));
        Wire::open(self.admin).await.ask(&request).await
    }

    /// The access log's line of the request that was answered with `answer`. Its metrics are counted by then.
    pub async fn access(&self, answer: &Message) -> Value {
        self.log.access(answer.get("x-hookway-request-id").expect("every answer has a request id")).await
    }

    /// The sum of all samples of a metric whose labels have these values.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.admin("GET", "/metrics").await;
        assert_eq!(page.status(), 200, "{page:?}");
        let is_it =
            |sample: &str| labels.iter().all(|(key, value)| sample.contains(&format!("{key}=\"{value}\"")));
        page.text()
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(sample, _)| sample.split('{').next() == Some(name) && is_it(sample))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Replaces the configuration file in one step. It is read on a reload.
    pub fn rewrite(&self, config: &str) {
        let fresh = self.folder().join(".hookway.toml");
        fs::write(&fresh, whole(config)).unwrap();
        fs::rename(fresh, self.folder().join("hookway.toml")).unwrap();
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.folder().join(path), text);
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.plan.folder()
    }

    /// What the gateway holds of physical memory now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status_kib("VmRSS:") << 10
    }

    /// The most it ever held, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.status_kib("VmHWM:") << 10
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open descriptors of the gateway.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Waits until the process has ended by itself.
    pub async fn exited(&mut self) -> ExitStatus {
        self.log.ended().await;
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}", self.log.text());
        }
    }
}

fn whole(config: &str) -> String {
    let mut text = String::new();
    for (section, lines) in [
        ("[listen]", "address = \"127.0.0.1:0\"\nthreads = 2"),
        ("[admin]", "address = \"127.0.0.1:0\""),
        ("[state]", "dir = \"state\""),
        ("[log]", "format = \"json\""),
        ("[reload]", "watch = false"),
    ] {
        if !config.contains(section) {
            text.push_str(&format!("{section}\n{lines}\n"));
        }
    }
    text.push_str(config);
    text
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
