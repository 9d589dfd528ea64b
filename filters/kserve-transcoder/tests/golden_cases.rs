//! Every golden case on the bare core, in every column and under every chunking.

use kserve_transcoder::KserveTranscoder;
use scenario::{Chunking, golden_cases, run_on_core};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    let cases = golden_cases().unwrap();
    let mut failures = Vec::new();
    let mut runs = 0;
    for case in &cases {
        for column in case.columns.iter().copied() {
            for chunking in Chunking::ALL {
                runs += 1;
                let outcome = run_on_core::<KserveTranscoder>(case, column, chunking);
                if let Err(difference) = outcome.and_then(|outcome| case.check(column, &outcome)) {
                    failures.push(format!("{} ({}, {chunking:?}): {difference}", case.name, column.name()));
                }
            }
        }
    }
    println!("{runs} runs of {} cases", cases.len());
    assert!(failures.is_empty(), "{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"));
    assert!(runs > 300, "only {runs} runs: were cases lost?");
}
