//! `migrate`, as a user runs it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::{Ran, root, run, run_with, scratch};

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

/// Migrates a folder with a file of this text, and returns the output and the account.
fn migrated(name: &str, text: &str, more: &[&str]) -> (String, String, i32) {
    let folder = scratch(&format!("migrate-{name}"));
    let (input, out, report) = (folder.join("in.yaml"), folder.join("out"), folder.join("account.txt"));
    fs::write(&input, text).unwrap();
    let mut arguments = vec![
        "migrate",
        input.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ];
    arguments.extend(more);
    let Ran { code, err, .. } = run(&arguments);
    let account = fs::read_to_string(&report).unwrap_or(err);
    (fs::read_to_string(out.join("in.yaml")).unwrap_or_default(), account, code)
}

#[test]
fn the_articles_manifests_become_stock_ones() {
    let folder = scratch("article");
    let (out, again, report) = (folder.join("stock"), folder.join("again"), folder.join("account.txt"));
    let article = root().join("cli/tests/article");
    let [out, again, report, article] =
        [&out, &again, &report, &article].map(|path: &std::path::PathBuf| path.to_str().unwrap());
    let Ran { code, err, .. } = run(&["migrate", article, "-o", out, "--report", report]);
    assert_eq!((code, err.as_str()), (0, ""));
    has(
        &fs::read_to_string(report).unwrap(),
        &[
            "modelsvc-routing.yaml:35: mapped: VirtualService modelmesh-serving/vs-modelmesh-serving-service /spec/http/0/headerToDynamicSubsetKey",
            "modelsvc-routing.yaml:55: fault: DestinationRule modelmesh-serving/dr-modelmesh-serving-service /spec/host: is modelmesh-serving-service",
            "modelsvc-routing.yaml:71: mapped: ASMGrpcJsonTranscoder",
            "modelsvc-routing.yaml:78: dropped: EnvoyFilter istio-system/grpcjsontranscoder-increasebufferlimit",
            "asmkserveconfig.yaml:8: dropped: ASMKServeConfig default/default /spec/tag",
            ": to do: VirtualService apsara-demo/style-transfer-vs /spec/http/0/match/0/headers/user_class",
        ],
    );
    // What is stock already is as it was, byte for byte.
    for name in ["ai-apps.yaml", "app-routing.yaml", "isvc.yaml", "pvc-access.yaml"] {
        assert_eq!(
            fs::read(Path::new(article).join(name)).unwrap(),
            fs::read(Path::new(out).join(name)).unwrap(),
            "{name}"
        );
    }
    let Ran { code, out: found, .. } = run(&["check", out]);
    assert_eq!(code, 0, "{found}");
    assert!(!found.contains(": error: "), "{found}");
    let Ran { code, .. } = run(&["migrate", out, "-o", again]);
    assert_eq!(code, 0);
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let twice = Path::new(again).join(path.file_name().unwrap());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            fs::read_to_string(twice).unwrap(),
            "{}",
            path.display()
        );
    }
}

/// The vendor's documented semantics: the group whose label has the header's value; any pod for a request of no header,
/// of both, or of a value that no pod has.
#[test]
fn requests_go_where_the_vendors_documentation_sends_them() {
    let folder = scratch("matrix");
    let out = folder.join("stock");
    let out = out.to_str().unwrap();
    let article = root().join("cli/tests/article");
    assert_eq!(run(&["migrate", article.to_str().unwrap(), "-o", out]).code, 0);
    let routing = Path::new(out).join("modelsvc-routing.yaml");
    let tensorflow = ["-H", "x-model-format-tensorflow: true"];
    let pytorch = ["-H", "x-model-format-pytorch: true"];
    let both = [tensorflow, pytorch].concat();
    let wrong = ["-H", "x-model-format-tensorflow: false"];
    let other = [wrong, pytorch].concat();
    let cases: [(&[&str], Option<&str>); 6] = [
        (&tensorflow, Some("model-format-tensorflow-true")),
        (&pytorch, Some("model-format-pytorch-true")),
        (&both, None),
        (&[], None),
        (&wrong, None),
        (&other, None),
    ];
    let json = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let forms: [&[&str]; 3] = [
        &["-H", "content-type: application/json", "-d", json, "http://g:8008/v2/models/m/infer"],
        &[
            "-X",
            "POST",
            "-H",
            "content-type: application/grpc",
            "http://g:8008/inference.GRPCInferenceService/ModelInfer",
        ],
        &["-H", "content-type: application/json", "-d", json, "http://g:8008/v2/models/m/versions/1/infer"],
    ];
    for (headers, subset) in cases {
        for form in forms {
            let mut arguments = vec!["explain", "-c", routing.to_str().unwrap(), "--port", "8008"];
            arguments.extend(headers);
            arguments.extend(form);
            let Ran { out, code, err } = run(&arguments);
            assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
            has(&out, &["destination: modelmesh-serving.modelmesh-serving.svc.cluster.local:8033"]);
            match subset {
                Some(subset) => has(&out, &[&format!("subset: {subset}, the pods with")]),
                None => assert!(!out.contains("subset: "), "{arguments:?}: {out}"),
            }
        }
    }
    let application = Path::new(out).join("app-routing.yaml");
    let service = "http://style-transfer.apsara-demo.svc.cluster.local:8000/";
    for (class, subset) in [
        (Some("premium"), "tensorflow"),
        (Some("Premium"), "pytorch"),
        (Some("free"), "pytorch"),
        (None, "pytorch"),
    ] {
        let header = format!("user_class: {}", class.unwrap_or_default());
        let mut arguments = vec!["explain", "-c", application.to_str().unwrap(), service];
        if class.is_some() {
            arguments.extend(["-H", &header]);
        }
        has(&run(&arguments).out, &[&format!("subset: {subset}, the pods with")]);
    }
}

