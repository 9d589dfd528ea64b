//! Every rule catches what it is for: each row breaks one thing in an overlay that is right.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod broken;

use broken::broken;
use istio_lint::{Resource, rules};
use serde_json::{Value, json};

const SUBSETS: &str = "/spec/subsets/0/name";
const DEPLOYMENT: &str = "/data/deployment";

/// Overlay, kind, where, the new value (`null` removes), and part of the reason that must be given.
fn rows() -> Vec<(&'static str, &'static str, String, Value, &'static str)> {
    let row =
        |overlay, kind, pointer: &str, value, reason| (overlay, kind, pointer.to_owned(), value, reason);
    let patch = |overlay, index: usize, pointer: &str, value, reason| {
        (overlay, "EnvoyFilter", format!("/spec/configPatches/{index}{pointer}"), value, reason)
    };
    let wasm = "/patch/value/typed_config/config";
    let module = "/patch/value/typed_config/dynamic_module_config";
    let chain = "/match/listener/filterChain";
    vec![
        // WasmPlugin
        row("gateway-wasm", "WasmPlugin", "/metadata/name", json!("a.b"), "must be a DNS label"),
        row("gateway-wasm", "WasmPlugin", "/spec/failStrategy", Value::Null, "must be FAIL_RELOAD"),
        row("gateway-wasm", "WasmPlugin", "/spec/failStrategy", json!("FAIL_OPEN"), "must be FAIL_RELOAD"),
        row("gateway-wasm", "WasmPlugin", "/spec/match/0/mode", json!("SERVER"), "SERVER at a gateway never"),
        row("gateway-wasm", "WasmPlugin", "/spec/selector", Value::Null, "neither a selector nor targetRefs"),
        row("gateway-wasm", "WasmPlugin", "/spec/phase", json!("AUTHZ"), "must come after authorisation"),
        row("gateway-wasm", "WasmPlugin", "/spec/phase", json!("AUTHN"), "must come after authorisation"),
        row(
            "gateway-wasm",
            "WasmPlugin",
            "/spec/pluginConfig/hold_response_headers",
            json!(true),
            "exchanges would hang",
        ),
        row(
            "waypoint-wasm",
            "WasmPlugin",
            "/spec/match",
            json!([{"ports": [{"number": 8033}]}]),
            "never matches",
        ),
        row(
            "waypoint-wasm",
            "WasmPlugin",
            "/spec/match",
            json!([{"mode": "CLIENT"}]),
            "CLIENT at a waypoint never",
        ),
        row("waypoint-wasm", "WasmPlugin", "/spec/selector", json!({}), "a selector and targetRefs"),
        row(
            "waypoint-wasm",
            "WasmPlugin",
            "/spec/targetRefs/0/kind",
            json!("Pod"),
            "Istio ignores such a target",
        ),
        row(
            "waypoint-wasm",
            "WasmPlugin",
            "/spec/targetRefs",
            json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypont"}]),
            "not in its namespace",
        ),
        // EnvoyFilter
        row("gateway-wasm-hold", "EnvoyFilter", "/spec/priority", Value::Null, "IST0151"),
        row(
            "waypoint-wasm-hold",
            "EnvoyFilter",
            "/spec/targetRefs/0/kind",
            json!("Service"),
            "kind Service never match",
        ),
        row(
            "waypoint-wasm-hold",
            "EnvoyFilter",
            "/metadata/namespace",
            json!("istio-system"),
            "not in its namespace",
        ),
        patch("waypoint-wasm-hold", 1, "/match/context", json!("WAYPOINT"), "only SIDECAR_INBOUND"),
        patch("waypoint-native", 0, "/match/context", json!("SIDECAR_OUTBOUND"), "only SIDECAR_INBOUND"),
        patch("gateway-native", 0, "/match/context", json!("ANY"), "at a gateway only GATEWAY"),
        patch(
            "waypoint-native",
            0,
            "/match/listener/name",
            Value::Null,
            "not name the listener main_internal",
        ),
        patch("waypoint-native", 0, &format!("{chain}/name"), Value::Null, "not name a filter chain"),
        patch("waypoint-native", 0, "/match/listener/portNumber", json!(8033), "portNumber at a waypoint"),
        patch("gateway-native", 0, "/match/listener/portNumber", Value::Null, "not name a port"),
        patch(
            "gateway-native",
            0,
            &format!("{chain}/filter/subFilter"),
            Value::Null,
            "not matched on the router",
        ),
        patch(
            "gateway-native",
            0,
            "/patch/operation",
            json!("INSERT_FIRST"),
            "may come before authorisation",
        ),
        patch(
            "gateway-wasm-hold",
            1,
            "/patch/value/name",
            json!("other"),
            "not both configured and discovered",
        ),
        patch("gateway-wasm-hold", 0, &format!("{wasm}/failure_policy"), Value::Null, "must be FAIL_RELOAD"),
        patch(
            "gateway-wasm-hold",
            0,
            &format!("{wasm}/allow_on_headers_stop_iteration"),
            json!(false),
            "must be set together",
        ),
        patch(
            "gateway-wasm-hold",
            0,
            &format!("{wasm}/configuration/value"),
            json!("{}"),
            "must be set together",
        ),
        patch("gateway-wasm-hold", 0, &format!("{wasm}/root_id"), Value::Null, "a root_id of its own"),
        patch(
            "gateway-wasm-hold",
            0,
            wasm,
            json!({"failure_policy": "FAIL_RELOAD"}),
            "without the flag needs no EnvoyFilter",
        ),
        // Dynamic modules
        patch(
            "gateway-native",
            0,
            &format!("{module}/name"),
            json!("libinference_filters.so"),
            "name must be",
        ),
        patch(
            "gateway-native",
            0,
            &format!("{module}/do_not_close"),
            Value::Null,
            "do_not_close must be true",
        ),
        row(
            "gateway-native",
            "Gateway",
            "/spec/infrastructure",
            Value::Null,
            "no parametersRef to a ConfigMap",
        ),
        row(
            "gateway-native",
            "ConfigMap",
            "/metadata/name",
            json!("other"),
            "no parametersRef to a ConfigMap",
        ),
        row("gateway-native", "ConfigMap", "/data", json!({}), "no key \"deployment\""),
        row("gateway-native", "ConfigMap", DEPLOYMENT, json!("{a: 1, a: 2}"), "duplicate"),
        row(
            "gateway-native",
            "EnvoyFilter",
            "/spec/targetRefs",
            json!([{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}]),
            "only SIDECAR_INBOUND",
        ),
        // Routes
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/http/0/match/2",
            Value::Null,
            "no route for /inference.",
        ),
        row("gateway-wasm", "VirtualService", "/spec/http/0/match/0", Value::Null, "no route for /v2:"),
        row("gateway-wasm", "VirtualService", "/spec/http/0/match/1", Value::Null, "no route for /v2/models"),
        row(
            "gateway-native",
            "HTTPRoute",
            "/spec/rules/0/matches/1",
            Value::Null,
            "no route for /inference.",
        ),
        row(
            "gateway-native",
            "HTTPRoute",
            "/spec/rules/0/matches/0/method",
            json!("GET"),
            "which the filter changes",
        ),
        row(
            "gateway-native",
            "HTTPRoute",
            "/spec/parentRefs/0/name",
            json!("other"),
            "is not in its namespace",
        ),
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/http/0/match/1/method",
            json!({"exact": "POST"}),
            "which the filter changes",
        ),
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/http/0/match/1/headers",
            json!({"content-type": {"exact": "application/json"}}),
            "which the filter changes",
        ),
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/gateways",
            json!(["other"]),
            "is not among these resources",
        ),
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/http/0/rewrite",
            json!({"uriRegexRewrite": {"match": ".+", "rewrite": "/x"}}),
            "the filter does so already",
        ),
        row(
            "gateway-wasm-model-routes",
            "WasmPlugin",
            "/spec/pluginConfig/path",
            Value::Null,
            "the filter does so already",
        ),
        row(
            "gateway-wasm-model-routes",
            "VirtualService",
            "/spec/http/0/rewrite",
            Value::Null,
            "does not rewrite the path",
        ),
        row(
            "gateway-wasm-model-routes",
            "VirtualService",
            "/spec/http",
            json!([{"match": [{"uri": {"prefix": "/inference."}}]}]),
            "no route under /v2 that rewrites",
        ),
        row(
            "waypoint-wasm-model-routes",
            "VirtualService",
            "/spec/hosts",
            json!(["*"]),
            "needs the Service's name",
        ),
        row("waypoint-wasm-model-routes", "VirtualService", "/spec/http/12", Value::Null, "no default route"),
        row(
            "waypoint-wasm-model-routes",
            "VirtualService",
            "/spec/http/0/match/0/headers",
            json!({"@request.auth.claims.tier": {"exact": "premium"}}),
            "works at gateways only",
        ),
        row(
            "gateway-wasm",
            "VirtualService",
            "/spec/http/0/route/0/destination/host",
            json!("modelmesh-serving"),
            "is not the full name",
        ),
        row(
            "gateway-wasm-model-routes",
            "DestinationRule",
            SUBSETS,
            json!("triton-2.x"),
            "is not a DNS label",
        ),
        row(
            "gateway-wasm-model-routes",
            "DestinationRule",
            SUBSETS,
            json!("triton"),
            "has the subset \"triton-2-x\"",
        ),
        row(
            "gateway-wasm-model-routes",
            "DestinationRule",
            "/spec/host",
            json!("modelmesh-serving-service.modelmesh-serving.svc.cluster.local"),
            "has the subset \"triton-2-x\"",
        ),
        // Policies
        row(
            "waypoint-wasm",
            "AuthorizationPolicy",
            "/spec/targetRefs",
            Value::Null,
            "to every proxy except waypoints",
        ),
    ]
}

