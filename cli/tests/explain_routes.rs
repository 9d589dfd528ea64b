//! `explain`: which route takes a request, and where it ends.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::{Ran, has, run, scratch};

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
    explained(&file, arguments)
}

/// What is explained of a request, by resources that stand in a file.
fn explained(file: &Path, arguments: &[&str]) -> String {
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
    explained(&file, arguments)
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
