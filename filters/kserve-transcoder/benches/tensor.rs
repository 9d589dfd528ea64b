//! The loops that the cost of a large tensor is made of: reading numbers and printing them, through the whole
//! codec, in every shape that they come in. Criterion's throughput is in elements, so its time per element is the
//! number to watch.
//!
//! `cargo bench -p kserve-transcoder --bench tensor`, then for one group `-- request`. How the shapes compare with
//! each other is the bench `table`.

// The codec is private to its crate; the bench is compiled with its sources, and uses only a part of them.
// Criterion's macro makes a public function without documentation.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/codec.rs"]
mod codec;
mod lanes;
#[path = "../src/problem.rs"]
mod problem;
#[path = "../src/status.rs"]
mod status;
#[path = "../src/tensor/mod.rs"]
mod tensor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lanes::{ELEMENTS, Lane};
use std::time::Duration;

fn group(criterion: &mut Criterion, name: &str, lanes: &[Lane]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    for lane in lanes {
        group.bench_function(&lane.name, |bencher| bencher.iter(|| lane.run()));
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    group(criterion, "request", &lanes::requests());
}

fn answers(criterion: &mut Criterion) {
    group(criterion, "answer", &lanes::answers());
}

fn tiny(criterion: &mut Criterion) {
    let lane = lanes::tiny();
    criterion.bench_function("tiny_request", |bencher| bencher.iter(|| lane.run()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400)).sample_size(20);
    targets = requests, answers, tiny
}
criterion_main!(benches);
