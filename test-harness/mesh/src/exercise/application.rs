//! The AI application of `examples/ai-application/k8s`, whole: its overlays applied unchanged, their Deployments run as
//! they say, and users' pictures sent through all of it.
//!
//! ```text
//! user ─TLS─▶ api-ingressgateway ─HBONE─▶ ai-backend ─HBONE─▶ waypoint ─HBONE─▶ style-transfer-{tf,torch}
//!               └HBONE─▶ oauth2-proxy                                             │
//!                                                    model servers ◀─HBONE─ istio-ingressgateway:8008
//! ```
//!
//! The pods' programs find each other under the names in the manifests. A Service's virtual address is one of this
//! machine's ([`Place::take`](crate::place::Place::take)), where a [`Pipe`] carries connections on as ztunnel would: to
//! the Service's waypoint under the calling pod's identity, or, for a Service without a waypoint whose pod is a gateway,
//! to that pod. Each of the two Services that are called so has one caller: `style-transfer` is `ai-backend`'s, and
//! `istio-ingressgateway` is `style-transfer`'s.
//!
//! No container is built: the pods' programs are run from the repository, by the Python of the models' environment.

mod by_browser;
mod checks;
mod outside;
mod pods;
mod serving;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use e2e::application::{GROUPS, Service};
use istio_lint::{Resource, kustomize};
use serde_json::json;

use self::pods::Pods;
use self::serving::Controller;
pub(super) use self::serving::forget;
use super::claims::{self, HOST, Issuer};
use crate::api::Kind;
use crate::control_plane::ROOT_NAMESPACE;
use crate::hbone::Tunnel;
use crate::pipe::{End, Pipe};
use crate::proxy::Proxy;
use crate::report::Report;
use crate::setup::{Mesh, named};
use crate::tls_relay::TlsRelay;
use crate::world::World;

const NAMESPACE: &str = "apsara-demo";
const SERVING: &str = "modelmesh-serving";
/// The identity of the pods that ask at the waypoint besides the backend.
const OTHER: &str = "someone-else";
/// How long a controller may take over a resource.
const SOON: Duration = Duration::from_secs(90);

/// Applies an overlay and tries it.
pub(crate) fn run(
    mesh: &Mesh,
    issuer: &mut Option<Issuer>,
    overlay: &Path,
    stays: bool,
    report: &mut Report,
) -> Result<()> {
    if e2e::identity_provider().is_none() {
        report.skip("the application", "its identity provider needs Node and npm");
        return Ok(());
    }
    let resources = kustomize::build(overlay)?;
    let issuer = match issuer {
        Some(issuer) => issuer,
        none => none.insert(Issuer::start(mesh)?),
    };
    // Real networks for KServe; for ModelMesh small ones of the repository's own, in the same engines.
    let real = Controller::of(&resources)? == Controller::KServe;
    let tried = Application::raise(mesh, &resources, real).and_then(|mut application| {
        report.check("applied unchanged", Ok(()));
        checks::all(&mut application, issuer, &resources, report)?;
        if stays {
            let (_front, how) = outside::open(&mesh.world, application.address(), issuer)?;
            super::stay(mesh, report, &how)?;
        }
        Ok(())
    });
    serving::forget(&mesh.world)?;
    tried
}

/// Raises the application, with the real networks, for users outside, and says how they get to it. It goes on until the
/// program ends.
///
/// # Errors
/// If a part does not come up.
pub(crate) fn serve(mesh: &Mesh) -> Result<Infallible> {
    let overlay = istio_lint::examples().join("ai-application/k8s/overlays/kserve");
    let resources = kustomize::build(&overlay)?;
    let issuer = Issuer::start(mesh)?;
    let mut application = Application::raise(mesh, &resources, true)?;
    checks::settle(&mut application, &issuer)?;
    let (world, gateway) = (&mesh.world, application.address());
    let (_front, how) = outside::open(world, gateway, &issuer)?;
    println!("\n{how}\n\nCtrl-C ends it.");
    world.place.stay()
}

/// Teaches the API server the kinds of ModelMesh's resources.
pub(super) fn define_modelmesh(world: &World) -> Result<()> {
    Controller::ModelMesh.define(world).context("define the kinds of serving.kserve.io")
}

/// A running application. What is declared first ends first.
pub(crate) struct Application<'m> {
    mesh: &'m Mesh,
    /// Plain HTTP for the gateway, whose TLS it speaks.
    users: TlsRelay,
    proxies: Proxies,
    /// Where another workload of the mesh calls `style-transfer`.
    other: Tunnel,
    /// What carries the pods' own calls.
    _calls: (Pipe, Tunnel, Pipe),
    pods: Pods,
}

struct Proxies {
    api_gateway: Proxy,
    waypoint: Proxy,
    inference_gateway: Proxy,
}

