//! `explain`, as a user runs it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;

use command::{Ran, has, root, run, run_with, scratch};

/// The steps for a request, in an overlay of `dynamic-subset`.
fn explained(overlay: &str, more: &[&str]) -> String {
    let overlay = root().join("istio").join(overlay).display().to_string();
    let mut arguments = vec!["explain", "-c", &overlay];
    arguments.extend(more);
    let Ran { out, err, code } = run(&arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

const INFER: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
const URL: &str = "http://gateway:8008/v2/models/some/infer";

#[test]
fn a_header_leads_to_a_subset_by_its_rule_and_route() {
    let json =
        ["-H", "content-type: application/json", "-H", "x-model-format-pytorch: true", "-d", INFER, URL];
    let out = explained("dynamic-subset/overlays/gateway-routes", &json);
    has(
        &out,
        &[
            "POST /v2/models/some/infer",
            "1. dynamic-subset (wasm; WasmPlugin istio-system/dynamic-subset",
            "rule: rules[1]",
            "gives runtime=ovms-1-x",
            "sets x-subset-runtime: ovms-1-x",
            "2. kserve-transcoder (wasm; ",
            "row: POST /v2/models/some/infer is the RPC ModelInfer",
            "codec: application/json becomes application/grpc",
            "route: http[0] does not: x-subset-runtime is \"ovms-1-x\", not exact \"triton-2-x\"",
            "route: http[1] (ovms-1-x) takes it",
            "subset: ovms-1-x, the pods with {\"name\":\"modelmesh-serving-ovms-1.x\"}",
        ],
    );
}

#[test]
fn a_request_without_a_preference_says_so() {
    let out = explained("dynamic-subset/overlays/gateway-routes", &["-d", INFER, URL]);
    has(
        &out,
        &[
            "rule: none of the rules is about this request",
            "route: http[2] (any-runtime) takes it: it has no conditions",
        ],
    );
}

#[test]
fn a_forged_header_is_seen_to_go() {
    let out = explained(
        "dynamic-subset/overlays/gateway-routes",
        &["-H", "x-subset-runtime: triton-2-x", "-d", INFER, URL],
    );
    has(&out, &["removes x-subset-runtime (was triton-2-x)", "http[2] (any-runtime) takes it"]);
}

#[test]
fn the_group_of_an_added_cluster_is_named() {
    let header = "x-model-format-tensorflow: true";
    let out = explained("dynamic-subset/overlays/gateway-subset-lb", &["-H", header, "-d", INFER, URL]);
    has(
        &out,
        &[
            "rule: headerToDynamicSubsetKey[0]",
            "group: by model.format.tensorflow: modelmesh-triton-2-x.modelmesh-serving.svc.cluster.local",
        ],
    );
    let both = ["-H", header, "-H", "x-model-format-pytorch: true", "-d", INFER, URL];
    let out = explained("dynamic-subset/overlays/gateway-subset-lb", &both);
    has(&out, &["so any endpoint (ANY_ENDPOINT)"]);
    let out = explained("dynamic-subset/overlays/gateway-native", &["-H", header, "-d", INFER, URL]);
    has(&out, &["(native; ", "group: the policy runtime-group takes endpoints with"]);
}

#[test]
fn a_get_in_wasm_is_seen_to_go_past_its_route() {
    let line = "curl -s http://gateway:8008/v2/models/m/ready";
    let out = explained("kserve-transcoder/overlays/gateway-wasm", &["--curl", line]);
    has(
        &out,
        &["calls the cluster the route's cluster by itself: POST /inference.GRPCInferenceService/ModelReady"],
    );
}

#[test]
fn claims_become_headers_and_headers_routes() {
    let claims = r#"{"sub": "u", "user_type": "premium"}"#;
    let request = ["--claims", claims, "-H", "user_class: forged", "http://app/home"];
    let out = explained("claim-headers/overlays/gateway-wasm", &request);
    has(
        &out,
        &[
            "claim: map[0] makes user_class of the claim",
            "removes user_class (was forged)",
            "sets user_class: premium",
        ],
    );
    let out =
        explained("claim-headers/overlays/gateway-wasm", &["-H", "user_class: forged", "http://app/home"]);
    assert!(!out.contains("user_class: premium"), "{out}");
}

#[test]
fn each_proxy_has_its_own_routes() {
    let claims = r#"{"sub": "u", "user_type": "premium"}"#;
    let out = explained(
        "../examples/ai-application/k8s/overlays/modelmesh",
        &["--claims", claims, "http://style-transfer.apsara-demo.svc.cluster.local:8000/"],
    );
    let place = |name: &str| out.split("\nat ").find(|part| part.starts_with(name)).unwrap();
    let (gateway, waypoint) =
        (place("the pods with istio=api-ingressgateway"), place("the waypoint in apsara-demo"));
    has(waypoint, &["sets user_class: premium", "subset: tensorflow, the pods with"]);
    assert!(!gateway.contains("style-transfer-vs") && !waypoint.contains("ai-app,"), "{out}");
}

#[test]
fn a_saved_message_and_a_plain_configuration_do_as_well() {
    let folder = scratch("explain");
    let (config, message) = (folder.join("config.yaml"), folder.join("request.txt"));
    fs::write(&config, "headerToDynamicSubsetKey:\n- {header: x-version, key: version}\n").unwrap();
    fs::write(&message, "POST /p HTTP/1.1\r\nHost: h\r\nX-Version: v2\r\nContent-Length: 1\r\n\r\nx")
        .unwrap();
    let (config, message) = (config.to_str().unwrap(), message.to_str().unwrap());
    let arguments =
        ["explain", "-c", config, "--filter", "dynamic-subset", "--host", "native", "--http", message];
    let Ran { out, code, err } = run(&arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    has(&out, &["POST /p", "gives version=v2", "subset: version=v2 (metadata envoy.lb)"]);
}

#[test]
fn a_request_that_a_filter_refuses_ends_there() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    let Ran { out, code, .. } =
        run(&["explain", "-c", &overlay, "-H", "content-type: application/json", "-d", "{", URL]);
    assert_eq!(code, 1, "{out}");
    has(&out, &["answers the request itself: 400"]);
}

#[test]
fn what_is_not_understood_is_said() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    for (arguments, reason) in [
        (vec!["-c", &overlay], "give either a URL, --curl or --http"),
        (vec!["-c", &overlay, "--curl", "curl --proxy x h"], "the option --proxy of curl is not understood"),
        (vec!["-c", &overlay, "--claims", "1", "h"], "--claims:1: not a JSON object"),
        (vec!["-c", &overlay, "-H", "a", "h"], "is not NAME: VALUE"),
        (vec!["-c", &overlay, "--filter", "other", "h"], "unknown filter other"),
        (vec!["-c", "nowhere", "h"], "nowhere: "),
        (vec!["-c", &overlay, "-X", "GET IT", "h"], "the method \"GET IT\" is not a token"),
        (vec!["-c", &overlay, "-X", "", "h"], "the method \"\" is not a token"),
        (vec!["-c", &overlay, "--curl", "curl -X 'A:B' h"], "the method \"A:B\" is not a token"),
        (vec!["-c", &overlay, "--port", "99999", "h"], "99999 is not in 1..=65535"),
        (vec!["-c", &overlay, "--port", "0", "h"], "0 is not in 1..=65535"),
    ] {
        let arguments: Vec<&str> = ["explain"].into_iter().chain(arguments).collect();
        let Ran { out, err, code } = run(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(reason), "{arguments:?}: {err}");
    }
}

/// A plugin at the pods with `istio: b`, and a route at a gateway that chooses pods by `selector`.
fn at_a_gateway(selector: &str, more: &str, arguments: &[&str]) -> String {
    let folder = scratch(&format!("gateway-{}", selector.len() * 1000 + more.len()));
    let file = folder.join("in.yaml");
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: x}}\n\
         spec: {{{selector}servers: [{{hosts: ['*.example'], port: {{number: 80, name: http, protocol: HTTP}}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: x}}\n\
         spec: {{gateways: [g], hosts: ['*'], http: [{{route: [{{destination: {{host: a.x.svc.cluster.local}}}}]}}]}}\n---\n\
         apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: p, namespace: b}}\n\
         spec: {{selector: {{matchLabels: {{istio: b}}}}, url: 'oci://r/kserve-transcoder:0.1.0', pluginConfig: {{}}}}\n{more}"
    );
    fs::write(&file, text).unwrap();
    let mut all = vec!["explain", "-c", file.to_str().unwrap()];
    all.extend(arguments);
    let Ran { out, err, code } = run(&all);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

