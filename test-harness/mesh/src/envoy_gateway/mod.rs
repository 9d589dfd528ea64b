//! The resources of `envoy-gateway/`, applied to the real Envoy Gateway and tried.
//!
//! Envoy Gateway runs standalone (`provider: Custom`), with files for an API server and Envoy as its child, on the ports
//! that it always has: the program is in a network namespace of its own. The files are the repository's, with three
//! texts replaced: the module's path, the issuer's public key, whose private half only its issuer has, and in the
//! EnvoyProxy for a cluster its place, a machine.

mod claims;
mod groups;
mod server;
mod wasm;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::groups::NAMES;
use e2e::{Protocol, Request, TokenKey, dist, send};
use odd_server::{OddServer, Recorded};
use tokio::runtime::Runtime;

use crate::names::Names;
use crate::place::{Place, RESOLVER};
use crate::registry::Registry;
use crate::report::Report;
use crate::requests;
use server::{Proxy, Server};

/// Where the resources have the native module.
const MODULE: &str = "/modules/libinference_filters.so";
/// The key of the issuer that the resources trust.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"example","x":"0TCD6F9ooUMhiWooebV_zkDXDb_z9cOU_yYfgYEHBF0","y":"BxM5piSeM8O8uTVge8fjE4U8-UCYfK3JoIBip0ZHTJo"}"#;
/// The port of the model servers in the resources.
const GRPC: u16 = 8033;

/// Each form of the EnvoyProxy, and the Envoy that it is tried with: a release of the tests' matrix, whole and as it is
/// named there.
const PROXIES: [(&str, &str, &str); 2] =
    [("base/envoyproxy.yaml", "1.39.3", "1.39"), ("standalone/envoyproxy.yaml", "1.40.0", "1.40")];
/// What the EnvoyProxy for a cluster says of its place. On a machine it must name a version: there is no image that does, and
/// Envoy Gateway would ask the Internet for the newest one.
const CLUSTER: &str = "    type: Kubernetes\n";

/// What is tried of a folder of resources.
type Try = fn(&Gateway<'_>, &mut Report);

const FOLDERS: [(&str, Try); 7] = [
    ("native", |gateway, report| gateway.inference(report)),
    ("native-groups", groups::tried),
    ("native-subsets", groups::tried),
    ("native-claims", |gateway, report| claims::tried(gateway, claims::Form::Builtin, report)),
    ("native-jwt", |gateway, report| claims::tried(gateway, claims::Form::Jwt, report)),
    ("wasm", |gateway, report| {
        gateway.inference(report);
        report.check("the module pulled from the registry", gateway.pulled(&["kserve-transcoder"]));
    }),
    ("wasm-jwt", |gateway, report| {
        claims::tried(gateway, claims::Form::JwtInWasm, report);
        let modules = ["claim-headers", "kserve-transcoder"];
        report.check("the modules pulled from the registry", gateway.pulled(&modules));
    }),
];

/// Tries all folders, or those that are named.
///
/// # Errors
/// If a name is unknown, or nothing can be tried.
pub fn run(place: &Place, wanted: &[String], report: &mut Report) -> Result<()> {
    let known = || FOLDERS.iter().map(|(name, _)| *name);
    if let Some(unknown) = wanted.iter().find(|want| !known().any(|name| name == *want)) {
        bail!("unknown folder {unknown}; there are {}", known().collect::<Vec<_>>().join(", "));
    }
    let runtime = Runtime::new().context("make a runtime")?;
    let servers = ModelServers::start(place, &runtime)?;
    let registry = wasm::registry(place, &runtime)?;
    for (proxy, version, minor) in PROXIES {
        let envoy = e2e::installed(minor).map_err(|variable| {
            anyhow!("{variable} is missing: run this through `cargo xtask envoy-gateway`")
        })?;
        let envoy = Proxy { binary: envoy.path, version };
        for (folder, tried) in
            FOLDERS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
        {
            report.begin(&format!("{folder} with {proxy}, Envoy {version}"));
            let ran = applied(place, &envoy, proxy, folder, &servers, &registry).map(|gateway| {
                tried(&gateway, report);
                report.check("everything accepted by Envoy Gateway and Envoy", gateway.accepted());
            });
            report.end(ran);
        }
    }
    Ok(())
}

/// The resources of this project for Envoy Gateway.
fn folder() -> PathBuf {
    e2e::repository().join("envoy-gateway")
}

/// The model servers, and the names by which the resources know them.
struct ModelServers {
    all: Vec<OddServer>,
    _names: Names,
}

impl ModelServers {
    fn start(place: &Place, runtime: &Runtime) -> Result<Self> {
        let (mut all, mut addresses) = (Vec::new(), Vec::<(&str, IpAddr)>::new());
        for name in NAMES {
            let address = place.address()?;
            all.push(e2e::groups::start_on(name, SocketAddr::new(address, GRPC))?);
            addresses.push((name, address));
        }
        // As a cluster's DNS answers for a headless Service: with the addresses of all its pods.
        let lookup = move |name: &str| {
            if name == wasm::CODE_SERVER {
                return Some(vec![Ipv4Addr::LOCALHOST.into()]);
            }
            let service = name.strip_suffix(".inference.svc.cluster.local")?;
            let of_group = addresses.iter().filter(|(server, _)| server.starts_with(service));
            Some(of_group.map(|(_, address)| *address).collect::<Vec<_>>()).filter(|found| !found.is_empty())
        };
        let names = Names::start(runtime.handle(), (RESOLVER, 53).into(), lookup)?;
        Ok(Self { all, _names: names })
    }

    fn requests(&self) -> Vec<(&'static str, Recorded)> {
        let all = NAMES.iter().zip(&self.all);
        all.flat_map(|(name, server)| server.requests().into_iter().map(|seen| (*name, seen))).collect()
    }
}

/// A Gateway that serves.
struct Gateway<'s> {
    server: Server,
    servers: &'s ModelServers,
    registry: &'s Registry,
    issuer: TokenKey,
}

