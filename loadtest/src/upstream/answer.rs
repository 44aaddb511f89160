//! A script rendered to bytes once: the pieces of an answer, how long to wait before each, and how it ends.
//!
//! The server only writes what lies here, so its cost per request is a read, a look-up and a write per piece.

use std::fmt::Write;
use std::time::Duration;

use super::script::{Ending, Form, Script};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) end: End,
}

/// Bytes that are written together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Counted from the moment the piece before was due, so that a stream keeps its rhythm.
    pub(crate) wait: Duration,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    KeepAlive,
    Close,
    Reset,
    Stall,
}

impl Answer {
    pub(crate) fn render(script: &Script) -> Self {
        let pieces = match script.form {
            Form::Whole { bytes } => vec![Piece { wait: script.delay, bytes: whole(script.status, bytes) }],
            Form::Stream { events, gap, event_bytes } => stream(script, events, gap, event_bytes),
        };
        let (kept, end) = match script.ending {
            Ending::Complete => (usize::MAX, End::KeepAlive),
            Ending::Truncate(bytes) => (bytes, End::Close),
            Ending::Reset(bytes) => (bytes, End::Reset),
            Ending::Stall(bytes) => (bytes, End::Stall),
        };
        Self { pieces: cut(pieces, kept), end }
    }

    pub(crate) fn refusal(status: u16) -> Self {
        Self::render(&Script { status, form: Form::Whole { bytes: 0 }, ..Script::default() })
    }

    pub(crate) fn reset() -> Self {
        Self { pieces: Vec::new(), end: End::Reset }
    }
}

/// The JSON body of a whole answer: `bytes` long, or a little longer where a valid one does not fit.
pub(crate) fn body(status: u16, bytes: usize) -> String {
    let (before, after) = if status < 300 {
        (
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":""#,
            r#""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}"#,
        )
    } else {
        (r#"{"error":{"message":"scripted failure "#, r#"","type":"server_error","param":null,"code":null}}"#)
    };
    let padding = bytes.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", filler(padding))
}

/// Words, so that nothing on the way can take a body for one repeated byte.
pub(crate) fn filler(bytes: usize) -> String {
    const WORDS: &str = "a gateway stands between its clients and the models they ask ";
    WORDS.chars().cycle().take(bytes).collect()
}

fn whole(status: u16, bytes: usize) -> Vec<u8> {
    let body = body(status, bytes);
    format!(
        "HTTP/1.1 {status} Scripted\r\nserver: scripted\r\ncontent-type: application/json\r\n\
         x-request-id: req-1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn stream(script: &Script, events: u32, gap: Duration, event_bytes: usize) -> Vec<Piece> {
    let head = format!(
        "HTTP/1.1 {} Scripted\r\nserver: scripted\r\ncontent-type: text/event-stream\r\n\
         cache-control: no-cache\r\nx-request-id: req-1\r\ntransfer-encoding: chunked\r\n\r\n",
        script.status
    );
    let chunk = event(event_bytes);
    (0..events)
        .map(|index| {
            let mut text = if index == 0 { head.clone() } else { String::new() };
            let (data, last) =
                if index + 1 == events { ("data: [DONE]\n\n", "0\r\n\r\n") } else { (&*chunk, "") };
            write!(text, "{:x}\r\n{data}\r\n{last}", data.len()).expect("writing to a String cannot fail");
            Piece { wait: if index == 0 { script.delay } else { gap }, bytes: text.into_bytes() }
        })
        .collect()
}

/// One chunk of a streamed completion, as an event of about `bytes` bytes.
fn event(bytes: usize) -> String {
    let before = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":""#;
    let after = "\"},\"finish_reason\":null}]}\n\n";
    format!("{before}{}{after}", filler(bytes.saturating_sub(before.len() + after.len())))
}

fn cut(pieces: Vec<Piece>, mut kept: usize) -> Vec<Piece> {
    let mut short = Vec::with_capacity(pieces.len());
    for mut piece in pieces {
        if kept == 0 {
            break;
        }
        piece.bytes.truncate(kept);
        kept -= piece.bytes.len();
        short.push(piece);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(script: &str) -> Answer {
        Answer::render(&script.parse().unwrap())
    }

    fn text(answer: &Answer) -> String {
        answer.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.bytes)).collect()
    }

    #[test]
    fn a_whole_answer_has_the_length_it_was_asked_for() {
        for bytes in [1024, 512 * 1024] {
            let answer = text(&rendered(&format!("body={bytes}")));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {bytes}\r\n"))
                    || head.ends_with(&format!(" {bytes}"))
            );
            assert_eq!(body.len(), bytes);
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }

    #[test]
    fn a_stream_is_one_piece_per_event_and_ends_with_done() {
        let answer = rendered("delay=5ms,events=3,gap=2ms");
        let waits: Vec<u128> = answer.pieces.iter().map(|piece| piece.wait.as_millis()).collect();
        assert_eq!(waits, [5, 2, 2]);
        assert!(text(&answer).ends_with("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
        assert_eq!(answer.end, End::KeepAlive);
    }

    #[test]
    fn an_answer_is_cut_at_the_byte_it_was_told() {
        let answer = rendered("events=36,gap=2ms,truncate=700");
        assert_eq!(text(&answer).len(), 700);
        assert_eq!(answer.end, End::Close);
        assert_eq!(rendered("reset=0"), Answer::reset());
        assert_eq!(rendered("stall=10").end, End::Stall);
    }

    #[test]
    fn an_error_is_in_openai_form() {
        let answer = text(&Answer::refusal(503));
        assert!(answer.starts_with("HTTP/1.1 503 "));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["type"], "server_error");
    }
}
