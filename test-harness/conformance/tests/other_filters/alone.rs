//! What the emulator shows that a real Envoy's client cannot be sure to see: ticks, queues, statistics, connections.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use proxy_wasm_emulator::{
    ConnectionOptions, Direction, LogLevel, Message, Metric, Peer, Plugin, PluginOptions, Vm, VmOptions,
};

use crate::emulated::ENGINE;
use crate::scenario::Language;

/// A test, given a way to load the module with a configuration.
pub(crate) type Test = fn(&dyn Fn(&str) -> Plugin);

pub(crate) const TESTS: [(&str, Language, Test); 6] = [
    ("a_go_filter_ticks_and_counts", Language::Go, ticks),
    ("a_go_filter_gets_what_another_puts_into_its_queue", Language::Go, queue),
    ("a_go_filter_sees_the_bytes_of_a_connection", Language::Go, connection),
    ("a_go_filter_that_waits_for_a_call_is_refused_when_it_is_late", Language::Go, late),
    ("a_go_filter_that_panics_says_where", Language::Go, panics),
    ("an_assemblyscript_filter_counts", Language::AssemblyScript, counts),
];

pub(crate) fn run(module: &Path, test: Test) -> Result<(), Failed> {
    let wasm = std::fs::read(module)?;
    let vm = || {
        let clusters = ["upstream".to_owned()].into();
        Vm::new(&ENGINE, &wasm, VmOptions { clusters, ..VmOptions::default() })
    };
    let vm = vm()?;
    let load = |configuration: &str| {
        let root_id = if configuration == "add" { "add" } else { "" };
        let options = PluginOptions {
            name: configuration.to_owned(),
            root_id: root_id.to_owned(),
            configuration: configuration.into(),
            ..PluginOptions::default()
        };
        vm.plugin(options).unwrap_or_else(|error| panic!("{error}"))
    };
    test(&load);
    Ok(())
}

fn ticks(load: &dyn Fn(&str) -> Plugin) {
    let plugin = load("count");
    plugin.exchange(&Message::get("/a"), &Message::response(200, "a"));
    plugin.exchange(&Message::get("/b").header("x-more", "1"), &Message::response(200, "b"));
    plugin.vm().advance(Duration::from_millis(100));
    plugin.vm().assert_logged(LogLevel::Info, "SAY tick, 2 requests, last size 5");
    let metrics = plugin.vm().shared().metrics();
    assert_eq!(metrics.get("go.requests"), Some(&Metric::Counter(2)));
    assert_eq!(metrics.get("go.last_size"), Some(&Metric::Gauge(5)));
    assert_eq!(metrics.get("go.sizes"), Some(&Metric::Histogram(vec![4, 5])));
}

fn queue(load: &dyn Fn(&str) -> Plugin) {
    let sender = load("send paths");
    sender.exchange(&Message::get("/early"), &Message::response(200, ""));
    sender.vm().assert_logged(LogLevel::Info, "SAY send error status returned by host: not found");
    let receiver = load("receive paths");
    sender.exchange(&Message::get("/a"), &Message::response(200, ""));
    receiver.vm().assert_logged(LogLevel::Info, r#"SAY queue "/a" <nil>"#);
    assert_eq!(sender.vm().shared().queue("", "paths"), Some(Vec::new()));
}

fn connection(load: &dyn Fn(&str) -> Plugin) {
    let connection = load("tcp").connect(ConnectionOptions::default());
    connection.client_data("abc", false);
    assert_eq!((connection.to_upstream(), connection.held(Direction::Request)), (Vec::new(), 3));
    connection.client_data("def", false);
    assert_eq!(connection.to_upstream(), b"ABCDEF");
    connection.upstream_data("xyz", false);
    assert_eq!(connection.to_client(), b"got xyz");
    connection.client_closes();
    assert_eq!(connection.closed_by(), Some(Peer::Remote));
}

fn late(load: &dyn Fn(&str) -> Plugin) {
    let plugin = load("auth upstream");
    let stream = plugin.exchange(&Message::get("/a"), &Message::response(200, "a"));
    assert_eq!(stream.calls()[0].headers.text(":path").as_deref(), Some("/auth/a"));
    plugin.vm().advance(Duration::from_secs(1));
    assert_eq!(
        (stream.downstream().status(), stream.downstream().text()),
        (Some(403), "forbidden".to_owned())
    );
}

fn panics(load: &dyn Fn(&str) -> Plugin) {
    let plugin = load("panic");
    let stream = plugin.exchange(&Message::post("/a", "body"), &Message::response(200, "a"));
    assert_eq!(stream.downstream().status(), Some(503));
    let failure = plugin.vm().failure().unwrap_or_default();
    assert!(failure.contains("OnHttpRequestBody"), "{failure}");
    plugin.vm().assert_logged(LogLevel::Error, "as configured");
}

fn counts(load: &dyn Fn(&str) -> Plugin) {
    let plugin = load("add");
    let stream = plugin.exchange(&Message::post("/a", "body"), &Message::response(200, "a"));
    assert_eq!(stream.downstream().header("x-hello").as_deref(), Some("add"));
    assert_eq!(plugin.vm().shared().counter("assemblyscript_requests"), Some(1));
}
