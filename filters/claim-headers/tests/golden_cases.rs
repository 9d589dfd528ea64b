//! Every golden case of the filter on the bare core, in every column and under every chunking.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use claim_headers::ClaimHeaders;
use filter_api::Plugin as _;
use testkit::{Chunking, golden_cases, run_on_core};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    let mut cases = golden_cases().unwrap();
    cases.retain(|case| case.filter == ClaimHeaders::NAME);
    let (mut runs, mut failures) = (0, Vec::new());
    for case in &cases {
        for column in case.columns.iter().copied() {
            for chunking in Chunking::ALL {
                runs += 1;
                let outcome = run_on_core::<ClaimHeaders>(case, column, chunking);
                if let Err(difference) = outcome.and_then(|outcome| case.check(column, &outcome)) {
                    failures.push(format!("{} ({}, {chunking:?}): {difference}", case.name, column.name()));
                }
            }
        }
    }
    println!("{runs} runs of {} cases", cases.len());
    assert!(failures.is_empty(), "{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"));
    assert!(runs > 20, "only {runs} runs: were cases lost?");
}
