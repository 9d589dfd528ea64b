//! The overlays of `istio/kserve-transcoder` and `istio/dynamic-subset`: four model servers of two groups behind a
//! gateway or a waypoint.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::groups::{self, NAMES, who};
use e2e::{Protocol, Request, send};
use istio_lint::{Resource, kustomize};
use odd_server::{OddServer, wire};

use super::{accepted, pulled};
use crate::control_plane::ROOT_NAMESPACE;
use crate::hbone::Tunnel;
use crate::proxy::Proxy;
use crate::report::Report;
use crate::requests::{self, infer};
use crate::setup::Mesh;
use crate::world::{Pod, Workload};

pub(super) const NAMESPACE: &str = "modelmesh-serving";
const SERVICE: &str = "modelmesh-serving";
const GRPC: u16 = 8033;
/// The account of the pods that ask for inferences.
const CLIENT: &str = "client";
/// How long a module and an endpoint may take to be there.
const FIRST_ANSWER: Duration = Duration::from_secs(90);
/// How many requests are sent while an endpoint goes and comes.
const MIXED: usize = 200;

/// Applies an overlay to a cluster with its model servers, and tries it.
pub(crate) fn run(mesh: &Mesh, overlay: &Path, name: &str, stays: bool, report: &mut Report) -> Result<()> {
    let resources = kustomize::build(overlay)?;
    let mut tried = Tried::raise(mesh, &resources)?;
    report.check("applied unchanged", Ok(()));
    report.check("first answer", tried.first_answer());
    report.check("accepted by Envoy", accepted(&tried.proxy));
    report.check("JSON over HTTP/1.1 and HTTP/2, and gRPC", tried.inferences());
    report.check("a 12 MB tensor", requests::large_tensor(tried.address));
    report.check("errors in KServe's shape", requests::errors(tried.address));
    report.check("repository calls denied", requests::repository_calls(tried.address, &tried.servers));
    if name.contains("-subset-lb") {
        report.check("plain text to the pods, past HBONE", tried.plain_text());
    } else {
        report.check("HBONE to the pods with the proxy's identity", tried.identities());
    }
    if !name.ends_with("-native") {
        report.check("modules pulled from the registry", pulled(mesh, &resources));
    }
    let cases = if name.starts_with("dynamic-subset") {
        groups::cases(name.ends_with("-hold") || name.ends_with("-native"))
    } else if name.ends_with("-model-routes") {
        routes_of_models()
    } else {
        Vec::new()
    };
    if !cases.is_empty() {
        let what = format!("{MIXED} mixed requests, each to its group, while an endpoint goes and comes");
        report.check(&what, tried.groups(&cases));
    }
    if stays {
        let how = tried.how_to_ask()?;
        super::stay(mesh, report, &how)?;
    }
    Ok(())
}

/// An overlay that has been applied.
pub(super) struct Tried<'m> {
    mesh: &'m Mesh,
    /// The gateway or waypoint.
    pub(super) proxy: Proxy,
    /// Where a client in the mesh sends requests.
    pub(super) address: SocketAddr,
    /// What takes them to a waypoint.
    tunnel: Option<Tunnel>,
    servers: Vec<OddServer>,
    pods: Vec<Pod>,
}

impl<'m> Tried<'m> {
    pub(super) fn raise(mesh: &'m Mesh, resources: &[Resource]) -> Result<Self> {
        Self::raise_by(mesh, resources, || mesh.world.apply(resources))
    }

