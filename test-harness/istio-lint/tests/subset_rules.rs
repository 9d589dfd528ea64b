//! Every rule about `dynamic-subset` catches what it is for: each row breaks one thing in an overlay that is right.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod broken;

use broken::broken;
use istio_lint::rules;
use serde_json::{Value, json};

/// Overlay, kind or `Kind/name`, where, the new value (`null` removes), and part of the reason that must be given.
type Row = (&'static str, &'static str, &'static str, Value, &'static str);

const SUBSET: &str = "WasmPlugin/dynamic-subset";
const TRANSCODER: &str = "WasmPlugin/kserve-transcoder";
const BODY: &str = "TrafficExtension/body-for-get";
const KEYS: &str = "TrafficExtension/subset-keys";
const HOLD: &str = "EnvoyFilter/dynamic-subset-hold";
const HOLD_TRANSCODER: &str = "EnvoyFilter/kserve-transcoder-hold";
const NATIVE: &str = "EnvoyFilter/dynamic-subset";
const POLICY: &str =
    "/spec/configPatches/1/patch/value/load_balancing_policy/policies/0/typed_extension_config/typed_config";

fn order() -> Vec<Row> {
    vec![
        (
            "gateway-routes",
            SUBSET,
            "/spec/priority",
            json!(-1),
            "runs before dynamic-subset: the order must be",
        ),
        ("gateway-routes", SUBSET, "/spec/priority", json!(0), "their order is undefined"),
        ("gateway-routes", TRANSCODER, "/spec/phase", json!("STATS"), "kserve-transcoder runs before"),
        ("gateway-routes", TRANSCODER, "/spec/priority", json!(10), "their order is undefined"),
        ("waypoint-routes", BODY, "/spec/priority", json!(-5), "kserve-transcoder runs before Lua"),
        ("gateway-subset-lb", KEYS, "/spec/priority", json!(30), "Lua runs before dynamic-subset"),
        ("gateway-subset-lb-hold", HOLD, "/spec/priority", json!(11), "runs before dynamic-subset"),
        ("waypoint-subset-lb-hold", HOLD, "/spec/priority", json!(10), "their order is undefined"),
        (
            "gateway-native",
            NATIVE,
            "/spec/priority",
            json!(11),
            "kserve-transcoder runs before dynamic-subset",
        ),
        ("gateway-routes", SUBSET, "/spec/phase", json!("AUTHZ"), "must come after authorisation"),
        ("gateway-routes", BODY, "/spec/phase", json!("AUTHN"), "must come after authorisation"),
    ]
}

fn keys() -> Vec<Row> {
    let selectors = "/spec/configPatches/0/patch/value/lb_subset_config/subset_selectors";
    let metadata = "/spec/configPatches/2/patch/value/typed_config/request_rules/0/on_header_present";
    let to_metadata = |value: &str, name: &'static str, reason| {
        let pointer = if name == "key" { "/key" } else { "/metadata_namespace" };
        let pointer: &'static str = Box::leak(format!("{metadata}{pointer}").into_boxed_str());
        ("gateway-subset-lb-hold", HOLD, pointer, json!(value), reason)
    };
    vec![
        (
            "gateway-routes",
            "VirtualService",
            "/spec/http/0/match/0/headers",
            json!({"x-subset-runtimes": {"exact": "triton-2-x"}}),
            "reads x-subset-runtimes, which dynamic-subset never sets",
        ),
        (
            "waypoint-routes",
            "VirtualService",
            "/spec/http/0/match/0/headers/x-subset-runtime/exact",
            json!("triton-2.x"),
            "matches x-subset-runtime: triton-2.x, which dynamic-subset never sets",
        ),
        (
            "gateway-routes",
            SUBSET,
            "/spec/pluginConfig/rules/0/key",
            json!("version"),
            "sets version, which nothing among these resources reads",
        ),
        (
            "gateway-subset-lb",
            "EnvoyFilter",
            selectors,
            json!([{"keys": ["model.format.tensorflow"]}]),
            "sets model.format.pytorch, which nothing",
        ),
        (
            "gateway-subset-lb",
            "EnvoyFilter",
            selectors,
            json!([{"keys": ["model.format.tensorflow"]}, {"keys": ["model.format.pytorch", "gpu"]}]),
            "selects by gpu, which no endpoint has",
        ),
        (
            "gateway-subset-lb",
            KEYS,
            "/spec/lua/inlineCode",
            json!("function envoy_on_request(request) end"),
            "selects by model.format.tensorflow, which nothing writes to envoy.lb",
        ),
        to_metadata("model.format", "key", "does not write the header of the key \"model.format\""),
        to_metadata("envoy.lb2", "namespace", "selects by model.format.tensorflow, which nothing writes"),
        (
            "gateway-native",
            NATIVE,
            POLICY,
            json!({
                "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
                "dynamic_module_config": {"name": "inference_filters", "do_not_close": true},
                "lb_policy_name": "runtime-group",
                "lb_policy_config": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": r#"{"keys": [{"header": "x-subset-runtimes", "istio_workload": "workload"}]}"#,
                },
            }),
            "reads x-subset-runtimes, which dynamic-subset never sets",
        ),
    ]
}

