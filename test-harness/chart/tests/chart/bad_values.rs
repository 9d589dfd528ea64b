//! Values that Helm refuses, by the schema or by the templates: each message names the key, and says what to do.

use chart::Helm;

/// A gateway of Istio's own chart, to which a case adds keys.
const CHARTS: &str = "gateways:\n- name: g\n  namespace: ns\n  port: 80\n  service: { name: s, port: 8033 }\n  \
                      pods: { namespace: istio-system, labels: { istio: g } }\n";
/// A gateway of the Gateway API.
const APIS: &str = "gateways:\n- name: g\n  namespace: ns\n  port: 80\n  service: { name: s, port: 8033 }\n";
/// A gateway with a group of endpoints.
const GROUPED: &str = "gateways:\n- name: g\n  namespace: ns\n  port: 80\n  \
                       pods: { namespace: istio-system, labels: { istio: g } }\n  \
                       service: { name: s, port: 8033, groups: [{ name: a, labels: { app: a } }] }\n";
const WAYPOINT: &str = "waypoints:\n- name: w\n  namespace: ns\n  service: { name: s, port: 8033 }\n";
const CLAIMS: &str = "  claims:\n    map: [{ header: x-user, claim: [sub], type: string }]\n";

/// What is refused, and parts of what is said.
fn cases() -> Vec<(String, Vec<&'static str>)> {
    let values = |base: &str, more: &str| format!("{base}{more}");
    vec![
        // The schema.
        ("gatways: []\n".to_owned(), vec!["gatways"]),
        (values(CHARTS, "  from: wasm\n"), vec!["/gateways/0", "from"]),
        (values(CHARTS, "  form: rust\n"), vec!["/gateways/0/form", "wasmHold"]),
        ("waypoints: [{ name: w }]\n".to_owned(), vec!["/waypoints/0", "service"]),
        ("images: { native: { digest: latest } }\n".to_owned(), vec!["/images/native/digest", "sha256:"]),
        (values(GROUPED, "").replace("name: a,", "name: triton-2.x,"), vec!["/groups/0/name", "triton-2.x"]),
        (values(WAYPOINT, "").replace("8033", "80330"), vec!["/waypoints/0/service/port", "65,535"]),
        (
            "policies: { onlyFrom: [{ name: p, labels: { a: b }, accounts: [cluster.local/ns/n/sa/a] }] }\n"
                .to_owned(),
            vec!["/policies/onlyFrom/0/accounts/0"],
        ),
        (
            values(CHARTS, CLAIMS) + "    issuers: [{ issuer: a, jwksUri: https://a/k }]\n",
            vec!["/claims/issuers/0", "audiences"],
        ),
        // What goes with what.
        (
            values(CHARTS, "  form: native\n  transcoder: {}\n"),
            vec!["gateways[0].form", "gateways[0].pods", "images.native.delivery"],
        ),
        (
            values(APIS, "  transcoder: { models: [{ model: m }] }\n"),
            vec!["gateways[0].transcoder.models", "gateways[0].pods"],
        ),
        (
            values(APIS, "  subsets: { by: loadBalancer }\n"),
            vec!["gateways[0].subsets", "gateways[0].pods", "loadBalancer with form native"],
        ),
        (
            values(CHARTS, "  transcoder: { config: { hold_response_headers: true } }\n"),
            vec!["gateways[0].transcoder.config.hold_response_headers", "gateways[0].form to wasmHold"],
        ),
        (
            values(GROUPED, "  transcoder: { config: { path: filter }, models: [{ model: m, group: a }] }\n"),
            vec!["gateways[0].transcoder.config.path", "transcoder.models"],
        ),
        (
            values(GROUPED, "  transcoder: { models: [{ model: m, group: b }] }\n"),
            vec!["gateways[0].transcoder.models[0].group", "unknown group \"b\"", "has a"],
        ),
        (values(CHARTS, "  subsets: {}\n"), vec!["gateways[0].subsets.by", "gateways[0].service.groups"]),
        (
            values(GROUPED, "  subsets: { by: loadBalancer }\n"),
            vec!["gateways[0].service.groups[0].metadata", "{runtime: a}"],
        ),
        (
            values(GROUPED, "  subsets: { config: { rules: [] } }\n"),
            vec!["gateways[0].subsets.config.rules", "gateways[0].subsets.rules"],
        ),
        (
            values(GROUPED, "  subsets: { policy: { keys: [] } }\n"),
            vec!["gateways[0].subsets.policy", "native", "loadBalancer"],
        ),
        (
            values(GROUPED, "").replace("groups:", "otherwise: { group: b }, groups:"),
            vec!["gateways[0].service.otherwise.group", "unknown group \"b\""],
        ),
        (
            values(WAYPOINT, CLAIMS) + "    verifiedBy: filter\n",
            vec!["waypoints[0].claims.verifiedBy", "verifiedBy: istio"],
        ),
        (values(CHARTS, CLAIMS) + "    verifiedBy: filter\n", vec!["gateways[0].claims.issuers"]),
        (
            values(CHARTS, CLAIMS) + "    config: { source: builtin }\n",
            vec!["gateways[0].claims.config.source", "gateways[0].claims.verifiedBy"],
        ),
        (
            values(WAYPOINT, "  form: wasmHold\n  transcoder: {}\nimages: { pullSecret: s }\n"),
            vec!["waypoints[0].form", "images.pullSecret"],
        ),
        (
            values(
                WAYPOINT,
                "  transcoder: {}\n- name: v\n  namespace: ns\n  service: { name: t, port: 8033 }\n  transcoder: {}\n",
            ),
            vec![
                "waypoints[1].transcoder.name",
                "WasmPlugin ns/kserve-transcoder",
                "waypoints[0]",
                "another name",
            ],
        ),
    ]
}

pub(crate) fn refused(helm: &Helm) {
    for (values, expected) in cases() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &values).unwrap();
        let why = match helm.template(file.path()) {
            Ok(rendered) => panic!("{values}was taken: {} objects", rendered.len()),
            Err(why) => format!("{why:#}"),
        };
        for part in expected {
            assert!(why.contains(part), "{values}is refused without {part:?}:\n{why}");
        }
    }
}
