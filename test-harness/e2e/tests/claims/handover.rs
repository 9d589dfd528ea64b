//! Natively several filter chains share an instance of the filter, and one of them fetches keys for all: when its
//! listener goes, another one does.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::{Envoy, Installed, Options, Workload, dist};
use serde_json::{Value, json};

use crate::identity::Issuer;

const TYPE: &str = "type.googleapis.com/envoy";
const PREFIX: &str = "type.googleapis.com/google.protobuf.StringValue";
/// Keys are refreshed every half minute, and a busy machine is slow.
const BOUND: Duration = Duration::from_secs(90);

pub(crate) fn hold(installed: &Installed) {
    let set = Issuer::new(1).key_set();
    let keys = Workload::serving("application/json", &set).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("listeners.json");
    write(&file, 1, &["one", "two"]);
    let arguments = ["--drain-time-s", "1"].map(str::to_owned).into();
    let bootstrap = bootstrap(&file, keys.port()).to_string();
    let envoy =
        Envoy::start(&installed.path, &bootstrap, &Options { arguments, ..Options::default() }).unwrap();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let end = Instant::now() + BOUND;
        while !holds() {
            assert!(Instant::now() < end, "{what}: {}", envoy.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until("the keys are fetched", &|| keys.requests().len() == 1);
    write(&file, 2, &["two"]);
    until("the first listener is gone", &|| listeners(&envoy) == (1, 0));
    until("another one fetches the keys again", &|| keys.requests().len() == 2);
    // All go, and the instance with them; the next one has keys to fetch.
    write(&file, 3, &[]);
    until("no listener is left", &|| listeners(&envoy) == (0, 0));
    write(&file, 4, &["three"]);
    until("a new instance fetches its keys", &|| keys.requests().len() >= 3);
    assert_eq!(listeners(&envoy), (1, 0));
}

/// A call that is under way when its listener goes is made again by another one: the issuer has not failed, so that no
/// token of its users is refused for that.
pub(crate) fn made_again(installed: &Installed) {
    let issuer = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = issuer.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    // It answers no request.
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut call, _)) = issuer.accept() {
            let _read = call.read(&mut [0; 1024]);
            held.push(call);
            seen.fetch_add(1, Relaxed);
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("listeners.json");
    write(&file, 1, &["one", "two"]);
    let arguments = ["--drain-time-s", "1"].map(str::to_owned).into();
    let bootstrap = bootstrap(&file, port).to_string();
    let envoy =
        Envoy::start(&installed.path, &bootstrap, &Options { arguments, ..Options::default() }).unwrap();
    let until = |count: usize| {
        let end = Instant::now() + BOUND;
        while calls.load(Relaxed) < count {
            assert!(Instant::now() < end, "{count} calls: {}", envoy.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(1);
    let began = Instant::now();
    write(&file, 2, &["two"]);
    until(2);
    // After five seconds without an answer it has failed, whatever became of the listener.
    let failed = envoy.log().contains("could not be fetched");
    assert!(!failed || began.elapsed() > Duration::from_secs(4), "{}", envoy.log());
}

/// How many listeners there are, and how many are on their way out.
fn listeners(envoy: &Envoy) -> (u64, u64) {
    let stats = envoy.stats("listener_manager.total_listeners").unwrap();
    let stat = |name: &str| stats.get(&format!("listener_manager.total_listeners_{name}")).copied();
    (stat("active").unwrap_or_default(), stat("draining").unwrap_or_default())
}

/// Replaces the listeners at once, as Envoy wants it.
fn write(file: &Path, version: u32, names: &[&str]) {
    let resources: Vec<Value> = names.iter().map(|name| listener(name)).collect();
    let next = file.with_extension("next");
    fs::write(&next, json!({"version_info": version.to_string(), "resources": resources}).to_string())
        .unwrap();
    fs::rename(next, file).unwrap();
}

fn listener(name: &str) -> Value {
    let config = json!({
        "source": "builtin",
        "jwks_refresh_seconds": 30,
        "issuers": [{"issuer": "http://idp.test", "audiences": ["inference"], "cluster": "idp",
            "jwks_uri": "http://idp.test/keys"}],
        "map": [{"claim": ["user_type"], "header": "x-user-class", "type": "string"}],
    });
    let http = format!("{TYPE}.extensions.filters.http");
    let ours = json!({"name": "claim-headers", "typed_config": {
        "@type": format!("{http}.dynamic_modules.v3.DynamicModuleFilter"),
        "dynamic_module_config": {
            "do_not_close": true,
            "module": {"local": {"filename": dist("libinference_filters.so")}},
        },
        "filter_name": "claim_headers",
        "filter_config": {"@type": PREFIX, "value": config.to_string()},
    }});
    let router = json!({"name": "router", "typed_config": {"@type": format!("{http}.router.v3.Router")}});
    let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let manager = json!({
        "@type": format!("{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [ours, router],
    });
    let filters = json!([{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]);
    json!({
        "@type": format!("{TYPE}.config.listener.v3.Listener"),
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": filters}],
    })
}

fn bootstrap(listeners: &Path, keys: u16) -> Value {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": keys}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    json!({
        "node": {"id": "handover", "cluster": "handover"},
        "dynamic_resources": {"lds_config": {"path_config_source": {"path": listeners}}},
        "static_resources": {"clusters": [{
            "name": "idp",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "idp", "endpoints": endpoints},
        }]},
    })
}
