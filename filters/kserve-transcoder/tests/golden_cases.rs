//! Every golden case on the bare core, in every column and under every chunking.

use kserve_transcoder::KserveTranscoder;
use scenario::{Chunking, load_dir, run_on_core};
use std::path::Path;

#[test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    let cases = load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test-harness/cases")).unwrap();
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