#[test]
fn a_route_is_taken_only_where_its_gateway_is_served() {
    let pod = |labels: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: q, namespace: b, labels: {{istio: b, {labels}}}}}\n"
        )
    };
    let url = "http://h.example/home";
    for (selector, more, arguments, taken) in [
        ("selector: {istio: b}, ", String::new(), vec![url], true),
        ("", String::new(), vec![url], true),
        ("selector: {istio: a}, ", String::new(), vec![url], false),
        ("selector: {istio: b, app: c}, ", pod("app: c"), vec![url], true),
        ("selector: {istio: b, app: c}, ", pod("app: other"), vec![url], false),
        ("selector: {istio: b}, ", String::new(), vec!["--port", "80", url], true),
        ("selector: {istio: b}, ", String::new(), vec!["--port", "8008", url], false),
        ("selector: {istio: b}, ", String::new(), vec!["http://elsewhere/home"], false),
    ] {
        let out = at_a_gateway(selector, &more, &arguments);
        assert_eq!(out.contains("VirtualService x/v, "), taken, "{selector} {arguments:?}: {out}");
        assert!(!out.contains("taken for granted"), "{selector}: {out}");
    }
    let out = at_a_gateway("selector: {app: c}, ", "", &[url]);
    has(&out, &["VirtualService x/v", "taken for granted: Gateway x/g chooses pods with {\"app\":\"c\"}"]);
}

