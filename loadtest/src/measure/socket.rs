//! The floor under a hook: one body over a Unix socket pair to another process, and 16 bytes back.
//!
//! This is what a hook call cannot be faster than with the same runtime: tokio on both ends, no frames, no
//! JSON, no gateway. It is measured in every round beside the peers, on the cores the peers have, because what a
//! wake-up costs differs from machine to machine and from minute to minute.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cores;
use crate::load::tally::{Times, record, times};

/// What answers: as much as "continue, unchanged" takes on the wire.
const REPLY: [u8; 16] = [0; 16];
const READ_BYTES: usize = 64 * 1024;
/// Large enough that a body does not stall half-way; see SO_SNDBUF in socket(7).
const SOCKET_BYTES: usize = 1024 * 1024;

#[derive(clap::Args)]
pub(crate) struct EchoArguments {
    /// Bytes to read before each reply.
    #[arg(long)]
    bytes: usize,
}

/// The far end: reads from the socket that is its standard input, and answers.
pub(crate) fn echo(arguments: &EchoArguments) -> anyhow::Result<()> {
    let socket = UnixStream::from(rustix::io::dup(std::io::stdin()).context("taking the socket")?);
    let bytes = arguments.bytes;
    runtime()?.block_on(async {
        let mut socket = into_tokio(socket)?;
        let mut scratch = vec![0; READ_BYTES];
        loop {
            let mut left = bytes;
            while left > 0 {
                let wanted = left.min(READ_BYTES);
                match socket.read(&mut scratch[..wanted]).await? {
                    0 => return Ok(()),
                    got => left -= got,
                }
            }
            socket.write_all(&REPLY).await?;
        }
    })
}

/// Times round trips with a body of `bytes` for `duration`, both processes kept on `on`. With a `pace` one begins so
/// long after the other, as requests at a constant rate do; without, at once, and then core and caches stay warm.
pub(crate) fn round_trips(
    bytes: usize,
    duration: Duration,
    pace: Option<Duration>,
    on: &[usize],
) -> anyhow::Result<Times> {
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            cores::stay_on(on)?;
            let (near, far) = UnixStream::pair()?;
            let mut child = start_echo(bytes, far)?;
            let measured = runtime()?.block_on(exchange(near, bytes, duration, pace));
            // The near end is closed by now, which ends the child.
            child.wait().context("waiting for the echo process")?;
            measured
        });
        measuring.join().map_err(|_| anyhow::anyhow!("the thread that times round trips panicked"))?
    })
}

fn start_echo(bytes: usize, far: UnixStream) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let echo = [Path::new("echo").as_os_str(), "--bytes".as_ref(), bytes.to_string().as_ref()]
        .map(ToOwned::to_owned);
    let far = Stdio::from(std::os::fd::OwnedFd::from(far));
    Command::new(program).args(echo).stdin(far).spawn().context("starting the echo process")
}

async fn exchange(
    near: UnixStream,
    bytes: usize,
    duration: Duration,
    pace: Option<Duration>,
) -> anyhow::Result<Times> {
    let mut socket = into_tokio(near)?;
    let body = vec![b'x'; bytes];
    let mut reply = REPLY;
    let mut measured = times(3);
    let start = Instant::now();
    let warm_up = duration / 10;
    while start.elapsed() < duration {
        let sent = Instant::now();
        socket.write_all(&body).await?;
        socket.read_exact(&mut reply).await?;
        if start.elapsed() > warm_up {
            record(&mut measured, sent.elapsed());
        }
        if let Some(pace) = pace {
            // Nothing else runs here that could be held up.
            std::thread::sleep(pace.saturating_sub(sent.elapsed()));
        }
    }
    Ok(measured)
}

fn into_tokio(socket: UnixStream) -> anyhow::Result<tokio::net::UnixStream> {
    set_socket_send_buffer_size(&socket, SOCKET_BYTES)?;
    set_socket_recv_buffer_size(&socket, SOCKET_BYTES)?;
    socket.set_nonblocking(true)?;
    Ok(tokio::net::UnixStream::from_std(socket)?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build().context("building a runtime")
}
