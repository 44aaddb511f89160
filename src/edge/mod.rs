//! The listener side: connections in, [`Downstream`](crate::relay::Downstream)s out.
//!
//! It reads request heads, refuses what is no HTTP, and keeps connections. HTTP/1 is read by [`crate::http1`]
//! alone, HTTP/2 by Pingora's sessions. What a request means is the relay's.

mod door;
mod http1;
mod http2;
mod listen;
mod pace;
mod session;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

pub use listen::{Sockets, accept};

use crate::chat::answer::error_body;
use crate::config::Limits;
use crate::fault::Fault;
use crate::hook::Hook;
use crate::limits;
use crate::relay::Relay;
use session::{Session, Version};

/// What connections are served with. To Pingora: an app that serves HTTP/2 sessions.
pub struct Edge<H> {
    relay: Arc<Relay<H>>,
    limits: Limits,
    options: HttpServerOptions,
}

impl<H: Hook> Edge<H> {
    /// `limits` are those of the listener's start: a reload does not change them for this listener.
    pub fn new(relay: Arc<Relay<H>>, limits: Limits) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.idle_timeout);
        options.h2c = true;
        Self { relay, limits, options }
    }

    /// Serves a connection that speaks HTTP/1, request after request, to its end.
    pub async fn serve_http1(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) {
        http1::serve(self, http1::Connection::new(stream), shutdown).await;
    }
}

#[async_trait]
impl<H: Hook> HttpServerApp for Edge<H> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let mut head = session.req_header().as_owned_parts();
        join_cookies(&mut head);
        let peer = session.client_addr().and_then(|address| address.as_inet().copied());
        let mut down = Session::new(
            Version::Two(http2::Exchange::new(&mut session, &head.method, &self.limits)),
            &self.limits,
        );
        self.relay.serve(head, peer, &mut down).await;
        if down.keeps_connection().await {
            // An error says that the client is gone.
            let _ = session.finish().await;
        }
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Once nothing new is accepted, a kept connection is soon closed: its client finds whoever listens now.
async fn patience_ends(mut shutdown: ShutdownWatch) {
    // An error says that the sender is gone, and with it the gateway.
    let _ = shutdown.wait_for(|shutdown| *shutdown).await;
    tokio::time::sleep(limits::LAST_REQUEST_WAIT).await;
}

/// HTTP/2 may bring cookies in crumbs; outside of it they are one field (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut Parts) {
    let crumbs: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        head.headers.insert(COOKIE, cookies);
    }
}

/// An error in OpenAI's form, for a request that never became one.
fn refusal(fault: &Fault) -> (HeaderMap, Bytes) {
    let body = error_body(&fault.api_error());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    (headers, body)
}