/// Where two HTTPRoutes of one Gateway send a request.
fn by_http_routes(first: &str, second: &str, arguments: &[&str]) -> String {
    let folder = scratch(&format!("http-route-{}", first.len() * 1000 + second.len()));
    let file = folder.join("in.yaml");
    let route = |name: &str, more: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: x}}\n\
             spec:\n  parentRefs: [{{name: g}}]\n{more}\n"
        )
    };
    fs::write(&file, format!("{}---\n{}", route("first", first), route("second", second))).unwrap();
    let mut all = vec!["explain", "-c", file.to_str().unwrap()];
    all.extend(arguments);
    let Ran { out, err, code } = run(&all);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

/// HTTPRouteRule.matches of the Gateway API: exact, then the longest prefix, the method, headers, query parameters; then
/// the older route, then the alphabet, then the order in the list.
#[test]
fn of_http_routes_the_most_specific_match_takes_a_request() {
    let rule = |matches: &str, to: &str| {
        format!("  rules: [{{matches: [{matches}], backendRefs: [{{name: {to}, port: 80}}]}}]\n")
    };
    let any = "{path: {type: PathPrefix, value: /}}";
    for (general, special, why) in [
        (
            "{path: {type: PathPrefix, value: /v2/models/m/infer}}",
            "{path: {type: Exact, value: /v2/models/m/infer}}",
            "the other's path is exact",
        ),
        (
            "{path: {type: RegularExpression, value: '/v2/models/m/.*'}}",
            any,
            "the other's path is exact, or a prefix",
        ),
        (any, "{path: {value: /v2}}", "the other's path is longer"),
        ("{}", "{path: {value: /v2/models}}", "the other's path is longer"),
        (any, "{method: POST}", "the other asks for the method"),
        (
            "{headers: [{name: x-a, value: b}]}",
            "{headers: [{name: x-a, value: b}, {name: X-C, value: d}]}",
            "the other asks for more headers",
        ),
        (
            "{headers: [{name: x-a, value: b}]}",
            "{headers: [{name: x-a, value: b}], queryParams: [{name: q, value: r}]}",
            "the other asks for more query parameters",
        ),
        // Each criterion outranks those below it.
        (
            "{path: {value: /v2}, method: POST, headers: [{name: x-a, value: b}]}",
            "{path: {value: /v2/models}}",
            "the other's path is longer",
        ),
        (
            "{headers: [{name: x-a, value: b}], queryParams: [{name: q, value: r}]}",
            "{method: POST}",
            "the other asks for the method",
        ),
    ] {
        // Whatever the order.
        for (first, second) in [
            (rule(general, "general"), rule(special, "special")),
            (rule(special, "special"), rule(general, "general")),
        ] {
            let request = ["-X", "POST", "-H", "x-a: b", "-H", "x-c: d", "http://h/v2/models/m/infer?q=r"];
            let out = by_http_routes(&first, &second, &request);
            has(&out, &["destination: special.x.svc.cluster.local:80", "would too, and gives way: ", why]);
        }
    }
    let request = ["http://h.example/a"];
    for (first, second, to) in [
        (rule(any, "one"), rule(any, "two"), "one"),
        (
            format!("  hostnames: ['*.example']\n{}", rule(any, "one")),
            format!("  hostnames: [h.example]\n{}", rule(any, "two")),
            "two",
        ),
        (rule("{path: {value: /b}}", "one"), rule("{path: {value: /c}}, {path: {value: /a}}", "two"), "two"),
        // Segments are whole.
        (rule("{path: {value: /aa}}", "one"), rule(any, "two"), "two"),
        (rule("{queryParams: [{name: q, value: r}]}", "one"), rule(any, "two"), "two"),
    ] {
        has(
            &by_http_routes(&first, &second, &request),
            &[&format!("destination: {to}.x.svc.cluster.local:80")],
        );
    }
    let none = rule("{method: POST}", "one");
    has(
        &by_http_routes(&none, &none, &request),
        &["no route takes it: 404", "the method is \"GET\", not exact \"POST\""],
    );
    // Of routes that are equal, the older one.
    let folder = scratch("http-route-age");
    let file = folder.join("in.yaml");
    let aged = |name: &str, created: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: x, creationTimestamp: '{created}'}}\n\
             spec: {{parentRefs: [{{name: g}}], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}\n"
        )
    };
    fs::write(
        &file,
        format!("{}---\n{}", aged("a", "2026-02-01T00:00:00Z"), aged("b", "2026-01-01T00:00:00Z")),
    )
    .unwrap();
    let Ran { out, .. } = run(&["explain", "-c", file.to_str().unwrap(), "http://h.example/a"]);
    has(&out, &["destination: b.x.svc.cluster.local:80", "the other is older"]);
}

