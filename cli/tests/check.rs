//! `check`, as a user runs it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::{Ran, root, run, run_with, scratch};
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
    let folders =
        ["istio", "examples/ai-application", "envoy"].map(|name| root.join(name).display().to_string());
    let Ran { out, code, err } = run(&["check", "--strict", &folders[0], &folders[1], &folders[2]]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("nothing found; needs Istio 1.31"), "{out}");
}

#[test]
fn of_envoy_gateway_the_filters_are_checked_and_the_rest_is_counted() {
    let folder = |name: &str| root().join("envoy-gateway").join(name).display().to_string();
    let forms = [
        ("native", 6),
        ("native-claims", 6),
        ("native-groups", 6),
        ("native-jwt", 7),
        ("native-subsets", 7),
        ("wasm", 6),
        ("wasm-jwt", 7),
    ];
    for (form, not_checked) in forms {
        let Ran { out, code, err } = run(&["check", "--strict", &folder("base"), &folder(form)]);
        assert_eq!((code, err.as_str()), (0, ""), "{form}: {out}");
        let said = format!("nothing found; not checked: {not_checked} resources of Envoy Gateway");
        assert!(out.contains(&said), "{form}: {out}");
        // A route without the Gateway, which is in the other folder.
        let Ran { out, code, .. } = run(&["check", "--strict", &folder(form)]);
        assert_eq!(code, 0, "{form}: {out}");
    }
    let Ran { out, .. } = run(&["check", "--output", "json", &folder("native")]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["not_checked_of_envoy_gateway"], 1);
    let Ran { out, .. } = run(&["check", "--output", "sarif", &folder("native")]);
    let log: Value = serde_json::from_str(&out).unwrap();
    let said = "/runs/0/invocations/0/toolExecutionNotifications/0/message/text";
    assert_eq!(log.pointer(said).unwrap(), "not checked: 1 resource of Envoy Gateway");
}

#[test]
fn a_route_of_istios_still_needs_its_gateway() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: a}\nspec:\n  \
                 parentRefs: [{name: g}]\n  rules: [{backendRefs: [{name: s, port: 80}]}]\n";
    let Ran { out, .. } = run_with(&["check", "-"], route);
    assert!(out.contains("warning: HTTPRoute a/r /spec: its parent g is not in its namespace"), "{out}");
    let gateway = |class: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: a}}\nspec:\n  \
             gatewayClassName: {class}\n  listeners: [{{name: http, port: 80, protocol: HTTP}}]\n"
        )
    };
    // In a folder of its own, which is applied with that of the route.
    let (one, other) = (scratch("gateway-apart"), scratch("route-apart"));
    fs::write(one.join("gateway.yaml"), gateway("istio")).unwrap();
    fs::write(other.join("route.yaml"), route).unwrap();
    let Ran { out, .. } = run(&["check", one.to_str().unwrap(), other.to_str().unwrap()]);
    assert!(!out.contains("its parent") && !out.contains("not checked"), "{out}");
}

#[test]
fn values_in_a_folder_are_named_and_skipped_and_refused_by_name() {
    let values = root().join("envoy-gateway/helm-values.yaml");
    let folder = scratch("values");
    fs::copy(&values, folder.join("helm-values.yaml")).unwrap();
    let Ran { out, code, err } = run(&["check", folder.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said = "helm-values.yaml:2: note: document: not a Kubernetes resource: it has no apiVersion and no kind, so it was \
                not checked";
    assert!(out.contains(said), "{out}");
    let Ran { code, err, .. } = run(&["check", values.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("helm-values.yaml:2: not a Kubernetes resource"), "{err}");
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
