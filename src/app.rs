//! Assembly: what is built in which order, and how it ends.
//!
//! Sockets are bound first, so that a taken port is told before anything starts; then plugins; then requests
//! are accepted. An upgrade takes the sockets of the running gateway over once it could serve them. The end runs
//! the other way, and the control listener answers until the last.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::admin::{self, Gateway};
use crate::config::{Config, Environment, Sandbox, Tls};
use crate::descriptors::{self, Raised};
use crate::edge::{self, Edge, Sockets};
use crate::lifecycle::{By, Ground, Lifecycle, LifecycleError, Source};
use crate::limits;
use crate::logging;
use crate::metrics::{Lost, Metrics};
use crate::package::Search;
use crate::panics;
use crate::plugin::launch::Launcher;
use crate::record::{Live, Recorder};
use crate::relay::{InFlight, Relay};
use crate::store::{self, Found, Store};
use crate::tls::{self, TlsListener};
use crate::token::{self, Token, TokenError};

/// The Python SDK comes with the gateway that speaks its protocol.
const PYTHON_SDK: &str = include_str!("../plugins/sdk/python/hookway.py");
/// Admin, lifecycle and supervisors share these, apart from the data plane's.
const CONTROL_THREADS: usize = 2;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: Config,
    /// The file it came from, to be read again on a reload; None: the built-in configuration.
    pub config_path: Option<PathBuf>,
    pub environment: Environment,
    /// Take the sockets of the running gateway over.
    pub upgrade: bool,
}

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was served to its end.
    Drained,
    /// Some were cut when the grace period or the patience of whoever asked was over.
    Cut,
}

/// Runs the gateway until a signal ends it.
pub fn serve(options: Options) -> anyhow::Result<Ended> {
    let Options { config, config_path, environment, upgrade } = options;
    survive_signals();
    let metrics = Arc::new(Metrics::new());
    panics::install(config.log.format, metrics.clone());
    let log = logging::init(&config.log)?;
    raise_descriptor_limit();
    let tls = tls_listener(config.listen.tls.as_ref())?;
    let bound =
        if upgrade { None } else { Some(Sockets::bind(config.listen.address, config.admin.address)?) };
    let (token, token_source) = token::load(
        environment.get(token::ENV).map(String::as_str),
        config.admin.token_file.as_deref(),
        &config.state_dir,
    )
    .map_err(|error| match error {
        // This one path comes from no key of its own.
        TokenError::File { ref path, .. } if path.starts_with(&config.state_dir) => {
            of_state_dir(error, &config)
        }
        error => error.into(),
    })?;
    if let token::Source::Made(path) = &token_source {
        tracing::info!(path = %path.display(), "made an admin token");
    }
    let sdk = write_sdk(&config.state_dir).map_err(|error| of_state_dir(error, &config))?;
    let store = open_store(&config.state_dir, upgrade).map_err(|error| of_state_dir(error, &config))?;
    let data = runtime("hookway-data", config.listen.threads)?;
    let control = runtime("hookway-control", CONTROL_THREADS)?;
    let ground = Ground {
        metrics,
        live: Live::default(),
        store,
        launcher: Launcher::start(PathBuf::from("/proc/self/exe"))?,
        search: Search::of_this_process(),
        sdk,
        environment: environment.clone(),
        data: data.handle().clone(),
        control: control.handle().clone(),
    };
    let executions = ground.store.clone();
    ground.metrics.watch_losses(Lost::Execution, move || executions.executions_lost());
    ground.metrics.watch_losses(Lost::LogLine, log.lost_lines());
    let source = Source { path: config_path, environment };
    let ended = control.block_on(run(source, config, ground, bound, tls, token))?;
    // What still runs there are connections that were cut, and waits for peers that no longer matter.
    data.shutdown_background();
    control.shutdown_timeout(Duration::from_millis(100));
    Ok(ended)
}

fn tls_listener(files: Option<&Tls>) -> anyhow::Result<Option<TlsListener>> {
    let Some(Tls { cert, key }) = files else { return Ok(None) };
    let named = |text| anyhow::anyhow!("certificate {} and key {} {text}", cert.display(), key.display());
    tls::listener(cert, key).map(Some).map_err(named)
}

fn raise_descriptor_limit() {
    let Raised { from, to } = descriptors::raise_limit();
    let said = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    tracing::info!(soft_limit = said(from), limit = said(to), "descriptors this gateway may open");
}

