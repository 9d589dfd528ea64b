//! The emulator's behaviour, told with filters written as text, so that no wasm compiler is needed. That it is
//! also Envoy's behaviour is shown by the probe's traces (`test-harness/conformance`).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm_emulator::{
    Direction, Engine, FailPolicy, HttpResponse, Message, Plugin, PluginOptions, SharedState, Stream,
    StreamOptions, Vm, VmOptions,
};

/// A module around some callbacks. Strings for host calls are at 64: "denied" (6), "calls" (5), "x-a" (3),
/// "1" (1), "count" (5), "key" (3).
fn module(callbacks: &str) -> String {
    format!(
        r#"(module
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $ticks (param i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (global $stream (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))
  (data (i32.const 64) "deniedcallsx-a1countkey")
  (data (i32.const 128) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func $deny (param $status i32)
    (drop (call $reply (local.get $status) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 6)
                       (i32.const 0) (i32.const 0) (i32.const -1))))
  (func $add_x_a (param $map i32)
    (drop (call $add (local.get $map) (i32.const 75) (i32.const 3) (i32.const 78) (i32.const 1))))
  {callbacks})"#
    )
}

fn callback(name: &str, parameters: usize, body: &str) -> String {
    format!(r#"(func (export "proxy_on_{name}") (param {}) (result i32) {body})"#, "i32 ".repeat(parameters))
}

fn plugin_with(callbacks: &[String], options: PluginOptions, vm: VmOptions) -> Plugin {
    let vm = Vm::new(&Engine::new(), module(&callbacks.concat()).as_bytes(), vm).unwrap();
    vm.plugin(options).unwrap()
}

fn plugin(callbacks: &[String]) -> Plugin {
    plugin_with(callbacks, PluginOptions::default(), VmOptions::default())
}

fn flagged(callbacks: &[String]) -> Plugin {
    let options = PluginOptions { allow_on_headers_stop_iteration: true, ..PluginOptions::default() };
    plugin_with(callbacks, options, VmOptions::default())
}

fn post(plugin: &Plugin, options: StreamOptions, end: bool) -> Stream {
    let stream = plugin.open(options);
    stream.request_headers([(":method", "POST"), (":path", "/a"), (":authority", "test")], end);
    stream
}

fn code(code: u32) -> String {
    format!("(i32.const {code})")
}

#[test]
fn without_the_flag_code_1_from_headers_keeps_the_body_from_the_filter_until_it_continues() {
    let p = plugin(&[
        callback("request_headers", 3, "(global.set $stream (local.get 0)) (i32.const 1)"),
        callback("request_body", 3, "(global.set $count (local.get 1)) (unreachable)"),
    ]);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", false);
    s.request_data("def", true);
    assert_eq!(s.upstream().headers, None);
    assert_eq!(s.buffered(Direction::Request), 6);
    assert_eq!(p.vm().failure(), None);
}

#[test]
fn with_the_flag_code_1_lets_the_body_callbacks_run_and_0_releases_the_headers_with_the_whole_body() {
    let p = flagged(&[
        callback("request_headers", 3, &code(1)),
        callback("request_body", 3, "(i32.eqz (local.get 2))"),
    ]);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", false);
    assert_eq!(s.upstream().headers, None);
    s.request_data("def", true);
    assert!(s.upstream().headers.is_some() && s.upstream().ended);
    assert_eq!(s.upstream().chunks, [b"abcdef"]);
}

#[test]
fn after_a_pause_the_filter_sees_the_body_so_far_and_what_it_writes_replaces_all_of_it() {
    let p = plugin(&[callback(
        "request_body",
        3,
        "(drop (call $set_buffer (i32.const 0) (i32.const 0) (local.get 1) (i32.const 64) (i32.const 6)))
         (i32.eqz (local.get 2))",
    )]);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", false);
    s.request_data("def", false);
    s.request_data("ghi", true);
    assert_eq!(s.upstream().body(), b"denied");
}

#[test]
fn a_paused_body_over_the_limit_is_a_413_and_a_paused_answer_a_500() {
    let p = plugin(&[callback("request_body", 3, &code(1))]);
    let s = post(&p, StreamOptions { request_buffer_limit: Some(5), ..StreamOptions::default() }, false);
    s.request_data("abc", false);
    assert!(!s.is_over());
    s.request_data("def", false);
    assert_eq!(s.downstream().status(), Some(413));
    assert_eq!(s.downstream().body(), b"Payload Too Large");
    assert!(s.upstream().reset);

    let p = plugin(&[callback("response_headers", 3, &code(3))]);
    let s = post(&p, StreamOptions::default().buffer_limits(5), true);
    s.response_headers([(":status", "200")], false);
    s.response_data("abcdef", true);
    assert_eq!(s.downstream().status(), Some(500));
    assert_eq!(s.downstream().body(), b"Internal Server Error");
}

#[test]
fn a_reply_from_the_request_passes_the_filters_own_response_callbacks() {
    let p = plugin(&[
        callback("request_body", 3, "(call $deny (i32.const 403)) (i32.const 1)"),
        callback("response_headers", 3, "(call $add_x_a (i32.const 2)) (i32.const 0)"),
    ]);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", false);
    let got = s.downstream();
    assert_eq!((got.status(), got.body()), (Some(403), b"denied".to_vec()));
    assert_eq!(got.headers.unwrap().get("x-a"), Some(b"1".as_slice()));
    assert!(s.is_over() && s.upstream().reset);
    s.request_data("late", true);
    assert_eq!(s.upstream().body(), b"");
}

#[test]
fn a_reply_from_the_response_goes_straight_to_the_client_while_headers_are_held_and_resets_afterwards() {
    let deny_in_trailers = callback("response_trailers", 2, "(call $deny (i32.const 404)) (i32.const 1)");
    let held = flagged(&[callback("response_headers", 3, &code(1)), deny_in_trailers.clone()]);
    let s = post(&held, StreamOptions::default(), true);
    s.response_headers([(":status", "200")], false);
    s.response_trailers([("grpc-status", "5")]);
    assert_eq!((s.downstream().status(), s.downstream().body()), (Some(404), b"denied".to_vec()));

    let released = plugin(&[deny_in_trailers]);
    let s = post(&released, StreamOptions::default(), true);
    s.response_headers([(":status", "200")], false);
    s.response_trailers([("grpc-status", "5")]);
    assert_eq!(s.downstream().status(), Some(200));
    assert!(s.downstream().reset && !s.downstream().ended);
}

#[test]
fn a_trap_ends_every_stream_of_the_vm_and_only_a_reload_brings_it_back() {
    let trap = [callback("request_body", 3, "(unreachable)")];
    let policy = FailPolicy::Reload { backoff: Duration::from_secs(1) };
    let options = PluginOptions { fail_policy: policy, ..PluginOptions::default() };
    let p = plugin_with(&trap, options, VmOptions::default());
    let bystander = post(&p, StreamOptions::default(), true);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", true);
    assert_eq!(s.downstream().status(), Some(503));
    assert!(p.vm().failure().is_some());
    bystander.response_headers([(":status", "200")], true);
    assert_eq!(bystander.downstream().status(), Some(503));
    assert_eq!(post(&p, StreamOptions::default(), true).downstream().status(), Some(503));
    p.vm().advance(Duration::from_secs(1));
    let s = post(&p, StreamOptions::default(), true);
    assert_eq!(s.downstream().status(), None);
    assert!(s.upstream().ended);
    p.vm().advance(Duration::from_secs(1));
    post(&p, StreamOptions::default(), false).request_data("abc", true);
    assert!(post(&p, StreamOptions::default(), true).upstream().ended, "the last reload is long ago");

    let open = PluginOptions { fail_policy: FailPolicy::Open, ..PluginOptions::default() };
    let p = plugin_with(&trap, open, VmOptions::default());
    post(&p, StreamOptions::default(), false).request_data("abc", true);
    let s = post(&p, StreamOptions::default(), false);
    s.request_data("abc", true);
    assert_eq!(s.upstream().body(), b"abc");
}

#[test]
fn a_stream_waits_for_a_call_and_goes_on_when_the_test_answers_it() {
    let p = plugin_with(
        &[
            callback(
                "request_headers",
                3,
                "(global.set $stream (local.get 0))
                 (drop (call $call (i32.const 70) (i32.const 5) (i32.const 128) (i32.const 67) (i32.const 0) (i32.const 0)
                                   (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 16)))
                 (i32.const 1)",
            ),
            r#"(func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
                 (global.set $count (local.get 2))
                 (drop (call $effective (global.get $stream)))
                 (if (i32.eq (local.get 2) (i32.const 2))
                   (then (drop (call $continue (i32.const 0))))
                   (else (call $deny (i32.const 401)))))"#
                .to_owned(),
        ],
        PluginOptions::default(),
        VmOptions { clusters: ["calls".to_owned()].into(), ..VmOptions::default() },
    );
    let s = post(&p, StreamOptions::default(), true);
    let calls = s.calls();
    assert_eq!(calls.len(), 1, "{:?}", p.vm().log());
    assert_eq!((calls[0].cluster.as_str(), calls[0].headers.get(":path")), ("calls", Some(b"/".as_slice())));
    let mut answer = HttpResponse::new(200, "");
    answer.headers.add("x-a", "1");
    assert!(p.vm().answer_call(calls[0].token, answer));
    assert!(s.upstream().ended);
    assert!(!p.vm().fail_call(calls[0].token));

    let s = post(&p, StreamOptions::default(), true);
    p.vm().advance(Duration::from_secs(1));
    assert_eq!(s.downstream().status(), Some(401), "the call timed out with one header: the filter refused");

    p.vm().set_clusters::<String>([]);
    assert!(post(&p, StreamOptions::default(), true).calls().is_empty());
}

