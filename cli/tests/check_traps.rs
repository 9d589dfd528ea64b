//! `check`: what is a trap beside right resources, and what only resembles one.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use command::{Ran, run_with};

/// A namespace with a waypoint and a Service behind it.
const MESH: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 8000, targetPort: TARGET}]}
---
"#;

/// What `check` says of resources beside [`MESH`]: its lines without the last one.
fn beside_mesh(target: &str, resources: &str) -> Vec<String> {
    let text = format!("{}{resources}", MESH.replace("TARGET", target));
    let Ran { out, err, .. } = run_with(&["check", "-"], &text);
    assert_eq!(err, "", "{text}");
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.pop();
    lines
}

/// An EnvoyFilter of a gateway with patches.
fn envoy_filter(patches: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: e, namespace: istio-system}}\n\
         spec:\n  workloadSelector: {{labels: {{istio: ingressgateway}}}}\n  configPatches:\n{patches}"
    )
}

/// The first of `operation` for `value` in front of the router.
fn http_filter(operation: &str, value: &str) -> String {
    format!(
        "  - applyTo: HTTP_FILTER\n    match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{name: \
         envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}\n    \
         patch: {{operation: {operation}, value: {value}}}\n"
    )
}

fn added_cluster(name: &str) -> String {
    format!(
        "  - applyTo: CLUSTER\n    match: {{context: GATEWAY}}\n    \
         patch: {{operation: ADD, value: {{name: {name}, type: STRICT_DNS, connect_timeout: 1s}}}}\n"
    )
}

#[test]
fn a_cluster_for_a_filter_may_have_any_name() {
    let limits = r#"{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: d, rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: limits}}, transport_api_version: V3}}}"#;
    let named = envoy_filter(&(http_filter("INSERT_FIRST", limits) + &added_cluster("limits")));
    assert_eq!(beside_mesh("8000", &named), [""; 0]);
    let unnamed = beside_mesh("8000", &envoy_filter(&added_cluster("limits")));
    assert!(unnamed.len() == 1 && unnamed[0].contains(": note: "), "{unnamed:?}");
    let elsewhere = beside_mesh("8000", &envoy_filter(&added_cluster("'inbound-vip|80|http|a.b'")));
    assert!(elsewhere.len() == 1 && elsewhere[0].contains(": error: "), "{elsewhere:?}");
}

#[test]
fn priority_is_for_a_place_beside_another_filter() {
    let lua =
        r#"{name: l, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"#;
    assert_eq!(beside_mesh("8000", &envoy_filter(&http_filter("INSERT_FIRST", lua))), [""; 0]);
    let before = beside_mesh("8000", &envoy_filter(&http_filter("INSERT_BEFORE", lua)));
    assert!(before.len() == 1 && before[0].contains("IST0151"), "{before:?}");
}

#[test]
fn a_configuration_that_is_not_discovered_does_no_harm() {
    let lua =
        r#"{name: l, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"#;
    let given = format!("  - applyTo: EXTENSION_CONFIG\n    patch: {{operation: ADD, value: {lua}}}\n");
    let found = beside_mesh("8000", &envoy_filter(&given));
    assert!(found.len() == 1 && found[0].contains(": note: "), "{found:?}");
    let asked = http_filter(
        "INSERT_FIRST",
        "{name: l, config_discovery: {type_urls: [a], config_source: {ads: {}}}}",
    );
    let both = format!(
        "{}\n---\n{}",
        envoy_filter(&given),
        envoy_filter(&asked).replace("name: e,", "name: other,")
    );
    assert_eq!(beside_mesh("8000", &both), [""; 0]);
    let waits = beside_mesh("8000", &envoy_filter(&asked));
    assert!(waits.len() == 1 && waits[0].contains("would wait forever"), "{waits:?}");
}

#[test]
fn a_container_need_not_declare_the_ports_it_listens_on() {
    let pods = |ports: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a, namespace: shop}}\nspec: {{selector: \
             {{matchLabels: {{app: app}}}}, template: {{metadata: {{labels: {{app: app}}}}, spec: {{containers: \
             [{{name: a, image: a{ports}}}]}}}}}}"
        )
    };
    assert_eq!(beside_mesh("8080", &pods("")), [""; 0]);
    assert_eq!(beside_mesh("web", &pods(", ports: [{name: web, containerPort: 80}]")), [""; 0]);
    let other = beside_mesh("8080", &pods(", ports: [{containerPort: 9090}]"));
    assert!(other.len() == 1 && other[0].contains(": note: "), "{other:?}");
    for ports in ["", ", ports: [{containerPort: 9090}]"] {
        let named = beside_mesh("web", &pods(ports));
        assert!(named.len() == 1 && named[0].contains(": error: "), "{named:?}");
    }
}

