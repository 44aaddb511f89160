//! Plugins as real processes, started through the real launcher: what they get, how they end, what they leave.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookway::hook::{Action, Call, Cause, ClientId, Endpoint, Hook, HookFailure, HookName, Verdict};
use hookway::plugin::launch::Launcher;
use hookway::plugin::{BreakerState, DeathKind, Plugin, PluginEvent, PluginSpec, PluginState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// A plugin and everything that was told about it.
struct Twin {
    plugin: Arc<Plugin>,
    events: mpsc::UnboundedReceiver<PluginEvent>,
}

impl Twin {
    fn start(spec: PluginSpec) -> Self {
        let launcher = Launcher::start(PathBuf::from(env!("CARGO_BIN_EXE_hookway"))).unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let observer = Arc::new(move |_: &str, event: &PluginEvent| drop(sender.send(event.clone())));
        let (data, control) = (Handle::current(), Handle::current());
        Self { plugin: Plugin::start(spec, launcher, data, &control, observer), events }
    }

    /// A twin that is ready.
    async fn ready(life: &str) -> Self {
        let mut twin = Self::start(spec(life));
        twin.plugin.ready().await.unwrap();
        assert!(matches!(twin.event().await, PluginEvent::Ready { .. }));
        twin
    }

    /// The next one that is not about its output.
    async fn event(&mut self) -> PluginEvent {
        loop {
            match self.events.recv().await.unwrap() {
                PluginEvent::Printed(_) => {}
                event => return event,
            }
        }
    }

    fn pid(&self) -> u32 {
        self.plugin.status().pid.unwrap()
    }

    /// What it answers about itself.
    async fn tell(&self, question: &'static str) -> Value {
        match call(&self.plugin, question).await.unwrap().action {
            Action::Respond { body, .. } => serde_json::from_slice(&body).unwrap(),
            action => panic!("no answer to {question}: {action:?}"),
        }
    }
}

fn spec(life: &str) -> PluginSpec {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let argv = [python(), "-I".into(), dir.join("plugin_twin.py").into(), life.into()];
    PluginSpec {
        name: "twin".to_owned(),
        version: "1.0.0".to_owned(),
        argv: argv.to_vec(),
        dir,
        env: vec![("GRANTED".to_owned(), "yes".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        config: Map::new(),
        hooks: vec![HookName::OnRequest],
        generation: 1,
        max_in_flight: 8,
        start_timeout: Duration::from_secs(5),
    }
}

/// The interpreter itself: what is called `python3` may be a script that picks one, and changes the environment.
fn python() -> OsString {
    static PYTHON: LazyLock<OsString> = LazyLock::new(|| {
        let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        String::from_utf8(asked.expect("these tests need python3").stdout).unwrap().trim().into()
    });
    PYTHON.clone()
}

async fn call(plugin: &Plugin, body: &'static str) -> Result<Verdict, HookFailure> {
    call_within(plugin, body, Duration::from_secs(20), false).await
}

async fn call_within(
    plugin: &Plugin,
    body: &'static str,
    budget: Duration,
    cut_short: bool,
) -> Result<Verdict, HookFailure> {
    let call = Call {
        hook: HookName::OnRequest,
        request_id: "r1",
        generation: 1,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        model: None,
        stream: false,
        key_id: None,
        headers: &[],
        pointers: &[],
        metadata: &Map::new(),
        body_bytes: body.len(),
        failure: None,
        body: Some(Bytes::from_static(body.as_bytes())),
        budget,
        cut_short,
        client: ClientId::default(),
    };
    plugin.call(call).await
}

/// Waits for the end of a process, whoever its parent is.
fn wait_for_end(pid: i32) {
    let Ok(pidfd) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let timeout = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ended, 1, "process {pid} still runs");
}

#[tokio::test]
async fn a_plugin_gets_what_it_was_given_and_nothing_else() {
    let about = Twin::ready("plain").await.tell("about").await;
    let mut env: Map<String, Value> = about["env"].as_object().unwrap().clone();
    env.remove("LC_CTYPE"); // Python's own doing (PEP 538).
    assert_eq!(Value::from(env), json!({"GRANTED": "yes", "PATH": "/usr/bin:/bin", "HOOKWAY_FD": "3"}));
    let fds = about["fds"].as_object().unwrap();
    assert_eq!(fds.keys().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!(fds["0"], "/dev/null");
    assert!(fds["3"].as_str().unwrap().starts_with("socket:"));
    assert_eq!(about["group"], about["pid"], "it leads its own group");
    assert_eq!(about["dir"], Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").to_str().unwrap());
    assert_eq!(about["noNewPrivs"], "1");
    assert_eq!(about["standsBack"], true, "woken, it does not take the gateway's core");
    assert_eq!(about["blocked"], "0000000000000000");
    // By themselves Python ignores SIGPIPE (13) and SIGXFSZ (25), glibc its own 32 and 33.
    let ignored = u64::from_str_radix(about["ignored"].as_str().unwrap(), 16).unwrap();
    assert_eq!(ignored & !(1 << 31 | 1 << 32), 1 << 12 | 1 << 24);
}

#[tokio::test]
async fn a_killed_plugins_calls_end_at_once_and_it_is_back_soon() {
    let mut twin = Twin::ready("plain").await;
    let (plugin, pid) = (Arc::clone(&twin.plugin), twin.pid());
    let hanging = tokio::spawn(async move { call(&plugin, "hang").await });
    twin.tell("about").await; // Calls go out in order, so the other one is there too.
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    let killed = Instant::now();
    assert_eq!(hanging.await.unwrap().unwrap_err().cause, Cause::Unavailable);
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());

    let PluginEvent::Died { kind, reason, again } = twin.event().await else { panic!("its death is told") };
    assert_eq!((kind, reason.as_str()), (DeathKind::Exit, "killed by signal 9 (SIGKILL)"));
    assert!(again.is_some_and(|after| after <= Duration::from_millis(120)));
    assert_eq!(call(&twin.plugin, "").await.unwrap_err().cause, Cause::Unavailable, "while it is away");
    assert!(matches!(twin.event().await, PluginEvent::Ready { .. }));
    assert_eq!(call(&twin.plugin, "").await, Ok(Verdict::default()));
    let status = twin.plugin.status();
    assert_eq!((status.state, status.restarts), (PluginState::Active, 1));
    assert_ne!(twin.pid(), pid);
}

#[tokio::test]
async fn calls_that_had_less_than_their_time_open_no_breaker() {
    let twin = Twin::ready("plain").await;
    let time_out = async |cut_short| {
        let budget = Duration::from_millis(1);
        call_within(&twin.plugin, "hang", budget, cut_short).await.unwrap_err().cause
    };
    for _ in 0..20 {
        assert_eq!(time_out(true).await, Cause::Timeout);
    }
    assert_eq!(twin.plugin.status().breaker, BreakerState::Closed);
    while time_out(false).await == Cause::Timeout {}
    assert_eq!(twin.plugin.status().breaker, BreakerState::Open);
}

#[tokio::test]
async fn a_plugin_that_dies_mid_call_leaves_its_last_words() {
    let mut twin = Twin::ready("plain").await;
    assert_eq!(call(&twin.plugin, "die").await.unwrap_err().cause, Cause::Unavailable);
    let PluginEvent::Died { reason, .. } = twin.event().await else { panic!("its death is told") };
    assert_eq!(reason, "exited with status 3: dying as asked");
}

#[tokio::test]
async fn a_plugin_that_sends_garbage_is_killed_and_restarted() {
    let mut twin = Twin::ready("plain").await;
    let failure = call(&twin.plugin, "garbage").await.unwrap_err();
    assert_eq!(
        (failure.cause, failure.detail.as_str()),
        (Cause::Protocol, "frame type 255 is not one of 1 to 14")
    );
    let PluginEvent::Died { kind, .. } = twin.event().await else { panic!("its death is told") };
    assert_eq!(kind, DeathKind::Protocol);
    assert!(matches!(twin.event().await, PluginEvent::Ready { .. }));
}

#[tokio::test]
async fn a_plugin_that_fails_at_its_start_says_why() {
    let mut twin = Twin::start(spec("absent"));
    let failure = twin.plugin.ready().await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "start: exited with status 1: ModuleNotFoundError: No module named 'no_such_module'"
    );
    for _ in 0..4 {
        assert!(matches!(twin.event().await, PluginEvent::Died { again: Some(_), .. }));
    }
    assert!(matches!(twin.event().await, PluginEvent::Died { again: None, .. }));
    assert!(matches!(twin.event().await, PluginEvent::Broken { .. }));
    assert_eq!(twin.plugin.status().state, PluginState::Broken);
    assert_eq!(call(&twin.plugin, "").await.unwrap_err().cause, Cause::Broken);
}

#[tokio::test]
async fn a_plugin_that_takes_longer_to_start_than_it_said_is_ended() {
    let twin = Twin::start(PluginSpec { start_timeout: Duration::from_millis(200), ..spec("slow") });
    let failure = twin.plugin.ready().await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "handshake: it was not ready within 200 ms; a plugin that needs longer says so by startTimeoutMs in plugin.json"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let twin = Twin::start(PluginSpec { argv: vec!["/no/such/program".into()], ..spec("") });
    let failure = twin.plugin.ready().await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "launch: exited with status 127: hookway: cannot run /no/such/program: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_dropped_plugin_goes_by_itself() {
    let twin = Twin::ready("plain").await;
    let (pid, stopped) = (twin.pid(), twin.plugin.stopped());
    drop(twin);
    stopped.await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone and reaped");
}

#[tokio::test]
async fn a_plugin_deaf_to_every_request_to_stop_is_killed() {
    let mut twin = Twin::ready("stubborn").await;
    let pid = twin.pid();
    // From here on only the clock's timers are waited for, and they need not be waited out.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    twin.plugin.retire(Duration::ZERO);
    twin.plugin.stopped().await;
    assert!(before.elapsed() >= Duration::from_secs(5), "SHUTDOWN has 2 s, SIGTERM 3 s");
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone and reaped");
    assert_eq!(twin.event().await, PluginEvent::Stopped);
    assert_eq!(twin.plugin.status().state, PluginState::Stopped);
}

#[tokio::test]
async fn what_a_plugin_started_ends_with_it() {
    // In its group, in a session of its own, and one whose parent is gone.
    for kind in ["child", "session", "orphan"] {
        let mut twin = Twin::ready("plain").await;
        let child = twin.tell(kind).await["child"].as_i64().unwrap();
        let _ = call(&twin.plugin, "die").await;
        let PluginEvent::Died { reason, .. } = twin.event().await else { panic!("its death is told") };
        assert_eq!(reason, "exited with status 3: dying as asked", "{kind}");
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "{kind} still runs");
    }
}

#[tokio::test]
async fn a_plugin_that_left_its_group_is_ended_all_the_same() {
    let twin = Twin::ready("stubborn").await;
    let (pid, orphan) = (twin.pid(), twin.tell("orphan").await["child"].as_i64().unwrap());
    assert_ne!(twin.tell("desert").await["group"], pid);
    tokio::time::pause();
    twin.plugin.retire(Duration::ZERO);
    twin.plugin.stopped().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone and reaped");
    assert!(!Path::new(&format!("/proc/{orphan}")).exists(), "what it started is gone");
}

#[tokio::test]
async fn a_plugin_that_floods_its_stdout_is_not_held_up() {
    let twin = Twin::ready("plain").await;
    assert_eq!(twin.tell("flood").await["written"], 50_000_000);
    let lines = twin.plugin.logs(0, usize::MAX);
    assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= 256 << 10);
    assert!(lines.last().unwrap().text.ends_with("bytes cut)"), "{:?}", lines.last().unwrap().source);
}

/// Not a test by itself: the gateway of the next one.
#[tokio::test]
#[ignore = "runs as the process to be killed"]
async fn gateway_to_be_killed() {
    let twin = Twin::ready("stubborn").await;
    for kind in ["child", "session", "orphan"] {
        println!("process={}", twin.tell(kind).await["child"]);
    }
    twin.tell("desert").await;
    println!("process={}", twin.pid());
    println!("that is all");
    std::future::pending().await
}

#[test]
fn when_the_gateway_is_killed_its_plugin_and_all_it_started_die_too() {
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args(["gateway_to_be_killed", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(gateway.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines = lines.take_while(|line| line != "that is all");
    let processes: Vec<i32> =
        lines.filter_map(|line| Some(line.split_once("process=")?.1.parse().unwrap())).collect();
    assert_eq!(processes.len(), 4);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    processes.into_iter().for_each(wait_for_end);
}