/// Signals that would end the process by default and mean nothing to it. SIGXFSZ comes with a write beyond
/// `RLIMIT_FSIZE`: ignored, the write fails, and its change is refused like any other that cannot be written.
/// Plugins start with the defaults.
fn survive_signals() {
    const MEANINGLESS: [libc::c_int; 8] = [
        libc::SIGXFSZ,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGPWR,
    ];
    for signal in MEANINGLESS {
        // SAFETY: No handler is installed, and none was.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Says which key chose the folder that cannot be used.
fn of_state_dir(error: impl Into<anyhow::Error>, config: &Config) -> anyhow::Error {
    let dir = config.state_dir.display();
    error
        .into()
        .context(format!("the state folder {dir}, which [state] dir of the config names, cannot be used"))
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .with_context(|| format!("cannot start the {name} threads"))
}

/// Opens the database, and tells what an operator has to know of how it was found.
fn open_store(state_dir: &Path, upgrade: bool) -> anyhow::Result<Arc<Store>> {
    let store = Store::open(state_dir, if upgrade { store::Entry::Beside } else { store::Entry::Alone })?;
    let store::Report { path, found, was_exposed, is_alone: _ } = store.report();
    let path = path.display();
    match found {
        Found::Nothing => tracing::info!(%path, "made a database"),
        Found::Emptied => tracing::error!(%path, "the database was empty; it was made anew"),
        Found::Whole => {}
        Found::Older { steps } => tracing::info!(%path, from = steps, "brought the database up to date"),
        Found::Damaged { moved_to, reason } => tracing::error!(
            %path,
            moved_to = %moved_to.display(),
            reason,
            "the database is damaged; it was moved aside, and an empty one made in its place"
        ),
    }
    if *was_exposed {
        tracing::warn!(%path, "others could read the database; now they cannot");
    }
    Ok(Arc::new(store))
}

/// Puts the SDKs where plugins find them, under the state folder.
pub(crate) fn write_sdk(state_dir: &Path) -> anyhow::Result<PathBuf> {
    let sdk = state_dir.join("sdk");
    let folder = sdk.join("python");
    let file = folder.join("hookway.py");
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        if std::fs::read(&file).is_ok_and(|known| known == PYTHON_SDK.as_bytes()) {
            return Ok(());
        }
        // A gateway beside this one may be starting a plugin right now, so the file is never half there.
        let fresh = folder.join(format!(".hookway.py.{}", std::process::id()));
        std::fs::write(&fresh, PYTHON_SDK)?;
        std::fs::rename(&fresh, &file)
    });
    written.with_context(|| format!("cannot write the Python SDK to {}", file.display()))?;
    Ok(sdk)
}

async fn run(
    source: Source,
    config: Config,
    ground: Ground,
    bound: Option<Sockets>,
    tls: Option<TlsListener>,
    token: Token,
) -> anyhow::Result<Ended> {
    let mut signals = Signals::listen()?;
    let (metrics, data) = (ground.metrics.clone(), ground.data.clone());
    let (live, store) = (ground.live.clone(), ground.store.clone());
    let listen = config.listen.clone();
    let limits = config.limits.clone();
    let sandbox = config.plugins.sandbox;
    let config_path = source.path.clone();
    let (lifecycle, published) = Lifecycle::start(source, config, ground).await?;
    let sockets = match bound {
        Some(sockets) => sockets,
        // Last of all: until then the running gateway serves, and if anything failed it still does.
        None => match take_over(listen.upgrade_socket.as_deref()).await {
            Ok(sockets) => {
                // What operators asked of the other one while this one started. If it cannot be had, the log says
                // so, and what this one started with serves: the other has let go of its sockets by now.
                let _ = lifecycle.reload(By::Gateway).await;
                sockets
            }
            Err(error) => {
                lifecycle.stop().await;
                return Err(error);
            }
        },
    };
    let handed_over = Sockets { data: sockets.data.try_clone()?, admin: sockets.admin.try_clone()? };
    let (data_address, admin_address) = (sockets.data.local_addr()?, sockets.admin.local_addr()?);

    let recorder = Recorder::new(metrics.clone(), live.clone()).noting(store.clone());
    let relay = Arc::new(Relay::new(published.clone(), recorder, token.clone()));
    let gateway = Arc::new(Gateway::new(lifecycle.clone(), published, store.clone(), metrics, live));
    let (end_admin, admin_ends) = oneshot::channel::<()>();
    let router = admin::router(gateway.clone(), token, Vec::new());
    let admin = tokio::spawn(admin::serve(sockets.admin, router, gateway.clone(), async {
        // Ends when told so, or when the teller is gone.
        let _ = admin_ends.await;
    }));
    let (stop_accepting, stopped) = watch::channel(false);
    let edge = Edge::new(relay.clone(), limits);
    let mut accepting = data.spawn(edge::accept(edge, sockets.data, tls, stopped));
    announce(config_path.as_deref(), data_address, admin_address, sandbox);

    let end = tokio::select! {
        end = signals.until_the_end(&lifecycle, listen.upgrade_socket.as_deref(), &handed_over) => end,
        broken = &mut accepting => {
            lifecycle.stop().await;
            broken.context("the data plane broke")??;
            anyhow::bail!("the data plane ended by itself");
        }
    };
    tracing::info!(signal = end.signal(), in_flight = relay.in_flight().count(), "shutting down");
    gateway.draining();
    stop_accepting.send_replace(true);
    // With the last copy of the socket gone, a new connection is refused and not left waiting.
    drop(handed_over);
    let mut end_admin = Some(end_admin);
    if end == End::HandedOver {
        // Both gateways would answer on the control socket they share, and only the new one knows what is.
        end_admin.take();
    }
    let ended = drain(relay.in_flight(), end, gateway.shutdown_grace(), &mut signals).await;
    lifecycle.stop().await;
    if let Err(error) = store.close().await {
        tracing::error!(%error, "the database was not closed in order");
    }
    drop(end_admin);
    admin.await.context("the control listener broke")??;
    accepting.abort();
    match ended {
        Ended::Drained => tracing::info!("stopped, every request was served to its end"),
        Ended::Cut => tracing::warn!("stopped, requests were cut"),
    }
    Ok(ended)
}

