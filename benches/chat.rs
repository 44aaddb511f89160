//! What each request and each event of a stream costs in OpenAI's dialect.
//!
//! Bodies are sized like a short question, a long conversation and a pasted file; text with many escapes and text
//! outside ASCII are apart, because scanners differ most there.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hookway::chat::{self, Pointers, Usage, answer, sse};
use hookway::hook::Endpoint;
use serde::de::IgnoredAny;
use serde_json::json;

const PROSE: &str = "The quick brown fox jumps over the lazy dog and keeps running through the forest. ";
const CODE: &str = "fn main() {\n\tprintln!(\"hello, {}\", name);\n}\n\n";
const WORLD: &str = "Größe über alles – 東京は夜の七時。Привет, мир! ";

/// A chat body of about `bytes`, in messages of about 800 bytes.
fn body(text: &str, bytes: usize) -> Vec<u8> {
    let content = text.repeat(800 / text.len());
    let message = json!({"role": "user", "content": content});
    let messages = vec![message.clone(); bytes / message.to_string().len() + 1];
    let body = json!({
        "model": "gpt-4o-mini", "temperature": 0.7, "messages": messages,
        "stream": true, "stream_options": {"include_usage": true},
    });
    body.to_string().into_bytes()
}

fn bodies(criterion: &mut Criterion) {
    let pointers = Pointers::new(["/model", "/messages/0/content", "/user"]).expect("three pointers");
    for (name, bench) in [
        (
            "peek",
            &(|body: &[u8]| drop(black_box(chat::peek(Endpoint::ChatCompletions, body)))) as &dyn Fn(&[u8]),
        ),
        // What a reading costs that checks the grammar alone.
        ("skim", &|body| drop(black_box(serde_json::from_slice::<IgnoredAny>(body)))),
        ("pointers", &|body| drop(black_box(pointers.extract(body)))),
    ] {
        let mut group = criterion.benchmark_group(name);
        for (text_name, text) in [("prose", PROSE), ("code", CODE), ("world", WORLD)] {
            for bytes in [1 << 10, 32 << 10, 512 << 10] {
                let body = body(text, bytes);
                group.throughput(Throughput::Bytes(body.len() as u64));
                group.bench_function(BenchmarkId::new(text_name, bytes), |b| {
                    b.iter(|| bench(black_box(&body)))
                });
            }
        }
    }
}

const EVENT: &[u8] = br#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}

"#;

/// A stream of 36 events, in chunks of `chunk` bytes.
fn chunks(chunk: usize) -> Vec<Bytes> {
    EVENT.repeat(36).chunks(chunk).map(Bytes::copy_from_slice).collect()
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sse");
    group.throughput(Throughput::Elements(36));
    for (name, chunk) in [("one a chunk", EVENT.len()), ("cut anywhere", 100), ("all at once", 1 << 16)] {
        let chunks = chunks(chunk);
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut splitter = sse::Splitter::default();
                for chunk in &chunks {
                    splitter.push(chunk.clone());
                    while let Ok(Some(piece)) = splitter.next_piece() {
                        black_box(Usage::find(&piece));
                    }
                }
            });
        });
    }
}

fn answers(criterion: &mut Criterion) {
    let completion = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": PROSE}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    })
    .to_string();
    criterion.bench_function("completion_as_sse", |b| {
        b.iter(|| answer::completion_as_sse(black_box(completion.as_bytes()), true));
    });
}

criterion_group!(benches, bodies, streams, answers);
criterion_main!(benches);
