//! What the resources under `istio/` give to Envoy: it accepts each part; the chains of `istio/dynamic-subset`, put
//! together as istiod does, send each request to its group; and those of `istio/claim-headers` each user to the right
//! workload.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

#[path = "istio/claims_hold.rs"]
mod claims_hold;
#[path = "istio/groups_hold.rs"]
mod groups_hold;

use std::collections::BTreeMap;
use std::process::ExitCode;

use e2e::{Envoy, Installed, Options, Suite, dist};
use istio_lint::{embedded, kustomize, overlays};
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["1.38", "1.40"];
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

fn main() -> ExitCode {
    let mut suite = Suite::new().on(&VERSIONS, "every_part_is_valid", every_part_is_valid);
    for overlay in overlays().unwrap() {
        let name = overlay.file_name().unwrap().to_string_lossy().into_owned();
        if overlay.ancestors().any(|path| path.ends_with("claim-headers")) {
            let story = format!("no_user_gets_anothers_workload::{name}");
            suite = suite.on(&VERSIONS, &story, move |envoy| claims_hold::hold(envoy, &overlay, &name));
        } else if overlay.ancestors().any(|path| path.ends_with("dynamic-subset")) {
            let story = format!("each_request_reaches_its_group::{name}");
            suite = suite.on(&VERSIONS, &story, move |envoy| groups_hold::hold(envoy, &overlay, &name));
        }
    }
    suite.run()
}

/// What each `EnvoyFilter` and each Lua extension adds, in a bootstrap around it.
fn every_part_is_valid(installed: &Installed) {
    let mut checked = BTreeMap::new();
    for overlay in overlays().unwrap() {
        for resource in kustomize::build(&overlay).unwrap() {
            let mut parts = Vec::new();
            for fragment in embedded::fragments(&resource) {
                parts.push((fragment.apply_to, as_the_agent_hands_it_on(fragment.value.clone())));
            }
            parts.extend(embedded::lua(&resource).map(|code| ("LUA", lua_filter(code))));
            for (apply_to, part) in parts {
                validate(installed, apply_to, &part)
                    .unwrap_or_else(|log| panic!("{} {apply_to}: {log}", overlay.display()));
                // The check sees an unknown field, at any depth that this repository writes.
                let mut broken = part;
                let inside =
                    ["typed_config", "config_discovery", "load_balancing_policy", "lb_subset_config"];
                let inside = inside.into_iter().find(|key| broken.get(key).is_some());
                broken[inside.unwrap()]["no_such_field"] = json!(1);
                let log = validate(installed, apply_to, &broken).unwrap_err();
                assert!(log.contains("no_such_field"), "{log}");
                *checked.entry(apply_to.to_owned()).or_insert(0) += 1;
            }
        }
    }
    for (apply_to, least) in [("CLUSTER", 6), ("EXTENSION_CONFIG", 6), ("HTTP_FILTER", 20), ("LUA", 6)] {
        let seen = checked.get(apply_to).copied().unwrap_or(0);
        assert!(seen >= least, "only {seen} parts of {apply_to}");
    }
}

fn validate(installed: &Installed, apply_to: &str, part: &Value) -> Result<(), String> {
    let upstream = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut clusters = vec![json!({
        "name": "istiod",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": upstream, "explicit_http_config": {"http2_protocol_options": {}},
        }},
    })];
    let mut filters = Vec::new();
    if apply_to == "CLUSTER" {
        let eds = json!({"eds_config": {"ads": {}, "resource_api_version": "V3"}});
        clusters.push(in_istios_cluster(part, json!({"type": "EDS", "eds_cluster_config": eds})));
    } else {
        filters.push(part.clone());
    }
    let mut bootstrap = listening(filters, json!([]), clusters);
    bootstrap["node"] = json!({"id": "validation", "cluster": "validation"});
    bootstrap["dynamic_resources"] = json!({"ads_config": {
        "api_type": "GRPC", "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
    }});
    let said = Envoy::validate(&installed.path, &bootstrap.to_string(), &options()).unwrap();
    said.map(|_| ()).map_err(|rejected| rejected.log)
}

/// A bootstrap with one listener, `inference`.
fn listening(mut filters: Vec<Value>, routes: Value, clusters: Vec<Value>) -> Value {
    filters.push(json!({"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}));
    let mut manager = json!({
        "@type": MANAGER, "stat_prefix": "inference", "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
    });
    manager["route_config"]["virtual_hosts"][0]["routes"] = routes;
    let chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
    }]});
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let listener = json!({"name": "inference", "address": address, "filter_chains": [chain]});
    json!({"static_resources": {"clusters": clusters, "listeners": [listener]}})
}

/// A cluster as a patch adds it, or Istio's own with the patch merged into it.
fn in_istios_cluster(patch: &Value, istios: Value) -> Value {
    let mut cluster = json!({});
    if patch.get("name").is_none() {
        cluster = istios;
        cluster["name"] = json!("istios-own");
        cluster["lb_policy"] = json!("LEAST_REQUEST");
        cluster["common_lb_config"] = json!({});
    }
    cluster.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    cluster
}

/// Istio's agent fetches a module and has Envoy read it from a file.
fn as_the_agent_hands_it_on(mut part: Value) -> Value {
    if let Some(code) = part.pointer_mut("/typed_config/config/vm_config/code") {
        let url = code.pointer("/remote/http_uri/uri").and_then(Value::as_str);
        let url = url.unwrap_or_else(|| panic!("no module for the agent to fetch: {code}"));
        *code = json!({"local": {"filename": module(url)}});
    }
    part
}

/// The file under `dist/` that `oci://registry.example/kserve-transcoder:0.2.0` is made of.
fn module(url: &str) -> String {
    let name = url.rsplit('/').next().and_then(|name| name.split(':').next()).unwrap();
    dist(&format!("{}.wasm", name.replace('-', "_"))).display().to_string()
}

/// What Istio makes of a `TrafficExtension` with Lua.
fn lua_filter(code: &str) -> Value {
    let lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
    json!({"name": "lua", "typed_config": {"@type": lua, "default_source_code": {"inline_string": code}}})
}

fn options() -> Options {
    let modules = dist("").display().to_string();
    let environment = vec![("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".to_owned(), modules)];
    Options { environment, ..Options::default() }
}
