//! Clients of the shipped bootstraps do not manage the model servers: not by REST, and not by gRPC.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use e2e::{Protocol, Request, repository};
use serde_json::Value;

use crate::{SERVICE, ask};

const REST: [&str; 16] = [
    "/v2/models",
    "/v2/repository/index",
    "/v2/repository/r/index",
    "/v2/repository/models/m/load",
    "/v2/repository/r/models/m/load",
    "/v2/repository/models/m/unload",
    "/v2/trace/setting",
    "/v2/models/m/trace/setting",
    "/v2/logging",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/status",
    "/v2/cudasharedmemory/region/r/status",
    "/v2/cudasharedmemory/region/r/register",
    "/v2/cudasharedmemory/region/r/unregister",
];
const GRPC: [&str; 11] = [
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "TraceSetting",
    "LogSettings",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
];

/// Every path, with and without something in front that the transcoder's `path_prefixes` may allow.
fn paths() -> Vec<String> {
    let behind = |prefix: &'static str| REST.iter().map(move |path| format!("{prefix}{path}"));
    let rest = ["", "/serving/ns/isvc", "/a/b/c/d"].into_iter().flat_map(behind);
    rest.chain(GRPC.iter().map(|method| format!("{SERVICE}/{method}"))).collect()
}

/// A running Envoy refuses all of them.
pub(crate) fn refused(address: SocketAddr) {
    for protocol in Protocol::BOTH {
        for path in paths() {
            let grpc = path.starts_with(SERVICE);
            let request = if grpc { Request::grpc(&path, b"") } else { Request::get(&path) };
            let answer = ask(protocol, address, &request);
            // A gRPC client learns it by grpc-status.
            let refused = answer.status() == 403 || answer.header("grpc-status") == Some(b"7");
            assert!(refused, "{protocol:?} {path}: {} {}", answer.status(), answer.text());
        }
    }
}

/// In every file, in front of every transcoder, and wherever a route leads to model servers without one.
pub(crate) fn every_chain_refuses_it() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("envoy")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bootstrap = istio_lint::yaml::<Value>(&path).unwrap().remove(0);
        for listener in bootstrap["static_resources"]["listeners"].as_array().unwrap() {
            let chains = listener["filter_chains"].as_array().unwrap();
            let managers = chains.iter().flat_map(|chain| chain["filters"].as_array().unwrap());
            for manager in managers.map(|filter| &filter["typed_config"]) {
                let to_models = manager["route_config"].to_string().contains(SERVICE);
                let filters = manager["http_filters"].as_array().unwrap();
                let first = filters.iter().position(|filter| {
                    let text = filter.to_string();
                    ["kserve_transcoder", "dynamic_subset"].iter().any(|module| text.contains(module))
                });
                let Some(first) = first.or(to_models.then_some(filters.len())) else { continue };
                let place = format!("{name}, {}", listener["name"]);
                for path in paths() {
                    let denied = filters[..first].iter().any(|filter| denies(filter, &path));
                    assert!(denied, "{place}: {path} is open");
                }
                for path in ["/v2", "/v2/health/ready", "/v2/models/m", "/v2/models/m/infer"] {
                    let denied = filters.iter().any(|filter| denies(filter, path));
                    assert!(!denied, "{place}: {path} is refused");
                }
                found.insert(name.clone());
            }
        }
    }
    assert!(found.len() >= 12, "{found:?}");
}

/// Whether an RBAC filter refuses everybody this path.
fn denies(filter: &Value, path: &str) -> bool {
    let rules = &filter["typed_config"]["rules"];
    let policies = rules["policies"].as_object().into_iter().flat_map(|policies| policies.values());
    let everybodys = policies.filter(|policy| policy["principals"][0]["any"] == true);
    let mut permissions = everybodys.flat_map(|policy| policy["permissions"].as_array().unwrap());
    rules["action"] == "DENY"
        && permissions.any(|permission| {
            let matcher = &permission["url_path"]["path"];
            let is = |kind: &str, matches: fn(&str, &str) -> bool| {
                matcher[kind].as_str().is_some_and(|pattern| matches(path, pattern))
            };
            is("contains", |path, pattern| path.contains(pattern))
                || is("prefix", |path, pattern| path.starts_with(pattern))
                || is("suffix", |path, pattern| path.ends_with(pattern))
        })
}
