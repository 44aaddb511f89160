//! One connection over a pipe with as much room as a test gives it.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Connection, Exchange};
use crate::config::Limits;
use crate::http1::Framing;
use crate::limits::{BODY_BYTES, HEADER_BYTES};
use crate::relay::Downstream;

const HEAD: &str = "POST /v1/files HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn limits() -> Limits {
    let wait = Duration::from_secs(20);
    Limits {
        header_timeout: wait,
        body_timeout: wait,
        idle_timeout: wait,
        write_timeout: wait,
        half_close_wait: wait,
        header_bytes: HEADER_BYTES,
        body_bytes: BODY_BYTES,
        requests_in_flight: 1,
        bodies_in_flight: 1,
        body_rate: 0,
        answer_rate: 0,
        rate_window: wait,
        buffered: BODY_BYTES,
    }
}

async fn request(connection: &mut Connection) -> (Parts, Framing) {
    assert!(connection.begins().await);
    connection.head(1 << 10).await.expect("a head").expect("a request")
}

#[tokio::test]
async fn the_word_to_go_on_is_said_once_even_if_its_wait_is_given_up() {
    let (near, mut far) = tokio::io::duplex(HEAD.len());
    far.write_all(HEAD.as_bytes()).await.unwrap();
    let mut connection = Connection::new(Box::new(near));
    let (head, framing) = request(&mut connection).await;
    // Leaves room for a part of it.
    connection.write(&[b'.'; HEAD.len() - 5][..]).await.unwrap();
    let mut exchange = Exchange::new(&mut connection, &head, framing, &limits());
    assert!(poll!(pin!(exchange.send_continue())).is_pending());
    let client = async {
        let mut told = vec![0; HEAD.len() - 5 + CONTINUE.len()];
        far.read_exact(&mut told).await.unwrap();
        far.write_all(b"ok").await.unwrap();
        told
    };
    let read = async {
        exchange.send_continue().await.unwrap();
        exchange.read().await
    };
    let (told, read) = tokio::join!(client, read);
    assert!(told.ends_with(CONTINUE), "{}", String::from_utf8_lossy(&told));
    assert_eq!(read, Ok(Some(Bytes::from_static(b"ok"))));
    assert_eq!(exchange.read().await, Ok(None));
    let mut answer = vec![0; 15];
    let length = HeaderMap::from_iter([(CONTENT_LENGTH, 0.into())]);
    let answering = async {
        exchange.start(StatusCode::OK, length).await.unwrap();
        exchange.finish().await
    };
    let client = async {
        far.read_exact(&mut answer).await.unwrap();
        // Room for the rest.
        far.read_exact(&mut [0; 40]).await
    };
    let (answered, _) = tokio::join!(answering, client);
    assert_eq!(answered, Ok(()));
    assert_eq!(answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn requests_are_told_apart_wherever_their_bytes_are_cut() {
    let one =
        "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;e\r\nabc\r\n0\r\nt: 1\r\n\r\n";
    let two = "POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
    let sent = [one, two, "\r\n", two].concat();
    for cut in 1..sent.len() {
        let (near, mut far) = tokio::io::duplex(sent.len());
        let mut connection = Connection::new(Box::new(near));
        far.write_all(&sent.as_bytes()[..cut]).await.unwrap();
        let client = async {
            // The gateway took what was sent before, and waits.
            tokio::task::yield_now().await;
            far.write_all(&sent.as_bytes()[cut..]).await.unwrap();
        };
        let server = async {
            let mut read = Vec::new();
            for _ in 0..3 {
                let (head, framing) = request(&mut connection).await;
                let mut exchange = Exchange::new(&mut connection, &head, framing, &limits());
                let mut body = Vec::new();
                while let Some(part) = exchange.read().await.unwrap() {
                    assert!(!part.is_empty());
                    body.extend_from_slice(&part);
                }
                read.push((head.uri.to_string(), String::from_utf8(body).unwrap()));
            }
            read
        };
        let ((), read) = tokio::join!(client, server);
        let read: Vec<_> = read.iter().map(|(path, body)| (path.as_str(), body.as_str())).collect();
        assert_eq!(read, [("/a", "abc"), ("/b", "body"), ("/b", "body")], "cut at {cut}");
    }
}
