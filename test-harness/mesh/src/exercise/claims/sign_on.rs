//! The login in front: oauth2-proxy as the overlay configures it, and users who log in at the provider.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::agent::Agent;
use e2e::classes::{FORGERIES, USERS, User};
use e2e::{CLIENT_SECRET, Process, Protocol, Request, base64url, send};
use istio_lint::Resource;
use serde_json::{Value, json};

use super::issuer::{self, APPLICATION, ISSUER, account};
use super::{Issuer, NAMESPACE, Tried, Way, home, pod, said, with};
use crate::control_plane::ROOT_NAMESPACE;
use crate::setup::Mesh;
use crate::tls_relay::TlsRelay;

/// The application's host.
pub(in crate::exercise) const HOST: &str = "ai.example.com";
const OAUTH2_PROXY: &str = "oauth2-proxy";
const PORT: u16 = 4180;
/// How long oauth2-proxy may take to start.
const READY: Duration = Duration::from_secs(90);
/// The session's cookie.
const SESSION: &str = "__Host-session";

/// What users and agents need to get to the gateway.
pub(super) struct SignOn {
    gateway: TlsRelay,
    issuer: TlsRelay,
    http: SocketAddr,
    pods: Vec<(SocketAddr, Process)>,
}

/// What the README has users make: the client's secrets, and the gateway's certificate.
pub(in crate::exercise) fn secrets(mesh: &Mesh) -> Result<()> {
    let leaf = mesh.authority.leaf(&[HOST])?;
    let secret = |namespace: &str, name: &str, kind: &str, data: Value| {
        mesh.world.plane.cluster.apply_value(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": namespace}, "stringData": data,
        }))
    };
    secret(
        NAMESPACE,
        OAUTH2_PROXY,
        "Opaque",
        json!({
            "client-id": "ai-app", "client-secret": CLIENT_SECRET, "cookie-secret": cookie_secret(),
        }),
    )?;
    let data = json!({"tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem});
    secret(ROOT_NAMESPACE, "ai-app", "kubernetes.io/tls", data)
}

/// 32 bytes, as `openssl rand -base64 32 | tr -- '+/' '-_'` prints them.
fn cookie_secret() -> String {
    format!("{}=", base64url([7; 32]))
}

/// Runs the pods of the overlay's Deployment.
pub(in crate::exercise) fn pods(mesh: &Mesh, resources: &[Resource]) -> Result<Vec<(SocketAddr, Process)>> {
    let deployment = resources.iter().find(|r| r.kind() == "Deployment" && r.name() == OAUTH2_PROXY);
    let deployment = deployment.context("the overlay has no Deployment oauth2-proxy")?;
    let replicas = deployment.at("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let environment = environment(deployment, resources)?;
    let start = |_| {
        let address = mesh.world.place.address()?;
        let at = SocketAddr::new(address, PORT);
        let mut command = Command::new(&mesh.world.plane.programs().oauth2_proxy);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        // All pods share one network here, so that each has its own address in the place of all.
        command.env("OAUTH2_PROXY_HTTP_ADDRESS", at.to_string());
        command.env("SSL_CERT_FILE", mesh.world.plane.authority());
        let directory =
            tempfile::Builder::new().prefix("oauth2-proxy-").tempdir().context("make a directory")?;
        let mut process = Process::start(OAUTH2_PROXY, command, directory)?;
        process.wait("it is not ready", READY, |_| {
            let answer = send(Protocol::Http1, at, &Request::get("/ready")).ok()?;
            (answer.status() == 200).then_some(())
        })?;
        mesh.world.pod(&pod(OAUTH2_PROXY, "default", &[("app", OAUTH2_PROXY)], &[PORT]), address)?;
        Ok((at, process))
    };
    (0..replicas).map(start).collect()
}

/// A container's environment, as a kubelet would make it.
fn environment(deployment: &Resource, resources: &[Resource]) -> Result<Vec<(String, String)>> {
    let container =
        deployment.at("/spec/template/spec/containers/0").context("a Deployment without containers")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut environment = Vec::new();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        let name = text(&from["configMapRef"]["name"]);
        let map = resources.iter().find(|r| r.kind() == "ConfigMap" && r.name() == name);
        let data = map.and_then(|map| map.at("/data")).and_then(Value::as_object);
        let data = data.with_context(|| format!("the overlay has no ConfigMap {name}"))?;
        environment.extend(data.iter().map(|(key, value)| (key.clone(), text(value))));
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let secret = &variable["valueFrom"]["secretKeyRef"];
        ensure!(secret["name"] == OAUTH2_PROXY, "{variable} is not from the Secret {OAUTH2_PROXY}");
        let value = match secret["key"].as_str() {
            Some("client-id") => "ai-app".to_owned(),
            Some("client-secret") => CLIENT_SECRET.to_owned(),
            Some("cookie-secret") => cookie_secret(),
            _ => bail!("the README's Secret {OAUTH2_PROXY} has no key {}", secret["key"]),
        };
        environment.push((text(&variable["name"]), value));
    }
    Ok(environment)
}

impl SignOn {
    pub(super) fn start(
        mesh: &Mesh,
        issuer: &Issuer,
        gateway: IpAddr,
        pods: Vec<(SocketAddr, Process)>,
    ) -> Result<Self> {
        let relay = |to, name| TlsRelay::for_clients(&mesh.world.handle, to, name, mesh.authority.pem());
        Ok(Self {
            gateway: relay(SocketAddr::new(gateway, 443), HOST)?,
            issuer: relay(issuer.address(), issuer::HOST)?,
            http: SocketAddr::new(gateway, 80),
            pods,
        })
    }

    /// Where a plain client reaches the gateway over TLS.
    pub(super) fn gateway(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Where oauth2-proxy's pods are.
    pub(super) fn pods(&self) -> impl Iterator<Item = SocketAddr> {
        self.pods.iter().map(|(address, _)| *address)
    }

    /// A user agent without a session.
    fn agent(&self) -> Agent {
        Agent::knowing(&[(APPLICATION, self.gateway.address()), (ISSUER, self.issuer.address())])
    }
}

impl Tried<'_> {
    fn login(&self) -> Result<&SignOn> {
        self.sign_on.as_ref().context("the overlay has no login")
    }

    pub(super) fn redirect(&self) -> Result<()> {
        let request = Request { authority: HOST.to_owned(), ..home() };
        let way = self.way(|| Ok(send(Protocol::Http1, self.login()?.http, &request)?.complete()?))?;
        let location = way.answer.header_text("location").unwrap_or_default();
        let expected = format!("{APPLICATION}/home");
        ensure!(
            way.answer.status() == 301 && location == expected,
            "{} to {location:?}",
            way.answer.status()
        );
        ensure!(way.backend.is_empty(), "the backend was asked");
        Ok(())
    }

    pub(super) fn without_login(&self) -> Result<()> {
        for forged in [&[][..]].into_iter().chain(FORGERIES) {
            let way = self.ask(with(home(), forged))?;
            let location = way.answer.header_text("location").unwrap_or_default();
            ensure!(
                way.answer.status() == 302 && location.starts_with(&format!("{ISSUER}/auth?")),
                "{}: {} to {location:?}",
                said(forged),
                way.answer.status()
            );
            self.refused(home().header("accept", "application/json"), 401, forged)?;
        }
        Ok(())
    }

    /// oauth2-proxy lets these through without a session.
    pub(super) fn open_paths(&self) -> Result<()> {
        for path in ["/ping", "/ready", "/robots.txt", "/oauth2/static/css/bulma.min.css"] {
            let way = self.ask(Request::get(path))?;
            let status = way.answer.status();
            ensure!(status == 403, "{path}: {status} {}", way.answer.text());
            ensure!(way.backend.is_empty(), "{path}: the backend was asked");
        }
        Ok(())
    }

    pub(super) fn logins(&self) -> Result<()> {
        for user in USERS {
            let mut agent = self.logged_in(user)?;
            for forged in [&[][..]].into_iter().chain(FORGERIES) {
                let way = self.browse(&mut agent, with(home(), forged))?;
                self.with_session(&way, user, &said(forged))?;
            }
            // The application's own cookies go on.
            agent.cookies(self.address).push(("a".to_owned(), "1".to_owned()));
            let way = self.browse(&mut agent, home())?;
            let cookies = way.backend.first().map(|seen| seen.all("cookie")).unwrap_or_default();
            ensure!(cookies == ["a=1"], "{}: other cookies than a=1 went upstream", user.name);
        }
        Ok(())
    }

    pub(super) fn sign_out(&self) -> Result<()> {
        let mut agent = self.logged_in(USERS[0])?;
        let mut tampered = agent.clone();
        for (name, value) in tampered.cookies(self.address) {
            if name.starts_with(SESSION) {
                value.insert(0, 'x');
            }
        }
        let way = self.browse(&mut tampered, home())?;
        ensure!(way.answer.status() == 302, "a session that was tampered with: {}", way.answer.status());
        let out = self.browse(&mut agent, Request::get("/oauth2/sign_out"))?;
        ensure!(out.answer.status() == 302, "sign out: {} {}", out.answer.status(), out.answer.text());
        let way = self.browse(&mut agent, home())?;
        ensure!(way.answer.status() == 302, "after signing out: {}", way.answer.status());
        ensure!(way.backend.is_empty(), "the backend was asked");
        Ok(())
    }

    fn logged_in(&self, user: User) -> Result<Agent> {
        let mut agent = self.login()?.agent();
        let url = format!("{APPLICATION}/home");
        let page = agent.visit(&url, Some(account(user.name)), None);
        let page = page.with_context(|| format!("log in as the {} user", user.name))?;
        let (status, text) = (page.answer.status(), page.answer.text());
        ensure!(page.url == url && status == 200, "{} is at {}: {status} {text}", user.name, page.url);
        let session = agent.cookies(self.address).iter().any(|(name, _)| name.starts_with(SESSION));
        ensure!(session, "{} has no cookie {SESSION}", user.name);
        Ok(agent)
    }

    fn browse(&self, agent: &mut Agent, request: Request) -> Result<Way> {
        let request = Request { authority: HOST.to_owned(), ..request };
        self.way(|| Ok(agent.send(self.address, request)?))
    }

    /// That a request with a session got through as the user's.
    fn with_session(&self, way: &Way, user: User, said: &str) -> Result<()> {
        let (name, status) = (user.name, way.answer.status());
        let [backend] = &way.backend[..] else {
            bail!("{name}, {said}: {status}, the backend got {} requests", way.backend.len());
        };
        let class: Vec<String> = user.class.map(str::to_owned).into_iter().collect();
        let found = backend.all("user_class");
        ensure!(found == class, "{name}, {said}: the backend saw user_class {found:?}, not {class:?}");
        for header in ["user-class", "cookie"] {
            ensure!(backend.all(header).is_empty(), "{name}, {said}: the backend saw {header}");
        }
        let tokens = backend.all("authorization").len();
        let expected = usize::from(self.passes_on == "authorization");
        ensure!(tokens == expected, "{name}, {said}: the backend saw {tokens} tokens");
        self.answered(way, user, said)
    }
}
