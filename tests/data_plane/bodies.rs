//! Bodies: what leaves as it came, and what is refused.

use crate::harness::{Answer, Gateway, Request, Upstream};

#[tokio::test]
async fn an_unchanged_body_reaches_the_upstream_byte_for_byte() {
    let upstream = Upstream::answering(Answer::hello()).await;
    let gateway = Gateway::start(&upstream.entry("up", "")).await;
    let body = concat!(
        "\n { \"messages\" : [{\"role\":\"user\",\"content\":\"gr\u{fc}\u{df} \\u00e9\\ud83d\\ude00 \u{1f600}\"}],\t",
        "\"model\":\"m\", \"seed\":1e400, \"top_p\":0.10000000000000000555, \"n\":-0, \"big\":123456789012345678901234567890,",
        "\"extra\":1,\"extra\":{\"b\":2,\"a\":1,\"a\":2} } \r\n"
    );
    let answer = gateway.ask(&Request::chat(body)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(upstream.only().text(), body);
    assert_eq!(upstream.only().path(), "/v1/chat/completions");
}
