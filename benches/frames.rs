//! The frames of the hook protocol: writing a call and cutting one out of what was read.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hookway_wire::{BODY_PART_BYTES, Decoder, FRAME_BYTES_MAX, FrameType, Head};

/// As long as the meta of a call that grants a header.
const META: &[u8] = &[b'm'; 250];

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for bytes in [0, 1 << 10, BODY_PART_BYTES] {
        let body = vec![b'b'; bytes];
        let head = Head::of(FrameType::Call, 1).code(1).end();
        let mut wire = BytesMut::new();
        head.write(&mut wire, META, &body);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(BenchmarkId::new("encode", bytes), |b| {
            let mut out = BytesMut::with_capacity(wire.len());
            b.iter(|| {
                out.clear();
                head.write(&mut out, black_box(META), black_box(&body));
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("decode", bytes), |b| {
            let decoder = Decoder::new(FRAME_BYTES_MAX);
            b.iter_batched_ref(
                || wire.clone(),
                |wire| decoder.next(wire).expect("a good frame"),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
