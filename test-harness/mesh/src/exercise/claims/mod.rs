//! The overlays of `istio/claim-headers`: a gateway that knows users, a backend behind it that passes on who they are,
//! and a waypoint in front of the workloads that the backend calls.
//!
//! What ztunnel enforces at pods, which are the AuthorizationPolicies with a selector for pods, is not enforced here and
//! not asserted.

mod at_gateway;
mod at_waypoint;
mod issuer;
mod sign_on;

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::classes::SUBSETS;
use e2e::{Answer, Protocol, Request, Seen, Workload, send};
use istio_lint::{Resource, kustomize};

pub(super) use self::at_waypoint::Waypoint;
pub(super) use self::issuer::{ISSUER, Issuer, Tokens};
use self::sign_on::SignOn;
pub(super) use self::sign_on::{HOST, pods as sign_on_pods, secrets as sign_on_secrets};
use super::{accepted, pulled};
use crate::control_plane::ROOT_NAMESPACE;
use crate::https;
use crate::proxy::Proxy;
use crate::report::Report;
use crate::setup::Mesh;
use crate::world;

const NAMESPACE: &str = "apsara-demo";
/// The port of the backend and of style-transfer.
const PORT: u16 = 8000;
const BACKEND: &str = "ai-backend";
const STYLE_TRANSFER: &str = "style-transfer";
/// The gateway that the charts install, by the overlays' selectors.
const CHART_GATEWAY: &str = "api-ingressgateway";
/// The account of a pod that no policy names.
const STRANGER: &str = "stranger";

/// Applies an overlay to a cluster with its application, and tries it.
pub(super) fn run(
    mesh: &Mesh,
    issuer: &mut Option<Issuer>,
    overlay: &Path,
    name: &str,
    stays: bool,
    report: &mut Report,
) -> Result<()> {
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => issuer.insert(Issuer::start(mesh)?),
    };
    let resources = kustomize::build(overlay)?;
    let mut tried = Tried::raise(mesh, issuer, &resources, name)?;
    report.check("applied unchanged", Ok(()));
    report.check("first answer", tried.first_answer());
    report.check("accepted by Envoy", tried.accepted());
    report.check("the token's class goes upstream and chooses the workload", tried.users());
    report.check("forged headers change nothing, in every spelling", tried.forgeries());
    report.check("bad signatures and other audiences are refused", tried.bad_tokens());
    if name.ends_with("-builtin") {
        report.check("the filter fetches keys through the ServiceEntry", tried.fetched_keys());
        report.check("it takes no keys from a server with another certificate", tried.impostors(issuer));
    }
    if tried.waypoint.is_some() {
        report.check("the Service is bound to the waypoint, and the policies accepted", tried.bound());
        report.check("HBONE needs a certificate", tried.without_certificate());
        match tried.passes_on {
            "user_class" => {
                report.check("the waypoint believes the backend and the gateway", tried.trusted_callers());
                report.check("the waypoint refuses a class from anyone else", tried.untrusted_callers());
            }
            _ => {
                report.check("the waypoint believes tokens only", tried.tokens_at_the_waypoint());
                report.check("the waypoint refuses bad tokens", tried.bad_tokens_at_the_waypoint());
            }
        }
    }
    if tried.sign_on.is_some() {
        report.check("port 80 redirects to TLS", tried.redirect());
        report.check("no session: browsers to the provider, 401 for JSON", tried.without_login());
        report.check("oauth2-proxy's open paths are closed", tried.open_paths());
        report.check("log in, and the user's class goes upstream without the session", tried.logins());
        report.check("sign out", tried.sign_out());
    }
    report.check("HBONE to the pods by the proxies' identities", tried.identities());
    if resources.iter().any(|resource| resource.kind() == "WasmPlugin") {
        report.check("modules pulled from the registry", pulled(mesh, &resources));
    }
    if stays {
        let how = tried.how_to_ask()?;
        super::stay(mesh, report, &how)?;
    }
    Ok(())
}

/// An overlay that has been applied.
struct Tried<'m> {
    mesh: &'m Mesh,
    gateway: Proxy,
    waypoint: Option<Waypoint>,
    sign_on: Option<SignOn>,
    backend: Workload,
    /// The pods of style-transfer, by [`SUBSETS`].
    workloads: [Workload; 2],
    tokens: Tokens,
    /// Where a plain client reaches the gateway, and as which host.
    address: SocketAddr,
    authority: &'static str,
    /// What the backend passes on.
    passes_on: &'static str,
    /// Whether the filter itself verifies tokens.
    builtin: bool,
    /// Whether claims come in a header, which goes no further than the filter.
    native: bool,
}

