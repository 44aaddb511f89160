//! What the chain adds to a request apart from its plugins: asking each, folding patches, leasing a generation.

mod pipe;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use hookway::chain::{Draft, Facts, Generation, Published, on_request};
use hookway::hook::{Action, BodyNeed, ClientId, Endpoint, Verdict, json_patch};
use http::HeaderMap;
use serde_json::json;

use pipe::{Ready, chat_body, generation};

/// The draft after the whole chain, written out as the upstream would get it.
async fn run(generation: &Generation<Ready>, mut draft: Draft) -> Draft {
    let facts = Facts {
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057",
        generation: 1,
        endpoint: Endpoint::ChatCompletions,
        method: "POST",
        path: "/v1/chat/completions",
        headers: &HeaderMap::new(),
        key_id: None,
        client: ClientId::default(),
    };
    black_box(on_request(generation, &facts, &mut draft).await);
    draft
}

fn bench(criterion: &mut Criterion, group: &str, id: BenchmarkId, chain: &Generation<Ready>, bytes: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let body = Bytes::from(chat_body(bytes, false));
    let draft = || Draft::new(Endpoint::ChatCompletions, body.clone()).expect("a chat body");
    criterion.benchmark_group(group).bench_function(id, |b| {
        b.to_async(&runtime).iter_batched(draft, |draft| run(chain, draft), BatchSize::SmallInput);
    });
}

fn lengths(criterion: &mut Criterion) {
    for hooks in [0, 1, 3, 10] {
        let chain = generation(hooks, &BodyNeed::Full, &Verdict::default());
        bench(criterion, "chain", BenchmarkId::new("unchanged", hooks), &chain, 1 << 10);
    }
}

fn patches(criterion: &mut Criterion) {
    let operations = json!([
        {"op": "replace", "path": "/messages/0/content", "value": "***"},
        {"op": "add", "path": "/user", "value": "u"},
    ]);
    let merge = Action::MergePatch(json!({"temperature": 0, "user": "u"}));
    let operations = Action::JsonPatch(json_patch(operations).expect("a JSON patch"));
    for (name, action) in [("merge", merge), ("json patch", operations)] {
        let verdict = Verdict { action, ..Verdict::default() };
        let chain = generation(1, &BodyNeed::Full, &verdict);
        for bytes in [1 << 10, 512 << 10] {
            bench(criterion, "fold", BenchmarkId::new(name, bytes), &chain, bytes);
        }
    }
}

/// Leases while another thread publishes as fast as it can build.
fn leases(criterion: &mut Criterion) {
    let next = || generation(0, &BodyNeed::None, &Verdict::default());
    let published = Published::new(next());
    criterion.bench_function("lease/nothing is published", |b| b.iter(|| black_box(published.lease())));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                black_box(published.publish(next()));
            }
        });
        criterion.bench_function("lease/all the time", |b| b.iter(|| black_box(published.lease())));
        done.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, lengths, patches, leases);
criterion_main!(benches);
