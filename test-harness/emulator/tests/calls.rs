//! gRPC calls and streams, queues between VMs, connections and foreign functions, told with filters written as text.
//! What is told of gRPC is what the same calls led to in Envoy 1.38.2 and 1.40.0.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use proxy_wasm_emulator::{
    ConnectionOptions, Direction, Engine, ForeignFunction, LogLevel, Message, Peer, Plugin, PluginOptions,
    PropertyValue, SharedState, Status, StreamOptions, Vm, VmOptions,
};

/// A module that does one thing per tick, and logs what every callback is told: a letter, its numbers as digits, and
/// the message of `proxy_get_status`. Strings: "up" at 64, "nowhere" at 66, "S" at 73, "M" at 74, "msg" at 75, a
/// `GrpcService` with the cluster "nowhere" at 80 (11 bytes), and "queue" at 96.
fn module(tick: &str, more: &str) -> String {
    format!(
        r#"(module
  (import "env" "proxy_grpc_call" (func $grpc (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $open (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $close (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $ticks (param i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (global $stream (mut i32) (i32.const 0))
  (data (i32.const 64) "upnowhereSMmsg")
  (data (i32.const 80) "\0a\09\0a\07nowhere")
  (data (i32.const 96) "queue")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func $say (param $letter i32) (param $a i32) (param $b i32)
    (i32.store8 (i32.const 200) (local.get $letter))
    (i32.store8 (i32.const 201) (i32.add (i32.const 48) (local.get $a)))
    (i32.store8 (i32.const 202) (i32.add (i32.const 48) (local.get $b)))
    (drop (call $log (i32.const 2) (i32.const 200) (i32.const 3))))
  (func $say_status
    (drop (call $status (i32.const 16) (i32.const 20) (i32.const 24)))
    (drop (call $log (i32.const 2) (i32.load (i32.const 20)) (i32.load (i32.const 24)))))
  (func $say_buffer (param $kind i32)
    (drop (call $buffer (local.get $kind) (i32.const 0) (i32.const 99) (i32.const 20) (i32.const 24)))
    (drop (call $log (i32.const 2) (i32.load (i32.const 20)) (i32.load (i32.const 24)))))
  (func $call (param $cluster i32) (param $length i32) (result i32)
    (call $grpc (local.get $cluster) (local.get $length) (i32.const 73) (i32.const 1) (i32.const 74) (i32.const 1)
                (i32.const 0) (i32.const 0) (i32.const 75) (i32.const 3) (i32.const 500) (i32.const 16)))
  (func $open_stream (result i32)
    (call $open (i32.const 64) (i32.const 2) (i32.const 73) (i32.const 1) (i32.const 74) (i32.const 1)
                (i32.const 0) (i32.const 0) (i32.const 16)))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $ticks (i32.const 100))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32) {tick})
  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (call $say (i32.const 73) (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
    (call $say (i32.const 82) (local.get 1) (local.get 2)) (call $say_buffer (i32.const 5)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (call $say (i32.const 84) (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_close") (param i32 i32 i32)
    (call $say (i32.const 67) (local.get 1) (local.get 2)) (call $say_status))
  {more})"#
    )
}

fn load(module: &str, options: VmOptions) -> Plugin {
    let vm = Vm::new(&Engine::new(), module.as_bytes(), options).unwrap();
    vm.plugin(PluginOptions::default()).unwrap()
}

/// With one tick, in which the module does what it is about.
fn ticked(tick: &str) -> Plugin {
    let clusters = ["up".to_owned()].into();
    let plugin = load(&module(tick, ""), VmOptions { clusters, ..VmOptions::default() });
    plugin.vm().advance(Duration::from_millis(100));
    plugin
}

fn logged(plugin: &Plugin) -> Vec<String> {
    plugin.vm().take_log().into_iter().map(|line| line.text).collect()
}

const CALL: &str = "(call $say (i32.const 99) (call $call (i32.const 64) (i32.const 2)) (i32.const 0))";

#[test]
fn a_grpc_call_gets_one_message_and_is_over() {
    let plugin = ticked(CALL);
    let calls = plugin.grpc_calls();
    let call = &calls[0];
    assert_eq!((call.cluster.as_str(), call.path().as_str(), call.token), ("up", "/S/M", 5));
    assert_eq!((&call.messages, call.half_closed, call.stream), (&vec![b"msg".to_vec()], true, false));
    assert!(call.message("fine"));
    assert_eq!(logged(&plugin), ["c00", "R54", "fine"]);
    assert!(!call.message("twice") && plugin.grpc_calls().is_empty());
}

#[test]
fn a_grpc_call_that_fails_or_is_late_is_closed_with_its_status() {
    let plugin = ticked(CALL);
    plugin.grpc_calls()[0].close(5, "no such model");
    assert_eq!(logged(&plugin), ["c00", "C55", "no such model"]);

    let late = ticked(CALL);
    drop(logged(&late));
    late.vm().advance(Duration::from_millis(500));
    let log = logged(&late);
    assert!(log.contains(&"upstream request timeout{response_timeout}".to_owned()), "{log:?}");
}

#[test]
fn a_grpc_call_to_a_missing_cluster_is_refused_by_name_and_fails_by_message() {
    let plugin = ticked("(call $say (i32.const 99) (call $call (i32.const 66) (i32.const 7)) (i32.const 0))");
    assert_eq!(logged(&plugin), ["c40"], "ParseFailure");
    assert!(plugin.vm().hints()[0].contains(r#"there is no cluster "nowhere""#), "{:?}", plugin.vm().hints());

    let plugin =
        ticked("(call $say (i32.const 99) (call $call (i32.const 80) (i32.const 11)) (i32.const 0))");
    assert_eq!(
        logged(&plugin),
        ["c:0", "C5>", "Cluster not available"],
        "InternalFailure, then closed with 14"
    );

    let plugin = ticked("(call $say (i32.const 99) (call $call (i32.const 80) (i32.const 0)) (i32.const 0))");
    assert!(plugin.vm().hazards()[0].contains("names neither"), "real Envoys die of it");
}

#[test]
fn a_grpc_stream_has_messages_both_ways_and_metadata_and_ends_when_both_sides_are_done() {
    let plugin = ticked(
        "(call $say (i32.const 111) (call $open_stream) (i32.const 0))
         (global.set $stream (i32.load (i32.const 16)))
         (call $say (i32.const 115) (call $send (global.get $stream) (i32.const 75) (i32.const 3) (i32.const 0))
                                    (call $send (global.get $stream) (i32.const 75) (i32.const 1) (i32.const 1)))",
    );
    let stream = &plugin.grpc_calls()[0];
    assert_eq!((stream.token, stream.stream, stream.half_closed), (6, true, true));
    assert_eq!(stream.messages, [b"msg".to_vec(), b"m".to_vec()]);
    assert!(stream.initial_metadata([("a", "1"), ("b", "2")]));
    assert!(stream.message("one") && stream.message("three"));
    assert!(stream.trailing_metadata([("c", "3")]));
    assert!(stream.close(0, "via_upstream"));
    let expected = ["o00", "s00", "I62", "R63", "one", "R65", "three", "T61", "C60", "via_upstream"];
    assert_eq!(logged(&plugin), expected);
    assert!(!stream.message("late"));
}

#[test]
fn a_module_can_close_or_cancel_a_stream_that_the_other_side_has_closed_but_only_once() {
    let plugin = ticked(
        "(if (i32.eqz (global.get $stream))
           (then (drop (call $open_stream)) (global.set $stream (i32.load (i32.const 16))))
           (else (call $say (i32.const 99) (call $close (global.get $stream)) (call $close (global.get $stream)))
                 (call $say (i32.const 99) (call $cancel (i32.const 4)) (call $close (i32.const 401)))))",
    );
    plugin.grpc_calls()[0].close(0, "");
    drop(logged(&plugin));
    plugin.vm().advance(Duration::from_millis(100));
    assert_eq!(logged(&plugin), ["c01", "c21"], "Ok, NotFound; BadArgument for an HTTP call, NotFound");
}

#[test]
fn what_one_vm_puts_into_a_queue_is_told_to_the_vm_that_registered_it() {
    let register = "(drop (call $register (i32.const 96) (i32.const 5) (i32.const 16)))";
    let ready = r#"(func (export "proxy_on_queue_ready") (param i32 i32)
        (drop (call $dequeue (local.get 1) (i32.const 20) (i32.const 24)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 20)) (i32.load (i32.const 24)))))"#;
    let send = "(call $say (i32.const 114)
            (call $resolve (i32.const 64) (i32.const 2) (i32.const 96) (i32.const 5) (i32.const 16)) (i32.const 0))
        (call $say (i32.const 101) (call $enqueue (i32.load (i32.const 16)) (i32.const 75) (i32.const 3)) (i32.const 0))";
    let shared = SharedState::default();
    let options =
        |vm_id: &str| VmOptions { vm_id: vm_id.into(), shared: shared.clone(), ..VmOptions::default() };
    let (receiver, sender) =
        (load(&module(register, ready), options("up")), load(&module(send, ""), options("other")));
    let tick = Duration::from_millis(100);
    sender.vm().advance(tick);
    assert_eq!(logged(&sender), ["r10", "e10"], "NotFound");
    receiver.vm().advance(tick);
    sender.vm().advance(tick);
    assert_eq!(
        (logged(&sender), logged(&receiver)),
        (vec!["r00".into(), "e00".into()], vec!["msg".to_owned()])
    );
    assert_eq!(shared.queue("up", "queue"), Some(Vec::new()));
}

#[test]
fn a_network_filter_sees_what_it_stopped_again_and_can_close_the_connection() {
    let data = r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
          (call $say_buffer (i32.const 2))
          (if (i32.gt_u (local.get 1) (i32.const 5)) (then (drop (call $close_stream (i32.const 2)))))
          (drop (call $set_buffer (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 75) (i32.const 1)))
          (i32.lt_u (local.get 1) (i32.const 3)))
        (func (export "proxy_on_downstream_connection_close") (param i32 i32)
          (call $say (i32.const 68) (local.get 1) (i32.const 0)))"#;
    let plugin = load(&module("", data), VmOptions::default());
    let connection = plugin.connect(ConnectionOptions::default());
    connection.client_data("a", false);
    assert_eq!((connection.to_upstream(), connection.held(Direction::Request)), (Vec::new(), 2));
    connection.client_data("bc", false);
    assert_eq!(connection.to_upstream(), b"mmabc");
    connection.client_data("defghi", true);
    assert_eq!(logged(&plugin), ["a", "mabc", "defghi", "D10"]);
    assert_eq!(connection.closed_by(), Some(Peer::Local));
    assert_eq!(connection.to_upstream(), b"mmabc", "what came with the end is lost");
}

#[test]
fn a_connection_is_closed_once_both_sides_have_sent_their_last_byte() {
    let closed = r#"(func (export "proxy_on_downstream_connection_close") (param i32 i32)
      (call $say (i32.const 68) (local.get 1) (i32.const 0)))"#;
    let plugin = load(&module("", closed), VmOptions::default());
    let connection = plugin.connect(ConnectionOptions::default());
    connection.client_data("request", true);
    assert_eq!((connection.closed_by(), logged(&plugin)), (None, Vec::new()));
    connection.upstream_data("response", true);
    assert_eq!(connection.to_client(), b"response");
    assert_eq!((connection.closed_by(), logged(&plugin)), (Some(Peer::Local), vec!["D10".to_owned()]));

    let connection = plugin.connect(ConnectionOptions::default());
    connection.upstream_data("greeting", true);
    connection.client_data("", true);
    assert_eq!((connection.closed_by(), logged(&plugin)), (Some(Peer::Remote), vec!["D20".to_owned()]));
}

