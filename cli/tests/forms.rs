//! The forms that `migrate` has besides the plain one: held headers and modules, subset load balancing and a policy, and
//! the sign-on's claims.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;

use command::{Ran, has, root, run, run_with, scratch};

/// Migrates a stream; the output must lint clean, and stay as it is when it is migrated again.
fn migrated(text: &str, options: &[&str]) -> (String, String) {
    let mut words = vec!["migrate", "-"];
    words.extend(options);
    let Ran { out, err, code } = run_with(&words, text);
    assert_eq!(code, 0, "{options:?}: {err}");
    let Ran { out: found, code, .. } = run_with(&["check", "-"], &out);
    assert_eq!(code, 0, "{options:?}: {found}\n{out}");
    let Ran { out: again, err: account, .. } = run_with(&words, &out);
    assert_eq!(again, out, "{options:?}: {account}");
    (out, err)
}

fn refused(text: &str, options: &[&str], reason: &str) {
    let mut words = vec!["migrate", "-"];
    words.extend(options);
    let Ran { out, err, code } = run_with(&words, text);
    assert_eq!((code, out.as_str()), (1, ""), "{options:?}: {err}");
    let mut lines = err.lines().filter(|line| line.contains(": refused: "));
    assert!(lines.any(|line| line.contains(reason)), "no {reason:?} in {err}");
}

/// The article's resources for model servers.
fn article() -> String {
    fs::read_to_string(root().join("cli/tests/article/modelsvc-routing.yaml")).unwrap()
}

const TRANSCODER: &str = "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMGrpcJsonTranscoder\n\
                          metadata: {name: t, namespace: istio-system}\nspec:\n  workloadSelector: {labels: {istio: ingressgateway}}\n  isGateway: true\n  portNumber: 8008\n";

const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: a}
spec: {selector: {istio: in}, servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: a}
spec:
  gateways: [g]
  hosts: ['*']
  http:
  - headerToDynamicSubsetKey:
    - {header: X-Version, key: version}
    timeout: 5s
    route:
    - destination: {host: m, port: {number: 80}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: a}
spec:
  host: m
  trafficPolicy:
    loadBalancer:
      dynamicSubset:
        fallbackPolicy: NO_FALLBACK
        subsetSelectors:
        - keys: [version]
---
apiVersion: v1
kind: Service
metadata: {name: m, namespace: a}
spec: {selector: {app: m}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: one, namespace: a}
spec:
  selector: {matchLabels: {version: v1}}
  template:
    metadata: {labels: {app: m, version: v1}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: two, namespace: a}