impl<'m> Application<'m> {
    /// Applies the resources, and runs what they deploy. The identity provider is there already: istiod asks for its keys
    /// when it sees them.
    fn raise(mesh: &'m Mesh, resources: &[Resource], real: bool) -> Result<Self> {
        let world = &mesh.world;
        let controller = Controller::of(resources)?;
        controller.define(world).context("define the kinds of serving.kserve.io")?;
        prepare(mesh, resources)?;
        world.apply(resources)?;

        let made = controller.make(world, resources).context("what the models' controller makes")?;
        let models = named("APPLICATION_MODELS")?.join(if real { "models" } else { "stand-ins" });
        let (pods, proxies) = thread::scope(|scope| {
            let pods = scope.spawn(|| Pods::start(mesh, resources, &made, &models));
            let proxies = Proxies::start(world);
            (pods.join().map_err(|_| anyhow!("the thread that started the pods is gone")), proxies)
        });
        let (pods, proxies) = (pods??, proxies?);
        let models = {
            let near = virtual_end(world, ROOT_NAMESPACE, "istio-ingressgateway", 8008)?;
            let far = End::Tcp((proxies.inference_gateway.address(), 8008).into());
            Pipe::open(&world.handle, near, far)?
        };
        let near = virtual_end(world, NAMESPACE, "style-transfer", 8000)?;
        let tunnel = |account: &str, source: IpAddr| -> Result<Tunnel> {
            let End::Tcp(address) = near else { return Err(anyhow!("a Service at {near:?}")) };
            let identity = world.identity(NAMESPACE, account)?;
            let hbone = SocketAddr::new(proxies.waypoint.address(), 15008);
            Tunnel::open(&world.handle, hbone, &address.to_string(), &identity, source)
        };
        let from_backend = tunnel("ai-backend", pods.backend)?;
        let to_waypoint = Pipe::open(&world.handle, near.clone(), End::Tcp(from_backend.address()))?;
        world.account(NAMESPACE, OTHER)?;
        let other = tunnel(OTHER, world.place.address()?)?;

        // What a cloud does for a Service of type LoadBalancer, and a user for the name.
        let ingress =
            json!({"loadBalancer": {"ingress": [{"ip": proxies.api_gateway.address().to_string()}]}});
        let service = Kind("v1", "Service");
        world.plane.cluster.set_status(service, ROOT_NAMESPACE, "api-ingressgateway", ingress)?;
        world.place.name(HOST, proxies.api_gateway.address())?;
        let tls = SocketAddr::new(proxies.api_gateway.address(), 443);
        let users = TlsRelay::for_clients(&world.handle, tls, HOST, mesh.authority.pem())?;
        Ok(Self { mesh, users, proxies, other, _calls: (to_waypoint, from_backend, models), pods })
    }

    /// Where users come in, by TLS.
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.proxies.api_gateway.address(), 443)
    }

    /// How many inferences each group was asked for, by [`GROUPS`].
    fn asked(&self) -> [usize; GROUPS.len()] {
        self.pods.servers.each_ref().map(|group| group.iter().map(|server| server.seen().len()).sum())
    }

    /// The ends of all logs, for an error.
    fn last_lines(&mut self) -> String {
        let Proxies { api_gateway, waypoint, inference_gateway } = &mut self.proxies;
        let proxies = [api_gateway, waypoint, inference_gateway];
        let proxies = proxies.into_iter().map(|proxy| proxy.process().last_lines());
        let services = self.pods.services.iter().map(Service::last_lines);
        proxies.chain(services).collect::<Vec<_>>().join("\n")
    }
}

impl Proxies {
    /// One after the other: each takes a processor while it starts.
    fn start(world: &World) -> Result<Self> {
        Ok(Self {
            inference_gateway: world.injected_gateway(ROOT_NAMESPACE, "istio-ingressgateway")?,
            waypoint: world.waypoint(NAMESPACE, "waypoint")?,
            api_gateway: world.injected_gateway(ROOT_NAMESPACE, "api-ingressgateway")?,
        })
    }
}

/// What the README has users make before they apply the overlay: namespaces and Secrets.
fn prepare(mesh: &Mesh, resources: &[Resource]) -> Result<()> {
    let world = &mesh.world;
    for namespace in resources.iter().filter(|resource| resource.kind() == "Namespace") {
        world.plane.cluster.apply(namespace)?;
    }
    for namespace in [NAMESPACE, SERVING] {
        // The account of pods that name none.
        world.account(namespace, "default")?;
    }
    claims::sign_on_secrets(mesh)
}

/// The virtual address of a Service with a port of its, which from now on leads here.
fn virtual_end(world: &World, namespace: &str, name: &str, port: u16) -> Result<End> {
    let address = world.virtual_address(namespace, name)?;
    world.place.take(address)?;
    Ok(End::Tcp(SocketAddr::new(address, port)))
}
