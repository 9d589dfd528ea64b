//! Any of the vendor's fields, in any order, valid or broken: the output lints clean, or an error names the path.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use command::{Ran, run_with};
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Fields of a transcoder: most are right, some are broken.
const TRANSCODER: [&str; 23] = [
    "workloadSelector: {labels: {istio: ingressgateway}}",
    "isGateway: true",
    "portNumber: 8008",
    "portNumber: 99999",
    "builtinProtoDescriptor: kserve_predict_v2",
    "builtinProtoDescriptor: [x]",
    "transcodeFirst: true",
    "transcodeFirst: yes please",
    "convertGrpcStatus: false",
    "convertGrpcStatus: true",
    "ignoredQueryParameters: [a, b]",
    "ignoredQueryParameters: {a: b}",
    "ignoreUnknownQueryParameters: true",
    "services: [inference.GRPCInferenceService]",
    "services: [1]",
    "protoDescriptorBin: Zm9v",
    "printOptions: {addWhitespace: true}",
    "printOptions: []",
    "matchIncomingRequestRoute: false",
    "autoMapping: {}",
    "autoMapping: true",
    "priority: 0",
    "whatever: {a: [b]}",
];
/// Fields of a route.
const ROUTE: [&str; 9] = [
    "name: r",
    "headerToDynamicSubsetKey: [{header: x-stage, key: stage}, {header: x-version, key: version}]",
    "headerToDynamicSubsetKey: [{header: x-stage}]",
    "headerToDynamicSubsetKey: {}",
    "match: [{port: 8008}, {uri: {prefix: /v2}, headers: {x-stage: {exact: prod}}}]",
    "match: {}",
    "route: [{destination: {host: m, port: {number: 80}}}]",
    "route: [{destination: {host: m, subset: s}, fallback: {subset: x}}]",
    "timeout: 5s",
];
/// Fields of a DestinationRule's dynamic subsets.
const DYNAMIC: [&str; 10] = [
    "subsetSelectors: [{keys: [stage]}, {keys: [stage, version]}]",
    "subsetSelectors: [{keys: [other]}]",
    "subsetSelectors: [{keys: []}]",
    "subsetSelectors: 1",
    "fallbackPolicy: ANY_ENDPOINT",
    "fallbackPolicy: {a: b}",
    "fallbackPolicy: DEFAULT_SUBSET",
    "defaultSubset: {version: v1}",
    "defaultSubset: []",
    "whatever: 1",
];

/// Some of these fields, each key once, in any order.
fn some(fields: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(fields, 0..=fields.len()).prop_shuffle().prop_map(|mut chosen| {
        let key = |field: &str| field.split(':').next().unwrap_or_default().to_owned();
        let mut seen = std::collections::BTreeSet::new();
        chosen.retain(|field| seen.insert(key(field)));
        chosen
    })
}

fn document(head: &str, fields: &[&str], indent: &str) -> String {
    if fields.is_empty() {
        return format!("{head} {{}}\n");
    }
    let lines: Vec<_> = fields.iter().map(|field| format!("{indent}{field}\n")).collect();
    format!("{head}\n{}", lines.concat())
}

/// Those of the fields that are right.
const RIGHT: [&str; 8] = [
    "workloadSelector: {labels: {istio: ingressgateway}}",
    "isGateway: true",
    "portNumber: 8008",
    "builtinProtoDescriptor: kserve_predict_v2",
    "transcodeFirst: false",
    "ignoredQueryParameters: [a, b]",
    "printOptions: {addWhitespace: true}",
    "priority: 0",
];
const ROUTED: [&str; 4] = [
    "name: r",
    "headerToDynamicSubsetKey: [{header: x-stage, key: stage}, {header: x-version, key: version}]",
    "match: [{port: 8008}, {uri: {prefix: /v2}}]",
    "route: [{destination: {host: m, port: {number: 80}}}]",
];
const SELECTED: [&str; 2] =
    ["subsetSelectors: [{keys: [stage]}, {keys: [stage, version]}]", "fallbackPolicy: NO_FALLBACK"];