spec:
  selector: {matchLabels: {version: v2}}
  template:
    metadata: {labels: {app: m, version: v2}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
";

#[test]
fn a_transcoder_that_holds_headers_is_an_envoy_filter_of_the_wasm_module() {
    let (out, account) = migrated(TRANSCODER, &["--form", "hold", "--registry", "r.example/x"]);
    has(
        &out,
        &[
            "kind: EnvoyFilter",
            "allow_on_headers_stop_iteration: true",
            "\\\"hold_response_headers\\\":true",
            concat!("uri: \"oci://r.example/x/kserve-transcoder:", env!("CARGO_PKG_VERSION"), "\""),
            "portNumber: 8008",
            "priority: 10",
        ],
    );
    assert_eq!(out.matches("name: t\n").count(), 4, "{out}");
    has(&account, &["becomes the EnvoyFilter t with", "put the module's image at oci://r.example/x/"]);
    let first = format!("{TRANSCODER}  transcodeFirst: true\n");
    refused(&first, &["--form", "hold"], "/spec/transcodeFirst: an EnvoyFilter inserts the filter after");
    let every = TRANSCODER.replace("  portNumber: 8008\n", "");
    refused(&every, &["--form", "hold"], "/spec: has no portNumber");
    let route = format!("{TRANSCODER}  matchIncomingRequestRoute: true\n");
    refused(&route, &["--form", "hold"], "/spec/matchIncomingRequestRoute");
}

#[test]
fn subset_load_balancing_is_a_cluster_with_the_groups_and_stock_header_to_metadata() {
    for form in ["wasm", "hold", "native"] {
        let (out, account) = migrated(&article(), &["--groups", "subset-lb", "--form", form]);
        has(
            &out,
            &[
                "host: modelmesh-serving.modelmesh-serving.groups.internal",
                "name: \"outbound|8033||modelmesh-serving.modelmesh-serving.groups.internal\"",
                "fallback_policy: ANY_ENDPOINT",
                "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
                "address: modelmesh-serving-model-format-tensorflow-true.modelmesh-serving.svc.cluster.local",
                "name: modelmesh-serving-model-format-pytorch-true\n  namespace: modelmesh-serving",
                "http2_protocol_options: {}",
                "name: dr-modelmesh-serving-service-groups\n  namespace: istio-system",
            ],
        );
        assert!(!out.contains("kind: DestinationRule") && !out.contains("DynamicSubset"), "{out}");
        // A GET needs a body in wasm, and not as a dynamic module.
        assert_eq!(out.contains("kind: TrafficExtension"), form == "wasm", "{out}");
        assert_eq!(out.contains("envoy.extensions.filters.http.lua"), form == "hold", "{out}");
        has(
            &account,
            &[
                "headerToDynamicSubsetKey: becomes header_to_metadata",
                "/kind: becomes the EnvoyFilter dr-modelmesh-serving-service-groups and a Service for each group",
                "assumed: DestinationRule modelmesh-serving/dr-modelmesh-serving-service: the added cluster speaks plain text",
                "/spec/host: the Service is not in the input: its pods are taken to listen on 8033 and to speak gRPC",
            ],
        );
    }
}

#[test]
fn the_groups_of_a_cluster_are_chosen_as_the_vendor_documents() {
    let folder = scratch("forms-subset-lb");
    let file = folder.join("stock.yaml");
    let (out, _) = migrated(&article(), &["--groups", "subset-lb"]);
    fs::write(&file, out).unwrap();
    let tensorflow = ["-H", "x-model-format-tensorflow: true"];
    let pytorch = ["-H", "x-model-format-pytorch: true"];
    let wrong = ["-H", "x-model-format-pytorch: tensorflow"];
    let group =
        |name: &str| format!("group: by model.format.{name}: modelmesh-serving-model-format-{name}-true.");
    for (headers, expected) in [
        (&tensorflow[..], group("tensorflow")),
        (&pytorch, group("pytorch")),
        (&[tensorflow, pytorch].concat(), "so any endpoint (ANY_ENDPOINT)".into()),
        (&[], "so any endpoint (ANY_ENDPOINT)".into()),
        (&wrong, "no endpoint has model.format.pytorch, so any endpoint".into()),
    ] {
        let mut words = vec!["explain", "-c", file.to_str().unwrap(), "--port", "8008"];
        words.extend(headers);
        words.extend(["-d", "{\"inputs\":[]}", "http://g:8008/v2/models/m/infer"]);
        let Ran { out, err, code } = run(&words);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        has(&out, &[&expected]);
    }
}

#[test]
fn the_services_port_says_what_an_added_cluster_speaks() {
    let (out, _) = migrated(ROUTES, &["--groups", "subset-lb"]);
    has(
        &out,
        &[
            "name: \"outbound|80||m.a.groups.internal\"",
            "port_value: 8080",
            "http_protocol_options: {}",
            "fallback_policy: NO_FALLBACK",
            "name: port-8080\n      port: 8080",
            "address: m-version-v2.a.svc.cluster.local",
            "timeout: \"5s\"",
        ],
    );
    let (out, _) = migrated(
        &ROUTES.replace("{name: http, port: 80,", "{name: grpc-m, port: 80,"),
        &["--groups", "subset-lb"],
    );
    has(&out, &["http2_protocol_options: {}"]);
}

#[test]
fn what_subset_load_balancing_cannot_take_over_is_refused_at_its_place() {
    for (from, to, reason) in [
        (
            "    loadBalancer:\n",
            "    connectionPool: {tcp: {maxConnections: 1}}\n    loadBalancer:\n",
            "/spec/trafficPolicy: is not for the cluster that an EnvoyFilter adds",
        ),
        ("gateways: [g]", "gateways: [other]", "/spec/gateways/0: the Gateway other is not in the input"),
        ("  gateways: [g]\n", "", "/spec/hosts: is for the mesh"),
        (
            "{host: m, port: {number: 80}}",
            "{host: m}",
            "/spec/http/0/route/0/destination: has no port.number",
        ),
        (
            "targetPort: 8080",
            "targetPort: http",
            "/spec/host: Service a/m has no port 80 with a number as its targetPort",
        ),
        (
            "metadata: {name: m, namespace: a}",
            "metadata: {name: other, namespace: a}",
            "/spec/host: the Service is not in the input",
        ),
    ] {
        let text = ROUTES.replacen(from, to, 1);
        assert_ne!(text, ROUTES, "{from}");
        refused(&text, &["--groups", "subset-lb"], reason);
    }
    let (_, route) = ROUTES.split_once("---\n").unwrap();
    let (route, _) = route.split_once("---\n").unwrap();
    let other = route.replace("name: v,", "name: w,").replace("X-Version", "x-other");
    refused(
        &format!("{ROUTES}---\n{other}"),
        &["--groups", "subset-lb"],
        "another route of this gateway has other mappings",
    );
}

#[test]
fn a_waypoints_groups_are_a_cluster_of_its_own() {
    let waypoint = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: way, namespace: a}\n\
                    spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n";
    let text = ROUTES
        .replace("  gateways: [g]\n", "")
        .replace("hosts: ['*']\n  http", "hosts: [m.a.svc.cluster.local]\n  http");
    let (out, _) = migrated(&format!("{text}{waypoint}"), &["--groups", "subset-lb"]);
    has(
        &out,
        &[
            "name: \"inbound-vip|80|http|m.a.groups.internal\"",
            "name: \"inbound-vip|80|http|m.a.svc.cluster.local\"",
            "context: SIDECAR_INBOUND",
            "name: d-groups\n  namespace: a",
            "name: way",
        ],
    );
}