    /// As [`raise`](Self::raise), where `apply` brings the resources into the cluster.
    pub(super) fn raise_by(
        mesh: &'m Mesh,
        resources: &[Resource],
        apply: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let world = &mesh.world;
        world.ambient_namespace(NAMESPACE)?;
        world.account(NAMESPACE, "modelmesh")?;
        world.account(NAMESPACE, CLIENT)?;
        let waypoint = resources.iter().any(|r| r.text("/spec/gatewayClassName") == "istio-waypoint");
        let labels: &[(&str, &str)] = if waypoint { &[("istio.io/use-waypoint", "waypoint")] } else { &[] };
        let selector = [("modelmesh-service", SERVICE)];
        let virtual_address =
            world.service(NAMESPACE, SERVICE, labels, &selector, &[("grpc", GRPC, GRPC)])?;
        let (mut servers, mut pods) = (Vec::new(), Vec::new());
        for server in NAMES {
            let address = world.place.address()?;
            servers.push(groups::start_on(server, SocketAddr::new(address, GRPC))?);
            pods.push(world.pod(&workload_of(server, &labels_of(server)), address)?);
        }
        apply()?;
        if waypoint {
            let proxy = world.waypoint(NAMESPACE, "waypoint")?;
            let caller = world.identity(NAMESPACE, CLIENT)?;
            let hbone = SocketAddr::new(proxy.address(), 15008);
            let authority = format!("{virtual_address}:{GRPC}");
            let tunnel = Tunnel::open(&world.handle, hbone, &authority, &caller, world.place.address()?)?;
            let address = tunnel.address();
            return Ok(Self { mesh, proxy, address, tunnel: Some(tunnel), servers, pods });
        }
        let proxy = if resources.iter().any(|r| r.is("gateway.networking.k8s.io", "Gateway")) {
            world.gateway(NAMESPACE, "inference-gateway")?
        } else {
            let labels = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
            world.chart_gateway("istio-ingressgateway", &labels, &[("http-inference", 8008)])?
        };
        let address = SocketAddr::new(proxy.address(), 8008);
        Ok(Self { mesh, proxy, address, tunnel: None, servers, pods })
    }

    /// The first request after the agent is ready may meet a module that is still being fetched, or an endpoint that is
    /// not there yet.
    pub(super) fn first_answer(&mut self) -> Result<()> {
        let request = Request::get("/v2/health/ready");
        let deadline = Instant::now() + FIRST_ANSWER;
        loop {
            match send(Protocol::Http1, self.address, &request) {
                Ok(answer) if answer.status() == 200 => return Ok(()),
                _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
                Ok(answer) => {
                    let last = self.proxy.process().last_lines();
                    bail!("{} {}\n{last}", answer.status(), answer.text())
                }
                Err(error) => return Err(error).context("ask whether the server is ready"),
            }
        }
    }

    /// How a user sends an inference from outside.
    fn how_to_ask(&self) -> Result<String> {
        let enter = self.mesh.world.place.entered()?;
        let at = if self.tunnel.is_some() { "through HBONE to the waypoint" } else { "at the gateway" };
        Ok(format!(
            "The overlay stays up, in a network of its own. An inference in JSON {at}, which a gRPC server answers:\n\n  \
             {enter} \\\n    curl -s --noproxy '*' http://{}/v2/models/any/infer -d '{}'",
            self.address,
            requests::INFERENCE
        ))
    }

    pub(super) fn inferences(&self) -> Result<()> {
        requests::inferences(self.address)
    }

    pub(super) fn identities(&self) -> Result<()> {
        let expected = match &self.tunnel {
            Some(tunnel) => {
                let expected = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/waypoint");
                let peer = tunnel.peer().unwrap_or_default();
                ensure!(peer == expected, "the waypoint's certificate is for {peer}");
                expected
            }
            None if self.proxy.namespace() == NAMESPACE => {
                format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/inference-gateway-istio")
            }
            None => format!("spiffe://cluster.local/ns/{ROOT_NAMESPACE}/sa/istio-ingressgateway"),
        };
        let calls = self.mesh.world.redirect.calls()?;
        let ours: Vec<_> =
            calls.iter().filter(|call| self.pods.iter().any(|pod| pod.address == call.pod)).collect();
        ensure!(!ours.is_empty(), "no pod was called by HBONE");
        let other = ours.iter().find(|call| call.peer != expected);
        other.map_or(Ok(()), |call| bail!("{} was called by {}", call.pod, call.peer))
    }

    /// The cluster that these overlays add has no transport socket, as their README says.
    fn plain_text(&self) -> Result<()> {
        let calls = self.mesh.world.redirect.calls()?;
        let by_hbone = calls.iter().find(|call| self.pods.iter().any(|pod| pod.address == call.pod));
        ensure!(self.servers.iter().any(|server| !server.requests().is_empty()), "no server was asked");
        by_hbone.map_or(Ok(()), |call| bail!("{} was called by HBONE, by {}", call.pod, call.peer))
    }

