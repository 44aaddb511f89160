//! A whole request through the gateway, from the client's bytes to the last byte of the answer, over pipes in
//! memory and on one thread. Its echo upstream is part of it: compare the lines with each other.

mod pipe;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hookway::hook::{BodyNeed, Verdict};

use pipe::{Client, chat_body, generation, request};

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("relay");
    for (name, bytes, stream) in
        [("plain", 1 << 10, false), ("plain", 512 << 10, false), ("stream", 1 << 10, true)]
    {
        let request = request(&chat_body(bytes, stream));
        group.throughput(Throughput::Bytes(request.len() as u64));
        for hooks in [0, 1] {
            let id = BenchmarkId::new(format!("{name}, {hooks} hooks"), bytes);
            group.bench_function(id, |b| {
                let client = || Client::of(generation(hooks, &BodyNeed::Full, &Verdict::default()));
                let mut client = runtime.block_on(async { client() });
                b.iter(|| runtime.block_on(client.ask(&request)).len());
            });
        }
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
