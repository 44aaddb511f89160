//! Requests and answers over one HTTP/1 connection, one after the other.

mod connection;
mod exchange;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::request::Parts;
use pingora_core::server::ShutdownWatch;

use super::session::{Session, Version};
use super::{Edge, patience_ends, refusal};
use crate::config::Limits;
use crate::fault::{Fault, Kind};
use crate::hook::Hook;
use crate::http1::{Framing, Misread};
use crate::relay::Downstream;
use crate::upstream::in_time;
pub(super) use connection::Connection;
pub(super) use exchange::Exchange;

/// Serves one request after the other until the connection ends.
pub(super) async fn serve<H: Hook>(
    edge: &Arc<Edge<H>>,
    mut connection: Connection,
    shutdown: &ShutdownWatch,
) {
    let peer = connection.peer();
    let mut reused = false;
    loop {
        let (head, framing) = match next(edge, &mut connection, reused, shutdown).await {
            Ok(Some(request)) => request,
            Ok(None) => return connection.close(edge.limits.write_timeout).await,
            Err(fault) => return refuse(&mut connection, &fault, &edge.limits).await,
        };
        let mut exchange = Exchange::new(&mut connection, &head, framing, &edge.limits);
        exchange.keeps &= !*shutdown.borrow();
        let mut down = Session::new(Version::One(exchange), &edge.limits);
        edge.relay.serve(head, peer, &mut down).await;
        if !down.keeps_connection().await {
            return;
        }
        reused = true;
    }
}

/// The next request. `None`: the client went away.
async fn next<H: Hook>(
    edge: &Arc<Edge<H>>,
    connection: &mut Connection,
    reused: bool,
    shutdown: &ShutdownWatch,
) -> Result<Option<(Parts, Framing)>, Fault> {
    let limits = &edge.limits;
    let reading = async {
        // A first request has to come at once; on a kept connection a pause may come before the next.
        let pause = if reused { limits.idle_timeout } else { limits.header_timeout };
        if in_time(|| pause, connection.begins()).await != Some(true) {
            return Ok(None);
        }
        let max = usize::try_from(edge.relay.header_bytes()).unwrap_or(usize::MAX);
        match in_time(|| limits.header_timeout, connection.head(max)).await {
            Some(read) => read.map_err(misread),
            None => Err(Fault::new(Kind::RequestTimeout, "The request header did not arrive in time.")),
        }
    };
    tokio::select! {
        biased;
        read = reading => read,
        () = patience_ends(shutdown.clone()), if reused => Ok(None),
    }
}

fn misread(misread: Misread) -> Fault {
    let kind = match misread {
        Misread::HeaderTooLarge { .. } | Misread::TooManyFields { .. } => Kind::HeaderTooLarge,
        Misread::RequestLine
        | Misread::Target
        | Misread::LineEnd
        | Misread::Field
        | Misread::Host
        | Misread::Length
        | Misread::Coding
        | Misread::TwoLengths
        | Misread::ChunkSize
        | Misread::ChunkExtension
        | Misread::ChunkEnd
        | Misread::Trailer
        | Misread::ExtrasTooLarge { .. } => Kind::BadRequest,
    };
    Fault::new(kind, misread.to_string())
}

/// Answers a request that never became one, and closes.
async fn refuse(connection: &mut Connection, fault: &Fault, limits: &Limits) {
    let (headers, body) = refusal(fault);
    let mut exchange = Exchange::of_no_request(connection, limits);
    let told = async {
        exchange.start(fault.status(), headers).await?;
        exchange.write(body, true).await
    };
    if told.await.is_err() {
        tracing::debug!("a client left before it could be told what was wrong with its request");
    }
    exchange.keeps_connection().await;
}