const TRANSCODER: &str = "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMGrpcJsonTranscoder\n\
                          metadata: {name: t, namespace: istio-system}\nspec:\n  workloadSelector: {labels: {istio: ingressgateway}}\n  isGateway: true\n";

#[test]
fn every_field_of_a_transcoder_is_mapped_or_refused_with_its_line() {
    let mapped = [
        ("portNumber: 8008", "number: 8008"),
        ("services: [a.B, inference.GRPCInferenceService]", "services:\n      - a.B\n  "),
        ("transcodeFirst: true", "phase: AUTHN"),
        ("transcodeFirst: false", "phase: UNSPECIFIED_PHASE"),
        ("ignoredQueryParameters: [key]", "ignored_query_parameters:\n      - key"),
        ("ignoreUnknownQueryParameters: true", "ignore_unknown_query_parameters: true"),
        ("builtinProtoDescriptor: KServe_Predict_V2", "answer_form: proto"),
        (
            "printOptions: {preserveProtoFieldNames: true, addWhitespace: false}",
            "print_options:\n      preserve_proto_field_names: true\n      add_whitespace: false",
        ),
        ("printOptions: {alwaysPrintEnumsAsInts: true}", "always_print_enums_as_ints: true"),
        ("priority: 0", "ignore_unknown_fields: true\n    print_options: {}"),
        ("convertGrpcStatus: false", "answer_form: proto"),
    ];
    for (field, expected) in mapped {
        let text = format!("{TRANSCODER}  {field}\n");
        let (out, account, code) = migrated("mapped", &text, &[]);
        if field.starts_with("services") {
            // A service that no descriptor set has is refused by the filter itself.
            assert_eq!(code, 1, "{field}: {account}");
            continue;
        }
        assert_eq!(code, 0, "{field}: {account}");
        has(&out, &["kind: WasmPlugin", "matchLabels:\n      istio: ingressgateway", expected]);
        assert!(account.contains("in.yaml:7: "), "{field}: {account}");
    }
    let refused = [
        ("convertGrpcStatus: true", "/spec/convertGrpcStatus: the filter has one form for errors"),
        ("matchIncomingRequestRoute: true", "/spec/matchIncomingRequestRoute: "),
        ("autoMapping: true", "/spec/autoMapping: "),
        (
            "printOptions: {alwaysPrintEnumsAsInts: 1}",
            "/spec/printOptions/alwaysPrintEnumsAsInts: 1 is not a value",
        ),
        ("printOptions: {other: true}", "/spec/printOptions/other: unknown field"),
        ("priority: 5", "/spec/priority: "),
        ("portNumber: 0", "/spec/portNumber: 0 is not a value"),
        ("portNumber: \"8008\"", "/spec/portNumber: "),
        ("builtinProtoDescriptor: other", "unknown descriptor \"other\""),
        (
            "protoDescriptorBin: '!'",
            "kserve-transcoder refuses its configuration: configuration key descriptor_sets",
        ),
        ("transcodeFist: true", "/spec/transcodeFist: unknown field"),
    ];
    for (field, reason) in refused {
        let text = format!("{TRANSCODER}  {field}\n");
        let (out, account, code) = migrated("refused", &text, &[]);
        assert_eq!((code, out.as_str()), (1, ""), "{field}: {account}");
        let line = account
            .lines()
            .find(|line| line.contains(": refused: "))
            .unwrap_or_else(|| panic!("{field}: {account}"));
        assert!(line.contains(reason), "{field}: {account}");
    }
}