fn elsewhere() -> Vec<Row> {
    let lua = "/spec/configPatches/3/patch/value/typed_config/default_source_code/inline_string";
    let endpoint = "/spec/configPatches/0/patch/value/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
    let flag = "/spec/configPatches/0/patch/value/typed_config/config/allow_on_headers_stop_iteration";
    let module = "/spec/configPatches/1/patch/value/load_balancing_policy/policies/0/typed_extension_config/typed_config/dynamic_module_config/do_not_close";
    vec![
        // A GET in wasm
        ("gateway-routes", BODY, "/spec/lua/inlineCode", json!("-- none"), "gives a GET a body"),
        ("gateway-subset-lb-hold", HOLD, lua, json!("-- none"), "gives a GET a body"),
        ("gateway-subset-lb-hold", HOLD_TRANSCODER, "/spec/priority", json!(1), "gives a GET a body"),
        // The cluster that is added
        (
            "gateway-subset-lb",
            "EnvoyFilter",
            "/spec/configPatches/0/patch/value/name",
            json!("outbound|8033||modelmesh.internal"),
            "no EnvoyFilter adds a cluster for it",
        ),
        (
            "waypoint-subset-lb",
            "EnvoyFilter",
            "/spec/configPatches/0/patch/value/name",
            json!("outbound|8033||modelmesh-dyn.internal"),
            "the name must begin with inbound-vip|",
        ),
        (
            "waypoint-native",
            NATIVE,
            "/spec/configPatches/1/patch/operation",
            json!("MERGE"),
            "at a waypoint only ADD applies",
        ),
        (
            "waypoint-native",
            NATIVE,
            "/spec/configPatches/1/match/context",
            json!("SIDECAR_OUTBOUND"),
            "only SIDECAR_INBOUND applies",
        ),
        (
            "gateway-native",
            NATIVE,
            "/spec/configPatches/1/match/cluster",
            Value::Null,
            "every cluster would be changed",
        ),
        (
            "gateway-subset-lb",
            "EnvoyFilter",
            endpoint,
            json!("modelmesh-serving.modelmesh-serving.svc.cluster.local"),
            "is not a headless Service of these resources",
        ),
        (
            "waypoint-subset-lb",
            "Service/modelmesh-ovms-1-x",
            "/spec/clusterIP",
            Value::Null,
            "is not a headless Service of these resources",
        ),
        // Routes
        ("waypoint-routes", "VirtualService", "/spec/http/2", Value::Null, "no default route"),
        ("gateway-routes", "VirtualService", "/spec/http/2", Value::Null, "no route for /inference."),
        // Held headers
        (
            "gateway-routes",
            SUBSET,
            "/spec/pluginConfig/hold_request_headers",
            json!(true),
            "hold_request_headers needs allow_on_headers_stop_iteration",
        ),
        ("gateway-subset-lb-hold", HOLD, flag, json!(false), "must be set together"),
        // Plugins of either kind
        ("waypoint-routes", BODY, "/spec/match", json!([{"ports": [{"number": 8033}]}]), "never matches"),
        ("gateway-routes", BODY, "/spec/selector", Value::Null, "neither a selector nor targetRefs"),
        ("gateway-routes", SUBSET, "/spec/failStrategy", json!("FAIL_OPEN"), "must be FAIL_RELOAD"),
        // The policy's module
        ("gateway-native", NATIVE, module, json!(false), "do_not_close must be true"),
    ]
}

#[test]
fn each_mistake_is_seen_and_said() {
    let mut missed = Vec::new();
    for (overlay, kind, pointer, value, reason) in order().into_iter().chain(keys()).chain(elsewhere()) {
        let overlay = format!("dynamic-subset/overlays/{overlay}");
        let broken = broken(&overlay, kind, pointer, value.clone());
        let reasons: Vec<_> = rules::check(&broken).iter().map(ToString::to_string).collect();
        if !reasons.iter().any(|r| r.contains(reason)) {
            missed.push(format!("{overlay}: {kind} {pointer} = {value}: no {reason:?} in {reasons:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_rule_that_makes_keys_of_names_leaves_them_open() {
    let config = json!({"rules": [{"header_prefix": "x-model-format-", "key_prefix": "model.format."}]});
    let open = broken("dynamic-subset/overlays/gateway-subset-lb", SUBSET, "/spec/pluginConfig", config);
    assert_eq!(rules::check(&open), []);
}

#[test]
fn a_plugin_of_wasm_by_the_newer_resource_is_held_to_the_same() {
    let mut resources = broken(
        "dynamic-subset/overlays/gateway-routes",
        BODY,
        "/spec/lua",
        json!({"inlineCode": "-- :body(true)"}),
    );
    let extension = resources.iter_mut().find(|r| r.name() == "body-for-get").unwrap();
    let spec = extension.value["spec"].as_object_mut().unwrap();
    spec.remove("lua");
    spec.insert(
        "wasm".into(),
        json!({"url": "oci://registry.example/dynamic-subset:1", "pluginConfig": {"hold_request_headers": true}}),
    );
    let reasons: Vec<_> = rules::check(&resources).iter().map(ToString::to_string).collect();
    for reason in ["must be FAIL_RELOAD", "hold_request_headers needs", "gives a GET a body"] {
        assert!(reasons.iter().any(|r| r.contains(reason)), "no {reason:?} in {reasons:#?}");
    }
}
