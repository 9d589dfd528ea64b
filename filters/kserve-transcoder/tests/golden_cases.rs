//! Every golden case, and everything that a real client said to a real server, on the bare core in every column and
//! under every chunking: `cargo test -p kserve-transcoder --test golden_cases NAME` runs those whose names have `NAME`
//! in them.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use kserve_transcoder::KserveTranscoder;
use testkit::{Case, OnCore, captures, golden_cases};

fn cases() -> Vec<Case> {
    let captures = captures::cases().unwrap();
    // Of 106 calls, the client refuses two.
    assert_eq!(captures.len(), 104);
    golden_cases().unwrap().into_iter().chain(captures).collect()
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    testkit::Trials::of(cases()).on(OnCore::<KserveTranscoder>::alone(), 412).run()
}

#[cfg(target_family = "wasm")]
fn main() {}

#[cfg(target_family = "wasm")]
#[wasm_bindgen_test::wasm_bindgen_test]
fn every_golden_case_and_capture_holds_on_the_core_in_every_column_however_it_is_cut() {
    testkit::assert_all_hold(&OnCore::<KserveTranscoder>::alone(), &cases(), 412);
}
