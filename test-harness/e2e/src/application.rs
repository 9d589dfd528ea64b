//! The AI application of `examples/ai-application`, whole: model servers of both groups, the services, an OpenID
//! provider, and the three proxies of `envoy/ai-application.yaml` or `.native.yaml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::agent::Agent;
use crate::answer::Answer;
use crate::client::{Protocol, send};
use crate::envoy::{Envoy, Options};
use crate::error::Error;
use crate::mlserver::MlServer;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::repository;
use crate::request::Request;
use crate::shipped::shipped_on;
use crate::sign_on::Provider;

/// How long a service may take to start, and an endpoint's health to be known.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a picture may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What separates the parts of a form; no picture has it.
const BOUNDARY: &str = "----a-form-of-pictures-1d3f8a";

/// What the groups of model servers are called, by class of user: premium, everyone else.
pub const GROUPS: [&str; 2] = ["tensorflow", "pytorch"];
/// The workloads of `style-transfer`, in the same order.
pub const WORKLOADS: [&str; 2] = ["style-transfer-tf", "style-transfer-torch"];
/// Endpoints of each group.
pub const ENDPOINTS: usize = 2;

/// What an application is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Envoy.
    pub envoy: PathBuf,
    /// `idp.mjs`, among its packages.
    pub provider: PathBuf,
    /// The Python of the model servers and the services.
    pub python: PathBuf,
    /// The folders `models` and `stand-ins`, made by `make_models.py`; named by `APPLICATION_MODELS`.
    pub models: PathBuf,
}

/// Which form of the application is started.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The bootstrap: `ai-application.yaml`, `ai-application.native.yaml`.
    pub bootstrap: &'static str,
    /// The repository's own stand-ins for the networks, which answer in milliseconds.
    pub stand_ins: bool,
    /// Tensors as bytes, and not as JSON.
    pub binary: bool,
}

/// A running application. Everything is ended when it is dropped.
pub struct Application {
    /// The three proxies.
    pub envoy: Envoy,
    /// Where users log in.
    pub provider: Provider,
    /// The model servers by [`GROUPS`]; `None` where one was killed.
    servers: [Vec<Option<MlServer>>; GROUPS.len()],
    /// What the servers of each group that were killed had been asked.
    asked_before: [usize; GROUPS.len()],
    /// The endpoints that were killed, and their groups.
    killed: Vec<(String, &'static str)>,
    services: Vec<Service>,
}

/// A service of the application. It is ended when dropped.
pub struct Service {
    process: Process,
    address: SocketAddr,
}

/// What processed a picture, by the answer's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The workload of `style-transfer`.
    pub workload: String,
    /// The group of its endpoint; empty if it belongs to none.
    pub group: &'static str,
    /// The endpoint.
    pub endpoint: String,
    /// Its engine.
    pub runtime: String,
}

