//! What tests of `migrate` share.

use std::fs;

use super::{Ran, run, scratch};

/// Migrates a folder with a file of this text, and returns the output and the account.
pub(crate) fn migrated(name: &str, text: &str, more: &[&str]) -> (String, String, i32) {
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

/// The first lines of a transcoder at a gateway.
pub(crate) const TRANSCODER: &str = "apiVersion: istio.alibabacloud.com/v1beta1\nkind: ASMGrpcJsonTranscoder\n\
                          metadata: {name: t, namespace: istio-system}\nspec:\n  workloadSelector: {labels: {istio: ingressgateway}}\n  isGateway: true\n";

/// A route to groups of two keys.
pub(crate) const RULES: &str = "apiVersion: networking.istio.io/v1
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

/// A route by a header to groups of one host, as the vendor has it.
pub(crate) const GROUPS_BY_STAGE: &str = "\
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
