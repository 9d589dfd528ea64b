//! Values that no overlay has: other places, forms and filters together.

use std::path::Path;

use chart::Helm;
use istio_lint::{Resource, Schemas};

use crate::overlays::check;

const SERVICE: &str = "service: { name: modelmesh-serving, port: 8033 }";
const GROUPS: &str = "service: { name: modelmesh-serving, port: 8033, groups: [{ name: a, labels: { g: a } }, { name: b, labels: { g: b } }] }";
const CLAIMS: &str = "claims: { map: [{ header: x-user, claim: [sub], type: string }], issuers: [{ issuer: https://idp.example, jwksUri: https://idp.example/jwks, audiences: [a] }] }";
const SUBSETS: &str =
    "subsets: { rules: [{ model: [m], key: runtime, value: a }, { model: [m2], key: runtime, value: b }] }";
const PODS: &str = "pods: { namespace: istio-system, labels: { istio: ingressgateway } }";

/// Each with a name, and the kinds that it makes, sorted.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let gateway = |keys: &[&str]| {
        format!("gateways: [{{ name: g, namespace: ns, port: 8008, {} }}]\n", keys.join(", "))
    };
    let waypoint =
        |keys: &[&str]| format!("waypoints: [{{ name: w, namespace: ns, {} }}]\n", keys.join(", "));
    vec![
        (
            "wasm at a gateway of the Gateway API",
            gateway(&[SERVICE, "transcoder: {}", CLAIMS]),
            "AuthorizationPolicy Gateway HTTPRoute RequestAuthentication WasmPlugin WasmPlugin",
        ),
        (
            "held headers there, with TLS",
            gateway(&[
                SERVICE,
                "transcoder: {}",
                "form: wasmHold",
                "tls: { secret: s }",
                "hosts: [a.example]",
            ]),
            "AuthorizationPolicy EnvoyFilter Gateway HTTPRoute",
        ),
        (
            "every filter at a waypoint",
            waypoint(&[GROUPS, "transcoder: {}", SUBSETS, CLAIMS]),
            "AuthorizationPolicy DestinationRule Gateway RequestAuthentication TrafficExtension VirtualService WasmPlugin WasmPlugin WasmPlugin",
        ),
        (
            "every filter there natively, with routes",
            waypoint(&[GROUPS, "transcoder: {}", SUBSETS, CLAIMS, "form: native"]),
            "AuthorizationPolicy ConfigMap DestinationRule EnvoyFilter EnvoyFilter EnvoyFilter Gateway RequestAuthentication VirtualService",
        ),
        (
            "routes with held headers",
            gateway(&[GROUPS, PODS, "transcoder: {}", SUBSETS, "form: wasmHold", "tls: { secret: s }"]),
            "AuthorizationPolicy DestinationRule EnvoyFilter EnvoyFilter Gateway VirtualService",
        ),
        (
            "groups without a transcoder",
            waypoint(&[GROUPS, SUBSETS]),
            "DestinationRule Gateway VirtualService WasmPlugin",
        ),
        (
            "what is there already is left alone",
            gateway(&[
                SERVICE,
                PODS,
                "create: false",
                "routes: { create: false }",
                "transcoder: { denyManagement: false }",
            ]),
            "WasmPlugin",
        ),
        (
            "the filter verifies at a gateway of the Gateway API",
            gateway(&[SERVICE, &CLAIMS.replace("claims: {", "claims: { verifiedBy: filter,")]),
            "DestinationRule Gateway HTTPRoute ServiceEntry WasmPlugin",
        ),
        (
            "policies alone",
            "policies: { onlyFrom: [{ name: p, namespace: ns, labels: { app: a }, accounts: [ns/w] }] }\n"
                .to_owned(),
            "AuthorizationPolicy",
        ),
    ]
}

fn with_file<T>(values: &str, run: impl FnOnce(&Path) -> T) -> T {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    run(file.path())
}

pub(crate) fn checked(helm: &Helm) {
    let schemas = Schemas::load().unwrap();
    for (name, values, kinds) in cases() {
        let resources: Vec<Resource> =
            with_file(&values, |path| helm.template(path)).unwrap_or_else(|why| panic!("{name}: {why:#}"));
        let mut made: Vec<_> = resources.iter().map(Resource::kind).collect();
        made.sort_unstable();
        assert_eq!(made.join(" "), kinds, "{name}");
        check(&schemas, name, &resources);
    }
}

pub(crate) fn noted(helm: &Helm) {
    let notes = |values: &str| with_file(values, |path| helm.notes(path)).unwrap();
    assert!(notes("{}\n").contains("Nothing was installed"));
    let waypoint =
        notes(&format!("waypoints: [{{ name: w, namespace: ns, {SERVICE}, transcoder: {{}} }}]\n"));
    for line in [
        "WARNING: images.kserveTranscoder.repository is still registry.example/kserve-transcoder",
        "kubectl label namespace ns istio.io/dataplane-mode=ambient\n",
        "kubectl label service -n ns modelmesh-serving istio.io/use-waypoint=w\n",
        "curl -i http://modelmesh-serving.ns:8033/v2/health/ready",
        "403 for every request",
    ] {
        assert!(waypoint.contains(line), "{line}: {waypoint}");
    }
    let gateway = format!(
        "gateways: [{{ name: g, namespace: ns, port: 80, form: native, create: false, {SERVICE}, transcoder: {{}} }}]\n\
         images: {{ native: {{ repository: a.example/b }} }}\n"
    );
    let gateway = notes(&gateway);
    for line in [
        "images.native is not pinned: set images.native.digest",
        "kubectl port-forward -n ns deploy/g-istio 8080:80",
        "spec.infrastructure.parametersRef: {group: \"\", kind: ConfigMap, name: g}",
    ] {
        assert!(gateway.contains(line), "{line}: {gateway}");
    }
    assert!(!gateway.contains("403 for every request"), "{gateway}");
}
