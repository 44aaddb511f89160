//! The first bytes of a connection: TLS or not, and do they begin HTTP/2 or HTTP/1?

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::Stream as Plain;
use pingora_core::protocols::{ALPN, Ssl, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncReadExt;

use super::{Edge, patience_ends};
use crate::descriptors;
use crate::hook::Hook;
use crate::limits;

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Lets connections in. Pingora's own way in waits for a TLS handshake and for the first bytes longer than the
/// header timeout.
pub(super) struct Door<H> {
    edge: Arc<Edge<H>>,
    tls: Option<Acceptor>,
}

/// What a connection turned out to speak.
enum Spoken {
    Http1(Stream),
    Http2(Stream),
}

impl<H: Hook> Door<H> {
    pub(super) fn new(edge: Edge<H>, tls: Option<Acceptor>) -> Self {
        Self { edge: Arc::new(edge), tls }
    }

    /// `None`: the client left without a word, or speaks something else.
    async fn ask(&self, mut plain: Plain) -> Option<Spoken> {
        let Some(tls) = &self.tls else {
            return match begins_with_preface(&mut plain).await.ok()?? {
                true => Some(Spoken::Http2(Box::new(plain))),
                false => Some(Spoken::Http1(Box::new(plain))),
            };
        };
        match tls.tls_handshake(plain).await {
            // What is spoken was agreed on in the handshake.
            Ok(stream) if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) => {
                Some(Spoken::Http2(Box::new(stream)))
            }
            Ok(stream) => Some(Spoken::Http1(Box::new(stream))),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
    }
}

#[async_trait]
impl<H: Hook> ServerApp for Door<H> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let plain = stream.into_any().downcast::<Plain>().expect("the listener accepts plain sockets");
        if descriptors::is_in_last(plain.as_raw_fd(), limits::DESCRIPTORS_KEPT_FROM_CLIENTS) {
            tracing::warn!("descriptors run out: a new connection of a client was closed");
            return None;
        }
        let spoken = tokio::select! {
            spoken = tokio::time::timeout(self.edge.limits.header_timeout, self.ask(*plain)) => spoken.ok()??,
            () = patience_ends(shutdown.clone()) => return None,
        };
        match spoken {
            Spoken::Http1(stream) => self.edge.serve_http1(stream, shutdown).await,
            Spoken::Http2(stream) => drop(self.edge.process_new(stream, shutdown).await),
        }
        None
    }
}

/// Reads no more than it takes to know, and puts it back. `None`: the client left without a word.
async fn begins_with_preface(stream: &mut Plain) -> io::Result<Option<bool>> {
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && PREFACE.starts_with(&read[..length]) {
        match stream.read(&mut read[length..]).await? {
            0 if length == 0 => return Ok(None),
            0 => break,
            more => length += more,
        }
    }
    stream.rewind(&read[..length]);
    Ok(Some(read == PREFACE))
}
