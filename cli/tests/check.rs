//! `check`, as a user runs it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::{Ran, root, run, run_with};
use serde_json::Value;

#[test]
fn every_broken_example_is_found_at_its_place() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("cli/tests/broken")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let finds = text.lines().next().unwrap().strip_prefix("# finds: ").unwrap();
        let Ran { out, code, err } = run(&["check", path.to_str().unwrap()]);
        assert!(code == 0 || code == 1, "{}: {code}: {err}", path.display());
        let line = out.lines().find(|line| line.contains(finds));
        let line = line.unwrap_or_else(|| panic!("{}: no {finds:?} in\n{out}", path.display()));
        let place = line.strip_prefix(path.to_str().unwrap()).and_then(|rest| rest.strip_prefix(':'));
        let number: usize = place.and_then(|rest| rest.split(':').next()).unwrap().parse().unwrap();
        assert!((1..=text.lines().count()).contains(&number), "{line}");
        let certain = line.contains(": error: ");
        assert_eq!(code == 1, out.contains(": error: "), "{line}");
        assert!(certain || line.contains(": warning: ") || line.contains(": note: "), "{line}");
        seen += 1;
    }
    assert!(seen > 95, "{seen}");
}

#[test]
fn nothing_is_found_in_what_this_project_ships() {
    let root = root();
    let folders = ["istio", "examples", "envoy"].map(|name| root.join(name).display().to_string());
    let Ran { out, code, err } = run(&["check", "--strict", &folders[0], &folders[1], &folders[2]]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("nothing found; needs Istio 1.31"), "{out}");
}

#[test]
fn a_stream_is_read_as_a_chart_prints_it() {
    let stream = "---\n# Source: chart/templates/plugin.yaml\napiVersion: extensions.istio.io/v1alpha1\n\
                  kind: WasmPlugin\nmetadata:\n  name: a\nspec:\n  selector: {matchLabels: {a: b}}\n  \
                  url: oci://x/other\n  failStrategy: FAIL_RELOAD\n  verificationKey: k\n---\n# Source: nothing\n";
    let Ran { out, code, .. } = run_with(&["check", "-n", "shop", "-"], stream);
    assert_eq!(code, 1);
    assert!(out.starts_with("standard input:11: error: WasmPlugin shop/a /spec/verificationKey: "), "{out}");
}

#[test]
fn a_list_is_its_items_and_json_is_yaml() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"},
         "spec": {"host": "a", "subsets": [{"name": "a.b", "labels": {}}]}}]}"#;
    let Ran { out, code, .. } = run_with(&["check", "-"], list);
    assert_eq!(code, 1);
    assert!(
        out.contains("standard input:3: error: DestinationRule default/a /spec/subsets/0/name: "),
        "{out}"
    );
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_line() {
    for (text, message) in [
        ("a: 1\n", "standard input:1: not a Kubernetes resource"),
        ("kind: A\nmetadata: {name: a}\n", "standard input:1: a resource without apiVersion"),
        ("apiVersion: v1\nkind: Service\nkind: Service\n", "standard input:3: duplicate"),
        ("\n", "no resources there"),
    ] {
        let Ran { out, code, err } = run_with(&["check", "-"], text);
        assert_eq!((code, out.as_str()), (2, ""), "{text:?}: {err}");
        assert!(err.starts_with("inference-mesh: ") && err.contains(message), "{text:?}: {err}");
    }
}

#[test]
fn a_kustomization_with_more_than_is_understood_says_what_to_do() {
    let folder = command::scratch("kustomize");
    fs::write(
        folder.join("kustomization.yaml"),
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\nnamePrefix: x\n",
    )
    .unwrap();
    let Ran { code, err, .. } = run(&["check", folder.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("namePrefix") && err.contains("kubectl kustomize"), "{err}");
}

#[test]
fn an_older_istio_is_held_against_what_the_resources_need() {
    let overlay = root().join("istio/dynamic-subset/overlays/gateway-routes");
    let overlay = overlay.to_str().unwrap();
    assert_eq!(run(&["check", overlay, "--istio", "1.30"]).code, 0);
    let Ran { out, code, .. } = run(&["check", overlay, "--istio", "1.28.10"]);
    assert_eq!(code, 1);
    assert!(out.contains("the kind TrafficExtension needs Istio 1.30, and the target is 1.28"), "{out}");
}

#[test]
fn what_the_system_says_is_in_words_and_a_version_must_be_known() {
    let Ran { err, code, .. } = run(&["check", "nowhere.yaml"]);
    assert_eq!((code, err.as_str()), (2, "inference-mesh: nowhere.yaml: no such file or folder\n"));
    for command in ["check", "migrate"] {
        let Ran { err, code, .. } = run(&[command, "--istio", "99.1", "-"]);
        assert_eq!(code, 2);
        assert!(err.contains("unknown Istio version 99.1: the newest that is known here is 1.31"), "{err}");
    }
}

#[test]
fn warnings_fail_only_if_that_is_asked_for() {
    let file = root().join("cli/tests/broken/route-to-a-missing-subset.yaml");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["check", file]).code, 0);
    assert_eq!(run(&["check", "--strict", file]).code, 1);
}

