//! `migrate`: what its account says, and what it refuses.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use command::migration::{GROUPS_BY_STAGE, RULES, TRANSCODER, migrated};
use command::{Ran, has, run_with};

#[test]
fn what_cannot_be_taken_over_is_refused_at_its_place() {
    for (from, to, reason) in [
        (
            "NO_FALLBACK",
            "SOMETHING",
            "in.yaml:23: refused: DestinationRule a/d /spec/trafficPolicy/loadBalancer/dynamicSubset/fallbackPolicy: \
             \"SOMETHING\" is not known",
        ),
        ("NO_FALLBACK", "DEFAULT_SUBSET", "fallbackPolicy: DEFAULT_SUBSET needs the labels of its pods"),
        (
            "fallbackPolicy: NO_FALLBACK",
            "fallbackPolicy: DEFAULT_SUBSET\n        defaultSubset: {version: 1}",
            "in.yaml:24: refused: DestinationRule a/d /spec/trafficPolicy/loadBalancer/dynamicSubset/defaultSubset: must be a map",
        ),
        ("subsetSelectors", "selectors", "/dynamicSubset/selectors: unknown field"),
        ("[stage, version]", "[]", "/subsetSelectors/0: keys must be a list"),
        (
            "- keys: [stage, version]",
            "- {keys: [stage], fallbackPolicy: x}",
            "/subsetSelectors/0/fallbackPolicy: unknown field",
        ),
        (
            "{header: X-Stage, key: stage}",
            "{header: X-Stage}",
            "in.yaml:9: refused: VirtualService a/v /spec/http/0/headerToDynamicSubsetKey/0: header and key",
        ),
        ("{header: X-Stage, key: stage}", "{header: x, key: stage, value: y}", "/0/value: unknown field"),
        (
            "{header: X-Stage, key: stage}",
            "{header: x, key: version}",
            "/headerToDynamicSubsetKey/1: another entry",
        ),
        (
            "  host: m\n  trafficPolicy",
            "  host: m.b.svc.cluster.local\n  trafficPolicy",
            "no DestinationRule for m.a.svc.cluster.local has dynamicSubset",
        ),
        ("destination: {host: m,", "destination: {host: m, subset: s,", "/route/0/destination/subset: "),
        (
            "- destination: {host: m, port: {number: 80}}",
            "- destination: {host: m}\n      fallback: {subset: x}",
            "/spec/http/0/route/0/fallback: unknown field fallback",
        ),
    ] {
        let text = RULES.replacen(from, to, 1);
        assert_ne!(text, RULES, "{from}");
        let (out, account, code) = migrated("broken", &text, &[]);
        assert_eq!((code, out.as_str()), (1, ""), "{to}: {account}");
        has(&account, &[reason]);
    }
    let kind = "apiVersion: istio.alibabacloud.com/v1beta1\nkind: TrafficLabel\nmetadata: {name: x, namespace: a}\nspec: {}\n";
    let (_, account, code) = migrated("kind", kind, &[]);
    assert_eq!(code, 1);
    has(&account, &["in.yaml:2: refused: TrafficLabel a/x /kind: labels on requests are not in stock Istio"]);
}

/// The documents of a stream.
fn documents(text: &str) -> Vec<&str> {
    text.split("---\n").collect()
}

#[test]
fn what_is_refused_stays_as_it_is_with_what_belongs_to_it() {
    let several = "      weight: 90\n    - destination: {host: other}\n      weight: 10\n";
    let condition = "    match: [{headers: {x-stage: {exact: other}}}]\n";
    for (name, text, reason) in [
        (
            "hosts",
            RULES.replacen("{number: 80}}\n", &format!("{{number: 80}}}}\n{several}"), 1),
            "has several hosts: split it",
        ),
        (
            "condition",
            RULES.replacen("    route:", &format!("{condition}    route:"), 1),
            "has a condition on this header",
        ),
        (
            "mapping",
            RULES.replacen("{header: X-Stage, key: stage}", "{header: X-Stage}", 1),
            "header and key must be texts",
        ),
        (
            "selector",
            RULES.replacen("- keys: [stage, version]", "- {keys: [stage, version], fallbackPolicy: x}", 1),
            "fallbackPolicy: unknown field",
        ),
        // Only the schemas know this one, when the output is checked.
        (
            "schema",
            RULES.replacen("timeout: 5s", "timeout: 5s\n    whatever: 1", 1),
            "unknown field whatever",
        ),
    ] {
        let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a, labels: {stage: prod, version: v2}}\n";
        let text = format!("{text}{pod}");
        let (out, account, code) = migrated(&format!("kept-{name}"), &text, &["--keep-going"]);
        assert_eq!((code, out.as_str()), (1, text.as_str()), "{name}: {account}");
        has(
            &account,
            &[
                reason,
                "kept: VirtualService a/v: as it stands, because ",
                "kept: DestinationRule a/d: as it stands, because ",
            ],
        );
        for line in account.lines().filter(|line| !line.contains("Pod")) {
            let untrue = ["mapped: ", "passed: ", "assumed: ", "dropped: "];
            assert!(
                !untrue.iter().any(|word| line.contains(word) && line.contains("in.yaml:")),
                "{name}: {line}"
            );
            assert!(!line.contains("nothing chooses a group"), "{name}: {line}");
            assert!(!line.contains("unknown field dynamicSubset"), "{name}: {line}");
        }
    }
}