#[test]
fn an_answer_goes_back_through_the_filters() {
    let json = ["-H", "content-type: application/json", "-d", INFER, URL];
    for (answer, lines) in [
        (
            "0",
            &[
                "grpc-status: 0 (trailer)",
                "sets content-type: application/json (was application/grpc)",
                "replaces the body: ",
            ][..],
        ),
        ("5", &["grpc-status: 5 (trailer)", "sets :status: 404 (was 200)", "{\"error\":"]),
    ] {
        let mut arguments = vec!["--answer", answer];
        arguments.extend(json);
        // With held headers the status is right from the start.
        let out = explained("kserve-transcoder/overlays/gateway-native", &arguments);
        has(&out, &["the server's answer", ":status: 200"]);
        has(&out, lines);
    }
    let grpc = [
        "--answer",
        "0",
        "-X",
        "POST",
        "-H",
        "content-type: application/grpc",
        "http://gateway:8008/inference.GRPCInferenceService/ModelInfer",
    ];
    let out = explained("kserve-transcoder/overlays/gateway-native", &grpc);
    has(&out, &["lets the answer pass as it is"]);
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    for (arguments, reason) in [
        (vec!["--answer", "0", "http://h/other"], "--answer:1: 0 is not an HTTP status"),
        (
            vec!["--answer", "200", "--answer-header", "a", "http://h/other"],
            "--answer-header:1: \"a\" is not NAME: VALUE",
        ),
        (vec!["--answer", "1000", "http://h/other"], "1000 is not in 0..=599"),
    ] {
        let arguments: Vec<&str> = ["explain", "-c", &overlay].into_iter().chain(arguments).collect();
        let Ran { err, code, .. } = run(&arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(reason), "{err}");
    }
}