fn announce(config_path: Option<&Path>, data: SocketAddr, admin: SocketAddr, sandbox: Sandbox) {
    let config = name_of(config_path);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(config, data = %data, admin = %admin, version, sandbox = sandbox.as_str(), "serving");
}

/// The config in the start line: the whole path of its file, or that there is none.
fn name_of(config_path: Option<&Path>) -> String {
    match config_path {
        Some(path) => path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string(),
        None => "no config file; the built-in defaults and the echo upstream".to_owned(),
    }
}

/// Waits for the requests in flight; cuts them when `grace` is over or a second signal comes.
async fn drain(in_flight: &InFlight, end: End, grace: Duration, signals: &mut Signals) -> Ended {
    let waited_for = tokio::select! {
        () = last_requests(in_flight, end) => return Ended::Drained,
        () = tokio::time::sleep(grace) => "the grace period",
        () = signals.second() => "a second signal",
    };
    in_flight.refuse_new();
    let left = in_flight.count();
    if left == 0 {
        return Ended::Drained;
    }
    tracing::warn!(requests = left, after = waited_for, "cutting requests that did not finish");
    in_flight.cut_all();
    // Clients are told so; one that does not read is not waited for.
    let _ = tokio::time::timeout(limits::CUT_WAIT, in_flight.idle()).await;
    Ended::Cut
}

/// Refuses new requests and waits for the others.
async fn last_requests(in_flight: &InFlight, end: End) {
    if end == End::HandedOver {
        // New connections reach the new gateway, but a kept one may have a request under way to this one.
        tokio::time::sleep(limits::LAST_REQUEST_WAIT).await;
    }
    in_flight.refuse_new();
    in_flight.idle().await;
}

/// What ends the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Terminated,
    Interrupted,
    /// Another gateway has the sockets.
    HandedOver,
}

impl End {
    const fn signal(self) -> &'static str {
        match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::HandedOver => "SIGQUIT",
        }
    }
}

struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Serves SIGHUP by reloading and SIGQUIT by handing the sockets over, until a signal means the end.
    async fn until_the_end(
        &mut self,
        lifecycle: &Lifecycle,
        upgrade_socket: Option<&Path>,
        sockets: &Sockets,
    ) -> End {
        loop {
            tokio::select! {
                _ = self.term.recv() => return End::Terminated,
                _ = self.interrupt.recv() => return End::Interrupted,
                _ = self.hangup.recv() => {
                    let lifecycle = lifecycle.clone();
                    // What came of it is logged by the lifecycle itself.
                    tokio::spawn(async move { lifecycle.reload(By::Signal).await });
                }
                _ = self.quit.recv() => match hand_over(upgrade_socket, sockets).await {
                    Ok(()) => return End::HandedOver,
                    Err(error) => tracing::error!(%error, "the sockets were not handed over, serving on"),
                }
            }
        }
    }

    async fn second(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Blocks while the running gateway is waited for.
async fn take_over(path: Option<&Path>) -> anyhow::Result<Sockets> {
    let path = path.context("an upgrade needs [listen] upgrade_socket in the configuration")?.to_owned();
    tracing::info!(at = %path.display(), "waiting for the sockets of the running gateway");
    tokio::task::spawn_blocking(move || Sockets::take_over(&path)).await?
}

/// Blocks while the new gateway is waited for, so it runs beside the signals' thread.
async fn hand_over(path: Option<&Path>, sockets: &Sockets) -> anyhow::Result<()> {
    let path = path.context("the configuration has no [listen] upgrade_socket")?.to_owned();
    let sockets = Sockets { data: sockets.data.try_clone()?, admin: sockets.admin.try_clone()? };
    tokio::task::spawn_blocking(move || sockets.hand_over(&path)).await?
}

/// Errors of a configuration, as `check` prints them; exit code 64.
pub fn is_config_error(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<LifecycleError>(), Some(LifecycleError::Invalid { .. }))
}
