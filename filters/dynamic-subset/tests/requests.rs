//! Requests of these tests' own on the bare core, and the golden cases while others hold memory.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use dynamic_subset::DynamicSubset;
use testkit::{
    Case, Chunking, Column, Core, MEMORY_BYTES, OnCore, assert_all_hold, golden_cases, run_on_core,
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Natively every filter of the process shares its memory: an upload of another one must not cost a request its group.
#[test]
fn every_golden_case_holds_beside_others_that_hold_more_than_a_request_may() {
    let cases = golden_cases().unwrap();
    assert_all_hold(&OnCore::<DynamicSubset>::beside(20_000), &cases, 120);
    assert_all_hold(&OnCore::<DynamicSubset>::beside(MEMORY_BYTES / 2), &cases, 120);
}

/// A gRPC request with this message, for the model `tf-*` or not, and the pairs that it must get.
fn request(message: &[u8], trailers: &str, subset: &str) -> Case {
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let toml = format!(
        r#"
        story = "a message of this test's own"
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
        hex(message)
    );
    Case::parse("made here", &toml).unwrap()
}

/// A field of so many bytes, which says nothing about the model.
fn filler(bytes: usize) -> Vec<u8> {
    let length = [(bytes & 0x7f) as u8 | 0x80, (bytes >> 7 & 0x7f) as u8 | 0x80, (bytes >> 14) as u8];
    [&[0x12], &length[..], &vec![b'3'; bytes]].concat()
}

const TF: &[u8] = b"\x0a\x04tf-1";

#[test]
fn a_name_is_waited_for_as_long_as_its_distance_allows_and_nothing_is_lost_either_way() {
    let trailer = r#"["x-a", "b"]"#;
    let found = r#"["format", "tf"]"#;
    for (bytes, trailers, subset) in [
        (2000, "", found),
        (4000, "", found),
        (2000, trailer, found),
        // Too far, also where all of it is in one chunk.
        (5000, "", ""),
        (5000, trailer, ""),
        (20_000, "", ""),
    ] {
        let case = request(&[&filler(bytes), TF].concat(), trailers, subset);
        for (column, chunking) in every_run(&case) {
            let outcome = run_on_core::<DynamicSubset>(&case, column, chunking).unwrap();
            case.check(column, &outcome)
                .unwrap_or_else(|why| panic!("{bytes} {} {chunking:?}: {why}", column.name()));
        }
    }
}

#[test]
fn a_request_that_names_another_model_when_its_group_is_chosen_is_refused_before_the_server_has_it_whole() {
    let message = [TF, &filler(5000), b"\x0a\x04pt-1", &filler(300)].concat();
    let case = request(&message, "", "");
    for (column, chunking) in every_run(&case) {
        let outcome = run_on_core::<DynamicSubset>(&case, column, chunking).unwrap();
        let seen = outcome.seen.map_or(0, |seen| seen.body.len());
        assert!(seen < message.len(), "{} {chunking:?}: {seen} bytes", column.name());
        // The form that Envoy gives an error to a gRPC request.
        assert_eq!(outcome.got.status, 200);
        assert!(outcome.got.headers.contains(&(b"grpc-status".to_vec(), b"3".to_vec())));
    }
}

#[test]
fn a_request_that_there_is_no_memory_to_read_is_to_come_again_and_does_not_lose_its_group() {
    let case = request(&[&filler(2000), TF].concat(), "", "");
    for (column, chunking) in every_run(&case).filter(|(_, chunking)| *chunking != Chunking::Whole) {
        let config = case.config_in(column);
        let core = Core::<DynamicSubset>::configure_beside(MEMORY_BYTES - 1000, &config, column).unwrap();
        let outcome = core.run(&case, chunking).unwrap();
        assert!(outcome.seen.is_none());
        assert_eq!(outcome.got.status, 200);
        for (name, value) in [("grpc-status", "14"), ("retry-after", "1")] {
            assert!(outcome.got.headers.contains(&(name.into(), value.into())), "{name}");
        }
    }
}

#[test]
fn places_after_the_message_are_asked_only_where_it_has_no_name() {
    for (message, subset) in [
        (&b"\x12\x013"[..], r#"["format", "tf"]"#),
        (b"\x0a\x04pt-1", ""),
        // It may name another one to a server that is more lenient.
        (b"\x0f", ""),
    ] {
        let toml = format!(
            r#"
            story = "metadata after the message"
            filter = "dynamic_subset"
            config = '{{"model_from": ["body", "mm_model_id"], "rules": [{{"model": ["tf-*"], "key": "format", "value": "tf"}}]}}'
            columns = ["native"]
            left_out_because = "the body can be read only while headers are held"
            request = {{ method = "POST", path = "/inference.GRPCInferenceService/ModelInfer",
                headers = [["content-type", "application/grpc"], ["mm-model-id", "tf-1"]], body_hex = "00{:08x}{}" }}
            upstream = {{ rpc = "/inference.GRPCInferenceService/ModelInfer", subset = [{subset}] }}
            answer = {{ body = "done" }}
            expect = {{ status = 200, body = "done" }}
            "#,
            message.len(),
            message.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        let case = Case::parse("made here", &toml).unwrap();
        for (column, chunking) in every_run(&case) {
            let outcome = run_on_core::<DynamicSubset>(&case, column, chunking).unwrap();
            let subset = outcome.seen.clone().unwrap().subset.unwrap();
            assert_eq!(
                subset.is_empty(),
                case.upstream.as_ref().unwrap().subset.as_ref().unwrap().is_empty()
            );
        }
    }
}

fn every_run(case: &Case) -> impl Iterator<Item = (Column, Chunking)> {
    case.columns.iter().flat_map(|&column| Chunking::ALL.map(|chunking| (column, chunking)))
}
