//! What each shape of tensor data costs beside the fast one of its kind, as a table: natively, and in wasm, where
//! Criterion does not run.
//!
//! ```sh
//! cargo bench -p kserve-transcoder --bench table              # or, for some of them, -- NAME
//! cargo bench -p kserve-transcoder --bench table --target wasm32-wasip1 --no-run
//! node filters/kserve-transcoder/benches/wasm.mjs target/wasm32-wasip1/release/deps/table-*.wasm
//! ```
//!
//! The shapes take turns, and the least time of many turns counts: a busy machine only ever adds to it.

// The codec is private to its crate; the bench is compiled with its sources, and uses only a part of them.
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

use lanes::{ELEMENTS, Lane};
use std::time::Instant;

/// How often each shape has its turn.
const TURNS: usize = 60;

/// How much more than the fast one of its kind a shape may cost.
const MOST: f64 = 1.5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Only lanes whose name has this in it.
    let filter = arguments.iter().find(|argument| !argument.starts_with("--")).cloned().unwrap_or_default();
    // As a test, each runs once.
    let turns = if arguments.iter().any(|argument| argument == "--bench") { TURNS } else { 1 };
    for (title, lanes) in [("request", lanes::requests()), ("answer", lanes::answers())] {
        let is_wanted = |lane: &Lane| {
            lane.name.contains(&filter)
                || lanes.iter().any(|l| l.name.contains(&filter) && l.beside == lane.name)
        };
        let wanted: Vec<&Lane> = lanes.iter().filter(|lane| is_wanted(lane)).collect();
        let least = measure(&wanted, turns);
        println!("| {title} | ns per element | beside | times |\n|---|---|---|---|");
        for (lane, own) in wanted.iter().zip(&least) {
            let other = wanted.iter().position(|other| other.name == lane.beside).map(|at| least[at]);
            let times = other.map_or(1.0, |other| own / other);
            let mark = if times > MOST { " **no**" } else { "" };
            println!("| `{}` | {own:.1} | `{}` | {times:.2}{mark} |", lane.name, lane.beside);
        }
        println!();
    }
    let tiny = lanes::tiny();
    const AT_ONCE: u32 = 1000;
    let some = || {
        let start = Instant::now();
        (0..AT_ONCE).for_each(|_| {
            tiny.run();
        });
        (start.elapsed() / AT_ONCE).as_nanos()
    };
    println!("a tiny request: {} ns", (0..turns).map(|_| some()).min().unwrap_or_default());
}

/// The least time of each, in ns per element.
fn measure(lanes: &[&Lane], turns: usize) -> Vec<f64> {
    let mut least = vec![f64::MAX; lanes.len()];
    for _ in 0..turns {
        for (lane, least) in lanes.iter().zip(&mut least) {
            let start = Instant::now();
            lane.run();
            *least = least.min(start.elapsed().as_nanos() as f64 / ELEMENTS as f64);
        }
    }
    least
}
