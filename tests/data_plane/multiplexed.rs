//! HTTP/2 as a client and as an upstream speak it, stream by stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::harness::within;

/// One client connection. Closed when dropped.
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    driving: JoinHandle<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) = h2::client::handshake(io).await.expect("HTTP/2");
        let driving = tokio::spawn(async move { drop(connection.await) });
        Self { requests, driving }
    }

    /// Over clear text, without asking first.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the port is bound");
        stream.set_nodelay(true).expect("a socket");
        Self::over(stream).await
    }

    /// Begins a request; its body follows over the stream.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let requests = self.requests.clone().ready();
        let mut requests = within("room for a stream", requests).await.expect("a connection");
        requests.send_request(request, ends).expect("a request")
    }

    pub(crate) async fn ask(&self, request: Request<()>, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let (answer, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            send(&mut stream, body, true).await;
        }
        whole(within("an answer", answer).await.expect("an answer")).await.expect("a whole body")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// A JSON request to `path`.
pub(crate) fn post(path: &str) -> Request<()> {
    let uri = format!("http://gateway.test{path}");
    Request::post(uri).header("content-type", "application/json").body(()).expect("a request")
}

/// Sends `data` as far as the peer gives room for it.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, last: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = within("room to send", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        // None or an error: the peer wants no more.
        let Some(Ok(room)) = room else { return };
        let part = data.split_to(room.min(data.len()));
        let ends = last && data.is_empty();
        if stream.send_data(part, ends).is_err() {
            return;
        }
    }
}

/// The rest of an answer; an error if its stream was reset.
pub(crate) async fn whole(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let body = body(&mut stream).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

pub(crate) async fn body(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(part) = within("more of a body", stream.data()).await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// An upstream whose streams are answered by the test.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    calls: mpsc::UnboundedReceiver<Call>,
    accepting: JoinHandle<()>,
}

pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) answer: SendResponse<Bytes>,
}

impl Upstream {
    /// Over TLS with `acceptor`, else in clear text.
    pub(crate) async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, calls) = mpsc::unbounded_channel();
        let counted = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return serve(stream, sender).await };
                    // A gateway that does not trust it leaves.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, sender).await;
                    }
                });
            }
        });
        Self { address, connections, calls, accepting }
    }

    pub(crate) async fn call(&mut self) -> Call {
        within("a call", self.calls.recv()).await.expect("it listens")
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, calls: mpsc::UnboundedSender<Call>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        if calls.send(Call { request, answer }).is_err() {
            return;
        }
    }
}

impl Call {
    /// Reads the request's body.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        body(self.request.body_mut()).await.expect("a whole request")
    }

    /// Starts an answer whose body follows.
    pub(crate) fn start(&mut self, kind: &str) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", kind).body(()).expect("an answer");
        self.answer.send_response(head, false).expect("the gateway is there")
    }

    pub(crate) async fn json(&mut self, body: &str) {
        let mut stream = self.start("application/json");
        send(&mut stream, Bytes::copy_from_slice(body.as_bytes()), true).await;
    }
}