#[test]
fn a_transcoder_for_a_sidecar_goes_to_the_waypoint_of_its_service() {
    let text =
        TRANSCODER.replace("isGateway: true", "isGateway: false").replace("istio: ingressgateway", "app: m");
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: models, namespace: istio-system}\n\
                   spec: {selector: {app: m}, ports: [{name: grpc, port: 8033}]}\n";
    let (out, account, code) = migrated("sidecar", &format!("{text}{service}"), &[]);
    assert_eq!(code, 0, "{account}");
    has(&out, &["kind: Service\n      name: models"]);
    has(&account, &["to do: ", "istioctl waypoint apply"]);
    let (_, account, code) = migrated("sidecar-alone", &text, &[]);
    assert_eq!(code, 1);
    has(&account, &["/spec/workloadSelector/labels: sidecars have no place in ambient"]);
}

#[test]
fn the_form_is_native_where_that_is_asked_for() {
    let text = format!("{TRANSCODER}  portNumber: 8008\n  matchIncomingRequestRoute: true\n");
    let (out, account, code) = migrated("native", &text, &["--form", "native"]);
    assert_eq!(code, 0, "{account}");
    has(&out, &["kind: EnvoyFilter", "portNumber: 8008", "filter_name: kserve_transcoder", "reselect_route"]);
    let (_, account, code) = migrated("native-old", &text, &["--form", "native", "--istio", "1.30"]);
    assert_eq!(code, 1);
    has(&account, &["a dynamic module in Istio's proxy needs Istio 1.31"]);
    let (_, account, code) = migrated("native-everywhere", TRANSCODER, &["--form", "native"]);
    assert_eq!(code, 1);
    has(&account, &["has no portNumber, so the filter would be added on every port"]);
    let waypoint = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: way, namespace: istio-system}\n\
                    spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {name: models, namespace: istio-system}\n\
                    spec: {selector: {app: m}, ports: [{name: grpc, port: 8033}]}\n";
    let text =
        TRANSCODER.replace("isGateway: true", "isGateway: false").replace("istio: ingressgateway", "app: m");
    let (out, account, code) =
        migrated("native-waypoint", &format!("{text}{waypoint}"), &["--form", "native"]);
    assert_eq!(code, 0, "{account}");
    has(
        &out,
        &[
            "name: way\n",
            "\"inbound-vip|8033|http|models.istio-system.svc.cluster.local\"",
            "context: SIDECAR_INBOUND",
        ],
    );
}

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: a}
spec:
  hosts: [m.a.svc.cluster.local]
  # The routes.
  http:
  - headerToDynamicSubsetKey:
    - {header: X-Stage, key: stage}
    - {header: x-version, key: version}
    timeout: 5s # as long as a model takes
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
        - keys: [stage, version]
";

#[test]
fn a_selector_of_several_keys_groups_by_the_combinations_that_pods_have() {
    let pods = |stage: &str, version: &str| {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {stage}{version}, namespace: a}}\nspec:\n  \
             template: {{metadata: {{labels: {{stage: {stage}, version: {version}}}}}}}\n"
        )
    };
    let text = format!("{RULES}{}{}", pods("prod", "v2"), pods("test", "v1"));
    let (out, account, code) = migrated("combinations", &text, &[]);
    assert_eq!(code, 0, "{account}");
    has(
        &out,
        &[
            "  # The routes.\n  http:",
            "timeout: \"5s\" # as long as a model takes",
            "x-stage:\n              exact: prod\n            x-version:\n              exact: v2",
            "subset: stage-prod-version-v2",
            "- name: stage-test-version-v1\n      labels:\n        stage: test\n        version: v1",
            "directResponse:\n        status: 503",
        ],
    );
    assert!(!out.contains("stage-prod-version-v1") && !out.contains("dynamicSubset"), "{out}");
    let values = ["--value", "stage=prod", "--value", "version=v1", "--pods", "stage=prod:tier=one"];
    let (out, account, code) = migrated("given", RULES, &values);
    assert_eq!(code, 0, "{account}");
    has(&out, &["name: stage-prod-version-v1\n      labels:\n        tier: one\n        version: v1"]);
}