/// What the policy can tell apart.
const VERSIONED: [&str; 4] = [
    "name: r",
    "headerToDynamicSubsetKey: [{header: x-version, key: version}]",
    "match: [{port: 8008}, {uri: {prefix: /v2}}]",
    "route: [{destination: {host: m, port: {number: 80}}}]",
];
const BY_VERSION: [&str; 1] = ["subsetSelectors: [{keys: [version]}]"];

/// All of these fields, in any order.
fn all(fields: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    Just(fields.to_vec()).prop_shuffle()
}

/// Fields of each resource: broken ones among them, or right ones only.
fn fields() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>)> {
    prop_oneof![
        (some(&TRANSCODER), some(&ROUTE), some(&DYNAMIC)),
        (some(&RIGHT), all(&ROUTED), all(&SELECTED)),
        (all(&RIGHT), all(&ROUTED), all(&SELECTED)),
        (all(&RIGHT), all(&VERSIONED), all(&BY_VERSION)),
    ]
}

/// Options for the other forms.
fn options() -> impl Strategy<Value = Vec<&'static str>> {
    let form = prop_oneof![Just("wasm"), Just("hold"), Just("native")];
    let groups = prop_oneof![Just("routes"), Just("subset-lb"), Just("policy")];
    let sign_on = prop_oneof![
        Just(&[][..]),
        Just(
            &[
                "--sign-on",
                "https://idp.example",
                "--jwks",
                "https://idp.example/jwks",
                "--audience",
                "a",
                "--gateway",
                "a/g",
            ][..]
        ),
    ];
    (form, groups, sign_on)
        .prop_map(|(form, groups, sign_on)| [&["--form", form, "--groups", groups], sign_on].concat())
}

/// What the other forms look for besides the vendor's resources.
const STOCK: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: a}\n\
                     spec: {selector: {istio: in}, servers: [{hosts: ['*'], port: {number: 8008, name: http, protocol: HTTP}}]}\n\
                     ---\napiVersion: v1\nkind: Service\nmetadata: {name: m, namespace: a}\n\
                     spec: {selector: {app: m}, ports: [{name: http, port: 80, targetPort: 8080}]}\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fields_give_clean_output_or_an_error_with_the_path(
        (transcoder, route, dynamic) in fields(), host in prop_oneof![Just("m"), Just("n")],
        order in Just([0, 1, 2, 3]).prop_shuffle(), options in options(),
    ) {
        let documents = [
            document(
                "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMGrpcJsonTranscoder\nmetadata: {name: t, namespace: istio-system}\nspec:",
                &transcoder,
                "  ",
            ),
            document(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: a}\nspec:\n  gateways: [g]\n  hosts: ['*']\n  http:\n  -",
                &route,
                "    ",
            ),
            document(
                &format!("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: a}}\nspec:\n  host: {host}\n  trafficPolicy:\n    loadBalancer:\n      dynamicSubset:"),
                &dynamic,
                "        ",
            ),
            STOCK.to_owned(),
        ];
        let input: Vec<_> = order.iter().map(|index| documents[*index].as_str()).collect();
        let input = input.join("---\n");
        let Ran { out, err, code } = run_with(&[&["migrate", "-"], &options[..]].concat(), &input);
        match code {
            0 => {
                let Ran { out: found, code, .. } = run_with(&["check", "-"], &out);
                prop_assert_eq!(code, 0, "{}\n{}", found, out);
                let Ran { out: again, .. } = run_with(&[&["migrate", "-"], &options[..]].concat(), &out);
                prop_assert_eq!(again, out);
            }
            1 => {
                prop_assert_eq!(out, "");
                let refused: Vec<_> = err.lines().filter(|line| line.contains(": refused: ")).collect();
                prop_assert!(!refused.is_empty(), "{}", err);
                for line in refused {
                    prop_assert!(line.starts_with("standard input:") && line.contains(" /"), "{}", line);
                }
            }
            other => prop_assert!(false, "{}: {:?} {}\n{}", other, options, err, input),
        }
    }
}