#[test]
fn a_tests_own_foreign_function_reaches_the_stream_it_is_called_from() {
    let headers = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (i32.const 102)
          (call $foreign (i32.const 64) (i32.const 2) (i32.const 75) (i32.const 3) (i32.const 20) (i32.const 24))
          (call $foreign (i32.const 66) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 20)) (i32.load (i32.const 24))))
        (i32.const 0))"#;
    let up = ForeignFunction::new(|call, arguments| {
        let headers = call.headers(Direction::Request).ok_or(Status::NotFound)?;
        let path = headers.text(":path").unwrap_or_default();
        headers.add("x-seen", arguments);
        call.set_filter_state("of.the.test", path.clone());
        Ok(path.into_bytes())
    });
    let foreign_functions = [("up".to_owned(), up)].into();
    let plugin = load(&module("", headers), VmOptions { foreign_functions, ..VmOptions::default() });
    let stream = plugin.exchange(&Message::get("/a"), &Message::response(200, ""));
    assert_eq!(logged(&plugin), ["f01", "/a"]);
    assert_eq!(stream.upstream().header("x-seen").as_deref(), Some("msg"));
    assert_eq!(stream.envoy_filter_state("of.the.test"), Some(b"/a".to_vec()));
    assert!(plugin.vm().hints()[0].contains(r#"no foreign function "nowhere""#));
}

#[test]
fn properties_have_types_paths_with_dots_and_members_and_envoys_defaults() {
    let read = |path: &str, options: StreamOptions| {
        let path = path.replace('/', "\\00");
        let length = path.replace("\\00", "0").len();
        let headers = format!(
            r#"(data (i32.const 300) "{path}")
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (if (i32.eqz (call $property (i32.const 300) (i32.const {length}) (i32.const 20) (i32.const 24)))
                (then (drop (call $log (i32.const 2) (i32.load (i32.const 20)) (i32.load (i32.const 24))))))
              (i32.const 0))"#
        );
        let plugin = load(&module("", &headers), VmOptions::default());
        plugin.open(options).request(&Message::get("/a?b=c#d"));
        logged(&plugin).pop()
    };
    let none = StreamOptions::default;
    assert_eq!(read("source/address", none()).as_deref(), Some("127.0.0.1:50000"));
    assert_eq!(read("request/query", none()).as_deref(), Some("b=c"));
    assert_eq!(read("connection/mtls", none()).as_deref(), Some("\0"));
    assert_eq!(read("no_such", none()), None);
    let lua = |value: PropertyValue| none().property_path(&["metadata", "envoy.filters.http.lua"], value);
    let map =
        PropertyValue::Map(vec![(b"key".to_vec(), PropertyValue::List(vec!["first".into(), true.into()]))]);
    assert_eq!(read("metadata/envoy.filters.http.lua/key/0", lua(map.clone())).as_deref(), Some("first"));
    assert_eq!(read("metadata/envoy.filters.http.lua/key/1", lua(map.clone())).as_deref(), Some("\u{1}"));
    assert_eq!(read("metadata/envoy.filters.http.lua/key/2", lua(map)), None);
    assert_eq!(
        read("upstream/port", none().property("upstream.port", 65_i64)).as_deref(),
        Some("A\0\0\0\0\0\0\0")
    );
}

#[test]
fn an_engine_is_shared_by_threads_and_a_missing_log_line_is_told_with_the_others() {
    let engine = Engine::new();
    let module = module(CALL, "");
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| drop(Vm::new(&engine, module.as_bytes(), VmOptions::default()).unwrap()));
        }
    });
    let plugin = ticked(CALL);
    plugin.vm().assert_logged(LogLevel::Info, "c0");
    let missing = std::panic::AssertUnwindSafe(|| plugin.vm().assert_logged(LogLevel::Warn, "c0"));
    let told = *std::panic::catch_unwind(missing).unwrap_err().downcast::<String>().unwrap();
    assert!(told.contains("Info: c00"), "{told}");
}