#[test]
fn a_policy_needs_no_groups_where_istio_knows_the_label() {
    let (out, account) = migrated(ROUTES, &["--groups", "policy"]);
    has(
        &out,
        &[
            "operation: MERGE",
            "name: \"outbound|80||m.a.svc.cluster.local\"",
            "lb_policy_name: runtime-group",
            "{\\\"header\\\":\\\"x-version\\\",\\\"istio_workload\\\":\\\"canonical_revision\\\"}",
            "\\\"unknown_group\\\":\\\"none\\\"",
        ],
    );
    assert!(!out.contains("kind: DestinationRule"), "{out}");
    has(
        &account,
        &[
            "a new group needs nothing",
            "libinference_filters.so",
            "the canonical_revision of pods is taken to be their label version",
        ],
    );
    let more = ROUTES.replace(
        "    loadBalancer:\n",
        "    connectionPool: {tcp: {maxConnections: 1}}\n    loadBalancer:\n",
    );
    has(&migrated(&more, &["--groups", "policy"]).0, &["kind: DestinationRule", "maxConnections: 1"]);
    refused(
        &article(),
        &["--groups", "policy"],
        "/headerToDynamicSubsetKey/0/key: istiod tells the policy nothing of the label model.format.tensorflow",
    );
    let two = ROUTES
        .replace(
            "    - {header: X-Version, key: version}\n",
            "    - {header: X-Version, key: version}\n    - {header: x-app, key: app}\n",
        )
        .replace("- keys: [version]", "- keys: [version]\n        - keys: [app]");
    refused(&two, &["--groups", "policy"], "/subsetSelectors: the policy goes by every header");
    let all = two.replace("- keys: [app]", "- keys: [app]\n        - keys: [app, version]");
    has(&migrated(&all, &["--groups", "policy"]).0, &["canonical_name"]);
    refused(
        &ROUTES.replace("  gateways: [g]\n", ""),
        &["--groups", "policy"],
        "/spec/hosts: is for the mesh",
    );
    let some = ROUTES.replace("NO_FALLBACK", "DEFAULT_SUBSET\n        defaultSubset: {version: v1}");
    refused(&some, &["--groups", "policy"], "/fallbackPolicy: the policy falls back on any pod or on none");
    refused(ROUTES, &["--groups", "policy", "--istio", "1.30"], "needs Istio 1.31");
}

#[test]
fn a_policy_at_a_waypoint_is_in_a_cluster_beside_the_services_own() {
    let waypoint = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: way, namespace: a}\n\
                    spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n";
    let text = ROUTES
        .replace("  gateways: [g]\n", "")
        .replace("hosts: ['*']\n  http", "hosts: [m.a.svc.cluster.local]\n  http");
    let text = format!("{text}{waypoint}");
    let Ran { out, err, code } = run_with(&["migrate", "--groups", "policy", "-"], &text);
    assert_eq!(code, 0, "{err}");
    has(
        &out,
        &[
            "host: m.a.groups.internal",
            "operation: ADD",
            "name: \"inbound-vip|80|http|m.a.groups.internal\"",
            "service_name: \"inbound-vip|80|http|m.a.svc.cluster.local\"",
            "http_protocol_options: {}",
            "name: internal_upstream",
            "lb_policy_name: runtime-group",
            "name: d-groups\n  namespace: a",
        ],
    );
    has(&err, &["at a waypoint the policy is in a cluster beside the Service's own"]);
    let Ran { out: again, .. } = run_with(&["migrate", "--groups", "policy", "-"], &out);
    assert_eq!(again, out);
    let grpc = text.replace("{name: http, port: 80,", "{name: grpc, port: 80,");
    let Ran { out, .. } = run_with(&["migrate", "--groups", "policy", "-"], &grpc);
    has(&out, &["http2_protocol_options: {}"]);
    let headless = text.replace("spec: {selector: {app: m}", "spec: {clusterIP: None, selector: {app: m}");
    refused(&headless, &["--groups", "policy"], "which is headless");
    refused(
        &text.replace("hosts: [m.a", "gateways: [g, mesh]\n  hosts: [m.a"),
        &["--groups", "policy"],
        "at one and in the mesh",
    );
    let more = text.replace(
        "    loadBalancer:\n",
        "    connectionPool: {tcp: {maxConnections: 1}}\n    loadBalancer:\n",
    );
    refused(&more, &["--groups", "policy"], "is not for the cluster that an EnvoyFilter adds");
}