/// A request's way: the answer, and what each that it passed saw of it.
struct Way {
    answer: Answer,
    backend: Vec<Seen>,
    /// The subset, and what its pod saw.
    workloads: Vec<(&'static str, Seen)>,
}

impl<'m> Tried<'m> {
    fn raise(mesh: &'m Mesh, issuer: &Issuer, resources: &[Resource], name: &str) -> Result<Self> {
        let world = &mesh.world;
        world.ambient_namespace(NAMESPACE)?;
        for account in [BACKEND, STYLE_TRANSFER, STRANGER, "default"] {
            world.account(NAMESPACE, account)?;
        }
        let ports = [("http", PORT, PORT)];
        world.service(NAMESPACE, "ai-backend-svc", &[], &[("app", BACKEND)], &ports)?;
        let waypoint = resources.iter().any(|r| r.text("/spec/gatewayClassName") == "istio-waypoint");
        let labels: &[(&str, &str)] = if waypoint { &[("istio.io/use-waypoint", "waypoint")] } else { &[] };
        let selector = [("app", STYLE_TRANSFER)];
        let style_transfer = world.service(NAMESPACE, STYLE_TRANSFER, labels, &selector, &ports)?;
        let workloads = [
            workload(mesh, "style-transfer-tf", SUBSETS[0])?,
            workload(mesh, "style-transfer-torch", SUBSETS[1])?,
        ];

        let sign_on = name.contains("/sign-on");
        if sign_on {
            sign_on::secrets(mesh)?;
        }
        world.apply(resources)?;
        let oauth2_proxies = if sign_on { sign_on::pods(mesh, resources)? } else { Vec::new() };
        let waypoint = match waypoint {
            true => Some(Waypoint::raise(mesh, SocketAddr::new(style_transfer, PORT))?),
            false => None,
        };
        let passes_on = if name.contains("forwarded-token") { "authorization" } else { "user_class" };
        let backend = backend(mesh, passes_on, waypoint.as_ref().map(Waypoint::for_the_backend))?;

        let chart = resources.iter().any(|r| r.is("networking.istio.io", "Gateway"));
        let gateway = if chart {
            let ports: &[(&str, u16)] =
                if sign_on { &[("http", 80), ("https", 443)] } else { &[("http", 80)] };
            chart_gateway(mesh, ports)?
        } else {
            world.gateway(NAMESPACE, "ai-app-gateway")?
        };
        let sign_on = match sign_on {
            true => Some(SignOn::start(mesh, issuer, gateway.address(), oauth2_proxies)?),
            false => None,
        };
        let plain = SocketAddr::new(gateway.address(), 80);
        Ok(Self {
            mesh,
            gateway,
            waypoint,
            backend,
            workloads,
            tokens: issuer.tokens()?,
            address: sign_on.as_ref().map_or(plain, SignOn::gateway),
            authority: if sign_on.is_some() { sign_on::HOST } else { "gateway.example" },
            sign_on,
            passes_on,
            builtin: name.ends_with("-builtin"),
            native: name.ends_with("-native"),
        })
    }