#[test]
fn one_entry_of_a_plugins_match_is_enough() {
    let plugin = |entries: &str| {
        format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: p, namespace: shop}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: app}}], url: 'oci://r/x:1', match: [{entries}]}}"
        )
    };
    for other in ["mode: CLIENT", "ports: [{number: 8000}]"] {
        let found = beside_mesh("8000", &plugin(&format!("{{mode: SERVER}}, {{{other}}}")));
        assert!(
            found.len() == 1 && found[0].contains(": note: ") && found[0].contains("/spec/match/1"),
            "{found:?}"
        );
        let found = beside_mesh("8000", &plugin(&format!("{{{other}}}, {{mode: CLIENT}}")));
        assert!(!found.is_empty() && found.iter().all(|line| line.contains(": error: ")), "{found:?}");
    }
}

#[test]
fn none_is_the_way_out_of_a_namespaces_waypoint() {
    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop, labels: \
                    {istio.io/use-waypoint: none}}\nspec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}";
    assert_eq!(beside_mesh("8000", headless), [""; 0]);
}

#[test]
fn a_rule_for_many_hosts_has_subsets_for_each() {
    let of = |host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: shop}}\nspec: \
             {{host: '{host}', subsets: [{{name: v1, labels: {{a: b}}}}]}}\n---\napiVersion: networking.istio.io/v1\n\
             kind: VirtualService\nmetadata: {{name: v, namespace: shop}}\nspec: {{hosts: [app.shop.svc.cluster.local], \
             http: [{{route: [{{destination: {{host: app.shop.svc.cluster.local, subset: v1}}}}]}}]}}"
        )
    };
    let missing =
        |host: &str| beside_mesh("8000", &of(host)).iter().any(|line| line.contains("has the subset"));
    for host in ["*.shop.svc.cluster.local", "*.local", "*", "app.shop.svc.cluster.local"] {
        assert!(!missing(host), "{host}");
    }
    assert!(missing("*.other.svc.cluster.local"));
}

#[test]
fn a_policy_with_the_older_reference_has_a_place() {
    let policy = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: r, namespace: shop}\n\
                  spec: {targetRef: {group: '', kind: Service, name: app}, jwtRules: [{issuer: i, jwksUri: \
                  'https://i/jwks', forwardOriginalToken: true}]}";
    assert_eq!(beside_mesh("8000", policy), [""; 0]);
}

#[test]
fn a_policy_for_requests_to_pods_behind_a_waypoint_is_found() {
    let policy = |kind: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: r, namespace: shop}}\nspec: {{selector: \
             {{matchLabels: {{app: app}}}}, {spec}}}"
        )
    };
    let found =
        |text: &str| beside_mesh("8000", text).iter().any(|line| line.contains("[policy-past-waypoint]"));
    assert!(found(&policy("RequestAuthentication", "jwtRules: [{issuer: i, jwksUri: 'https://i/j'}]")));
    for rule in [
        "to: [{operation: {methods: [POST]}}]",
        "when: [{key: 'request.headers[x-a]', values: [b]}]",
        "from: [{source: {requestPrincipals: ['*']}}]",
    ] {
        let policy = policy("AuthorizationPolicy", &format!("action: DENY, rules: [{{{rule}}}]"));
        assert!(found(&policy), "{rule}");
        assert!(!found(&policy.replace("{app: app}", "{app: other}")), "{rule}");
        let ingress = "\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: shop}\n\
                       spec: {selector: {app: app}, servers: []}";
        assert!(!found(&format!("{policy}{ingress}")), "{rule}");
    }
    assert!(!found(&policy("AuthorizationPolicy", "rules: [{from: [{source: {namespaces: [a]}}]}]")));
}

#[test]
fn a_waypoints_chain_is_of_a_port_of_the_service() {
    let filter = |port: u16| {
        format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: e, namespace: shop}}\nspec:\n  \
             targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}}]\n  configPatches:\n  \
             - applyTo: HTTP_FILTER\n    match: {{context: SIDECAR_INBOUND, listener: {{name: main_internal, filterChain: \
             {{name: 'inbound-vip|{port}|http|app.shop.svc.cluster.local'}}}}}}\n    patch: {{operation: INSERT_FIRST, \
             value: {{name: l}}}}\n"
        )
    };
    assert_eq!(beside_mesh("8000", &filter(8000)), [""; 0]);
    let found = beside_mesh("8000", &filter(9999));
    assert!(found.len() == 1 && found[0].contains("names a chain for the port 9999"), "{found:?}");
}

#[test]
fn a_patch_of_pods_of_a_waypoint_is_meant_for_the_waypoint() {
    let filter = envoy_filter(
        "  - applyTo: NETWORK_FILTER\n    match: {context: SIDECAR_INBOUND}\n    patch: {operation: MERGE, value: {}}\n",
    );
    let filter = filter
        .replace("istio: ingressgateway", "gateway.networking.k8s.io/gateway-name: waypoint")
        .replace("namespace: istio-system", "namespace: shop");
    let found = beside_mesh("8000", &filter);
    assert!(found.len() == 1 && found[0].contains("waypoints ignore selectors"), "{found:?}");
}

