//! Every golden case of the filter on the bare core, in every column and under every chunking.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use dynamic_subset::DynamicSubset;
use filter_api::Plugin as _;
use scenario::{Case, Chunking, Column, golden_cases, run_on_core};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_golden_case_holds_on_the_core_in_every_column_however_it_is_cut() {
    let mut cases = golden_cases().unwrap();
    cases.retain(|case| case.filter == DynamicSubset::NAME);
    let (mut runs, mut failures) = (0, Vec::new());
    for case in &cases {
        for (column, chunking) in every_run(case) {
            runs += 1;
            let outcome = run_on_core::<DynamicSubset>(case, column, chunking);
            if let Err(difference) = outcome.and_then(|outcome| case.check(column, &outcome)) {
                failures.push(format!("{} ({}, {chunking:?}): {difference}", case.name, column.name()));
            }
        }
    }
    println!("{runs} runs of {} cases", cases.len());
    assert!(failures.is_empty(), "{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"));
    assert!(runs > 200, "only {runs} runs: were cases lost?");
}

/// A gRPC request whose model's name stands behind a field of so many bytes, and what becomes of it.
fn behind(bytes: usize, trailers: &str, subset: &str) -> Case {
    let length = [(bytes & 0x7f) as u8 | 0x80, (bytes >> 7 & 0x7f) as u8 | 0x80, (bytes >> 14) as u8];
    let message = [&[0x12], &length[..], &vec![b'3'; bytes], b"\x0a\x04tf-1"].concat();
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let toml = format!(
        r#"
        story = "a name that stands far behind"
        filter = "dynamic_subset"
        config = '{{"max_held_bytes": 4096, "rules": [{{"model": ["tf-*"], "key": "format", "value": "tf"}}]}}'
        columns = ["wasm-hold", "native"]
        left_out_because = "it does not read bodies"
        request = {{ method = "POST", path = "/inference.GRPCInferenceService/ModelInfer",
            headers = [["content-type", "application/grpc"]], body_hex = "{}", trailers = [{trailers}] }}
        upstream = {{ rpc = "/inference.GRPCInferenceService/ModelInfer", message_hex = "{}", subset = [{subset}] }}
        answer = {{ body = "done" }}
        expect = {{ status = 200, body = "done" }}
        "#,
        hex(&framed),
        hex(&message)
    );
    Case::parse("behind", &toml).unwrap()
}

#[test]
fn a_name_is_waited_for_as_long_as_its_distance_allows_and_nothing_is_lost_either_way() {
    let trailer = r#"["x-a", "b"]"#;
    for (bytes, trailers, subset) in [
        (2000, "", r#"["format", "tf"]"#),
        (4000, "", r#"["format", "tf"]"#),
        (2000, trailer, r#"["format", "tf"]"#),
    ] {
        let case = behind(bytes, trailers, subset);
        for (column, chunking) in every_run(&case) {
            let outcome = run_on_core::<DynamicSubset>(&case, column, chunking).unwrap();
            case.check(column, &outcome)
                .unwrap_or_else(|why| panic!("{bytes} {} {chunking:?}: {why}", column.name()));
        }
    }
    // Too far: only a chunk that has all of it helps.
    for chunking in [Chunking::Bytes, Chunking::Odd] {
        let case = behind(5000, "", "");
        let outcome = run_on_core::<DynamicSubset>(&case, Column::Native, chunking).unwrap();
        case.check(Column::Native, &outcome).unwrap();
    }
}

fn every_run(case: &Case) -> impl Iterator<Item = (Column, Chunking)> {
    case.columns.iter().flat_map(|&column| Chunking::ALL.map(|chunking| (column, chunking)))
}