    /// The first request after the agents are ready may meet a module that is still being fetched, keys that are, or an
    /// endpoint that is not there yet.
    fn first_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let last = match self.ask(self.user("premium")) {
                Ok(way) if way.answer.status() == 200 => return Ok(()),
                Ok(way) => format!("{} {}", way.answer.status(), way.answer.text()),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                let waypoint = self.waypoint.as_mut().map(|waypoint| waypoint.proxy.process().last_lines());
                let gateway = self.gateway.process().last_lines();
                bail!("{last}\n{gateway}\n{}", waypoint.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn accepted(&self) -> Result<()> {
        accepted(&self.gateway)?;
        self.waypoint.as_ref().map_or(Ok(()), |waypoint| accepted(&waypoint.proxy))
    }

    /// Who called the pods.
    fn identities(&self) -> Result<()> {
        let gateway = if self.gateway.namespace() == NAMESPACE {
            format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/ai-app-gateway-istio")
        } else {
            format!("spiffe://cluster.local/ns/{ROOT_NAMESPACE}/sa/{CHART_GATEWAY}")
        };
        let mut callers = vec![(self.backend.address(), gateway.clone())];
        if self.waypoint.is_some() {
            let waypoint = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/waypoint");
            callers.extend(self.workloads.iter().map(|pod| (pod.address(), waypoint.clone())));
        }
        if let Some(sign_on) = &self.sign_on {
            callers.extend(sign_on.pods().map(|pod| (pod, gateway.clone())));
        }
        let calls = self.mesh.world.redirect.calls()?;
        for (pod, expected) in callers {
            let mut to_pod = calls.iter().filter(|call| call.pod == pod.ip()).peekable();
            ensure!(to_pod.peek().is_some(), "{pod} was not called by HBONE");
            let other = to_pod.find(|call| call.peer != expected);
            ensure!(other.is_none(), "{pod} was called by {other:?} and not by {expected}");
        }
        Ok(())
    }

    /// What the gateway is asked over: what ends TLS for plain clients speaks HTTP/1.1.
    fn protocols(&self) -> &'static [Protocol] {
        if self.sign_on.is_some() { &[Protocol::Http1] } else { &Protocol::BOTH }
    }

    /// Sends a request to the gateway.
    fn ask(&self, request: Request) -> Result<Way> {
        self.ask_over(Protocol::Http1, request)
    }

    fn ask_over(&self, protocol: Protocol, request: Request) -> Result<Way> {
        let request = Request { authority: self.authority.to_owned(), ..request };
        self.way(|| {
            let said = format!("{} {}", request.method, request.path);
            send(protocol, self.address, &request)?.complete().context(said)
        })
    }

    /// Sends a request, and collects what others see of it.
    fn way(&self, sent: impl FnOnce() -> Result<Answer>) -> Result<Way> {
        self.backend.forget();
        self.workloads.iter().for_each(Workload::forget);
        let answer = sent()?;
        let workloads = SUBSETS.into_iter().zip(&self.workloads);
        let workloads =
            workloads.flat_map(|(subset, pod)| pod.requests().into_iter().map(move |seen| (subset, seen)));
        Ok(Way { answer, backend: self.backend.requests(), workloads: workloads.collect() })
    }

    /// A request of a user's, by name.
    /// How a user of the application sends a request from outside.
    fn how_to_ask(&self) -> Result<String> {
        let place = &self.mesh.world.place;
        let token = place.write("premium-user.token", self.tokens.of("premium"))?;
        Ok(format!(
            "The overlay stays up, in a network of its own. A request with a premium user's token, valid for an hour:\n\n  \
             {} \\\n    curl -s --noproxy '*' http://{}/home -H 'host: {}' -H \"authorization: Bearer $(cat {})\" -D -",
            place.entered()?,
            self.address,
            self.authority,
            token.display()
        ))
    }

    fn user(&self, name: &str) -> Request {
        bearer(self.tokens.of(name))
    }
}

fn home() -> Request {
    Request::get("/home").header("x-other", "kept")
}

fn bearer(token: &str) -> Request {
    home().header("authorization", format!("Bearer {token}"))
}

fn with(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// For messages: without tokens.
fn said(headers: &[(&str, &str)]) -> String {
    if headers.is_empty() {
        return "nothing forged".to_owned();
    }
    let all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    all.join(", ")
}

pub(super) fn chart_gateway(mesh: &Mesh, ports: &[(&str, u16)]) -> Result<Proxy> {
    mesh.world.chart_gateway(CHART_GATEWAY, &[("istio", CHART_GATEWAY)], ports)
}

/// A pod of style-transfer.
fn workload(mesh: &Mesh, deployment: &str, subset: &str) -> Result<Workload> {
    let address = mesh.world.place.address()?;
    let server = Workload::start_on(subset, SocketAddr::new(address, PORT))?;
    let labels = [("app", STYLE_TRANSFER), ("model-format", subset)];
    let pod = pod(deployment, STYLE_TRANSFER, &labels, &[PORT]);
    mesh.world.pod(&pod, address)?;
    Ok(server)
}

/// The backend, which asks style-transfer, if there is a way to it, and passes one header on: the application's part.
pub(super) fn backend(
    mesh: &Mesh,
    passes_on: &'static str,
    style_transfer: Option<SocketAddr>,
) -> Result<Workload> {
    let address = mesh.world.place.address()?;
    let server = Workload::answering_on(https::of_pod(SocketAddr::new(address, PORT))?, move |seen| {
        let Some(style_transfer) = style_transfer else { return (200, "the backend\n".to_owned()) };
        let values = seen.all(passes_on);
        let request = values.iter().fold(home(), |request, value| request.header(passes_on, value));
        match send(Protocol::Http1, style_transfer, &request).and_then(Answer::complete) {
            Ok(answer) => (answer.status(), answer.text()),
            Err(error) => (502, format!("the backend got no answer: {error}\n")),
        }
    })?;
    mesh.world.pod(&pod(BACKEND, BACKEND, &[("app", BACKEND)], &[PORT]), address)?;
    Ok(server)
}

fn pod<'a>(
    deployment: &'a str,
    account: &'a str,
    labels: &'a [(&'a str, &'a str)],
    ports: &'a [u16],
) -> world::Workload<'a> {
    world::Workload { namespace: NAMESPACE, deployment, account, labels, ports }
}
