//! HTTP/1.1 by hand: one connection, its bytes as they are.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Request, within};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: everything sent before was received.
    Closed,
    /// By a reset, or in TLS without a farewell.
    Broken,
}

/// First line and fields of a message.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no header field"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { line, fields: lines.filter(|line| !line.is_empty()).map(field).collect() }
    }

    pub fn status(&self) -> u16 {
        let status = self.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{:?} has no status", self.line))
    }

    /// The value of the only field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is there more than once: {values:?}");
        values.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    pub fn content_length(&self) -> Option<usize> {
        self.get("content-length").map(|length| length.parse().expect("content-length is a number"))
    }
}

/// A whole message.
#[derive(Clone)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(2048)];
        write!(f, "{:?} {} ({} bytes)", self.head, String::from_utf8_lossy(shown), self.body.len())
    }
}

/// One end of a connection.
pub struct Wire<S = TcpStream> {
    io: S,
    unread: Vec<u8>,
    /// Every byte read so far.
    pub raw: Vec<u8>,
    /// Waits for bytes as long as they take.
    endless: bool,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("the port is bound");
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// As a client of another address. On Linux the whole of 127.0.0.0/8 is this host.
    pub async fn open_from(host: std::net::Ipv4Addr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((host, 0).into()).unwrap();
        let stream = within("a connection", socket.connect(address)).await.expect("the port is bound");
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Closes by a reset, which throws away what the peer did not read yet.
    pub fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(io: S) -> Self {
        Self { io, unread: Vec::new(), raw: Vec::new(), endless: false }
    }

    /// For a side that serves whatever comes, whenever.
    pub(super) fn endless(io: S) -> Self {
        Self { endless: true, ..Self::new(io) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the peer reads");
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("room to send", async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        })
        .await
    }

    /// One chunk of a chunked body.
    pub async fn send_chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()).await;
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &Request) -> Message {
        self.send(request.bytes()).await;
        self.answer_to(request).await
    }

    /// The status of the answer; `None` if the connection ends before one.
    pub async fn try_ask(&mut self, request: &Request) -> Option<u16> {
        self.try_send(request.bytes()).await.ok()?;
        self.try_head().await.ok().map(|head| head.status())
    }

    /// The answer to `request`, informational ones left out.
    pub async fn answer_to(&mut self, request: &Request) -> Message {
        loop {
            let head = self.head().await;
            if head.status() >= 200 || head.status() == 101 {
                let body = self.body_of_answer(&head, request.method == "HEAD").await;
                return Message {
                    head,
                    body: body.unwrap_or_else(|end| panic!("the answer was cut: {end:?}")),
                };
            }
        }
    }

    /// An answer to anything but HEAD.
    pub async fn answer(&mut self) -> Message {
        let head = self.head().await;
        let body = self.body_of_answer(&head, false).await;
        Message { head, body: body.unwrap_or_else(|end| panic!("the answer was cut: {end:?}")) }
    }

    pub async fn head(&mut self) -> Head {
        self.try_head().await.unwrap_or_else(|end| panic!("the connection ended before a head: {end:?}"))
    }

    pub async fn try_head(&mut self) -> Result<Head, End> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = Head::parse(&self.unread[..end]);
        self.unread.drain(..end);
        Ok(head)
    }

    /// The body of an answer, to its end as HTTP frames it; `Err` if the connection ended before.
    pub async fn body_of_answer(&mut self, head: &Head, to_head: bool) -> Result<Vec<u8>, End> {
        let status = head.status();
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(Vec::new());
        }
        if head.is_chunked() || head.content_length().is_some() {
            return self.body(head).await;
        }
        loop {
            match self.more().await {
                Ok(()) => {}
                Err(End::Closed) => return Ok(std::mem::take(&mut self.unread)),
                Err(End::Broken) => return Err(End::Broken),
            }
        }
    }

    /// A body whose head tells its length.
    pub async fn body(&mut self, head: &Head) -> Result<Vec<u8>, End> {
        if !head.is_chunked() {
            return self.exactly(head.content_length().unwrap_or(0)).await;
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend(chunk);
        }
        Ok(body)
    }

    /// The next chunk of a chunked body; `None` behind the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, End> {
        let line = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break self.unread.drain(..at + 2).collect::<Vec<_>>();
            }
            self.more().await?;
        };
        let size = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("{size:?} is no chunk size"));
        let mut data = self.exactly(size + 2).await?;
        data.truncate(size);
        Ok((size > 0).then_some(data))
    }

    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, End> {
        while self.unread.len() < length {
            self.more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// Reads until the connection ends: what still came, and how it ended.
    pub async fn until_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more().await {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn half_close(&mut self) {
        // A peer that is gone already needs no farewell.
        let _ = self.io.shutdown().await;
    }

    async fn more(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; 64 << 10];
        let reading = self.io.read(&mut buffer);
        let read = if self.endless { reading.await } else { within("the next bytes", reading).await };
        match read {
            Ok(0) => Err(End::Closed),
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                self.raw.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(_) => Err(End::Broken),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
