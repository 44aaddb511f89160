//! The control listener's connections: so many at once, and none that takes its time over a header.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::Gateway;
use crate::limits;

/// Serves `router` until `shutdown` resolves, then ends what is still answered, in a bounded time.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    let (end, ends) = watch::channel(false);
    tokio::select! {
        () = shutdown => {}
        // What is not accepted waits in the socket.
        () = accept(&listener, &places, &router, &ends) => {}
    }
    drop(listener);
    // An open stream would be an answer that is waited for.
    gateway.ending();
    end.send_replace(true);
    let all = u32::try_from(limits::ADMIN_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    // Who is still answered when the time is over is cut.
    let _ = tokio::time::timeout(limits::ADMIN_GRACE, places.acquire_many(all)).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    router: &Router,
    ends: &watch::Receiver<bool>,
) {
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                // Costs a delay if it fails, nothing else.
                let _ = stream.set_nodelay(true);
                // A reader of the live stream that is gone or stuck would keep its place for as long as TCP hopes.
                let _ = sockopt::set_tcp_user_timeout(&stream, limits::ADMIN_WRITE_TIMEOUT_MS);
                let (router, ends) = (router.clone(), ends.clone());
                tokio::spawn(async move {
                    converse(stream, router, ends).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control listener cannot accept a connection");
                // Descriptors are back when others have closed theirs.
                tokio::time::sleep(limits::ADMIN_ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end, or until the listener ends and its last answer is out.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    router: Router,
    mut ends: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_TIMEOUT)
        // The date of a clock before 1970 would panic.
        .auto_date_header(SystemTime::now() >= UNIX_EPOCH)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What went wrong with a connection is its client's to know.
        _ = connection.as_mut() => return,
        // An error says that the sender is gone: the shutdown began.
        _ = ends.wait_for(|ends| *ends) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_header_that_takes_its_time_ends_its_connection() {
        for begun in ["", "GET /healthz HTTP/1.1\r\nhost: loc"] {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            let (_end, ends) = watch::channel(false);
            let began = Instant::now();
            let serving = tokio::spawn(converse(near, Router::new(), ends));
            far.write_all(begun.as_bytes()).await.unwrap();
            // Whether it is told why makes no difference.
            let _ = far.read_to_end(&mut Vec::new()).await;
            serving.await.unwrap();
            assert!(
                (limits::HEADER_TIMEOUT..limits::HEADER_TIMEOUT * 2).contains(&began.elapsed()),
                "{begun}"
            );
        }
    }
}
