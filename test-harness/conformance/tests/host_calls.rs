//! How often the wasm modules and Envoy call each other in the exchanges that there are most of.
//!
//! What such an exchange costs in Envoy is these calls above all, and their number is exact where time is not. A change
//! that makes it grow has to change a table here.
//!
//! The modules are `$KSERVE_TRANSCODER_WASM` and so on, or those in `dist/`; without one its tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::verify_signature;
use libtest_mimic::{Arguments, Failed, Trial};
use odd_server::infer::{Response, Style, Tensor, Values};
use proxy_wasm_emulator::{
    Engine, HeaderMap, HttpResponse, PluginOptions, Stream, StreamOptions, Vm, VmOptions,
};
use std::path::PathBuf;
use std::process::ExitCode;

const CLUSTER: &str = "models";

fn main() -> ExitCode {
    let trials = vec![
        trial("a_tiny_inference", "kserve_transcoder", inference),
        trial("a_get_that_is_answered_beside_the_route", "kserve_transcoder", readiness),
        trial("a_subset_by_a_header", "dynamic_subset", subset),
        trial("a_request_that_no_rule_is_about", "dynamic_subset", no_subset),
        trial("a_remembered_token", "claim_headers", remembered_token),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, filter: &str, run: fn(&Vm)) -> Trial {
    let module = std::env::var_os(format!("{}_WASM", filter.to_ascii_uppercase())).map(PathBuf::from);
    let module = module.unwrap_or_else(|| e2e::dist(&format!("{filter}.wasm")));
    let ignored = !module.exists();
    let run = move || {
        let foreign_functions = verify_signature::missing();
        let clusters = [CLUSTER.to_owned()].into();
        let options = VmOptions { clusters, foreign_functions, ..VmOptions::default() };
        let vm = Vm::new(&Engine::new(), &std::fs::read(&module)?, options)?;
        run(&vm);
        assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
        Ok::<(), Failed>(())
    };
    Trial::test(name, run).with_ignored_flag(ignored)
}

/// Opens a stream behind a configuration, and forgets what that took.
fn open(vm: &Vm, configuration: &str) -> Stream {
    let options =
        PluginOptions { configuration: configuration.as_bytes().into(), ..PluginOptions::default() };
    let plugin = vm.plugin(options).unwrap();
    let stream = plugin.open(StreamOptions::default().property("xds.cluster_name", CLUSTER));
    let _of_starting = vm.take_crossings();
    stream
}

/// Asserts that there were just these crossings, and forgets them.
#[track_caller]
fn assert_crossings(vm: &Vm, expected: &str) {
    let crossings = vm.take_crossings();
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let expected = lines(expected.trim());
    assert!(lines(&crossings.to_string()) == expected, "the calls changed; they are now:\n{crossings}");
}

fn post(path: &str, more: &[(&str, &str)]) -> HeaderMap {
    let head = [
        (":method", "POST"),
        (":path", path),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        ("content-type", "application/json"),
    ];
    head.iter().chain(more).copied().collect()
}

fn head(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().copied().collect()
}

fn inference(vm: &Vm) {
    let plugin = vm.plugin(PluginOptions::default()).unwrap();
    // With the first one the host is told of the model's metrics, which happens a few times a second.
    let exchange = || {
        let stream = plugin.open(StreamOptions::default().property("xds.cluster_name", CLUSTER));
        let _before = vm.take_crossings();
        infer(&stream);
        stream
    };
    let _both = [exchange(), exchange()];
    assert_crossings(
        vm,
        "
  18 host calls
       2 proxy_get_buffer_bytes
       3 proxy_get_current_time_nanoseconds
       3 proxy_get_header_map_pairs
       1 proxy_increment_metric
       2 proxy_remove_header_map_value
       5 proxy_replace_header_map_value
       2 proxy_set_buffer_bytes
  12 callbacks
       1 proxy_on_context_create
       1 proxy_on_delete
       5 proxy_on_memory_allocate
       1 proxy_on_request_body
       1 proxy_on_request_headers
       1 proxy_on_response_body
       1 proxy_on_response_headers
       1 proxy_on_response_trailers
        ",
    );
}

/// A tiny inference and its answer.
fn infer(stream: &Stream) {
    let body = br#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    stream.request_headers(post("/v2/models/m/infer", &[("content-length", "74")]), false);
    stream.request_data(body, true);
    let values = Values::Raw([1f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    let message =
        Response::new("m").output(Tensor::new("y", "FP32", &[1, 4], values)).encode(Style::default());
    let frame = [&[0], (message.len() as u32).to_be_bytes().as_slice(), &message].concat();
    stream.response_headers(head(&[(":status", "200"), ("content-type", "application/grpc")]), false);
    stream.response_data(frame, false);
    stream.response_trailers(head(&[("grpc-status", "0")]));
    assert_eq!(stream.downstream().status(), Some(200));
    assert!(String::from_utf8(stream.downstream().body()).unwrap().contains("[1.0,2.0,3.0,4.0]"));
}

fn readiness(vm: &Vm) {
    let stream = open(vm, "{}");
    let get = [
        (":method", "GET"),
        (":path", "/v2/models/m/ready"),
        (":scheme", "http"),
        (":authority", "gateway.test"),
    ];
    stream.request_headers(head(&get), true);
    let call = &stream.calls()[0];
    let answer = HttpResponse {
        headers: head(&[(":status", "200"), ("content-type", "application/grpc")]),
        body: b"\0\0\0\0\x02\x08\x01".to_vec(),
        trailers: Some(head(&[("grpc-status", "0")])),
    };
    call.answer(answer);
    assert_eq!(stream.downstream().status(), Some(200));
    assert_crossings(
        vm,
        "
  10 host calls
       1 proxy_get_buffer_bytes
       3 proxy_get_header_map_pairs
       1 proxy_get_log_level
       1 proxy_get_property
       1 proxy_http_call
       1 proxy_increment_metric
       1 proxy_send_local_response
       1 proxy_set_effective_context
  11 callbacks
       1 proxy_on_context_create
       1 proxy_on_delete
       1 proxy_on_http_call_response
       5 proxy_on_memory_allocate
       1 proxy_on_request_headers
       1 proxy_on_response_body
       1 proxy_on_response_headers
        ",
    );
}

const SUBSET: &str = r#"{"rules": [{"header": "x-model-format", "key": "model.format"}]}"#;

fn subset(vm: &Vm) {
    let stream = open(vm, SUBSET);
    exchange(&stream, post("/v2/models/m/infer", &[("x-model-format", "onnx")]));
    assert_eq!(stream.upstream().header("x-subset-model.format").as_deref(), Some("onnx"));
    assert_crossings(
        vm,
        "
   4 host calls
       1 proxy_get_header_map_pairs
       1 proxy_increment_metric
       1 proxy_replace_header_map_value
       1 proxy_set_property
   6 callbacks
       1 proxy_on_context_create
       1 proxy_on_delete
       1 proxy_on_memory_allocate
       1 proxy_on_request_body
       1 proxy_on_request_headers
       1 proxy_on_response_headers
        ",
    );
}

fn no_subset(vm: &Vm) {
    let stream = open(vm, SUBSET);
    exchange(&stream, post("/v2/models/m/infer", &[]));
    assert_crossings(
        vm,
        "
   2 host calls
       1 proxy_get_header_map_pairs
       1 proxy_increment_metric
   6 callbacks
       1 proxy_on_context_create
       1 proxy_on_delete
       1 proxy_on_memory_allocate
       1 proxy_on_request_body
       1 proxy_on_request_headers
       1 proxy_on_response_headers
        ",
    );
}

/// Signed by the key in the configuration; it says {"user_type": "premium"}.
const TOKEN: &str = concat!(
    "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6ImtpZC1lZC1zaWduIiwidHlwIjoiYXQrand0In0.",
    "eyJpc3MiOiJodHRwczovL2lkcC50ZXN0IiwiYXVkIjoiaW5mZXJlbmNlIiwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3MDAwMDAwMDAs",
    "InN1YiI6ImFsaWNlIiwidXNlcl90eXBlIjoicHJlbWl1bSJ9.",
    "rIPtDlfbgx4xH2I6Lt5cZB_t_bVmjRL3Eu6FTd1ahH5p8lmJHuv2fUdCCHKYL-rmlzxlEdhNcOmTZl1tGBy9BQ",
);

const CLAIMS: &str = r#"{
  "source": "builtin",
  "issuers": [{
    "issuer": "https://idp.test",
    "audiences": ["inference"],
    "jwks": {"keys": [{
      "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "kid-ed-sign",
      "x": "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"
    }]}
  }],
  "map": [{"header": "x-user-class", "claim": ["user_type"], "type": "string"}],
  "strip": ["authorization"]
}"#;

fn remembered_token(vm: &Vm) {
    let options = PluginOptions { configuration: CLAIMS.into(), ..PluginOptions::default() };
    let plugin = vm.plugin(options).unwrap();
    for _ in 0..2 {
        let _of_the_first = vm.take_crossings();
        let stream = plugin.open(StreamOptions::default());
        exchange(&stream, post("/v2/models/m/infer", &[("authorization", TOKEN)]));
        assert_eq!(stream.upstream().header("x-user-class").as_deref(), Some("premium"));
        assert_eq!(stream.upstream().header("authorization"), None);
    }
    assert_crossings(
        vm,
        "
   7 host calls
       1 proxy_get_current_time_nanoseconds
       1 proxy_get_header_map_pairs
       3 proxy_increment_metric
       1 proxy_remove_header_map_value
       1 proxy_replace_header_map_value
   5 callbacks
       1 proxy_on_context_create
       1 proxy_on_delete
       1 proxy_on_memory_allocate
       1 proxy_on_request_body
       1 proxy_on_request_headers
        ",
    );
}

/// A request that is passed on in one piece, and its answer.
fn exchange(stream: &Stream, headers: HeaderMap) {
    stream.request_headers(headers, false);
    stream.request_data(b"{}", true);
    stream.response_headers(head(&[(":status", "200"), ("content-type", "application/json")]), false);
    stream.response_data(b"{}", true);
    assert_eq!(stream.downstream().status(), Some(200));
}