/// The folder of [`Parts::models`], named by `APPLICATION_MODELS`, which `cargo xtask` sets.
pub fn application_models() -> Option<PathBuf> {
    std::env::var_os("APPLICATION_MODELS").filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl Application {
    /// Starts everything and waits until all endpoints are healthy.
    ///
    /// # Errors
    /// If a part ends or is not ready in time.
    pub fn start(parts: &Parts, form: Form) -> Result<Self, Error> {
        let Parts { envoy, provider, python, models } = parts;
        let [gateway, waypoint, ingress, idp, backend, tf, torch] = free_ports(7)?[..] else {
            return Err(Error::Protocol("no ports".into()));
        };
        let models = models.join(if form.stand_ins { "stand-ins" } else { "models" });
        let payload = if form.binary { "binary" } else { "json" };
        let model_server = format!("127.0.0.1:{ingress}");
        let style_transfer = format!("http://127.0.0.1:{waypoint}");
        let workload = |name: &'static str, model: &'static str, port| {
            let environment = [
                ("MODEL_SERVER", model_server.as_str()),
                ("MODEL_NAME", model),
                ("WORKLOAD", name),
                ("PAYLOAD", payload),
            ];
            Service::start(python, "style_transfer", loopback(port), &environment)
        };
        let (servers, services, provider) = thread::scope(|scope| {
            let (models, workload) = (&models, &workload);
            let servers = GROUPS.map(|group| {
                [(); ENDPOINTS].map(|()| scope.spawn(move || start_server(python, &models.join(group))))
            });
            let services = [
                scope.spawn(|| {
                    let environment = [("STYLE_TRANSFER", style_transfer.as_str())];
                    Service::start(python, "ai_backend", loopback(backend), &environment)
                }),
                scope.spawn(move || workload(WORKLOADS[0], "tf-style-transfer", tf)),
                scope.spawn(move || workload(WORKLOADS[1], "pt-style-transfer", torch)),
            ];
            let provider = Provider::start(provider, idp, &format!("http://localhost:{gateway}"));
            (
                servers.map(|group| joined(group).map(|all| all.into_iter().map(Some).collect())),
                joined(services),
                provider,
            )
        });
        let [tensorflow, pytorch] = servers;
        let servers: [Vec<_>; 2] = [tensorflow?, pytorch?];

        let mut ports = vec![
            (8080, gateway),
            (8010, waypoint),
            (8008, ingress),
            (8090, idp),
            (8000, backend),
            (8001, tf),
            (8002, torch),
        ];
        for (group, first) in servers.iter().zip([8021, 8031]) {
            ports.extend((first..).zip(group.iter().flatten().map(|server: &MlServer| server.grpc().port())));
        }
        let mut envoy = Envoy::start(envoy, &shipped_on(form.bootstrap, &ports)?, &Options::default())?;
        let all = (GROUPS.len() * ENDPOINTS) as u64;
        envoy.wait_for_stat("cluster.model-server.membership_healthy", READY_WITHIN, |count| count == all)?;
        Ok(Self {
            envoy,
            provider: provider?,
            servers,
            asked_before: [0; GROUPS.len()],
            killed: Vec::new(),
            services: services?,
        })
    }

    /// A URL of the gateway, as users open it. Its host must be `localhost`: cookies and the provider go by that name.
    pub fn url(&self, path: &str) -> Result<String, Error> {
        Ok(format!("http://localhost:{}{path}", self.gateway()?.port()))
    }

    /// Where users come in.
    ///
    /// # Errors
    /// If Envoy has no such listener.
    pub fn gateway(&self) -> Result<SocketAddr, Error> {
        self.envoy.address("api-ingressgateway")
    }

    /// Where `ai-backend` calls `style-transfer`.
    ///
    /// # Errors
    /// If Envoy has no such listener.
    pub fn waypoint(&self) -> Result<SocketAddr, Error> {
        self.envoy.address("waypoint")
    }

    /// Where the workloads of `style-transfer` call their models.
    ///
    /// # Errors
    /// If Envoy has no such listener.
    pub fn ingress(&self) -> Result<SocketAddr, Error> {
        self.envoy.address("ingressgateway")
    }

    /// An agent in which this user has logged in.
    ///
    /// # Errors
    /// If the user does not come back to the page.
    pub fn log_in(&self, user: &str) -> Result<Agent, Error> {
        let mut agent = Agent::default();
        let home = self.url("/home")?;
        let page = agent.visit(&home, Some(user), None)?;
        match page.url == home && page.answer.status() == 200 {
            true => Ok(agent),
            false => Err(Error::Protocol(format!("{user} is at {}: {}", page.url, page.answer.status()))),
        }
    }

    /// What the application answers to a request of the agent's, such as a [`form`] with a picture.
    ///
    /// # Errors
    /// If there is no complete answer.
    pub fn style(&self, agent: &mut Agent, form: Request) -> Result<Answer, Error> {
        let form = form.header("x-requested-with", "XMLHttpRequest");
        let gateway = self.gateway()?;
        agent.send(gateway, Request { authority: format!("localhost:{}", gateway.port()), ..form })
    }

    /// Who answered.
    pub fn answered(&self, answer: &Answer) -> Answered {
        let text = |name| answer.header_text(name).unwrap_or_default();
        let endpoint = text("x-model-endpoint");
        Answered {
            workload: text("x-workload"),
            group: self.group_of(&endpoint),
            endpoint,
            runtime: text("x-model-runtime"),
        }
    }

    /// How many inferences each group was asked for, by [`GROUPS`].
    pub fn asked(&self) -> [usize; GROUPS.len()] {
        let mut asked = self.asked_before;
        for (asked, group) in asked.iter_mut().zip(&self.servers) {
            *asked += group.iter().flatten().map(|server| server.seen().len()).sum::<usize>();
        }
        asked
    }

    /// Kills an endpoint of a group, in the middle of whatever it does.
    pub fn kill_endpoint(&mut self, group: usize, endpoint: usize) {
        let found = self.servers.get_mut(group).and_then(|group| group.get_mut(endpoint));
        if let Some(mut server) = found.and_then(Option::take) {
            server.process().kill();
            self.asked_before[group] += server.seen().len();
            self.killed.push((server.grpc().to_string(), GROUPS[group]));
        }
    }

    /// The group of an endpoint, whether it still runs or not; empty if it belongs to none.
    pub fn group_of(&self, endpoint: &str) -> &'static str {
        let running = self.servers.iter().zip(GROUPS).flat_map(|(servers, group)| {
            servers.iter().flatten().map(move |server| (server.grpc().to_string(), group))
        });
        let mut all = running.chain(self.killed.iter().cloned());
        all.find(|(address, _)| address == endpoint).map_or("", |(_, group)| group)
    }

    /// What the services have logged, for an error.
    pub fn service_logs(&self) -> String {
        self.services
            .iter()
            .map(|service| format!("{}\n{}\n", service.address, service.process.last_lines()))
            .collect()
    }
}

