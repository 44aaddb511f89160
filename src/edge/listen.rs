//! The gateway's sockets: bound before anything else starts, handed over on an upgrade.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use super::Edge;
use super::door::Door;
use crate::hook::Hook;
use crate::limits;
use crate::tls::TlsListener;

const DATA: &str = "data";
const ADMIN: &str = "admin";

/// The two listening sockets. Connections queue in them from the start; nothing accepts yet.
pub struct Sockets {
    pub data: TcpListener,
    pub admin: TcpListener,
}

impl Sockets {
    pub fn bind(data: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let bind = |address: SocketAddr, what: &str| {
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address} for the {what}"))
        };
        Ok(Self { data: bind(data, "data plane")?, admin: bind(admin, "admin API")? })
    }

    /// Waits for the running gateway to hand its sockets over through `path`.
    pub fn take_over(path: &Path) -> anyhow::Result<Self> {
        // Pingora removes what lies there.
        if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
            anyhow::bail!("[listen] upgrade_socket {} is there and is not a socket", path.display());
        }
        let mut fds = Fds::new();
        fds.get_from_sock(&*path.to_string_lossy())
            .with_context(|| format!("no sockets came through {}", path.display()))?;
        let take = |name: &str| {
            let fd = *fds.get(name).with_context(|| format!("the running gateway has no {name} socket"))?;
            // SAFETY: the descriptor came in a message to this process alone, and is taken once.
            anyhow::Ok(unsafe { TcpListener::from_raw_fd(fd) })
        };
        Ok(Self { data: take(DATA)?, admin: take(ADMIN)? })
    }

    /// Sends both sockets to the gateway that waits at `path`. Both processes have them then.
    pub fn hand_over(&self, path: &Path) -> anyhow::Result<()> {
        let mut fds = Fds::new();
        fds.add(DATA.to_owned(), self.data.as_raw_fd());
        fds.add(ADMIN.to_owned(), self.admin.as_raw_fd());
        fds.send_to_sock(&*path.to_string_lossy())
            .with_context(|| format!("nobody took the sockets at {}", path.display()))?;
        Ok(())
    }
}

/// Accepts connections for `edge` until `shutdown` turns true, then waits for none of them.
///
/// Pingora finds the socket in its table of descriptors, under the name it was told to listen on.
pub async fn accept<H: Hook>(
    edge: Edge<H>,
    listener: TcpListener,
    tls: Option<TlsListener>,
    shutdown: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let name = listener.local_addr()?.to_string();
    let endpoint = ListenerConfig::tcp(name.clone()).l4_buffer(L4BufferSettings {
        write: Some(limits::CLIENT_WRITE_BUFFER_BYTES),
        ..L4BufferSettings::default()
    });
    let mut fds = Fds::new();
    fds.add(name, listener.into_raw_fd());
    let fds: ListenFds = Arc::new(Mutex::new(fds));
    let mut service =
        Service::new("data plane".to_owned(), Door::new(edge, tls.map(Acceptor::from_server_config)));
    service.add_listener(endpoint);
    service.start_service(Some(fds), shutdown, 1).await;
    Ok(())
}