#[test]
fn what_cannot_be_taken_over_is_refused_at_its_place() {
    for (from, to, reason) in [
        (
            "NO_FALLBACK",
            "DEFAULT_SUBSET",
            "in.yaml:23: refused: DestinationRule a/d /spec/trafficPolicy/loadBalancer/dynamicSubset/fallbackPolicy",
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

#[test]
fn a_waypoint_of_a_service_account_becomes_one_for_services() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: w\n  namespace: a\n  annotations:\n    \
                istio.io/for-service-account: style # who\nspec:\n  gatewayClassName: istio-waypoint\n  listeners:\n  - {name: mesh, port: 15008, protocol: HBONE}\n";
    let (out, account, code) = migrated("waypoint", text, &[]);
    assert_eq!(code, 0, "{account}");
    has(&out, &["istio.io/waypoint-for: service"]);
    assert!(!out.contains("for-service-account"), "{out}");
    has(&account, &["label the Services of the pods that run as style"]);
}

#[test]
fn a_stream_goes_through_and_what_is_stock_is_not_touched() {
    let stock = "# A comment.\n---\napiVersion: v1\nkind: Service # here\nmetadata: {name: a}\n---\n# Only a comment.\n---\nkind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\nresources: []\n";
    let Ran { out, code, err } = run_with(&["migrate", "-"], stock);
    assert_eq!((code, out.as_str()), (0, stock), "{err}");
    has(&err, &["standard input:3: passed: Service default/a: as it stands", "1 passed"]);
    let Ran { out, code, err } =
        run_with(&["migrate", "--report-format", "json", "-"], &format!("{TRANSCODER}  autoMapping: true\n"));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("\"action\": \"refused\"") && err.contains("nothing was written"), "{err}");
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

const LIMIT: &str = "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: lim, namespace: istio-system}\n\
                     spec:\n  configPatches:\n  - applyTo: LISTENER\n    match: {context: GATEWAY}\n    \
                     patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 100000000}}\n";

#[test]
fn an_envoy_filter_goes_only_if_it_raises_the_limit_for_a_transcoder_that_goes_too() {
    let lowers = LIMIT.replace("100000000", "32768");
    let more = LIMIT.split_once("configPatches:\n").unwrap().1.replace("100000000", "100");
    let both = format!("{LIMIT}{more}");
    let elsewhere = LIMIT.replace("namespace: istio-system", "namespace: other");
    let refused = format!("{TRANSCODER}  autoMapping: true\n");
    for (name, transcoder, filter, gone) in [
        ("raises", TRANSCODER, LIMIT, true),
        ("lowers", TRANSCODER, lowers.as_str(), false),
        ("both", TRANSCODER, both.as_str(), false),
        ("elsewhere", TRANSCODER, elsewhere.as_str(), false),
        ("alone", "", LIMIT, false),
        ("refused", refused.as_str(), LIMIT, false),
    ] {
        let (out, account, _) =
            migrated(&format!("limit-{name}"), &format!("{transcoder}{filter}"), &["--keep-going"]);
        assert_eq!(out.contains(filter.trim_start_matches("---\n")), !gone, "{name}: {account}");
        assert_eq!(account.contains("dropped: EnvoyFilter"), gone, "{name}: {account}");
    }
}

#[test]
fn what_is_not_a_resource_is_an_error_with_its_line() {
    for (text, message) in [
        ("hello\n", "standard input:1: not a Kubernetes resource"),
        ("42\n", "standard input:1: not a Kubernetes resource"),
        ("# a\n- a\n- b\n", "standard input:2: not a Kubernetes resource"),
        ("a: 1\n", "standard input:1: not a Kubernetes resource"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\ntext\n",
            "standard input:5: not a Kubernetes resource",
        ),
        ("apiVersion: v1\n", "standard input:1: a resource without kind"),
        ("kind: List\napiVersion: v1\n", "standard input:1: a resource without metadata.name"),
    ] {
        let Ran { out, code, err } = run_with(&["migrate", "-"], text);
        assert_eq!((code, out.as_str()), (2, ""), "{text:?}: {err}");
        assert!(err.contains(message), "{text:?}: {err}");
    }
    let patch = "- {op: replace, path: /spec/a, value: 1}\n";
    let Ran { out, code, err } = run_with(&["migrate", "-"], patch);
    assert_eq!((code, out.as_str()), (0, patch), "{err}");
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
fn what_is_written_anew_has_the_line_ends_of_its_file() {
    let text = format!("# first\n{TRANSCODER}---\n{RULES}");
    let (unix, _, _) = migrated("lf", &text, &[]);
    let (dos, account, code) = migrated("crlf", &text.replace('\n', "\r\n"), &[]);
    assert_eq!(code, 0, "{account}");
    assert!(unix.contains("kind: WasmPlugin\n") && !unix.contains('\r'), "{unix}");
    assert_eq!(dos, unix.replace('\n', "\r\n"));
}

#[test]
fn the_output_goes_nowhere_into_the_input() {
    let folder = scratch("migrate-apart");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let file = folder.join("in.yaml");
    fs::write(&file, service).unwrap();
    let (inside, beside) = (folder.join("stock"), scratch("migrate-apart-out").join("new"));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    for (input, out, reason) in [
        (&folder, &folder, Some("is in the input")),
        (&folder, &inside, Some("is in the input")),
        (&file, &folder, Some("would be lost")),
        (&file, &inside, None),
        (&folder, &beside, None),
    ] {
        let Ran { code, err, .. } = run(&["migrate", &path(input), "-o", &path(out)]);
        assert_eq!(code, reason.map_or(0, |_| 2), "{err}");
        has(&err, &[reason.unwrap_or("passed")]);
        assert_eq!(fs::read_to_string(&file).unwrap(), service);
        let _ = fs::remove_dir_all(&inside);
    }
}

#[test]
fn what_an_option_cannot_be_is_refused() {
    let sign_on = |issuer: &'static str, jwks: &'static str, audience: &'static str| {
        vec!["--sign-on", issuer, "--jwks", jwks, "--audience", audience]
    };
    let url = "https://idp.example.com";
    for (options, reason) in [
        (vec!["--value", "k=a b"], "--value:1: \"a b\" cannot be the value of a label"),
        (vec!["--value", "=1"], "--value:1: \"\" cannot be the key of a label"),
        (vec!["--value", "k="], "--value:1: \"\" cannot be the value of a label"),
        (vec!["--pods", "k=a:l l=b"], "--pods:1: \"l l\" cannot be the key of a label"),
        (vec!["--registry", ""], "--registry:1: \"\" is not HOST/PATH"),
        (vec!["--registry", "https://a b/c"], "--registry:1: \"https://a b/c\" is not HOST/PATH"),
        (sign_on("", url, "app"), "--sign-on:1: \"\" is not an issuer"),
        (sign_on("https://", url, "app"), "--sign-on:1: \"https://\" is not an issuer"),
        (sign_on("notaurl", url, "app"), "--sign-on:1: \"notaurl\" is not an issuer"),
        (sign_on(url, "foo", "app"), "--jwks:1: \"foo\" is not a URL"),
        (sign_on(url, url, ""), "--audience:1: it is empty"),
    ] {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
        let Ran { code, err, .. } = run_with(&[&["migrate", "-"], &options[..]].concat(), service);
        assert_eq!(code, 2, "{options:?}: {err}");
        has(&err, &[reason]);
    }
}

/// A route by a header to groups of one host, as the vendor has it.
const GROUPS_BY_STAGE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  gateways: [gw]
  hosts: ['*']
  http:
  - headerToDynamicSubsetKey: [{header: x-stage, key: stage}]
    route: [{destination: {host: app, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr, namespace: shop}
spec: {host: app, trafficPolicy: {loadBalancer: {dynamicSubset: {subsetSelectors: [{keys: [stage]}]}}}}
";

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
fn a_template_and_a_list_are_told_for_what_they_are() {
    let template =
        "kind: ASMGrpcJsonTranscoder\nmetadata: {name: a}\nspec:\n  portNumber: {{ .Values.port }}\n";
    let Ran { err, code, .. } = run_with(&["migrate", "-"], template);
    assert_eq!(code, 2, "{err}");
    has(&err, &["give the output of helm template"]);
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
- {apiVersion: istio.alibabacloud.com/v1beta1, kind: ASMKServeConfig, metadata: {name: default}, spec: {enabled: true}}
";
    let Ran { err, out, code } = run_with(&["migrate", "--keep-going", "-"], list);
    assert_eq!((code, out.as_str()), (1, list), "{err}");
    has(
        &err,
        &[
            "is item 1 of a List, whose items are not changed",
            ": kept: ServiceAccount default/a: ",
            "2 kept, 1 refused",
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
