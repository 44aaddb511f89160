//! Write a Hookway plugin in Rust.
//!
//! A plugin is a program that the gateway starts with a socket as fd 3. This crate speaks the protocol on it; the
//! author writes what to do with a request:
//!
//! ```no_run
//! use hookway_plugin::{Call, Error, Hook, Plugin, Verdict, serve};
//! use serde::Deserialize;
//!
//! /// Sends short prompts to a small model, and keeps shouting out.
//! #[derive(Deserialize)]
//! struct Sizer {
//!     small: String,
//! }
//!
//! impl Plugin for Sizer {
//!     type Config = Sizer;
//!     const HOOKS: &[Hook] = &[Hook::OnRequest];
//!
//!     fn configure(config: Sizer) -> Result<Self, Error> {
//!         Ok(config)
//!     }
//!
//!     async fn on_request(&self, call: Call) -> Result<Verdict, Error> {
//!         if call.header("x-mood") == Some("shouting") {
//!             return Ok(Verdict::reject(400, "Please calm down first.").code("shouting"));
//!         }
//!         if call.body().len() < 1_000 {
//!             return Ok(Verdict::proceed().model(&self.small));
//!         }
//!         Ok(Verdict::proceed())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve::<Sizer>()
//! }
//! ```
//!
//! Calls run side by side on one thread: a handler that waits lets others go on, one that computes does not, so
//! long work belongs into `tokio::task::spawn_blocking`. A call the gateway gave up on is dropped at its next `.await`.
//! An `Err` fails its call and no other: the operator reads which hook failed and why. A panic ends the process, which
//! the gateway then starts anew. What is written to stderr is captured by the gateway.

mod call;
mod hook;
mod link;
mod outbox;
mod socket;
mod verdict;

use std::error;
use std::future::Future;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;

pub use call::{Call, Failure};
pub use hook::Hook;
pub use hookway_wire::CallMeta;
pub use link::{ServeError, serve_on};
use serde::de::DeserializeOwned;
pub use verdict::Verdict;

/// Anything a handler may fail with.
pub type Error = Box<dyn error::Error + Send + Sync>;

/// What a plugin does.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// The form of `config`; the manifest's `configSchema` says the same to operators.
    type Config: DeserializeOwned;

    /// The hooks it has methods for. The gateway does not start a plugin whose `plugin.json` declares a hook that is
    /// not named here.
    const HOOKS: &[Hook];

    /// Told to the gateway for its log; usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &str = "";

    /// Called once before the first call. An error keeps the plugin from being used, and is shown to the operator.
    fn configure(config: Self::Config) -> Result<Self, Error>;

    /// Called when the operator changed the config. Calls that are running keep the plugin they began with. An
    /// error keeps the old config.
    fn reconfigure(&self, config: Self::Config) -> Result<Self, Error> {
        Self::configure(config)
    }

    /// A client's request, before it is routed.
    fn on_request(&self, call: Call) -> impl Future<Output = Result<Verdict, Error>> + Send {
        let _ = call;
        async { Err("HOOKS names OnRequest, but the plugin has no method on_request".into()) }
    }

    /// An attempt at an upstream that failed, as [`Call::failure`] tells.
    fn on_error(&self, call: Call) -> impl Future<Output = Result<Verdict, Error>> + Send {
        let _ = call;
        async { Err("HOOKS names OnError, but the plugin has no method on_error".into()) }
    }
}

/// The whole `main` of a plugin: serves the gateway until it says stop or is gone.
pub fn serve<P: Plugin>() -> ExitCode {
    match run::<P>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run<P: Plugin>() -> Result<(), ServeError> {
    let stream = inherited_socket()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_on::<P>(stream))
}

fn inherited_socket() -> Result<std::os::unix::net::UnixStream, ServeError> {
    let number = std::env::var("HOOKWAY_FD").map_err(|_| ServeError::NotStartedByGateway)?;
    let number = number.parse().map_err(|_| ServeError::NotStartedByGateway)?;
    // SAFETY: the gateway opened this descriptor for us alone, and this is the only place that takes it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(descriptor.into())
}