#[test]
fn each_listener_of_a_bootstrap_is_a_place_of_its_own() {
    let file = root().join("envoy/dynamic-subset.yaml").display().to_string();
    let explained = |port: &[&str]| {
        let all = ["explain", "-c", &file, "-d", INFER, URL];
        run(&[&all, port].concat())
    };
    let Ran { out, code, .. } = explained(&[]);
    assert_eq!(code, 0, "{out}");
    let places: Vec<_> = out.split("\nat the listener ").skip(1).collect();
    let [first, second] = places[..] else { panic!("{out}") };
    has(first, &["inference, port 8080, in ", "1. dynamic-subset ", "kserve-transcoder ("]);
    has(second, &["vendor, port 8180, in ", "1. dynamic-subset "]);
    assert!(!second.contains("kserve-transcoder ("), "{out}");
    // The port chooses.
    let Ran { out, .. } = explained(&["--port", "8180"]);
    assert!(out.contains("port 8180") && !out.contains("port 8080"), "{out}");
    let Ran { err, code, .. } = explained(&["--port", "80"]);
    assert_eq!(code, 2, "{err}");
    has(&err, &["no listener with a filter has the port 80: there are 8080, 8180"]);
}

#[test]
fn a_message_on_standard_input_does_as_well() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-native").display().to_string();
    let message = format!(
        "POST /v2/models/m/infer HTTP/1.1\nHost: gateway:8008\nTransfer-Encoding: chunked\n\n{:x}\n{INFER}\n0\n\n",
        INFER.len()
    );
    let Ran { out, err, code } = run_with(&["explain", "-c", &overlay, "--http", "-"], &message);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    has(&out, &["is the RPC ModelInfer", "replaces the body: "]);
}

/// What is said of a request to resources in a file of the test's own.
fn of(name: &str, resources: &str, arguments: &[&str]) -> String {
    let file = scratch(&format!("explain-{name}")).join("in.yaml");
    fs::write(&file, resources).unwrap();
    let Ran { out, err, code } = run(&[&["explain", "-c", file.to_str().unwrap()], arguments].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

#[test]
fn a_route_may_delegate_redirect_or_answer_by_itself() {
    let resources = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [a.example]
  http:
  - {match: [{uri: {prefix: /I}, ignoreUriCase: true}], route: [{destination: {host: ic}}]}
  - {match: [{headers: {h: {regex: 'a.*'}}}], redirect: {uri: /new}}
  - {match: [{uri: {exact: /d}}], directResponse: {status: 418}}
  - {match: [{uri: {prefix: /del}}], delegate: {name: c}}
  - {match: [{uri: {prefix: /gone}}], delegate: {name: gone, namespace: other}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: c, namespace: shop}
spec: {http: [{match: [{uri: {prefix: /del/x}}], route: [{destination: {host: child}}]}]}
";
    for (arguments, lines) in [
        (&["http://a.example/iX"][..], &["http[0] takes it", "destination: ic.shop."][..]),
        (
            &["-H", "h: abc", "http://a.example/"],
            &["http[1] takes it", "redirects: 301 to {\"uri\":\"/new\"}"],
        ),
        (&["http://a.example/d"], &["answers by itself: 418"]),
        (&["http://a.example/del/x"], &["delegates to VirtualService shop/c", "destination: child.shop."]),
        (&["http://a.example/del/y"], &["VirtualService shop/c http[0] does not", "no route takes it: 404"]),
        (&["http://a.example/gone"], &["VirtualService other/gone, which these resources do not have"]),
        (&["http://a.example/none"], &["no route takes it: 404"]),
        (&["http://A.Example:80/d"], &["answers by itself: 418"]),
    ] {
        let out = of("delegate", resources, arguments);
        has(&out, lines);
        // The child serves nothing by itself.
        assert!(!out.contains("VirtualService shop/c, "), "{out}");
    }
}

#[test]
fn a_route_of_the_mesh_is_for_its_hosts_only() {
    let resources = "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: p, namespace: shop}
spec: {targetRefs: [{group: '', kind: Service, name: app}], url: 'oci://r/kserve-transcoder:1', pluginConfig: {}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec: {hosts: [app], http: [{route: [{destination: {host: app, port: {number: 8000}}}]}]}
";
    let (plugin, alone) = resources.split_once("---\n").unwrap();
    let route = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: v, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: app}], rules: [{backendRefs: [{name: app, port: 8000}]}]}
";
    let route = format!("{plugin}---\n{route}");
    for (name, resources) in [("waypoint", resources), ("mesh", alone), ("waypoint-http", &route)] {
        for host in ["app", "app.shop", "app.shop.svc", "app.shop.svc.cluster.local", "App.shop"] {
            let out = of(name, resources, &[&format!("http://{host}:8000/x")]);
            has(&out, &["destination: app.shop.svc.cluster.local:8000"]);
        }
        let out = of(name, resources, &["http://other.example/x"]);
        has(&out, &["shop/v is not for this host, other.example: its hosts are app"]);
        assert!(!out.contains("destination: "), "{out}");
    }
}

