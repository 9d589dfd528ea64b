//! What filters of other people do that those of this repository do not: older versions of the ABI, calls while the
//! module starts, plugins that are the same, answers that Envoy refuses. Each was seen in Envoy 1.38.2 and 1.40.0 first.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proxy_wasm_emulator::{
    Engine, ForeignFunction, HeaderMap, LogLevel, Message, Plugin, PluginOptions, Stream, StreamOptions, Vm,
    VmOptions,
};

/// A module for a version of the ABI. `say` logs a digit, or what lies where a host function has written pointer (at
/// 16) and length (at 20). Texts are at 64: "x-a" (3), "sign" (4), ":status" (7), "200" (3), "reply" (5).
fn module(abi: &str, imports: &str, functions: &str) -> String {
    format!(
        r#"(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  {imports}
  (memory (export "memory") 1)
  (data (i32.const 64) "x-asign:status200reply")
  (data (i32.const 128) "\01\00\00\00\07\00\00\00\03\00\00\00:status\00200\00")
  (data (i32.const 192) "\0a\03x-a\10\01declare_property")
  (func (export "proxy_abi_version_{abi}"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func $say (param $digit i32)
    (i32.store8 (i32.const 32) (i32.add (i32.const 48) (local.get $digit)))
    (drop (call $log (i32.const 2) (i32.const 32) (i32.const 1))))
  (func $say_found
    (drop (call $log (i32.const 2) (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
  {functions})"#
    )
}

const REPLY: &str = r#"(import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#;

fn vm(module: &str) -> Vm {
    Vm::new(&Engine::new(), module.as_bytes(), VmOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn load(module: &str) -> Plugin {
    vm(module).plugin(PluginOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(module: &str) -> String {
    Vm::new(&Engine::new(), module.as_bytes(), VmOptions::default()).err().unwrap().reason
}

fn get(plugin: &Plugin) -> Stream {
    plugin.exchange(&Message::get("/a"), &Message::response(200, "hello"))
}

fn logged(vm: &Vm) -> Vec<String> {
    vm.take_log().into_iter().map(|line| line.text).collect()
}

#[test]
fn a_module_for_the_first_abi_has_its_own_functions_and_learns_of_no_end_in_headers() {
    let imports = r#"
  (import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
  (import "env" "proxy_clear_route_cache" (func $clear (result i32)))
  (import "env" "proxy_continue_request" (func $continue (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $ticks (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))"#;
    let functions = r#"
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $configuration (i32.const 16) (i32.const 20))) (call $say_found)
    (drop (call $ticks (i32.const 100))) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
    (global.set $stream (local.get 0))
    (call $say (call $get (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 16) (i32.const 20)))
    (call $say (i32.load (i32.const 20)))
    (drop (call $clear)) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (drop (call $effective (global.get $stream))) (drop (call $continue)))
  (func (export "proxy_on_response_headers") (param i32 i32) (result i32) (call $say (local.get 1)) (i32.const 0))"#;
    let options = PluginOptions { configuration: b"as configured".into(), ..PluginOptions::default() };
    let plugin = vm(&module("0_1_0", imports, functions)).plugin(options).unwrap();
    let stream = get(&plugin);
    assert!(!stream.upstream().ended, "the filter holds the request");
    assert_eq!(stream.route().clears, 1);
    plugin.vm().advance(std::time::Duration::from_millis(100));
    stream.respond(&Message::response(200, "hello"));
    assert_eq!((stream.downstream().status(), stream.downstream().text()), (Some(200), "hello".to_owned()));
    let said = logged(plugin.vm());
    assert_eq!(said, ["as configured", "0", "0", "1"], "a missing header reads as an empty one");
}

#[test]
fn each_version_of_the_abi_offers_its_own_functions() {
    let level = r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32)))"#;
    let resume = r#"(import "env" "proxy_continue_stream" (func (param i32) (result i32)))"#;
    let configuration = r#"(import "env" "proxy_get_configuration" (func (param i32 i32) (result i32)))"#;
    load(&module("0_2_1", &[level, resume].concat(), ""));
    load(&module("0_2_0", resume, ""));
    for (abi, import, name) in [
        ("0_1_0", resume, "proxy_continue_stream: no such function in the proxy-wasm ABI 0.1.0"),
        ("0_2_0", level, "proxy_get_log_level: no such function in the proxy-wasm ABI 0.2.0"),
        ("0_2_1", configuration, "proxy_get_configuration: no such function in the proxy-wasm ABI 0.2.1"),
    ] {
        let reason = refusal(&module(abi, import, ""));
        assert!(reason.contains(name), "{reason}");
    }
}

#[test]
fn while_it_starts_a_module_may_log_but_not_define_metrics() {
    // Go's runtime calls it.
    let flags = r#"(import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))"#;
    let start = r#"(func (export "_initialize") (drop (call $flags (i32.const 1) (i32.const 0))))"#;
    load(&module("0_2_1", flags, start));

    let define =
        r#"(import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))"#;
    let call = "(drop (call $define (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 16)))";
    for start in ["_initialize", "_start"] {
        let early = format!(r#"(func (export "{start}") (call $say (i32.const 1)) {call})"#);
        let reason = refusal(&module("0_2_1", define, &early));
        assert!(
            reason.contains("it called proxy_define_metric from _initialize, _start or main"),
            "{reason}"
        );
        let only_log = format!(r#"(func (export "{start}") (call $say (i32.const 1)))"#);
        vm(&module("0_2_1", define, &only_log)).assert_logged(LogLevel::Info, "1");
    }
    let later =
        format!(r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) {call} (i32.const 1))"#);
    load(&module("0_2_1", define, &later));
}

#[test]
fn plugins_that_are_the_same_share_a_root_context_that_is_configured_once() {
    let count = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
      (call $say (local.get 1)) (i32.const 1))"#;
    let vm = vm(&module("0_2_1", "", count));
    let plugin = |configuration: &str| {
        let configuration = configuration.into();
        vm.plugin(PluginOptions { name: "twin".into(), configuration, ..PluginOptions::default() }).unwrap()
    };
    let (first, second, other) = (plugin("a"), plugin("a"), plugin("bb"));
    assert_eq!(first.root_context(), second.root_context());
    assert_ne!(first.root_context(), other.root_context());
    assert_eq!(logged(&vm), ["1", "2"]);
}

#[test]
fn the_plugins_configuration_can_be_read_while_it_is_configured_and_not_before() {
    let import =
        r#"(import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))"#;
    let read =
        "(call $say (call $buffer (i32.const 7) (i32.const 0) (i32.const 9) (i32.const 16) (i32.const 20)))";
    let functions = format!(
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) {read} (i32.const 1))
           (func (export "proxy_on_configure") (param i32 i32) (result i32) {read} (i32.const 1))"#
    );
    assert_eq!(logged(load(&module("0_2_1", import, &functions)).vm()), ["1", "0"], "NotFound, then Ok");
}

#[test]
fn of_two_replies_the_first_is_sent_with_its_own_status() {
    let reply = |status: u32, headers: u32| {
        format!(
            "(drop (call $reply (i32.const {status}) (i32.const 0) (i32.const 0) (i32.const 81) (i32.const 5) \
             (i32.const 128) (i32.const {headers}) (i32.const -1)))"
        )
    };
    let two = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {} {} (i32.const 1))"#,
        reply(403, 24),
        reply(418, 0)
    );
    let stream = get(&load(&module("0_2_1", REPLY, &two)));
    assert_eq!((stream.downstream().status(), stream.downstream().text()), (Some(403), "reply".to_owned()));
}

#[test]
fn a_status_that_is_not_a_number_is_a_502_and_one_that_cannot_be_sent_a_reset() {
    let stream = |status: &str| {
        let callback = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $set (i32.const 2) (i32.const 71) (i32.const 7) (i32.const 78) (i32.const 3))) (i32.const 0))"#;
        get(&load(&module("0_2_1", REPLY, callback).replace("status200", &format!("status{status}"))))
    };
    assert_eq!(stream("204").downstream().status(), Some(204));
    let refused = stream("abc").downstream();
    assert_eq!(
        (refused.status(), refused.text()),
        (Some(502), "missing required header: :status".to_owned())
    );
    let reset = stream("099").downstream();
    assert!(reset.reset && reset.headers.is_none(), "{reset:?}");
}

