//! The listener side: Pingora's sessions in, [`Downstream`](crate::relay::Downstream)s out.
//!
//! It reads request heads, refuses what is no HTTP, and keeps connections. What a request means is the
//! relay's.

mod door;
mod listen;
mod prompt;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::{Error, ErrorType};

pub use listen::{Sockets, accept};

use crate::chat::answer::error_body;
use crate::config::Limits;
use crate::fault::{Fault, Kind};
use crate::hook::Hook;
use crate::limits;
use crate::relay::Relay;
use session::Session;

/// Pingora's view of the gateway: an app that serves HTTP sessions.
pub struct Edge<H> {
    relay: Arc<Relay<H>>,
    limits: Limits,
    options: HttpServerOptions,
}

/// Marks a client connection that has served a request.
struct Reused;

impl<H: Hook> Edge<H> {
    /// `limits` are those of the listener's start: a reload does not change them for this listener.
    pub fn new(relay: Arc<Relay<H>>, limits: Limits) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.idle_timeout);
        Self { relay, limits, options }
    }

    /// The same for connections that speak HTTP/2 in clear text.
    fn for_h2c(&self) -> Self {
        let mut options = self.options.clone();
        options.h2c = true;
        Self { relay: self.relay.clone(), limits: self.limits.clone(), options }
    }

    /// Reads the next request's head. `None`: the client went away, or was told what is wrong.
    async fn read_head(
        &self,
        session: &mut ServerSession,
        reused: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<Parts> {
        // A first request has to come at once; on a kept connection the pause between requests comes first.
        let idle = if reused { self.limits.idle_timeout } else { Duration::ZERO };
        let wait = idle + self.limits.header_timeout;
        let read = tokio::select! {
            biased;
            // A timer of Pingora's: one of tokio's would wake the runtime's driver for each request.
            read = pingora_timeout::timeout(wait, session.read_request()) => read,
            () = patience_ends(shutdown.clone()), if reused => return None,
        };
        let fault = match read {
            Ok(Ok(true)) => ambiguity(session).map(|message| Fault::new(Kind::BadRequest, message)),
            Ok(Ok(false)) => return None,
            Ok(Err(error)) => Some(misread(&error)?),
            Err(_) => {
                let message = "The request header did not arrive in time.";
                Some(Fault::new(Kind::RequestTimeout, message))
            }
        };
        if let Some(fault) = fault {
            refuse(session, &fault, self.limits.write_timeout).await;
            return None;
        }
        let mut head = session.req_header().as_owned_parts();
        join_cookies(&mut head);
        Some(head)
    }
}

#[async_trait]
impl<H: Hook> HttpServerApp for Edge<H> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let reused = session.take_connection_user_context().is_some();
        session.set_keepalive(Some(self.limits.idle_timeout.as_secs().max(1)));
        session.set_read_timeout(Some(self.limits.header_timeout));
        let head = self.read_head(&mut session, reused, shutdown).await?;
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(self.limits.body_timeout));
        session.set_total_drain_timeout(Some(limits::EARLY_ANSWER_DRAIN));
        // Which connections an early answer ends is decided when it starts.
        session.set_close_on_response_before_downstream_finish(false);
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        let peer = session.client_addr().and_then(|address| address.as_inet().copied());
        let mut down = Session::new(&mut session, &head, &self.limits);
        self.relay.serve(head, peer, &mut down).await;
        // An answer that promised to keep the connection is held to it, also if the shutdown came meanwhile.
        if !down.keeps_connection().await {
            return None;
        }
        let mut settings = HttpPersistentSettings::for_session(&session);
        settings.set_user_context(Box::new(Reused));
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
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

/// What to tell a client whose head could not be read; `None` when nobody listens any more.
fn misread(error: &Error) -> Option<Fault> {
    match error.etype() {
        ErrorType::InvalidHTTPHeader if is_too_large(error) => {
            Some(Fault::new(Kind::HeaderTooLarge, "The request header is too large."))
        }
        ErrorType::InvalidHTTPHeader => Some(Fault::new(Kind::BadRequest, "The request is not valid HTTP.")),
        ErrorType::ReadTimedout => {
            Some(Fault::new(Kind::RequestTimeout, "The request header did not arrive in time."))
        }
        _ => None,
    }
}

/// Pingora has no kind of its own for this. Its words for a header of too many bytes have no cause; those for
/// too many fields are its parser's.
fn is_too_large(error: &Error) -> bool {
    match &error.cause {
        None => error.context.as_ref().is_some_and(|context| context.as_str().contains("larger than")),
        Some(cause) => cause.to_string() == "too many headers",
    }
}

/// HTTP/2 may bring cookies in crumbs; outside of it they are one field (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut Parts) {
    let crumbs: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if head.version != Version::HTTP_2 || crumbs.len() < 2 {
        return;
    }
    if let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        head.headers.insert(COOKIE, cookies);
    }
}

/// What may be read in two ways, and so smuggle a request past a proxy (RFC 9112 sections 3.2 and 6.1).
fn ambiguity(session: &ServerSession) -> Option<&'static str> {
    let http1 = session.as_http1()?;
    let head = http1.req_header();
    if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
        return Some("A request needs a host.");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Some("The transfer-encoding of a request can be chunked, and nothing else.");
    }
    has_length(&http1.get_headers_raw_bytes())
        .then_some("A request cannot have both content-length and transfer-encoding.")
}

/// Pingora drops the `content-length` of a chunked request, so the raw header has to be looked at.
fn has_length(header: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    header.split(|&byte| byte == b'\n').any(|line| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && line.get(name.len()).is_some_and(|&byte| byte == b':' || byte == b' ')
    })
}

/// Answers a request that never became one, and closes.
async fn refuse(session: &mut ServerSession, fault: &Fault, write_timeout: Duration) {
    session.set_keepalive(None);
    let body = error_body(&fault.api_error());
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let sent = async {
        session::write_head(session, fault.status(), headers).await?;
        session.write_response_body(body, true).await?;
        session.finish_body().await?;
        session.shutdown().await;
        Ok(())
    };
    if session::write_in_time(write_timeout, sent).await.is_err() {
        tracing::debug!("a client left before it could be told what was wrong with its request");
    }
}