#[test]
fn a_listener_of_a_gateway_has_its_port_and_host() {
    let resources = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec:
  gatewayClassName: istio
  listeners:
  - {name: a, port: 80, protocol: HTTP, hostname: a.example}
  - {name: b, port: 81, protocol: HTTP}
  - {name: c, port: 80, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h1, namespace: shop}
spec: {parentRefs: [{name: g, sectionName: a}], hostnames: [a.example], rules: [{backendRefs: [{name: one, port: 8000}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h2, namespace: shop}
spec: {parentRefs: [{name: g, port: 81}], hostnames: ['*.example'], rules: [{backendRefs: [{name: two, port: 8000}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h3, namespace: shop}
spec: {parentRefs: [{name: g, sectionName: c}], rules: [{backendRefs: [{name: three, port: 8000}]}]}
";
    for (port, host, line) in [
        ("80", "a.example", "destination: one.shop"),
        ("80", "A.example", "destination: one.shop"),
        ("81", "a.example", "destination: two.shop"),
        // The listener for any host has what the one for this host does not.
        ("80", "b.example", "destination: three.shop"),
        (
            "82",
            "a.example",
            "HTTPRoute shop/h1 is bound to nothing at this proxy that listens for a.example at port 82",
        ),
        ("81", "other", "HTTPRoute shop/h2 is not for this host, other: its hosts are *.example"),
    ] {
        let out = of("listener", resources, &["--port", port, &format!("http://{host}/x")]);
        has(&out, &[line]);
        assert_eq!(out.matches("destination: ").count(), usize::from(line.starts_with('d')), "{out}");
    }
}

#[test]
fn an_answer_of_the_server_is_not_followed_where_no_server_is_asked() {
    let resources = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [a.example]
  http:
  - {match: [{uri: {prefix: /old}}], redirect: {uri: /new}}
  - {match: [{uri: {prefix: /app}}], route: [{destination: {host: app}}]}
";
    for (path, line, asked) in [
        ("old", "the route answers by itself: --answer has nothing to follow", false),
        ("none", "no route takes the request to a server: --answer has nothing to follow", false),
        ("app", ":status: 200", true),
    ] {
        let out = of("unasked", resources, &["--answer", "200", &format!("http://a.example/{path}")]);
        has(&out, &[line]);
        assert_eq!(out.contains(":status: 200"), asked, "{out}");
    }
}

#[test]
fn a_grpc_route_takes_requests_by_service_and_method() {
    let route = |name: &str, method: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: {name}, namespace: shop}}\nspec: \
             {{parentRefs: [{{group: '', kind: Service, name: app}}], rules: [{{matches: [{{method: {{{method}}}, headers: \
             []}}], backendRefs: [{{name: {name}, port: 8033}}]}}]}}\n---\n"
        )
    };
    let service = "service: inference.GRPCInferenceService";
    let resources = [
        route("whole", &format!("type: Exact, {service}")),
        route("infer", &format!("{service}, method: ModelInfer")),
        route("ready", "method: ServerReady"),
        route("live", "type: RegularExpression, method: Server(L|M).*"),
    ]
    .concat();
    for (path, backend) in [
        ("inference.GRPCInferenceService/ModelInfer", Some("infer")),
        ("inference.GRPCInferenceService/ModelReady", Some("whole")),
        ("other.Service/ServerReady", Some("ready")),
        ("other.Service/ServerMetadata", Some("live")),
        ("other.Service/Else", None),
    ] {
        let out = of("grpc-route", &resources, &["-X", "POST", &format!("http://app.shop:8033/{path}")]);
        match backend {
            Some(backend) => has(&out, &[&format!("destination: {backend}.shop.svc.cluster.local:8033")]),
            None => has(&out, &["no route takes it: 404"]),
        }
    }
}
