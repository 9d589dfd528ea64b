//! Every golden case of the filter on the bare core, in every column and under every chunking: `cargo test -p
//! claim-headers --test golden_cases NAME` runs those whose names have `NAME` in them.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use claim_headers::ClaimHeaders;
use testkit::{OnCore, golden_cases};

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    testkit::Trials::of(golden_cases().unwrap()).on(OnCore::<ClaimHeaders>::alone(), 20).run()
}

#[cfg(target_family = "wasm")]
fn main() {}

#[cfg(target_family = "wasm")]
#[wasm_bindgen_test::wasm_bindgen_test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    testkit::assert_all_hold(&OnCore::<ClaimHeaders>::alone(), &golden_cases().unwrap(), 20);
}
