//! `migrate`: what the vendor's fields become.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::migration::{RULES, TRANSCODER, migrated};
use command::{Ran, has, root, run, scratch};

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
        (
            "printOptions: {streamNewlineDelimited: true}",
            "print_options:\n      stream_newline_delimited: true",
        ),
        ("printOptions: {streamSseStyleDelimited: true}", "stream_sse_style_delimited: true"),
        ("autoMapping: true", "auto_mapping: true"),
        ("priority: 0", "ignore_unknown_fields: true\n    print_options: {}"),
        ("convertGrpcStatus: false", "answer_form: proto"),
        ("convertGrpcStatus: true", "convert_grpc_status: true"),
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
        ("matchIncomingRequestRoute: true", "/spec/matchIncomingRequestRoute: "),
        (
            "printOptions: {streamNewlineDelimited: \"true\"}",
            "/spec/printOptions/streamNewlineDelimited: \"true\" is not a value",
        ),
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
            "/spec/protoDescriptorBin: kserve-transcoder refuses its configuration: configuration key descriptor_sets",
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
fn a_waypoint_of_a_service_account_becomes_one_for_services() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: w\n  namespace: a\n  annotations:\n    \
                istio.io/for-service-account: style # who\nspec:\n  gatewayClassName: istio-waypoint\n  listeners:\n  - {name: mesh, port: 15008, protocol: HBONE}\n";
    let (out, account, code) = migrated("waypoint", text, &[]);
    assert_eq!(code, 0, "{account}");
    has(&out, &["istio.io/waypoint-for: service"]);
    assert!(!out.contains("for-service-account"), "{out}");
    has(&account, &["label the Services of the pods that run as style"]);
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
    let refused = format!("{TRANSCODER}  priority: 5\n");
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