#[test]
fn a_metric_of_an_unknown_id_is_looked_for_only_if_its_kind_has_a_value() {
    let imports = r#"(import "env" "proxy_get_metric" (func $get (param i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))"#;
    let ask = |id: u32| {
        format!(
            "(call $say (call $get (i32.const {id}) (i32.const 16))) (call $say (call $add (i32.const {id}) (i64.const 1)))"
        )
    };
    let callback = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {} (i32.const 1))"#,
        (1000..1004).map(ask).collect::<String>()
    );
    let said = logged(load(&module("0_2_1", imports, &callback)).vm()).concat();
    assert_eq!(said, "11112222", "NotFound for a counter and a gauge, BadArgument for the others");
}

const FOREIGN: &str = r#"(import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))"#;

#[test]
fn a_foreign_function_that_only_envoy_has_is_named_and_not_answered_wrongly() {
    let callback = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
      (call $say (call $foreign (i32.const 67) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
      (i32.const 1))"#;
    let module = module("0_2_1", FOREIGN, callback);
    let error = vm(&module).plugin(PluginOptions::default()).err().unwrap().reason;
    assert!(error.contains(r#"the emulator does not have Envoy's foreign function "sign""#), "{error}");

    let foreign_functions = [("sign".to_owned(), ForeignFunction::absent())].into();
    let options = VmOptions { foreign_functions, ..VmOptions::default() };
    let vm = Vm::new(&Engine::new(), module.as_bytes(), options).unwrap();
    vm.plugin(PluginOptions::default()).unwrap();
    assert_eq!(logged(&vm), ["1"], "NotFound");
}

#[test]
fn a_property_that_was_declared_read_only_can_be_set_once() {
    let functions = r#"(func $declare (result i32)
      (call $foreign (i32.const 199) (i32.const 16) (i32.const 192) (i32.const 7) (i32.const 0) (i32.const 0)))
    (func $set_x_a (call $say (call $set_property (i32.const 64) (i32.const 3) (i32.const 64) (i32.const 1))))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
      (call $say (call $declare)) (call $say (call $declare)) (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $set_x_a) (call $set_x_a) (i32.const 0))"#;
    let plugin = load(&module("0_2_1", FOREIGN, functions));
    get(&plugin);
    assert_eq!(logged(plugin.vm()).concat(), "0202", "each time Ok, then BadArgument");
}

#[test]
fn a_body_can_be_asked_for_from_anywhere_to_beyond_its_end() {
    let import =
        r#"(import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))"#;
    let callback = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
      (call $say (call $buffer (i32.const 0) (i32.const 1) (i32.const -1) (i32.const 16) (i32.const 20)))
      (call $say_found) (i32.const 0))"#;
    let plugin = load(&module("0_2_1", import, callback));
    plugin.exchange(&Message::post("/", "body"), &Message::response(200, ""));
    assert_eq!(logged(plugin.vm()), ["0", "ody"]);
}