    /// Sends requests in turn while one endpoint of the first group is removed and another takes its place.
    pub(super) fn groups(&mut self, cases: &[(Request, &'static str)]) -> Result<()> {
        let going = self.pods.remove(0);
        let (world, proxy) = (&self.mesh.world, &self.proxy);
        let (address, name) = (going.address, NAMES[0]);
        let endpoint = format!("{address}:{GRPC}");
        let away = AtomicBool::new(false);
        let (sent, came) = thread::scope(|scope| {
            let changing = scope.spawn(|| -> Result<Pod> {
                thread::sleep(Duration::from_millis(300));
                world.remove(&going, || Ok(!proxy.admin("/clusters")?.contains(&endpoint)))?;
                away.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_secs(1));
                away.store(false, Ordering::SeqCst);
                world.pod(&workload_of(name, &labels_of(name)), address)
            });
            let sent = self.mixed(cases, &away, || changing.is_finished());
            (sent, changing.join().unwrap_or_else(|_| Err(anyhow!("the thread of the pods panicked"))))
        });
        self.pods.insert(0, came?);
        sent
    }

    /// Sends at least [`MIXED`] requests, each of which must reach its group, and none the first endpoint while it is
    /// away; then, once the change has `ended`, until every endpoint has answered again.
    fn mixed(
        &self,
        cases: &[(Request, &'static str)],
        away: &AtomicBool,
        ended: impl Fn() -> bool,
    ) -> Result<()> {
        let (mut number, mut since_the_end, mut served) = (0, None, BTreeSet::new());
        loop {
            if since_the_end.is_none() && ended() {
                since_the_end = Some(Instant::now());
                served.clear();
            }
            let (request, expected) = &cases[number % cases.len()];
            let grpc = request.path.starts_with("/inference");
            let protocol = if grpc || number % 2 == 0 { Protocol::Http2 } else { Protocol::Http1 };
            let was_away = away.load(Ordering::SeqCst);
            let answer = requests::ask(protocol, self.address, request)?;
            let name = who(&answer);
            let right = NAMES.contains(&name.as_str()) && name.starts_with(expected);
            ensure!(right, "request {number}, {request:?}: {name}, not {expected:?}: {}", answer.text());
            let still_away = was_away && away.load(Ordering::SeqCst);
            ensure!(!still_away || name != NAMES[0], "request {number} reached {name}, which is gone");
            served.insert(name);
            number += 1;
            let Some(end) = since_the_end else { continue };
            if number >= MIXED && served.len() == NAMES.len() {
                return Ok(());
            }
            ensure!(end.elapsed() < FIRST_ANSWER, "since the endpoint is back only these answer: {served:?}");
        }
    }
}

/// Requests that the routes of `base/model-routes` tell apart.
fn routes_of_models() -> Vec<(Request, &'static str)> {
    let get = |path: &str| Request::get(path);
    let message = wire::Message::new().bytes(1, "tf-style-transfer");
    vec![
        (infer("tf-style-transfer"), "tensorflow-"),
        (infer("tf-style-transfer/versions/1"), "tensorflow-"),
        (get("/v2/models/tf-style-transfer/ready"), "tensorflow-"),
        (infer("pt-style-transfer"), "pytorch-"),
        (infer("pt-style-transfer/versions/2"), "pytorch-"),
        (get("/v2/models/pt-style-transfer/ready"), "pytorch-"),
        (infer("any"), ""),
        (get("/v2/health/ready"), ""),
        // The routes do not see the model in a message.
        (Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes()), ""),
    ]
}

fn workload_of<'a>(server: &str, labels: &'a [(&'a str, &'a str)]) -> Workload<'a> {
    Workload {
        namespace: NAMESPACE,
        deployment: deployment_of(server),
        account: "modelmesh",
        labels,
        ports: &[GRPC],
    }
}

/// The labels that ModelMesh's controller gives a runtime's pods.
fn labels_of(server: &str) -> [(&'static str, &'static str); 2] {
    [("modelmesh-service", SERVICE), ("name", deployment_of(server))]
}

/// The Deployment that ModelMesh's controller makes for a server's runtime.
fn deployment_of(server: &str) -> &'static str {
    if server.starts_with("tensorflow") {
        "modelmesh-serving-triton-2.x"
    } else {
        "modelmesh-serving-ovms-1.x"
    }
}
