//! The first bytes of a connection: do they begin HTTP/2 in clear text, or HTTP/1?

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as Plain;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncReadExt;

use super::prompt::Prompt;
use super::{Edge, patience_ends};
use crate::hook::Hook;

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Lets connections in. Pingora's own way in waits for as many bytes as the preface has, however long they
/// take; a shorter request would never be answered, and a silent client never be closed.
pub(super) struct Door<H> {
    http1: Arc<Edge<H>>,
    h2c: Arc<Edge<H>>,
    patience: Duration,
}

impl<H: Hook> Door<H> {
    pub(super) fn new(edge: Edge<H>) -> Self {
        let patience = edge.limits.header_timeout;
        Self { h2c: Arc::new(edge.for_h2c()), http1: Arc::new(edge), patience }
    }
}

#[async_trait]
impl<H: Hook> ServerApp for Door<H> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if stream.get_ssl_digest().is_some() {
            // What is spoken was agreed on in the handshake.
            let http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
            let stream = if http2 { stream } else { Box::new(Prompt::new(stream)) };
            return self.http1.process_new(stream, shutdown).await;
        }
        let mut stream = stream.into_any().downcast::<Plain>().expect("clear text comes from a plain socket");
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.patience, begins_with_preface(&mut stream)) => begun,
            () = patience_ends(shutdown.clone()) => return None,
        };
        match begun {
            Ok(Ok(Some(true))) => self.h2c.process_new(stream, shutdown).await,
            Ok(Ok(Some(false))) => self.http1.process_new(Box::new(Prompt::new(stream)), shutdown).await,
            Ok(Ok(None) | Err(_)) | Err(_) => None,
        }
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