#[test]
fn vms_share_statistics_and_shared_data_by_vm_id() {
    let callbacks = [callback(
        "request_headers",
        3,
        "(drop (call $define (i32.const 0) (i32.const 79) (i32.const 5) (i32.const 16)))
         (drop (call $increment (i32.load (i32.const 16)) (i64.const 2)))
         (drop (call $share (i32.const 84) (i32.const 3) (i32.const 64) (i32.const 6) (i32.const 0)))
         (i32.const 0)",
    )];
    let shared = SharedState::default();
    for vm_id in ["one", "two"] {
        let vm = VmOptions { vm_id: vm_id.into(), shared: shared.clone(), ..VmOptions::default() };
        let p = plugin_with(&callbacks, PluginOptions::default(), vm);
        drop(post(&p, StreamOptions::default(), true));
        assert_eq!(shared.data(vm_id, b"key").map(|(value, _)| value), Some(b"denied".to_vec()));
    }
    assert_eq!(shared.counter("count"), Some(4));
    let (_, cas) = shared.data("one", b"key").unwrap();
    assert!(shared.set_data("one", b"key", b"x", cas).is_ok());
    assert!(shared.set_data("one", b"key", b"y", cas).is_err());
}

#[test]
fn ticks_come_when_the_clock_moves() {
    let p = plugin(&[
        callback("configure", 2, "(drop (call $ticks (i32.const 100))) (i32.const 1)"),
        r#"(func (export "proxy_on_tick") (param i32)
             (drop (call $log (i32.const 2) (i32.const 79) (i32.const 5))))"#
            .to_owned(),
    ]);
    p.vm().advance(Duration::from_millis(99));
    assert_eq!(p.vm().log().len(), 0);
    p.vm().advance(Duration::from_millis(201));
    assert_eq!(p.vm().log().iter().filter(|l| l.text == "count").count(), 3);
}