/// A form with a picture and, for premium users, a style picture.
pub fn form(picture: &[u8], style: Option<&[u8]>) -> Request {
    form_to("/api/picture", picture, style)
}

/// The same for another path.
pub fn form_to(path: &str, picture: &[u8], style: Option<&[u8]>) -> Request {
    let mut body = Vec::new();
    for (name, bytes) in [("picture", Some(picture)), ("style", style)] {
        let Some(bytes) = bytes else { continue };
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    Request::post(path, body).header("content-type", content_type).patience(PATIENCE)
}

/// A sample of the page's.
///
/// # Errors
/// If there is none of that name.
pub fn sample(name: &str) -> Result<Vec<u8>, Error> {
    let path = folder().join("services/page/samples").join(name);
    std::fs::read(&path).map_err(Error::io(format!("read {}", path.display())))
}

impl Service {
    /// Starts the program `module` of `services/` on an address of this machine's.
    ///
    /// # Errors
    /// If it ends or is not ready in time.
    pub fn start(
        python: &Path,
        module: &str,
        address: SocketAddr,
        environment: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut command = Command::new(python);
        command.args(["-m", "uvicorn", &format!("{module}:app"), "--host", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string()]).current_dir(folder().join("services"));
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(environment.iter().copied());
        let mut process = Process::start(module, command, process::directory(module)?)?;
        process.wait("not ready", READY_WITHIN, |_| {
            let answer = send(Protocol::Http1, address, &Request::get("/healthz")).ok()?;
            (answer.status() == 200).then_some(())
        })?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The end of its log, for an error.
    pub fn last_lines(&self) -> String {
        self.process.last_lines()
    }
}

/// Triton's form of the model of any style, whose networks are elsewhere: [`style_networks`].
pub fn triton_models() -> PathBuf {
    folder().join("models/triton")
}

/// The networks of the model of any style, in the folder of [`Parts::models`].
pub fn style_networks(models: &Path) -> PathBuf {
    models.join("models/tensorflow/tf-style-transfer")
}

fn folder() -> PathBuf {
    repository().join("examples/ai-application")
}

fn start_server(python: &Path, models: &Path) -> Result<MlServer, Error> {
    MlServer::start_in(python, models, &runtimes())
}

/// Where the code of the model servers is.
pub fn runtimes() -> PathBuf {
    folder().join("models")
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn joined<T, const N: usize>(
    threads: [thread::ScopedJoinHandle<'_, Result<T, Error>>; N],
) -> Result<Vec<T>, Error> {
    let lost = || Error::Protocol("a thread that started a server is gone".into());
    threads.into_iter().map(|thread| thread.join().map_err(|_| lost())?).collect()
}