#[test]
fn a_policy_that_a_prefix_goes_past_is_seen() {
    let prefixes = json!(["/serving/{namespace}/{service}"]);
    let mut overlay = broken("gateway-wasm", "WasmPlugin", "/spec/pluginConfig/path_prefixes", prefixes);
    assert_eq!(rules::check(&overlay).iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    for (paths, gone_past) in [
        (json!(["/v2/repository/*"]), Some("/serving/word/word/v2/repository/models/m/unload")),
        (json!(["/v2/models/secret/*"]), Some("/serving/word/word/v2/models/secret/word")),
        (json!(["/v2/logging", "*/v2/logging"]), None),
        (json!(["/v2/models/secret/*", "/serving/{*}/{*}/v2/models/secret/{**}"]), None),
    ] {
        let policy = overlay.iter_mut().find(|r| r.kind() == "AuthorizationPolicy").unwrap();
        *policy.value.pointer_mut("/spec/rules/0/to/0/operation/paths").unwrap() = paths.clone();
        let reasons: Vec<_> = rules::check(&overlay).iter().map(ToString::to_string).collect();
        match gone_past {
            Some(path) => {
                assert!(reasons.iter().any(|reason| reason.contains(path)), "{paths}: {reasons:#?}");
            }
            None => assert_eq!(reasons, [""; 0], "{paths}"),
        }
    }
}

#[test]
fn each_mistake_is_seen_and_said() {
    for (overlay, kind, pointer, value, reason) in rows() {
        let broken = broken(overlay, kind, &pointer, value.clone());
        let reasons: Vec<_> = rules::check(&broken).iter().map(ToString::to_string).collect();
        let seen = reasons.iter().any(|r| r.contains(reason));
        assert!(seen, "{overlay}: {kind} {pointer} = {value}: no {reason:?} in {reasons:#?}");
    }
}

#[test]
fn a_proxy_that_would_not_find_the_module_is_seen() {
    let cases = [
        ("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", "SEARCH_PATH", "istio-proxy has no ENVOY_DYNAMIC"),
        ("value: /modules", "value: /elsewhere", "istio-proxy has no mount at /elsewhere"),
        (
            "volumes:\n      - name: inference-filters",
            "volumes:\n      - name: other",
            "the volume inference-filters is missing",
        ),
        (
            "[cp, /libinference_filters.so, /modules/]",
            "[cp, /other.so, /modules/]",
            "no init container copies",
        ),
        (
            "[cp, /libinference_filters.so, /modules/]",
            "[cp, /libinference_filters.so, /other/]",
            "no init container",
        ),
        ("- name: istio-proxy", "- name: proxy", "istio-proxy has no"),
    ];
    for (from, to, reason) in cases {
        let right = broken("gateway-native", "ConfigMap", "/metadata/annotations", json!({}));
        let text = right.iter().find(|r| r.kind() == "ConfigMap").unwrap().text(DEPLOYMENT).to_owned();
        assert!(text.contains(from), "{from:?} is not in {text}");
        let broken = broken("gateway-native", "ConfigMap", DEPLOYMENT, json!(text.replace(from, to)));
        let reasons: Vec<_> = rules::check(&broken).iter().map(ToString::to_string).collect();
        assert!(reasons.iter().any(|r| r.contains(reason)), "{to}: no {reason:?} in {reasons:#?}");
    }
}

#[test]
fn a_native_filter_must_name_its_gateway() {
    let mut resources = broken("gateway-native", "EnvoyFilter", "/spec/targetRefs", Value::Null);
    let filter = resources.iter_mut().find(|r| r.kind() == "EnvoyFilter").unwrap();
    filter.value["spec"]["workloadSelector"] = json!({"labels": {"istio": "ingressgateway"}});
    let reasons: Vec<_> = rules::check(&resources).iter().map(ToString::to_string).collect();
    assert!(reasons.iter().any(|r| r.contains("does not name a Gateway in targetRefs")), "{reasons:#?}");
}

#[test]
fn a_plugin_for_a_gateway_and_a_waypoint_at_once_is_seen() {
    let references = json!([
        {"group": "", "kind": "Service", "name": "modelmesh-serving"},
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
    ]);
    let mut resources = broken("waypoint-wasm", "WasmPlugin", "/spec/targetRefs", references);
    resources.push(Resource {
        value: json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "modelmesh-serving"},
            "spec": {"gatewayClassName": "istio"},
        }),
    });
    let reasons: Vec<_> = rules::check(&resources).iter().map(ToString::to_string).collect();
    assert!(reasons.iter().any(|r| r.contains("gateways and waypoints")), "{reasons:#?}");
}
