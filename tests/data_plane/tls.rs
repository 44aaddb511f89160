//! TLS toward clients and toward upstreams, and machines that trust nobody.

use tokio::net::TcpListener;

use crate::assert_refused;
use crate::authority::{Authority, Issued};
use crate::harness::{Answer, End, Gateway, HELLO, Plan, Request, STREAM, Upstream, Wire, within};
use crate::multiplexed::{self, Client, post};

const LISTEN: &str =
    "[listen]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";

async fn listening(authority: &Authority, config: &str) -> Gateway {
    let Issued { cert, key } = authority.issue(&["127.0.0.1"]);
    let plan = Plan::new(&[LISTEN, config].concat());
    plan.file("cert.pem", &cert).file("key.pem", &key).start().await
}

#[tokio::test]
async fn a_client_over_tls_speaks_what_it_asks_for() {
    let authority = Authority::new();
    let upstream = Upstream::scripted(|request| match request.text().contains("stream") {
        true => Answer::stream(&["a"]),
        false => Answer::hello(),
    })
    .await;
    let gateway = listening(&authority, &upstream.entry("up", "")).await;
    for (offered, agreed) in [(&["http/1.1"][..], Some("http/1.1")), (&[], None)] {
        let stream = authority.connect(gateway.data, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        let mut client = Wire::new(stream);
        for _ in 0..2 {
            assert_eq!(client.ask(&Request::chat(HELLO)).await.status(), 200);
            assert!(client.ask(&Request::chat(STREAM)).await.text().ends_with("data: [DONE]\n\n"));
        }
    }
    for offered in [&["h2", "http/1.1"][..], &["http/1.1", "h2"], &["h2"]] {
        let stream = authority.connect(gateway.data, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let client = Client::over(stream).await;
        assert_eq!(client.ask(post("/v1/chat/completions"), HELLO).await.status, 200);
    }
}

#[tokio::test]
async fn a_tunnel_passes_tls() {
    let authority = Authority::new();
    let mut upstream = Upstream::by_hand().await;
    let gateway = listening(&authority, &upstream.entry("up", "")).await;
    let mut client = Wire::new(authority.connect(gateway.data, &["http/1.1"]).await);
    let upgrade = Request::get("/v1/realtime").field("connection", "upgrade").field("upgrade", "websocket");
    client.send(upgrade.bytes()).await;
    let mut call = upstream.call().await;
    call.answer(Answer::head(101, &[("connection", "upgrade"), ("upgrade", "websocket")])).await;
    assert_eq!(client.head().await.status(), 101);
    client.send("ping").await;
    assert_eq!(call.wire.exactly(4).await.unwrap(), b"ping");
    call.wire.send("pong").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"pong");
    drop(client);
    call.ended().await;
}

#[tokio::test]
async fn clear_text_at_a_tls_listener_is_closed() {
    let authority = Authority::new();
    let gateway = listening(&authority, "").await;
    let mut client = gateway.connect().await;
    client.send(Request::chat(HELLO).bytes()).await;
    client.until_end().await;
    let mut client = Wire::new(authority.connect(gateway.data, &[]).await);
    assert_eq!(client.ask(&Request::get("/healthz")).await.status(), 200);
}

#[tokio::test]
async fn a_client_over_tls_that_leaves_ends_the_upstream_call() {
    let authority = Authority::new();
    let mut upstream = Upstream::by_hand().await;
    let gateway = listening(&authority, &upstream.entry("up", "")).await;
    let mut client = Wire::new(authority.connect(gateway.data, &[]).await);
    client.send(Request::chat(HELLO).bytes()).await;
    let mut call = upstream.call().await;
    call.body().await;
    drop(client);
    call.ended().await;
}

/// An HTTP/1.1 upstream over TLS that serves one connection for ever; its address.
async fn secure_upstream(issued: &Issued) -> std::net::SocketAddr {
    let acceptor = issued.acceptor(&["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut wire = Wire::new(stream);
                while let Ok(head) = wire.try_head().await {
                    if wire.body(&head).await.is_err()
                        || wire.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn entry(base: &str, more: &str) -> String {
    let route = "[[route]]\nmodel = \"*\"\nupstreams = [\"up\"]\nretry = { attempts = 1 }\n";
    format!("[[upstream]]\nname = \"up\"\nbase_url = \"https://{base}/v1\"\n{more}\n{route}")
}

#[tokio::test]
async fn an_upstream_is_trusted_by_its_own_authority() {
    let authority = Authority::new();
    let address = secure_upstream(&authority.issue(&["127.0.0.1", "localhost"])).await;
    for base in [address.to_string(), format!("localhost:{}", address.port())] {
        let plan = Plan::new(&entry(&base, "ca_file = \"ca.pem\"")).file("ca.pem", &authority.pem());
        let gateway = plan.start().await;
        for request in [Request::chat(HELLO), Request::get("/v1/files")] {
            assert_eq!(gateway.ask(&request).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_trusted_gets_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let unknown = secure_upstream(&stranger.issue(&["127.0.0.1"])).await;
    let misnamed = secure_upstream(&authority.issue(&["other.test"])).await;
    for address in [unknown, misnamed] {
        let config = entry(&address.to_string(), "ca_file = \"ca.pem\"");
        let gateway = Plan::new(&config).file("ca.pem", &authority.pem()).start().await;
        let answer = gateway.ask(&Request::chat(HELLO)).await;
        assert_refused(&answer, 502, "upstream_failed");
        assert!(answer.text().contains("(tls)"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_upstream_over_tls_speaks_http2_if_it_can() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["127.0.0.1"]).acceptor(&["h2", "http/1.1"]);
    let mut upstream = multiplexed::Upstream::start(Some(acceptor)).await;
    let config = entry(&upstream.address.to_string(), "ca_file = \"ca.pem\"");
    let gateway = Plan::new(&config).file("ca.pem", &authority.pem()).start().await;
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        client.send(Request::chat(HELLO).bytes()).await;
        let mut call = upstream.call().await;
        assert_eq!(call.request.uri().scheme_str(), Some("https"));
        call.body().await;
        call.json("{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_machine_that_trusts_nobody_serves_upstreams_in_clear_text() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let plan = Plan::new(&upstream.entry("up", ""));
    let gateway = plan.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent").start().await;
    assert_eq!(gateway.ask(&Request::chat(HELLO)).await.status(), 200);
}

#[tokio::test]
async fn a_machine_that_trusts_nobody_is_told_so_by_an_upstream_over_tls() {
    let config = "[[upstream]]\nname = \"up\"\nbase_url = \"https://127.0.0.1:9/v1\"\n";
    let plan = Plan::new(config).env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let (status, told) = plan.refused().await;
    assert!(!status.success());
    assert!(told.contains("upstream 'up'") && told.contains("ca_file"), "{told}");
}

#[tokio::test]
async fn an_authority_file_with_more_than_certificates_is_told_so() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let plan = Plan::new(&entry("127.0.0.1:9", "ca_file = \"ca.pem\""));
    let (status, told) = plan.file("ca.pem", &[authority.pem(), issued.key].concat()).refused().await;
    assert!(!status.success());
    assert!(told.contains("ca_file cannot be loaded") && !told.contains("panicked"), "{told}");
}

#[tokio::test]
async fn a_silent_client_over_tls_is_closed() {
    let authority = Authority::new();
    let gateway = listening(&authority, "[limits]\nheader_timeout = \"700ms\"\n").await;
    let mut client = Wire::new(authority.connect(gateway.data, &[]).await);
    let (_, end) = within("the end", client.until_end()).await;
    assert_eq!(end, End::Closed);
    let mut served = Wire::new(authority.connect(gateway.data, &[]).await);
    assert_eq!(served.ask(&Request::get("/healthz").field("connection", "close")).await.status(), 200);
    assert_eq!(served.until_end().await.1, End::Closed);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let authority = Authority::new();
    let gateway = listening(&authority, "[limits]\nheader_timeout = \"300ms\"\n").await;
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = gateway.connect().await;
        client.send(begun).await;
        crate::assert_closed(client).await;
    }
    // Behind the handshake, silence is no request either.
    let mut client = Wire::new(authority.connect(gateway.data, &["http/1.1"]).await);
    assert_eq!(client.until_end().await.0, b"");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_before_anything_starts() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["127.0.0.1"]), authority.issue(&["127.0.0.1"]));
    let plan = Plan::new(LISTEN).file("cert.pem", &one.cert).file("key.pem", &other.key);
    let (status, log) = plan.refused().await;
    assert!(
        !status.success() && log.contains("do not belong together") && !log.contains("panicked"),
        "{log}"
    );
}