#[test]
fn only_what_belongs_to_the_refused_is_kept() {
    let other = RULES
        .replace("name: v,", "name: w,")
        .replace("name: d,", "name: e,")
        .replace("host: m", "host: o")
        .replace("[m.a", "[o.a");
    let refused = RULES.replacen("{header: X-Stage, key: stage}", "{header: X-Stage}", 1);
    let (out, account, code) = migrated("kept-only", &format!("{refused}---\n{other}"), &["--keep-going"]);
    assert_eq!(code, 1, "{account}");
    assert_eq!(documents(&out)[..2], documents(&refused)[..2]);
    has(&out, &["subset: stage-true-version-true"]);
    has(&account, &["mapped: VirtualService a/w /spec/http/0/headerToDynamicSubsetKey: becomes 1 route for"]);
}

#[test]
fn the_number_of_routes_in_the_account_is_that_of_the_output() {
    let pods = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a, labels: {stage: prod, version: v2}}\n\
                ---\napiVersion: v1\nkind: Pod\nmetadata: {name: q, namespace: a, labels: {stage: test, version: v1}}\n";
    let (out, account, code) = migrated("count", &format!("{RULES}{pods}"), &[]);
    assert_eq!(code, 0, "{account}");
    has(&account, &["becomes 2 routes"]);
    assert_eq!(out.matches("subset: stage-").count(), 2, "{out}");
}

#[test]
fn a_file_without_resources_is_in_the_account() {
    for text in ["", "# a comment\n"] {
        let (_, account, code) = migrated("empty", text, &[]);
        assert_eq!(code, 0, "{account}");
        has(&account, &["in.yaml:1: passed: the file has no resources", "1 passed"]);
    }
}

#[test]
fn the_account_says_where_a_port_went_and_nothing_of_what_is_refused() {
    let waypoint =
        format!("{}  portNumber: 8033\n", TRANSCODER.replace("isGateway: true", "isGateway: false"));
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: models, namespace: istio-system}\n\
                   spec: {selector: {istio: ingressgateway}, ports: [{name: grpc, port: 8033}]}\n";
    let (_, account, code) = migrated("port-waypoint", &format!("{waypoint}{service}"), &[]);
    assert_eq!(code, 0, "{account}");
    has(
        &account,
        &[
            "mapped: ASMGrpcJsonTranscoder istio-system/t /spec/portNumber: is the only port of Service istio-system/models",
        ],
    );
    let (_, account, _) = migrated("port-gateway", &format!("{TRANSCODER}  portNumber: 8008\n"), &[]);
    has(&account, &["/spec/portNumber: becomes match.ports"]);
    let (_, account, _) =
        migrated("port-native", &format!("{TRANSCODER}  portNumber: 8008\n"), &["--form", "native"]);
    has(&account, &["/spec/portNumber: becomes the port of the listener"]);
    let ports = service.replace("port: 8033}", "port: 8033}, {name: http, port: 9000}");
    let others = format!("{service}{}", service.replace("name: models,", "name: others,"));
    let unknown = "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMGrpcJsonTranscoder\nmetadata: {name: t, namespace: istio-system}\n\
                   spec:\n  builtinProtoDescriptor: other\n  workloadSelector: {}\n";
    for (name, text) in [
        ("ports", format!("{waypoint}{ports}")),
        ("others", format!("{waypoint}{others}")),
        ("unknown", unknown.to_owned()),
    ] {
        let (_, account, code) = migrated(&format!("port-{name}"), &text, &[]);
        assert_eq!(code, 1, "{account}");
        has(&account, &["kept: ASMGrpcJsonTranscoder", "refused: "]);
        assert!(!account.contains("mapped: ") && !account.contains("assumed: "), "{name}: {account}");
    }
}

#[test]
fn a_second_rule_for_the_host_of_groups_is_refused() {
    let text = GROUPS_BY_STAGE.to_owned()
        + "\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr2, namespace: shop}
spec: {host: app.shop.svc.cluster.local, subsets: [{name: stage-prod, labels: {foo: bar}}]}
";
    let Ran { code, err, out } = run_with(&["migrate", "--value", "stage=prod", "-"], &text);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    has(
        &err,
        &[
            "DestinationRule shop/dr /spec/host: is the host of DestinationRule shop/dr2 too, at standard input:19",
        ],
    );
}