#[test]
fn a_filter_that_loses_x_forwarded_proto_with_the_other_headers_gets_a_404() {
    let import =
        r#"(import "env" "proxy_set_header_map_pairs" (func $all (param i32 i32 i32) (result i32)))"#;
    let callback = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (drop (call $all (i32.const 0) (i32.const 128) (i32.const 24))) (i32.const 0))"#;
    let plugin = load(&module("0_2_1", import, callback));
    let request = Message::get("/").header("x-forwarded-proto", "http");
    let stream = plugin.exchange(&request, &Message::response(200, ""));
    assert_eq!(stream.downstream().status(), Some(404));
}

#[test]
fn two_values_of_a_name_are_joined_where_envoy_keeps_one_in_that_kind_of_map() {
    let plugin = load(&module("0_2_1", "", ""));
    let stream = plugin.open(StreamOptions::default());
    let twice = [("accept", "a"), ("accept", "b"), ("vary", "c"), ("vary", "d")];
    stream.request_headers([(":path", "/")].into_iter().chain(twice).collect::<HeaderMap>(), false);
    stream.request_trailers(twice);
    stream.response_headers([(":status", "200")].into_iter().chain(twice).collect::<HeaderMap>(), true);
    let values = |map: Option<HeaderMap>| {
        let map = map.unwrap();
        ["accept", "vary"]
            .map(|name| map.all(name).map(String::from_utf8_lossy).collect::<Vec<_>>().join("|"))
    };
    assert_eq!(values(stream.upstream().headers), ["a,b", "c|d"]);
    assert_eq!(values(stream.upstream().trailers), ["a|b", "c|d"]);
    assert_eq!(values(stream.downstream().headers), ["a|b", "c,d"]);
}
