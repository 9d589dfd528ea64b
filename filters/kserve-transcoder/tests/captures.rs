//! What a real client said to a real server, on the bare core, in every column and under every chunking.

use kserve_transcoder::KserveTranscoder;
use testkit::{Chunking, Column, Core, captures};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_captured_request_reaches_the_server_as_it_was_meant_and_is_answered_as_triton_answers_it() {
    let captures = captures::all().unwrap();
    let mut failures = Vec::new();
    let mut runs = 0;
    for column in Column::ALL {
        let config = captures[0].case().unwrap().config_in(column);
        let core = Core::<KserveTranscoder>::configure(&config, column).unwrap();
        for capture in &captures {
            let case = capture.case().unwrap();
            for chunking in Chunking::ALL {
                runs += 1;
                let outcome = core.run(&case, chunking);
                if let Err(difference) = outcome.and_then(|outcome| capture.check(column, &outcome)) {
                    failures.push(format!(
                        "{} ({}, {chunking:?}): {difference}",
                        capture.name,
                        column.name()
                    ));
                }
            }
        }
    }
    println!("{runs} runs of {} captures", captures.len());
    assert!(failures.is_empty(), "{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"));
    // Of 106 calls, the client refuses two.
    assert_eq!(captures.len(), 104);
}
