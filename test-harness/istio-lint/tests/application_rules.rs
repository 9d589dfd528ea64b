//! Every rule about the workloads of an overlay catches what it is for: each row breaks one thing in an overlay of the
//! AI application that is right.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod broken;

use broken::broken;
use istio_lint::{Schemas, rules};
use serde_json::{Value, json};

/// Overlay, kind or `Kind/name`, where, the new value (`null` removes), and part of the reason that must be given.
type Row = (&'static str, &'static str, &'static str, Value, &'static str);

const APPLICATION: &str = "../examples/ai-application/k8s/overlays";
const STYLE: &str = "Service/style-transfer";
const MODELS: &str = "Service/modelmesh-serving";
const TORCH: &str = "Deployment/style-transfer-torch";

fn rows() -> Vec<Row> {
    let env = "/spec/template/spec/containers/0/env/0";
    let at = |pointer: &str| -> &'static str { Box::leak(format!("{env}{pointer}").into_boxed_str()) };
    let pods = "/spec/template/metadata/labels";
    let predictor = "/spec/predictor";
    let model = |pointer: &str| -> &'static str {
        Box::leak(format!("{predictor}/model/{pointer}").into_boxed_str())
    };
    let labels = |format: &str| json!({"app": "style-transfer", "model-format": format});
    let dataplane = "/metadata/labels/istio.io~1dataplane-mode";
    vec![
        // A waypoint serves a Service only in an ambient namespace, and only one that says so.
        ("kserve", "Namespace/apsara-demo", dataplane, Value::Null, "requests go past this waypoint"),
        ("kserve", "Namespace/apsara-demo", dataplane, json!("none"), "requests go past this waypoint"),
        (
            "kserve",
            STYLE,
            "/metadata/labels/istio.io~1use-waypoint",
            Value::Null,
            "lacks the label istio.io/use",
        ),
        ("kserve", STYLE, "/metadata/labels/istio.io~1use-waypoint", json!("way"), "have no such waypoint"),
        ("kserve", "Gateway/waypoint", "/spec/gatewayClassName", json!("istio"), "have no such waypoint"),
        ("kserve", STYLE, "/spec/clusterIP", json!("None"), "past the waypoint"),
        // Services and pods.
        (
            "kserve",
            STYLE,
            "/spec/selector/app",
            json!("style"),
            "matches none of the pods of these resources",
        ),
        ("kserve", STYLE, "/spec/ports/0/targetPort", json!(8080), "has no container port 8080"),
        ("kserve", STYLE, "/spec/ports/0/targetPort", json!("https"), "has no container port \"https\""),
        ("modelmesh", TORCH, pods, labels("onnx"), "the subset \"pytorch\" has no endpoints"),
        ("modelmesh", TORCH, pods, labels("onnx"), "does not match the labels of its own pods"),
        (
            "kserve",
            MODELS,
            "/spec/selector/models",
            json!("x"),
            "matches none of the pods of these resources",
        ),
        (
            "kserve",
            "InferenceService/pt-style-transfer",
            "/spec/predictor/labels/model-format",
            json!("onnx"),
            "the subset \"ovms-1-x\" has no endpoints",
        ),
        // Accounts.
        (
            "kserve",
            "ServiceAccount/ai-backend",
            "/metadata/name",
            json!("backend"),
            "runs as the service account",
        ),
        (
            "kserve",
            "Gateway/waypoint",
            "/metadata/name",
            json!("way"),
            "names cluster.local/ns/apsara-demo/sa/way",
        ),
        (
            "kserve",
            "ServiceAccount/api-ingressgateway",
            "/metadata/name",
            json!("api-gateway"),
            "names cluster.local/ns/istio-system/sa/api-ingressgateway",
        ),
        // Addresses.
        (
            "kserve",
            TORCH,
            at("/value"),
            json!("istio-ingressgateway.istio-system.svc.cluster.local"),
            "no Service of these resources has that port",
        ),
        (
            "kserve",
            TORCH,
            at("/value"),
            json!("http://istio-ingressgateway.istio-ingress.svc.cluster.local:8008/v2"),
            "names istio-ingressgateway.istio-ingress.svc.cluster.local:8008, and",
        ),
        (
            "modelmesh",
            "Service/istio-ingressgateway",
            "/spec/ports/0/port",
            json!(80),
            "MODEL_SERVER names istio-ingressgateway",
        ),
        // Models.
        ("kserve", "InferenceService", model("runtime"), json!("triton"), "have no such ServingRuntime"),
        ("kserve", "InferenceService", model("storageUri"), json!("pvc://models/a"), "the claim \"models\""),
        (
            "modelmesh",
            "InferenceService",
            model("storage/parameters/name"),
            json!("models"),
            "the claim \"models\", which is not",
        ),
    ]
}

