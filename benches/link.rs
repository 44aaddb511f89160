//! One hook call against one bare round trip over the same kind of socket pair, to the same plugin process.
//!
//! The two are measured in turn, a few calls each, because from one second to the next the machine changes more
//! than they differ. What counts is the ratio. `cargo bench --bench link [-- CALLS]`

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookway::hook::{Call, ClientId, Endpoint, Hook, HookName, Verdict};
use hookway::plugin::launch::{self, Launcher};
use hookway::plugin::{Observer, Plugin, PluginEvent, PluginSpec};
use hookway_wire::{BODY_PART_BYTES, FRAME_BYTES_MAX, Flags, FrameType, HEADER_BYTES, Head, Header};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BODIES: [usize; 6] = [0, 256, 4 << 10, 32 << 10, 256 << 10, 1 << 20];
/// Calls of one kind before the other has its turn.
const TURN: usize = 50;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == launch::COMMAND) {
        return launch::run(args);
    }
    if first.is_some_and(|first| first == "plugin") {
        return plugin();
    }
    // Tests only want to see that it runs.
    let usual = if cfg!(debug_assertions) { 10 * TURN } else { 20_000 };
    if cfg!(debug_assertions) {
        println!("a debug build says nothing about speed; run it as a bench");
    }
    // Only the first: the others may be options for the benches beside this one, and their values.
    let calls = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(usual).max(10 * TURN);
    for (name, mut runtime) in [
        ("current_thread", tokio::runtime::Builder::new_current_thread()),
        ("multi_thread, 2 workers", tokio::runtime::Builder::new_multi_thread()),
    ] {
        println!("{name}");
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { tokio::spawn(measure(calls)).await.unwrap() });
    }
    ExitCode::SUCCESS
}

/// The plugin: reads frames, answers "unchanged". Blocking, one thread, one read per wake-up where it can.
fn plugin() -> ExitCode {
    // SAFETY: The launcher, or the bare side of this bench, left the socket there, and nobody else uses it.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd()) });
    let mut buffer = vec![0; 1 << 20];
    let (mut start, mut end) = (0, 0);
    let mut ungranted = 0;
    loop {
        while let Some(bytes) = buffer[start..end].first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(bytes, FRAME_BYTES_MAX).unwrap();
            let len = HEADER_BYTES + header.len as usize;
            if end - start < len {
                break;
            }
            start += len;
            ungranted += header.body_len();
            answer(&mut socket, &header, &mut ungranted);
        }
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        match socket.read(&mut buffer[end..]).unwrap() {
            0 => return ExitCode::SUCCESS,
            read => end += read,
        }
    }
}

/// Where the socket is: 3 under the launcher, stdin under the bare side.
fn fd() -> i32 {
    std::env::var("HOOKWAY_FD").map_or(0, |fd| fd.parse().unwrap())
}

fn answer(socket: &mut UnixStream, header: &Header, ungranted: &mut u32) {
    let mut send = |head: Head, meta: &str| {
        let mut out = bytes::BytesMut::new();
        head.write(&mut out, meta.as_bytes(), b"");
        socket.write_all(&out).unwrap();
    };
    match header.kind {
        FrameType::Hello => {
            let ready = json!({"protocol": 1, "hooks": ["onRequest"]}).to_string();
            send(Head::link(FrameType::Ready), &ready);
        }
        FrameType::Ping => send(Head::link(FrameType::Pong), ""),
        FrameType::Call | FrameType::Data if header.flags.is_end() => {
            socket.write_all(&unchanged(header.id)).unwrap();
            *ungranted = 0;
        }
        FrameType::Call | FrameType::Data if *ungranted as usize >= 2 * BODY_PART_BYTES => {
            let credit = json!({ "bytes": *ungranted }).to_string();
            send(Head::of(FrameType::Credit, header.id), &credit);
            *ungranted = 0;
        }
        FrameType::Shutdown => std::process::exit(0),
        _ => {}
    }
}

fn unchanged(id: u32) -> [u8; HEADER_BYTES] {
    let header = Head::of(FrameType::Result, id).end().header(0, 0);
    Header { flags: Flags::END | Flags::UNCHANGED, ..header }.encode()
}

/// The other side of the comparison: the same process, the same frames, and nothing around them.
struct Bare {
    child: Child,
    socket: tokio::net::UnixStream,
    meta: Vec<u8>,
}

