//! The nine rules of the contract between a core and any host (`testkit::RULES`): in wasm on the emulator, natively in the
//! player, and both in stock Envoy. The host in memory runs them in `test-filters`.
//!
//! Needs `$TEST_MODULES`, and Envoys by `ENVOY_138` and so on; without, tests are reported as ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::native::{Module, StreamOptions as NativeOptions};
use e2e::{Envoy, Installed, Options, Protocol, Request, VERSIONS, envoys, unless_missing};
use libtest_mimic::{Arguments, Failed, Trial};
use odd_server::OddServer;
use proxy_wasm_emulator::{Engine, HeaderMap, PluginOptions, StreamOptions, Vm, VmOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use testkit::{KNOWN_CLUSTER, Observed, RULES, Rule, UNKNOWN_CLUSTER};

const FILTER: &str = "verdict_filter";
const DROPPED: &str = "verdict_filter.dropped_operations";
/// Long enough for an event.
const MOMENT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    e2e::stand_in();
    let modules = std::env::var_os("TEST_MODULES").map(PathBuf::from).filter(|path| path.is_dir());
    let missing = modules.is_none().then_some("TEST_MODULES");
    let mut trials = Vec::new();
    for (name, run) in
        [("the_emulator", on_emulator as fn(&Path) -> Result<(), Failed>), ("the_player", in_player)]
    {
        let modules = modules.clone();
        let test = move || modules.map_or(Ok(()), |modules| run(&modules));
        trials.push(unless_missing(Trial::test(format!("the_nine_rules_hold_on_{name}"), test), missing));
    }
    for version in VERSIONS {
        let envoy = envoys().into_iter().find(|envoy| envoy.version == version);
        let needed = format!("ENVOY_{}", version.replace('.', ""));
        let missing = missing.or_else(|| envoy.is_none().then_some(&*needed));
        let here = envoy.zip(modules.clone());
        let test = move || here.map_or(Ok(()), |(envoy, modules)| in_envoy(&envoy, &modules));
        let name = format!("the_nine_rules_hold_in_envoy_in_both_hosts::{version}");
        trials.push(unless_missing(Trial::test(name, test), missing));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Every rule that does not hold.
fn each(check: impl Fn(&Rule) -> Result<(), String>) -> Result<(), Failed> {
    let broken: Vec<String> = RULES.iter().filter_map(|rule| check(rule).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n").into()) }
}

fn head(rule: &Rule) -> HeaderMap {
    HeaderMap::from([
        (":method", "POST"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        ("x-plan", rule.plan),
    ])
}

fn seen(status: Option<u16>, upstream: Option<&HeaderMap>) -> Observed {
    Observed::new(status.unwrap_or_default(), |name| Some(upstream?.all(name).next()?.to_vec()))
}

fn on_emulator(modules: &Path) -> Result<(), Failed> {
    let wasm = std::fs::read(modules.join("verdict_filter.wasm"))?;
    let engine = Engine::new();
    each(|rule| {
        let options = VmOptions { clusters: [KNOWN_CLUSTER.to_owned()].into(), ..VmOptions::default() };
        let vm = Vm::new(&engine, &wasm, options).map_err(|error| error.to_string())?;
        let configuration = rule.config().into_bytes();
        let plugin = vm.plugin(PluginOptions { configuration, ..PluginOptions::default() });
        let plugin = plugin.map_err(|error| error.to_string())?;
        let stream = plugin.open(StreamOptions::default());
        stream.request_headers(head(rule), rule.body.is_empty());
        vm.advance(MOMENT);
        if !rule.body.is_empty() {
            stream.request_data(rule.body, true);
        }
        if stream.upstream().ended && !stream.is_over() {
            stream.response_headers([(":status", "200")], true);
        }
        if let Some(failure) = vm.failure() {
            return Err(format!("{}: the VM died: {failure}", rule.name));
        }
        let dropped = vm.shared().counter(DROPPED).unwrap_or_default();
        let observed = seen(stream.downstream().status(), stream.upstream().headers.as_ref());
        rule.check(&observed, usize::try_from(dropped).unwrap())
    })
}

fn in_player(modules: &Path) -> Result<(), Failed> {
    let module = Module::load(&modules.join("libtest_module.so")).map_err(|error| error.log.join("\n"))?;
    each(|rule| {
        let plugin = module.plugin(FILTER, rule.config().as_bytes()).map_err(|error| error.log.join("\n"))?;
        let unknown_clusters = vec![UNKNOWN_CLUSTER.to_owned()];
        let stream = plugin.open(NativeOptions { unknown_clusters, ..NativeOptions::default() });
        stream.request_headers(head(rule), rule.body.is_empty());
        if !rule.body.is_empty() {
            stream.request_data(rule.body, true);
        }
        plugin.tick();
        stream.turn();
        if stream.upstream().ended && !stream.is_over() {
            stream.response_headers([(":status", "200")], true);
        }
        let dropped = plugin.counter(DROPPED).unwrap_or_default();
        let observed = seen(stream.downstream().status(), stream.upstream().headers.as_ref());
        rule.check(&observed, usize::try_from(dropped).unwrap())
    })
}

fn in_envoy(envoy: &Installed, modules: &Path) -> Result<(), Failed> {
    let server = OddServer::start().unwrap();
    server.compute_default(|_| odd_server::Script::message(b"well"));
    let running =
        Envoy::start(&envoy.path, &bootstrap(modules, server.port()).to_string(), &Options::default())
            .unwrap();
    for (host, stats) in [("wasm", "wasmcustom"), ("native", "dynamicmodulescustom")] {
        let dropped = || running.stats(&format!("{stats}.{DROPPED}")).unwrap().values().sum::<u64>();
        each(|rule| {
            let (before, requests) = (dropped(), server.requests().len());
            let form = if rule.events { "events" } else { "plain" };
            let address = running.address(&format!("{host}-{form}")).unwrap();
            let request = match rule.body {
                "" => Request::new("POST", "/"),
                body => Request::post("/", body),
            };
            let request = request.header("x-plan", rule.plan);
            let answer = e2e::send(Protocol::Http2, address, &request).unwrap();
            let asked = server.requests();
            let asked = asked[requests..].iter().find(|request| request.header("x-plan").is_some());
            let observed = Observed::new(answer.status(), |name| Some(asked?.header(name)?.to_vec()));
            let dropped = usize::try_from(dropped() - before).unwrap();
            rule.check(&observed, dropped).map_err(|why| format!("{host}: {why}"))
        })?;
    }
    Ok(())
}

fn bootstrap(modules: &Path, port: u16) -> Value {
    let any = |kind: &str, mut message: Value| {
        message["@type"] = json!(format!("type.googleapis.com/{kind}"));
        message
    };
    let text = |events: bool| {
        any("google.protobuf.StringValue", json!({ "value": json!({ "events": events }).to_string() }))
    };
    let filters = "envoy.extensions.filters.http";
    let wasm = |name: &str, events: bool| {
        let code = json!({ "local": { "filename": modules.join("verdict_filter.wasm") } });
        let vm = json!({ "runtime": "envoy.wasm.runtime.v8", "code": code });
        let config = json!({ "name": name, "root_id": name, "configuration": text(events), "vm_config": vm });
        any(&format!("{filters}.wasm.v3.Wasm"), json!({ "config": config }))
    };
    let native = |events: bool| {
        let module = json!({ "local": { "filename": modules.join("libtest_module.so") } });
        let module = json!({ "do_not_close": true, "module": module });
        let filter =
            json!({ "dynamic_module_config": module, "filter_name": FILTER, "filter_config": text(events) });
        any(&format!("{filters}.dynamic_modules.v3.DynamicModuleFilter"), filter)
    };
    let listener = |name: &str, filter: Value| {
        let router = any(&format!("{filters}.router.v3.Router"), json!({}));
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": KNOWN_CLUSTER } });
        let manager = json!({
            "stat_prefix": name,
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
            "http_filters": [
                { "name": "verdict", "typed_config": filter },
                { "name": "router", "typed_config": router },
            ],
        });
        let network = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        json!({
            "name": name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": any(network, manager) }] }],
        })
    };
    let options = any(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
    );
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    let cluster = json!({
        "name": KNOWN_CLUSTER,
        "type": "STATIC",
        "load_assignment": { "cluster_name": KNOWN_CLUSTER, "endpoints": endpoints },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options },
    });
    let listeners = [
        listener("wasm-plain", wasm("wasm-plain", false)),
        listener("wasm-events", wasm("wasm-events", true)),
        listener("native-plain", native(false)),
        listener("native-events", native(true)),
    ];
    json!({ "static_resources": { "listeners": listeners, "clusters": [cluster] } })
}
