//! `migrate`: what it reads, and where the output goes.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;

use command::migration::{RULES, TRANSCODER, migrated};
use command::{Ran, has, run, run_with, scratch};

#[test]
fn a_stream_goes_through_and_what_is_stock_is_not_touched() {
    let stock = "# A comment.\n---\napiVersion: v1\nkind: Service # here\nmetadata: {name: a}\n---\n# Only a comment.\n---\nkind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\nresources: []\n";
    let Ran { out, code, err } = run_with(&["migrate", "-"], stock);
    assert_eq!((code, out.as_str()), (0, stock), "{err}");
    has(&err, &["standard input:3: passed: Service default/a: as it stands", "1 passed"]);
    let Ran { out, code, err } =
        run_with(&["migrate", "--report-format", "json", "-"], &format!("{TRANSCODER}  priority: 5\n"));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("\"action\": \"refused\"") && err.contains("nothing was written"), "{err}");
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

#[test]
fn a_template_is_told_for_what_it_is() {
    let template =
        "kind: ASMGrpcJsonTranscoder\nmetadata: {name: a}\nspec:\n  portNumber: {{ .Values.port }}\n";
    let Ran { err, code, .. } = run_with(&["migrate", "-"], template);
    assert_eq!(code, 2, "{err}");
    has(&err, &["give the output of helm template"]);
}

const LIST: &str = "\
# All of it.
apiVersion: v1
kind: List
items:
# An account.
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
- apiVersion: istio.alibabacloud.com/v1beta1
  # The kind.
  kind: ASMGrpcJsonTranscoder
  metadata: {name: t, namespace: istio-system}
  spec: {isGateway: true, portNumber: 8008, workloadSelector: {labels: {istio: ingressgateway}}} # REST
# Models.
- apiVersion: istio.alibabacloud.com/v1beta1
  kind: ASMKServeConfig
  metadata: {name: default}
  spec: {enabled: true}
";

#[test]
fn a_list_with_something_of_the_vendors_becomes_documents() {
    let Ran { err, out, code } = run_with(&["migrate", "-"], LIST);
    assert_eq!(code, 0, "{err}");
    has(
        &out,
        &[
            "# All of it.\n# An account.\napiVersion: v1\nkind: ServiceAccount\n",
            "---\napiVersion: extensions.istio.io/v1alpha1\n# The kind.\n",
        ],
    );
    assert!(!out.contains("kind: List") && !out.contains("ASM"), "{out}");
    has(
        &err,
        &[
            "standard input:6: passed: ServiceAccount default/a: as it stands, in a document of its own",
            "standard input:11: mapped: ASMGrpcJsonTranscoder istio-system/t /spec/portNumber",
            "standard input:14: to do: ASMKServeConfig default/default /kind",
        ],
    );
    let Ran { out: again, .. } = run_with(&["migrate", "-"], &out);
    assert_eq!(again, out);
    // As kubectl prints it, on one line.
    let json = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}},{"apiVersion":"istio.alibabacloud.com/v1beta1","kind":"ASMKServeConfig","metadata":{"name":"default"},"spec":{"enabled":true}}]}"#;
    let Ran { err, out, code } = run_with(&["migrate", "-"], json);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("apiVersion: v1\nkind: Service\n") && !out.contains("ASM"), "{out}");
}

#[test]
fn a_list_of_stock_resources_stays_and_of_a_refused_item_only_that_is_kept() {
    let stock = LIST.split("- apiVersion").next().unwrap();
    let Ran { out, code, .. } = run_with(&["migrate", "-"], stock);
    assert_eq!((code, out.as_str()), (0, stock));
    let refused = LIST.replace("isGateway: true,", "isGateway: true, priority: 5,");
    let Ran { err, out, code } = run_with(&["migrate", "--keep-going", "-"], &refused);
    assert_eq!(code, 1, "{err}");
    has(&out, &["kind: ASMGrpcJsonTranscoder", "kind: ServiceAccount"]);
    has(&err, &["kept: ASMGrpcJsonTranscoder istio-system/t: ", "to do: ASMKServeConfig"]);
    assert!(!out.contains("ASMKServeConfig") && !err.contains("kept: ServiceAccount"), "{err}");
}

#[test]
fn the_comments_of_what_becomes_another_kind_come_along() {
    let text = "\
# First.

# The article's.
apiVersion: istio.alibabacloud.com/v1beta1 # theirs
kind: ASMGrpcJsonTranscoder
metadata:
  name: t # its name
  namespace: istio-system
spec:
  # Only REST comes in here.
  portNumber: 8008 # REST
  # Theirs has it built in.
  builtinProtoDescriptor: kserve_predict_v2
  isGateway: true # at the edge
  workloadSelector:
    labels:
      istio: ingressgateway # the one for models
  printOptions:
    addWhitespace: true # for people
# The end.
";
    let comments = |text: &str| {
        let all =
            text.lines().filter_map(|line| line.split_once("# ").map(|(_, comment)| comment.to_owned()));
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    };
    for form in ["wasm", "hold", "native"] {
        let Ran { out, err, code } = run_with(&["migrate", "--form", form, "-"], text);
        assert_eq!(code, 0, "{err}");
        assert_eq!(comments(&out), comments(text), "{out}");
        assert!(out.starts_with("# First.\n# The article's.\napiVersion: "), "{out}");
    }
    let Ran { out, .. } = run_with(&["migrate", "-"], text);
    has(
        &out,
        &[
            "  # Only REST comes in here.\n  match: # REST\n",
            "istio: ingressgateway # the one for models\n",
            "add_whitespace: true # for people\n",
        ],
    );
}

#[test]
fn a_folder_with_other_manifests_is_not_written_to() {
    let folder = scratch("migrate-alone");
    let (input, out) = (folder.join("in"), folder.join("out"));
    fs::create_dir_all(&input).unwrap();
    let write = |name: &str, text: &str| fs::write(input.join(name), text).unwrap();
    write("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n");
    write(
        "b.yaml",
        "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMKServeConfig\nmetadata: {name: d}\nspec: {enabled: true}\n",
    );
    let report = out.join("account.json");
    let migrate = || {
        let [input, out, report] = [&input, &out, &report].map(|path| path.to_str().unwrap());
        run(&["migrate", input, "-o", out, "--report", report, "--report-format", "json"])
    };
    // Again into the folder that it made, with a file that is not a manifest.
    for _ in 0..2 {
        let Ran { code, err, .. } = migrate();
        assert_eq!((code, err.as_str()), (0, ""));
        fs::write(out.join("NOTES.md"), "mine").unwrap();
    }
    assert!(!out.join("b.yaml").exists());
    fs::copy(input.join("b.yaml"), out.join("b.yaml")).unwrap();
    fs::write(out.join("a.yaml"), "# mine\n").unwrap();
    let Ran { code, err, .. } = migrate();
    assert_eq!(code, 2);
    has(&err, &["--out", "out has b.yaml already, which this output does not have"]);
    assert_eq!(fs::read_to_string(out.join("a.yaml")).unwrap(), "# mine\n");
}
