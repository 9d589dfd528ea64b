//! What the proxy-wasm host itself tells a client, on the emulator.
//!
//! The module is `verdict_filter.wasm` in `$TEST_MODULES`, or in `target/test-modules`; without it the test is ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use libtest_mimic::{Arguments, Trial};
use proxy_wasm_emulator::{Engine, HeaderMap, PluginOptions, StreamOptions, Vm, VmOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// More than the streams of a VM may hold together.
const TOO_MUCH: usize = 769 << 20;

fn main() -> ExitCode {
    let folder = std::env::var_os("TEST_MODULES").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-modules"));
    let module = folder.join("verdict_filter.wasm");
    let ignored = !module.exists();
    let run = move || {
        too_large_a_chunk(&std::fs::read(&module).unwrap());
        Ok(())
    };
    let name = "a_chunk_that_the_vm_has_no_memory_for_is_refused_in_words_and_the_vm_lives";
    let trials = vec![Trial::test(name, run).with_ignored_flag(ignored)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn too_large_a_chunk(module: &[u8]) {
    let vm = Vm::new(&Engine::new(), module, VmOptions::default()).unwrap();
    let plugin = vm.plugin(PluginOptions::default()).unwrap();
    let open = || plugin.open(StreamOptions::default().buffer_limits(usize::MAX));
    let request = || {
        HeaderMap::from([
            (":method", "POST"),
            (":path", "/"),
            (":authority", "gateway.test"),
            ("x-plan", "q1=emit+upper"),
        ])
    };

    let stream = open();
    stream.request_headers(request(), false);
    stream.request_data(vec![0; TOO_MUCH], true);
    let answer = stream.downstream();
    let why = r#"{"error":"the memory for requests in progress is used up; try again later"}"#;
    assert_eq!((answer.status(), String::from_utf8(answer.body()).unwrap().as_str()), (Some(503), why));
    assert_eq!(answer.headers.unwrap().text("content-type").as_deref(), Some("application/json"));

    let stream = open();
    stream.request_headers(request(), false);
    stream.request_data(b"abc", true);
    assert_eq!(stream.upstream().body(), b"ABC");
    assert!(vm.failure().is_none(), "{:?}", vm.failure());
}