#[test]
fn a_fault_of_the_input_is_reported_once_and_at_its_place() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  gateways: [gw]
  hosts: ['*']
  http:
  - headerToDynamicSubsetKey: [{header: x-stage, key: stage}]
    route: [{destination: {host: app, port: {number: 8001}}}]
  - route: [{destination: {host: app, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr, namespace: shop}
spec: {host: app, trafficPolicy: {loadBalancer: {dynamicSubset: {subsetSelectors: [{keys: [stage]}]}}}}
";
    let Ran { code, err, .. } = run_with(&["migrate", "--value", "stage=prod", "-"], text);
    assert_eq!(code, 0, "{err}");
    has(
        &err,
        &[
            "/spec/http/1: comes after /spec/http/0",
            "/spec/http/0/route/0/destination/port: sends to port 8001",
        ],
    );
    assert_eq!(err.matches(": fault: ").count(), 2, "{err}");
}

#[test]
fn what_the_input_has_is_not_left_to_do() {
    let text = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 8000}]}
---
apiVersion: istio.alibabacloud.com/v1beta1
kind: ASMGrpcJsonTranscoder
metadata: {name: a, namespace: shop}
spec: {builtinProtoDescriptor: kserve_predict_v2, isGateway: false, portNumber: 8000, workloadSelector: {labels: {app: app}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: child, namespace: elsewhere}
spec: {http: [{route: [{destination: {host: app.shop.svc.cluster.local, port: {number: 8000}}}]}]}
";
    let Ran { err, .. } = run_with(&["migrate", "-"], text);
    assert!(!err.contains("needs a waypoint") && !err.contains("needs the label"), "{err}");
    let alone = text.split("---\n").skip(2).collect::<Vec<_>>().join("---\n");
    let Ran { err, .. } = run_with(&["migrate", "-"], &alone);
    has(
        &err,
        &[
            "needs a waypoint: istioctl waypoint apply -n shop, and the label istio.io/use-waypoint on the Service app",
        ],
    );
    let twice = format!("{text}---\n{}", text.split("---\n").nth(3).unwrap().replace("name: a,", "name: b,"));
    let Ran { err, .. } = run_with(&["migrate", "-"], &twice);
    has(
        &err,
        &[
            "ASMGrpcJsonTranscoder shop/b /spec: is for the workload and the port of ASMGrpcJsonTranscoder shop/a too",
        ],
    );
}

#[test]
fn a_transcoder_without_a_descriptor_has_kserves_and_the_account_says_so() {
    let text = "\
apiVersion: istio.alibabacloud.com/v1beta1
kind: ASMGrpcJsonTranscoder
metadata: {name: a, namespace: istio-system}
spec: {isGateway: true, portNumber: 8008, workloadSelector: {labels: {istio: ingressgateway}}}
";
    let Ran { err, code, .. } = run_with(&["migrate", "-"], text);
    assert_eq!(code, 0, "{err}");
    has(&err, &["assumed: ASMGrpcJsonTranscoder istio-system/a /spec: it names no descriptor"]);
    let null = text.replace("{labels: {istio: ingressgateway}}", "null");
    let Ran { err, .. } = run_with(&["migrate", "-"], &null);
    has(&err, &["/spec/workloadSelector: null is not a value of this field"]);
}

#[test]
fn a_header_that_no_request_has_is_refused_and_a_value_for_no_key_is_a_fault() {
    let text = GROUPS_BY_STAGE;
    let Ran { err, code, .. } =
        run_with(&["migrate", "--value", "stage=prod", "--value", "nope=1", "-"], text);
    assert_eq!(code, 0, "{err}");
    has(&err, &["command line:1: fault: no dynamicSubset of the input has the key nope"]);
    assert_eq!(err.matches("command line").count(), 1, "{err}");
    let Ran { err, code, .. } = run_with(&["migrate", "-"], &text.replace("x-stage", "x stage"));
    assert_eq!(code, 1, "{err}");
    has(&err, &["/headerToDynamicSubsetKey/0/header: \"x stage\" cannot be the name of a header"]);
}

#[test]
fn a_transcoder_that_is_there_twice_is_a_fault_of_the_input() {
    let text = format!("{TRANSCODER}---\n{TRANSCODER}");
    let Ran { err, code, .. } = run_with(&["migrate", "-"], &text);
    assert_eq!(code, 0, "{err}");
    assert_eq!(err.matches("is there twice").count(), 1, "{err}");
}