impl Bare {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for end in [&ours, &theirs] {
            rustix::net::sockopt::set_socket_send_buffer_size(end, 1 << 20).unwrap();
        }
        let executable = std::env::current_exe().unwrap();
        let child =
            Command::new(executable).arg("plugin").stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
        ours.set_nonblocking(true).unwrap();
        Self { child, socket: tokio::net::UnixStream::from_std(ours).unwrap(), meta: vec![b' '; 250] }
    }

    /// End of file ends the plugin.
    fn end(mut self) {
        drop(self.socket);
        self.child.wait().unwrap();
    }

    /// Without credit: as fast as the socket takes it.
    async fn round_trip(&mut self, body: &[u8]) {
        let parts: Vec<&[u8]> =
            if body.is_empty() { vec![body] } else { body.chunks(BODY_PART_BYTES).collect() };
        for (at, part) in parts.iter().enumerate() {
            let (kind, meta) =
                if at == 0 { (FrameType::Call, &self.meta[..]) } else { (FrameType::Data, &[][..]) };
            let head = Head::of(kind, 1);
            let head = if at + 1 == parts.len() { head.end() } else { head };
            let header = head.header(meta.len(), part.len()).encode();
            let mut frame = [&header, meta].concat();
            if part.len() <= 4 << 10 {
                frame.extend_from_slice(part);
                self.socket.write_all(&frame).await.unwrap();
            } else {
                let slices = [std::io::IoSlice::new(&frame), std::io::IoSlice::new(part)];
                let mut written = self.socket.write_vectored(&slices).await.unwrap();
                while written < frame.len() + part.len() {
                    written += self.socket.write(&part[written - frame.len()..]).await.unwrap();
                }
            }
        }
        loop {
            let mut header = [0; HEADER_BYTES];
            self.socket.read_exact(&mut header).await.unwrap();
            let header = Header::decode(&header, FRAME_BYTES_MAX).unwrap();
            let mut meta = vec![0; header.len as usize];
            self.socket.read_exact(&mut meta).await.unwrap();
            if header.kind == FrameType::Result {
                return;
            }
        }
    }
}

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &str, _: &PluginEvent) {}
}

async fn start() -> Arc<Plugin> {
    let executable = std::env::current_exe().unwrap();
    let launcher = Launcher::start(executable.clone()).unwrap();
    let spec = PluginSpec {
        name: "bench".to_owned(),
        version: "1.0.0".into(),
        argv: vec![OsString::from(executable), "plugin".into()],
        dir: "/".into(),
        env: Vec::new(),
        config: Map::new(),
        hooks: vec![HookName::OnRequest],
        generation: 1,
        max_in_flight: 256,
        start_timeout: Duration::from_secs(5),
    };
    let handle = tokio::runtime::Handle::current();
    let plugin = Plugin::start(spec, launcher, handle.clone(), &handle, Arc::new(Nobody));
    plugin.ready().await.unwrap();
    plugin
}

async fn call(plugin: &Plugin, body: Option<Bytes>) {
    let call = Call {
        hook: HookName::OnRequest,
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057",
        generation: 1,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        model: Some("gpt-4o-mini"),
        stream: true,
        key_id: None,
        headers: &[("x-team", "red".into())],
        pointers: &[],
        metadata: &Map::new(),
        body_bytes: body.as_ref().map_or(0, Bytes::len),
        failure: None,
        body,
        budget: Duration::from_secs(10),
        cut_short: false,
        client: ClientId::default(),
    };
    assert_eq!(plugin.call(call).await, Ok(Verdict::default()));
}

async fn measure(calls: usize) {
    let (plugin, mut bare) = (start().await, Bare::start());
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "body", "bare p50", "call p50", "bare p99", "call p99", "ratio"
    );
    for size in BODIES {
        let body = Bytes::from(vec![b'x'; size]);
        let calls = if size > 64 << 10 { calls / 10 } else { calls };
        let (mut bares, mut hooks) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        for _ in 0..calls / TURN {
            for _ in 0..TURN {
                let began = Instant::now();
                bare.round_trip(&body).await;
                bares.push(began.elapsed());
            }
            for _ in 0..TURN {
                let began = Instant::now();
                call(&plugin, (size > 0).then(|| body.clone())).await;
                hooks.push(began.elapsed());
            }
        }
        let [bare50, bare99] = percentiles(&mut bares);
        let [call50, call99] = percentiles(&mut hooks);
        let ratio = call50 / bare50;
        println!("{size:>10} {bare50:>10.1} {call50:>10.1} {bare99:>10.1} {call99:>10.1} {ratio:>7.2}");
    }
    bare.end();
    for at_once in [1, 16, 128] {
        let (began, rounds) = (Instant::now(), calls / at_once);
        let callers: Vec<_> = (0..at_once)
            .map(|_| {
                let plugin = Arc::clone(&plugin);
                tokio::spawn(async move {
                    for _ in 0..rounds {
                        call(&plugin, None).await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let rate = (rounds * at_once) as f64 / began.elapsed().as_secs_f64();
        println!("{at_once:>4} at once: {rate:>8.0} calls/s");
    }
}

/// p50 and p99 in microseconds.
fn percentiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]].map(|time| time.as_secs_f64() * 1e6)
}