#[test]
fn a_refused_configuration_is_an_error_with_what_the_module_said() {
    let refuse = callback(
        "configure",
        2,
        "(drop (call $log (i32.const 4) (i32.const 64) (i32.const 6))) (i32.const 0)",
    );
    let vm = Vm::new(&Engine::new(), module(&refuse).as_bytes(), VmOptions::default()).unwrap();
    let error = vm.plugin(PluginOptions::default()).err().unwrap();
    assert_eq!(error.reason, "proxy_on_configure refused the configuration");
    assert_eq!(error.log[0].text, "denied");
}

#[test]
fn a_changed_request_header_selects_the_route_again_and_no_route_is_a_404() {
    let p = plugin(&[callback("request_headers", 3, "(call $add_x_a (i32.const 0)) (i32.const 0)")]);
    let routes = |clusters: &'static [&'static str]| StreamOptions {
        routes: Some(Rc::new(move |headers| {
            let at = usize::from(headers.get("x-a").is_some());
            clusters.get(at).map(|c| (*c).to_owned())
        })),
        ..StreamOptions::default()
    };
    let s = post(&p, routes(&["before", "after"]), true);
    assert_eq!((s.route().clears, s.route().cluster.as_deref()), (1, Some("after")));
    let s = post(&p, routes(&["before"]), true);
    assert_eq!(s.downstream().status(), Some(404));
    assert_eq!(s.upstream().headers, None);
}

#[test]
fn a_module_for_another_abi_or_with_unknown_imports_does_not_load() {
    let other = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_3_0")))"#;
    let error = Vm::new(&Engine::new(), other.as_bytes(), VmOptions::default()).err().unwrap();
    assert!(error.reason.starts_with("missing or unknown proxy-wasm ABI version"), "{}", error.reason);
    let unknown = r#"(module (import "env" "no_such" (func)) (func (export "proxy_abi_version_0_2_1")))"#;
    let error = Vm::new(&Engine::new(), unknown.as_bytes(), VmOptions::default()).err().unwrap();
    assert!(error.reason.contains("no_such"), "{}", error.reason);
}

#[test]
fn memory_ends_at_one_gibibyte() {
    let p = plugin(&[callback(
        "request_headers",
        3,
        "(if (i32.ne (memory.grow (i32.const 16384)) (i32.const -1)) (then (unreachable))) (i32.const 0)",
    )]);
    assert!(post(&p, StreamOptions::default(), true).upstream().ended);
    assert_eq!(p.vm().memory_size(), 4 << 16);
}

#[test]
fn what_crosses_the_boundary_is_counted_by_name() {
    let add = callback(
        "request_headers",
        3,
        "(call $add_x_a (i32.const 0)) (call $add_x_a (i32.const 0)) i32.const 0",
    );
    let plugin = plugin(&[add]);
    let vm = plugin.vm();
    let of_starting = vm.take_crossings();
    assert!(of_starting.host_calls.is_empty(), "{of_starting}");

    for _ in 0..2 {
        plugin.exchange(&Message::get("/"), &Message::response(200, "fine"));
    }
    let crossings = vm.crossings();
    assert_eq!(
        crossings.to_string(),
        "   4 host calls\n       4 proxy_add_header_map_value\n   2 callbacks\n       2 proxy_on_request_headers\n"
    );
    assert_eq!(crossings.total(), 6);
    assert_eq!(vm.take_crossings(), crossings);
    assert_eq!(vm.crossings().total(), 0);
}