#[test]
fn each_mistake_is_seen_and_said() {
    for (overlay, kind, pointer, value, reason) in rows() {
        let resources = broken(&format!("{APPLICATION}/{overlay}"), kind, pointer, value.clone());
        let reasons: Vec<_> = rules::check(&resources).iter().map(ToString::to_string).collect();
        let said = reasons.iter().any(|r| r.contains(reason));
        assert!(said, "{overlay}: {kind} {pointer} = {value}: no {reason:?} in {reasons:#?}");
    }
}

#[test]
fn what_a_waypoint_needs_may_be_said_of_the_namespace() {
    let path = format!("{APPLICATION}/kserve");
    let mut resources = broken(&path, STYLE, "/metadata/labels/istio.io~1use-waypoint", Value::Null);
    assert_ne!(rules::check(&resources), []);
    let namespace = resources.iter_mut().find(|r| r.kind() == "Namespace" && r.name() == "apsara-demo");
    namespace.unwrap().value["metadata"]["labels"]["istio.io/use-waypoint"] = json!("waypoint");
    assert_eq!(rules::check(&resources), []);
}

#[test]
fn what_an_api_server_refuses_is_refused() {
    let schemas = Schemas::load().unwrap();
    let container = "/spec/template/spec/containers/0";
    let at = |pointer: &str| -> &'static str { Box::leak(format!("{container}{pointer}").into_boxed_str()) };
    let rows: [Row; 9] = [
        ("kserve", "Namespace", "/metadata/namespace", json!("x"), "namespace"),
        ("kserve", "PersistentVolumeClaim", "/spec/accessModes/0", Value::Null, "/spec/accessModes"),
        ("kserve", "Service/api-ingressgateway", "/spec/type", json!("ClusterIp"), "/spec/type"),
        (
            "kserve",
            "Deployment/ai-backend",
            "/spec/template/spec/volumes/0/emptyDir",
            Value::Null,
            "/volumes/0",
        ),
        ("kserve", "Deployment/ai-backend", at("/image"), json!("auto"), "/image"),
        ("kserve", "Deployment/api-ingressgateway", at("/image"), json!("istio/proxyv2:1.30.3"), "/image"),
        ("kserve", "Role", "/rules/0/verbs", json!(["*"]), "/rules/0/verbs"),
        (
            "modelmesh",
            "InferenceService",
            "/spec/predictor/model/modelFormat/name",
            json!(1),
            "/modelFormat/name",
        ),
        ("kserve", "InferenceService", "/spec/predictor/model/storage_uri", json!("pvc://x"), "storage_uri"),
    ];
    for (overlay, kind, pointer, value, reason) in rows {
        let resources = broken(&format!("{APPLICATION}/{overlay}"), kind, pointer, value.clone());
        let problems: Vec<_> = resources.iter().flat_map(|r| schemas.check(r)).collect();
        let said = problems.iter().any(|problem| problem.to_string().contains(reason));
        assert!(said, "{kind} {pointer} = {value}: no {reason:?} in {problems:#?}");
    }
}
