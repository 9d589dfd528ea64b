//! Every golden case on the bare core, in every column and under every chunking.

use filter_api::Plugin as _;
use kserve_transcoder::KserveTranscoder;
use std::collections::HashMap;
use testkit::{Chunking, Column, Core, golden_cases};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    let mut cases = golden_cases().unwrap();
    cases.retain(|case| case.filter == KserveTranscoder::NAME);
    let mut failures = Vec::new();
    let mut runs = 0;
    let mut cores: HashMap<(String, Column), Core<KserveTranscoder>> = HashMap::new();
    for case in &cases {
        for column in case.columns.iter().copied() {
            let config = case.config_in(column);
            let core = cores
                .entry((config.clone(), column))
                .or_insert_with(|| Core::configure(&config, column).unwrap());
            for chunking in Chunking::ALL {
                runs += 1;
                let outcome = core.run(case, chunking);
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