#[test]
fn requests_of_no_group_go_to_the_default_subset() {
    let text = ROUTES.replace("NO_FALLBACK", "DEFAULT_SUBSET\n        defaultSubset: {version: v1}");
    let (out, _) = migrated(&text, &[]);
    assert_eq!(out.matches("subset: version-v1").count(), 2, "{out}");
    assert_eq!(out.matches("name: version-v1").count(), 1, "{out}");
    let (out, _) = migrated(&text, &["--groups", "subset-lb"]);
    has(&out, &["fallback_policy: DEFAULT_SUBSET", "default_subset:\n"]);
    let other = text.replace("defaultSubset: {version: v1}", "defaultSubset: {tier: one}");
    refused(
        &other,
        &["--groups", "subset-lb"],
        "/defaultSubset: no group of the selectors has all of these labels",
    );
    has(
        &migrated(&other, &[]).0,
        &["subset: tier-one", "- name: tier-one\n      labels:\n        tier: one"],
    );
}

const SIGN_ON: [&str; 6] =
    ["--sign-on", "https://idp.example", "--jwks", "https://idp.example/jwks", "--audience", "ai-app"];

#[test]
fn the_sign_ons_claim_becomes_a_filter_behind_the_gateway() {
    let article = fs::read_to_string(root().join("cli/tests/article/app-routing.yaml")).unwrap();
    let (out, account) = migrated(&article, &SIGN_ON);
    has(
        &out,
        &[
            "kind: RequestAuthentication\nmetadata:\n  name: sign-on\n  namespace: istio-system",
            "istio: api-ingressgateway",
            "jwksUri: \"https://idp.example/jwks\"",
            "forwardOriginalToken: true",
            "kind: WasmPlugin\nmetadata:\n  name: claim-headers\n  namespace: istio-system",
            "phase: AUTHZ",
            "- user_type\n        header: user_class",
        ],
    );
    has(
        &account,
        &[
            "mapped: Gateway apsara-demo/ai-app-gateway /spec/selector: the sign-on's user_class is set by claim-headers",
        ],
    );
    assert!(!account.contains("clients choose their class"), "{account}");
    let mut native = SIGN_ON.to_vec();
    native.extend(["--form", "native", "--claim", "realm.kind=user_class"]);
    let (out, _) = migrated(&article, &native);
    has(
        &out,
        &[
            "outputPayloadToHeader: x-jwt-payload",
            "INSERT_FIRST",
            "[\\\"realm\\\",\\\"kind\\\"]",
            "portNumber: 8000",
            "portNumber: 80\n",
        ],
    );
    let taken = "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: claim-headers, namespace: istio-system}\n\
                 spec: {selector: {matchLabels: {istio: other}}, url: 'oci://r/claim-headers:1', phase: AUTHZ, pluginConfig: {map: []}}\n";
    refused(
        &format!("{article}{taken}"),
        &SIGN_ON,
        "/spec/selector: WasmPlugin istio-system/claim-headers is in the input already",
    );
    let mut other = SIGN_ON.to_vec();
    other.extend(["--gateway", "apsara-demo/other"]);
    for (options, text, reason) in [
        (&other[..], article.as_str(), "--gateway:1: the input has no Gateway apsara-demo/other of Istio's"),
        (&SIGN_ON, ROUTES, "--sign-on:1: 0 Gateways of Istio's are beside the routes on the header"),
        (&["--sign-on", "https://idp.example"], ROUTES, "--jwks"),
    ] {
        let mut words = vec!["migrate", "-"];
        words.extend(options);
        let Ran { out, err, code } = run_with(&words, text);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        has(&err, &[reason]);
    }
}