/// Starts Envoy Gateway with the resources of the base and of a folder, and waits until a model server answers.
fn applied<'s>(
    place: &Place,
    envoy: &Proxy,
    proxy: &str,
    name: &str,
    servers: &'s ModelServers,
    registry: &'s Registry,
) -> Result<Gateway<'s>> {
    registry.forget();
    let issuer = TokenKey::new(7)?;
    let base = ["00-namespace.yaml", "gateway.yaml", "backends.yaml"];
    let mut files = vec![folder().join(proxy)];
    files.extend(base.map(|file| folder().join("base").join(file)));
    let own = fs::read_dir(folder().join(name)).with_context(|| format!("read envoy-gateway/{name}"))?;
    files.extend(own.flatten().map(|entry| entry.path()));
    let module = dist("libinference_filters.so");
    let mut resources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let text = text.replace(MODULE, &module.to_string_lossy()).replace(KEY, &issuer.key());
        let machine = format!("    type: Host\n    host: {{ envoyVersion: {} }}\n", envoy.version);
        let text = text.replace(CLUSTER, &machine);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        resources.push((name, text));
    }
    let mut server = Server::start(place, envoy, &resources, name.starts_with("wasm"))?;
    server.wait("no model server answers", &Request::get("/v2/health/ready"))?;
    Ok(Gateway { server, servers, registry, issuer })
}

impl Gateway<'_> {
    fn inference(&self, report: &mut Report) {
        let address = Server::address();
        report.check("readiness of the server and of a model", ready(address));
        report.check("JSON over HTTP/1.1 and HTTP/2, and gRPC", requests::inferences(address));
        report.check("a 12 MB tensor", requests::large_tensor(address));
        report.check("errors in KServe's shape", requests::errors(address));
        report.check("repository calls denied", requests::repository_calls(address, &self.servers.all));
    }

    fn pulled(&self, modules: &[&str]) -> Result<()> {
        modules.iter().try_for_each(|module| wasm::pulled(self.registry, module))
    }

    fn accepted(&self) -> Result<()> {
        let refused = self.server.refused();
        ensure!(refused.is_empty(), "{}", refused.join("\n"));
        Ok(())
    }
}

fn ready(address: SocketAddr) -> Result<()> {
    for path in ["/v2/health/ready", "/v2/models/any/ready"] {
        let answer = send(Protocol::Http1, address, &Request::get(path))?.complete()?;
        ensure!(answer.status() == 200, "{path}: {} {}", answer.status(), answer.text());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use istio_lint::Resource;
    use istio_lint::embedded;
    use istio_lint::envoy_gateway::configurations;

    use super::*;

    /// Every resource, with the file that it is in.
    fn resources() -> Vec<(PathBuf, Resource)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            for file in fs::read_dir(entry.path()).unwrap().flatten().map(|file| file.path()) {
                // The configuration of the server, which is not a resource.
                if !file.ends_with("standalone/envoy-gateway.yaml") {
                    let read = istio_lint::read(&file).unwrap();
                    found.extend(read.into_iter().map(|resource| (file.clone(), resource)));
                }
            }
        }
        found
    }

    #[test]
    fn every_configuration_is_one_that_its_filter_takes() {
        let mut read = 0;
        for (file, resource) in resources() {
            for (_, configuration) in configurations(&resource) {
                embedded::read(&configuration).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
                read += 1;
            }
        }
        assert_eq!(read, 14);
    }

    #[test]
    fn what_the_tests_replace_is_there_and_each_route_refuses_the_same_calls() {
        let all = resources();
        let texts: Vec<_> = all.iter().map(|(file, _)| fs::read_to_string(file).unwrap()).collect();
        for replaced in [MODULE, KEY, CLUSTER] {
            assert!(texts.iter().any(|text| text.contains(replaced)), "{replaced}");
        }
        let authorisations: Vec<_> =
            all.iter().filter_map(|(_, resource)| resource.at("/spec/authorization")).collect();
        assert_eq!(authorisations.len(), 3);
        assert!(authorisations.iter().all(|authorisation| *authorisation == authorisations[0]));
    }
}