#[test]
fn json_has_every_field_of_a_finding() {
    let file = root().join("cli/tests/broken/rule-with-a-dotted-subset.yaml");
    let Ran { out, code, .. } = run(&["check", "--output", "json", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&out).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["level"], "error");
    assert_eq!(finding["rule"], "subset-name");
    assert_eq!(finding["line"], 7);
    assert_eq!(finding["path"], "/spec/subsets/0/name");
    assert_eq!(finding["resource"], "DestinationRule apsara-demo/rule");
    assert_eq!(report["resources"], 1);
}

#[test]
fn sarif_is_what_its_schema_says() {
    let schema = fs::read_to_string(root().join("cli/tests/check/sarif-2.1.0.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&schema).unwrap();
    // A pattern in the published schema has a bracket too many, which not every engine of regular expressions takes.
    for of in ["run", "toolComponent"] {
        let language = schema.pointer_mut(&format!("/definitions/{of}/properties/language")).unwrap();
        language.as_object_mut().unwrap().remove("pattern");
    }
    let schema = jsonschema::options().build(&schema).unwrap();
    let broken = root().join("cli/tests/broken");
    for inputs in [broken.to_str().unwrap(), root().join("istio/kserve-transcoder").to_str().unwrap()] {
        let Ran { out, .. } = run(&["check", "--output", "sarif", inputs]);
        let log: Value = serde_json::from_str(&out).unwrap();
        let wrong: Vec<_> = schema.iter_errors(&log).map(|error| error.to_string()).collect();
        assert_eq!(wrong, [""; 0]);
        assert_eq!(
            log["runs"][0]["results"].as_array().unwrap().is_empty(),
            !Path::new(inputs).ends_with("broken")
        );
    }
}

#[test]
fn colours_are_for_terminals() {
    let file = root().join("cli/tests/broken/twice.yaml");
    let file = file.to_str().unwrap();
    assert!(!run(&["check", file]).out.contains('\x1b'));
    assert!(run(&["check", "--color", "always", file]).out.contains("\x1b[1;31merror\x1b[0m"));
}

#[test]
fn help_completions_and_manual_are_made_of_the_arguments() {
    assert!(run(&["check", "--help"]).out.contains("Examples:"));
    assert!(run(&["completions", "bash"]).out.contains("complete -F"));
    let manual = run(&["manual"]).out;
    assert!(manual.contains(".TH inference-mesh") && manual.contains("\\-\\-istio"), "{manual}");
    assert!(manual.contains("check \\-\\-istio 1.28 app.yaml") && !manual.contains("check(1)"), "{manual}");
}

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
fn a_folder_goes_on_after_a_file_that_is_something_else() {
    let folder = command::scratch("mixed");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let check = || run(&["check", folder.to_str().unwrap()]);
    write("Chart.yaml", "apiVersion: v2\nname: chart\n");
    write("values.yaml", "replicas: 2\n");
    write("template.yaml", "kind: Service\n{{- if .Values.a }}\na: b\n{{- end }}\n");
    let Ran { out, code, err } = check();
    assert_eq!((code, err.as_str(), out.lines().count()), (0, "", 4), "{out}");
    assert!(out.contains("values.yaml:1: note: document: not a Kubernetes resource"), "{out}");
    write(
        "rule.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.b, hots: a}\n",
    );
    let Ran { out, code, .. } = check();
    assert!(
        code == 1 && out.contains("rule.yaml:4: error: ") && out.contains("values.yaml:1: note: "),
        "{out}"
    );
    write("rule.yaml", "apiVersion: v1\nkind: Service\nkind: Service\n");
    let Ran { out, code, .. } = check();
    assert!(code == 1 && out.contains("rule.yaml:3: error: document: duplicate"), "{out}");
}

#[test]
fn forms_of_a_resource_in_neighbouring_folders_are_noted() {
    let folder = command::scratch("forms");
    let rule =
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.b}\n";
    for (name, level, code) in [("b", "note", 0), ("a", "error", 1)] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a/one.yaml"), rule).unwrap();
        fs::write(folder.join(name).join("two.yaml"), rule).unwrap();
        let ran = run(&["check", folder.to_str().unwrap()]);
        assert!(ran.code == code && ran.out.contains(&format!(": {level}: ")), "{}", ran.out);
        fs::remove_dir_all(folder.join(name)).unwrap();
    }
}

#[test]
fn the_folders_of_this_project_are_checked_as_a_whole() {
    for folder in ["istio", "envoy-gateway", "charts", "observability", "envoy"] {
        let Ran { out, code, err } = run(&["check", "--strict", root().join(folder).to_str().unwrap()]);
        assert_eq!((code, err.as_str()), (0, ""), "{folder}: {out}");
        let found: Vec<_> = out
            .lines()
            .filter(|line| {
                line.contains("]") && !["[not-checked]", "[twice]"].iter().any(|rule| line.contains(rule))
            })
            .collect();
        assert_eq!(found, [""; 0], "{folder}");
    }
    let Ran { out, .. } = run(&["check", root().join("envoy").to_str().unwrap()]);
    assert!(out.contains(" bootstraps: nothing found"), "{out}");
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
