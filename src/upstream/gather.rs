//! Request head and body leave in one send.
//!
//! Pingora flushes a request's head before its body is written. That costs a system call per request, and
//! wakes the upstream for half a request. A [`Gathered`] stream holds the head back while it is told to, and
//! sends it together with what follows.
//!
//! What comes back is looked at in passing: whether there was any, and whether it is framed as it has to be.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use http::Method;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use crate::http1::Misread;

/// A connection to an upstream that can hold back what is written to it.
#[derive(Debug)]
pub(super) struct Gathered {
    inner: Stream,
    holding: AtomicBool,
    held: BytesMut,
    /// Bytes came since the last request began.
    heard: AtomicBool,
    /// A request began and nothing was read since; one of the constants below.
    begun: AtomicU8,
    framing: Option<Framing>,
    /// Why the answer ends behind what was read of it.
    misread: Option<Misread>,
}

const NO_REQUEST: u8 = 0;
const REQUEST: u8 = 1;
/// Its answer has no body.
const HEAD_REQUEST: u8 = 2;

impl Gathered {
    pub(super) fn new(inner: Stream) -> Self {
        Self {
            inner,
            holding: AtomicBool::new(false),
            held: BytesMut::new(),
            heard: AtomicBool::new(false),
            begun: AtomicU8::new(NO_REQUEST),
            framing: None,
            misread: None,
        }
    }

    /// A request begins on a stream that may be one of these.
    pub(super) fn begin(stream: &Stream, method: &Method) {
        if let Some(gathered) = (**stream).as_any().downcast_ref::<Self>() {
            let begun = if *method == Method::HEAD { HEAD_REQUEST } else { REQUEST };
            gathered.begun.store(begun, Ordering::Relaxed);
            gathered.heard.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a byte came since the last request began. Of a stream that is none of these nothing is known.
    pub(super) fn heard(stream: &Stream) -> bool {
        (**stream)
            .as_any()
            .downcast_ref::<Self>()
            .is_none_or(|gathered| gathered.heard.load(Ordering::Relaxed))
    }

    /// Switches holding on or off for a stream that may be one of these. What is held then goes out with the
    /// next write or flush.
    pub(super) fn hold(stream: &Stream, holding: bool) {
        if let Some(gathered) = (**stream).as_any().downcast_ref::<Self>() {
            gathered.holding.store(holding, Ordering::Relaxed);
        }
    }

    /// What was read of an answer: how much of it is framed well. One that is framed wrongly ends there, as if the
    /// connection broke.
    fn look(&mut self, read: &[u8]) -> io::Result<usize> {
        let begun = std::mem::replace(self.begun.get_mut(), NO_REQUEST);
        if begun != NO_REQUEST {
            self.framing = Some(Framing::new(begun == HEAD_REQUEST));
        }
        *self.heard.get_mut() |= !read.is_empty();
        let Some(Err((good, misread))) = self.framing.as_mut().map(|framing| framing.look(read)) else {
            return Ok(read.len());
        };
        self.misread = Some(misread);
        // Nothing read would say that the connection ended in order.
        if good == 0 { Err(io::Error::new(io::ErrorKind::InvalidData, misread)) } else { Ok(good) }
    }

    fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_holding() {
            this.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !this.held.is_empty() {
            let both = [IoSlice::new(&this.held), IoSlice::new(bytes)];
            let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, &both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = written.min(this.held.len());
            this.held.advance(of_held);
            if written > of_held {
                return Poll::Ready(Ok(written - of_held));
            }
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_holding() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_send_held(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(misread) = this.misread {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, misread)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let good = this.look(&buf.filled()[before..])?;
        buf.set_filled(before + good);
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Gathered {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Gathered {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Gathered {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Gathered {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Gathered {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Gathered {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Gathered {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_held_head_goes_out_with_the_body_and_in_order() {
        for room in [3, 1024] {
            let (near, mut far) = tokio::io::duplex(room);
            let mut stream: Stream = Box::new(Gathered::new(Box::new(near)));
            let reading = tokio::spawn(async move {
                let mut got = String::new();
                far.read_to_string(&mut got).await.map(|_| got)
            });
            Gathered::hold(&stream, true);
            stream.write_all(b"head ").await.unwrap();
            stream.flush().await.unwrap();
            Gathered::hold(&stream, false);
            stream.write_all(b"body").await.unwrap();
            stream.flush().await.unwrap();
            drop(stream);
            assert_eq!(reading.await.unwrap().unwrap(), "head body");
        }
    }

    #[tokio::test]
    async fn a_head_without_a_body_goes_out_with_the_flush() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream: Stream = Box::new(Gathered::new(Box::new(near)));
        Gathered::hold(&stream, true);
        stream.write_all(b"head").await.unwrap();
        Gathered::hold(&stream, false);
        stream.flush().await.unwrap();
        let mut got = [0; 4];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"head");
    }
}