#[test]
fn what_resembles_a_trap_and_is_right_is_not_reported() {
    let plugin = |name: &str, of: &str| {
        format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}, namespace: shop}}\nspec: \
             {{url: 'oci://r/kserve-transcoder:1', failStrategy: FAIL_RELOAD, {of}, pluginConfig: {{}}}}\n---\n"
        )
    };
    let at = |service: &str| format!("targetRefs: [{{group: '', kind: Service, name: {service}}}]");
    let service = |name: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{app: {name}}}, \
             ports: [{ports}]}}\n---\n"
        )
    };
    let ingress = |port: u16| {
        format!("selector: {{matchLabels: {{istio: in}}}}, match: [{{ports: [{{number: {port}}}]}}]")
    };
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\n---\n\
                  apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: other}\n---\n";
    let gateway = |parameters: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec: \
             {{gatewayClassName: istio, {parameters}listeners: [{{name: http, port: 80, protocol: HTTP, allowedRoutes: \
             {{namespaces: {{from: All}}}}}}]}}\n---\n"
        )
    };
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: front}\nspec: \
                 {parentRefs: [{name: edge, namespace: shop}], rules: [{backendRefs: [{name: app, namespace: shop, port: \
                 8000}]}]}\n---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, \
                 namespace: shop}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: front}], to: \
                 [{group: '', kind: Service}]}\n---\n";
    let parameters = "infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: p}}, ";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p, namespace: shop}\ndata: {service: 'spec: {}'}\n---\n";
    let tcp = "{name: tcp, port: 1}";
    for (what, resources) in [
        ("ports of a gateway", plugin("a", &ingress(80)) + &plugin("b", &ingress(8008))),
        (
            "Services of a waypoint",
            service("other", "{name: http, port: 1}") + &plugin("a", &at("app")) + &plugin("b", &at("other")),
        ),
        (
            "a port besides",
            service("both", &format!("{tcp}, {{name: http, port: 2}}")) + &plugin("a", &at("both")),
        ),
        ("a port of no name", service("plain", "{port: 8000}") + &plugin("a", &at("plain"))),
        (
            "appProtocol",
            service("said", "{name: tcp, appProtocol: http, port: 1}") + &plugin("a", &at("said")),
        ),
        ("the own Secret", secret.to_owned() + &plugin("a", &format!("{}, imagePullSecret: s", at("app")))),
        ("a Secret of the cluster", plugin("a", &format!("{}, imagePullSecret: s", at("app")))),
        ("a route and a grant", gateway("") + route),
        ("parameters", gateway(parameters) + map),
        ("parameters of the cluster", gateway(parameters)),
    ] {
        assert_eq!(beside_mesh("8000", &resources), [""; 0], "{what}");
    }
    for (what, resources, reason) in [
        (
            "ports",
            plugin("a", &ingress(80)) + &plugin("b", "selector: {matchLabels: {istio: in}}"),
            "meets the filter twice",
        ),
        ("Services", plugin("a", &at("app")) + &plugin("b", &at("app")), "meets the filter twice"),
        (
            "a Service",
            plugin("a", &at("missing")),
            "these resources have no such Service: in shop they have app",
        ),
        ("only TCP", service("plain", tcp) + &plugin("a", &at("plain")), "has the port 1 (tcp) only"),
    ] {
        let found = beside_mesh("8000", &resources);
        assert!(found.len() == 1 && found[0].contains(reason), "{what}: {found:?}");
    }
}

#[test]
fn an_ingress_that_asks_for_the_waypoint_passes_its_plugins() {
    let text = |label: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: asked, namespace: shop, labels: {{{label}}}}}\nspec: {{selector: \
             {{app: asked}}, ports: [{{name: http, port: 8000}}]}}\n---\napiVersion: extensions.istio.io/v1alpha1\nkind: \
             WasmPlugin\nmetadata: {{name: p, namespace: shop}}\nspec: {{targetRefs: [{{group: gateway.networking.k8s.io, \
             kind: Gateway, name: waypoint}}], url: 'oci://r/x:1'}}\n---\napiVersion: networking.istio.io/v1\nkind: \
             Gateway\nmetadata: {{name: gw, namespace: shop}}\nspec: {{selector: {{istio: in}}, servers: [{{hosts: ['*'], \
             port: {{name: http, number: 80, protocol: HTTP}}}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: \
             VirtualService\nmetadata: {{name: v, namespace: shop}}\nspec: {{hosts: ['*'], gateways: [gw], http: [{{route: \
             [{{destination: {{host: asked, port: {{number: 8000}}}}}}]}}]}}"
        )
    };
    let past = |label: &str| {
        let found = beside_mesh("8000", &text(label));
        found
            .iter()
            .any(|line| line.contains("and so past WasmPlugin shop/p") && line.contains(": warning: "))
    };
    assert!(past(""));
    assert!(!past("istio.io/ingress-use-waypoint: 'true'"));
    assert!(!past("istio.io/use-waypoint: none"));
}
