//! Requests of KServe v1 that come while their model's server is being asked what its inputs are: in wasm on the emulator,
//! and natively.
//!
//! The modules are `$KSERVE_TRANSCODER_WASM`, or `dist/kserve_transcoder.wasm`, and `$INFERENCE_FILTERS_SO`, or
//! `dist/libinference_filters.so`; without one its tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::ends::CLUSTER;
use conformance::native::{self, Module};
use libtest_mimic::{Arguments, Trial};
use odd_server::wire::Message;
use proxy_wasm_emulator::{
    Delivered, Engine, HeaderMap, HttpResponse, Plugin, PluginOptions, Stream, StreamOptions, Vm, VmOptions,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const CONFIG: &[u8] = br#"{"kserve_v1": {}}"#;
const BODY: &[u8] = br#"{"instances": [[1, 2]]}"#;

fn main() -> ExitCode {
    let named = |variable: &str, file: &str| {
        let module = std::env::var_os(variable).map(PathBuf::from);
        module.unwrap_or_else(|| e2e::dist(file))
    };
    let wasm = named("KSERVE_TRANSCODER_WASM", "kserve_transcoder.wasm");
    let library = named("INFERENCE_FILTERS_SO", "libinference_filters.so");
    type Story = fn(&Path);
    let stories: [(&str, &PathBuf, Story); 2] = [
        ("requests_that_come_while_their_model_is_asked_for_wait_for_the_answer::wasm", &wasm, in_wasm),
        ("requests_that_come_while_their_model_is_asked_for_wait_for_the_answer::native", &library, natively),
    ];
    let trial = |(name, module, story): (&str, &PathBuf, Story)| {
        let (ignored, module) = (!module.exists(), module.clone());
        let run = move || {
            story(&module);
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    };
    libtest_mimic::run(&Arguments::from_args(), stories.map(trial).into()).exit_code()
}

/// In one VM, because to compile a module takes long.
fn in_wasm(wasm: &Path) {
    let wasm = std::fs::read(wasm).unwrap();
    let options = VmOptions { clusters: [CLUSTER.to_owned()].into(), ..VmOptions::default() };
    let vm = Vm::new(&Engine::new(), &wasm, options).unwrap();
    one_asks(&vm, &loaded(&vm, "one-asks"));
    the_configuration_asks(&vm, &loaded(&vm, "one-leaves"));
    all_fail(&vm, &loaded(&vm, "all-fail"));
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
}

fn one_asks(vm: &Vm, plugin: &Plugin) {
    let waiting: Vec<Stream> = (0..3).map(|_| send(plugin)).collect();
    let calls = plugin.calls();
    assert_eq!(calls.len(), 1, "one asks");
    assert_eq!(calls[0].headers.text(":path").as_deref(), Some(METADATA));
    vm.advance(Duration::from_millis(300));
    assert!(waiting.iter().all(|stream| stream.upstream().headers.is_none()), "the others wait");
    vm.answer_call(calls[0].token, metadata());
    // The others look after it when some time has passed.
    vm.advance(Duration::from_millis(60));
    for stream in &waiting {
        assert_infers(&stream.upstream());
    }
    // From now on it is known.
    assert_infers(&send(plugin).upstream());
    assert!(plugin.calls().is_empty());
}

fn the_configuration_asks(vm: &Vm, plugin: &Plugin) {
    let (first, second, third) = (send(plugin), send(plugin), send(plugin));
    let gone = plugin.calls().remove(0);
    first.client_reset();
    drop(first);
    vm.advance(Duration::from_millis(60));
    let calls: Vec<_> = plugin.calls().into_iter().filter(|call| call.token != gone.token).collect();
    assert_eq!(calls.len(), 1, "the configuration asks in the place of the one that left");
    assert_eq!((&calls[0].headers, &calls[0].body), (&gone.headers, &gone.body));
    vm.answer_call(calls[0].token, metadata());
    assert_infers(&second.upstream());
    assert_infers(&third.upstream());
}

fn all_fail(vm: &Vm, plugin: &Plugin) {
    let waiting: Vec<Stream> = (0..3).map(|_| send(plugin)).collect();
    let mut unknown = HttpResponse::new(200, "");
    unknown.headers = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "unknown model m"),
    ]
    .into();
    vm.answer_call(plugin.calls()[0].token, unknown);
    vm.advance(Duration::from_millis(60));
    for stream in &waiting {
        let answer = stream.downstream();
        assert_eq!(answer.status(), Some(404));
        assert_eq!(answer.body(), br#"{"error":"unknown model m"}"#);
        assert!(stream.upstream().headers.is_none(), "the model is not asked");
    }
    let again = send(plugin);
    vm.answer_call(plugin.calls()[0].token, metadata());
    assert_infers(&again.upstream());
}

fn natively(library: &Path) {
    let module = Module::load(library).map_err(|error| error.log.join("\n")).unwrap();
    let plugin = module.plugin("kserve_transcoder", CONFIG).map_err(|error| error.log.join("\n")).unwrap();
    let send = || {
        let cluster = ("xds.cluster_name".to_owned(), CLUSTER.into());
        let options = native::StreamOptions { properties: [cluster].into(), ..Default::default() };
        let stream = plugin.open(options);
        stream.request_headers(headers(), false);
        stream.request_data(BODY, true);
        stream
    };
    let waiting = [send(), send(), send()];
    assert_eq!(waiting.each_ref().map(|stream| stream.calls().len()), [1, 0, 0]);
    plugin.tick();
    waiting.iter().for_each(native::Stream::turn);
    assert!(waiting.iter().all(|stream| stream.upstream().headers.is_none()));
    waiting[0].answer(waiting[0].calls()[0].id, &metadata());
    assert_infers(&waiting[0].upstream());
    plugin.tick();
    waiting.iter().for_each(native::Stream::turn);
    for stream in &waiting {
        assert_infers(&stream.upstream());
    }
    assert_infers(&send().upstream());
}

const METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";

/// What the model's server says: one input, `x`, FP32 of shape [-1, 2].
fn metadata() -> HttpResponse {
    let input = Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, [u64::MAX, 2]);
    let message = Message::new().bytes(1, "m").message(4, &input).into_bytes();
    let mut response = HttpResponse::new(200, testkit::frame(&message));
    response.headers = [(":status", "200"), ("content-type", "application/grpc")].into();
    response.trailers = Some([("grpc-status", "0")].into());
    response
}

/// Asserts that the whole inference has gone on.
fn assert_infers(upstream: &Delivered) {
    let headers = upstream.headers.as_ref().expect("the request has gone on");
    assert_eq!(headers.text(":path").as_deref(), Some("/inference.GRPCInferenceService/ModelInfer"));
    assert!(upstream.ended);
    let input = Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, [1, 2]);
    let raw = [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat();
    let message = Message::new().bytes(1, "m").message(5, &input).bytes(7, raw).into_bytes();
    assert_eq!(upstream.body(), testkit::frame(&message));
}

fn headers() -> HeaderMap {
    HeaderMap::from([
        (":method", "POST"),
        (":path", "/v1/models/m:predict"),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        ("content-type", "application/json"),
    ])
}

fn loaded(vm: &Vm, name: &str) -> Plugin {
    let options = PluginOptions {
        name: name.to_owned(),
        root_id: name.to_owned(),
        configuration: CONFIG.to_vec(),
        ..PluginOptions::default()
    };
    vm.plugin(options).unwrap()
}

fn send(plugin: &Plugin) -> Stream {
    let stream = plugin.open(StreamOptions::default().property("xds.cluster_name", CLUSTER));
    stream.request_headers(headers(), false);
    stream.request_data(BODY, true);
    stream
}
