//! The vendor's article, migrated by the command `inference-mesh migrate` and applied to stock Istio: requests go where
//! the vendor documents that they go.
//!
//! ```text
//! user ─▶ api-ingressgateway ─HBONE─▶ ai-backend ─HBONE─▶ waypoint ─HBONE─▶ style-transfer-{tf,torch}
//!         istio-ingressgateway:8008 ─HBONE─▶ modelmesh-serving:8033
//! ```
//!
//! What the command leaves to the user is done as its account says: the waypoint, the gateways' charts, the labels of
//! ModelMesh's runtimes.

mod semantics;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use e2e::classes::SUBSETS;
use e2e::groups::{self, NAMES};
use e2e::{Protocol, Request, Workload, send};
use inference_mesh::{Arguments, Outcome};
use istio_lint::Resource;
use odd_server::OddServer;
use serde_json::{Value, json};

use self::semantics::{Semantics, with};
use super::claims::{self, Issuer, Tokens, Waypoint};
use super::{accepted, application, pulled};
use crate::api::Kind;
use crate::control_plane::namespace;
use crate::https;
use crate::proxy::Proxy;
use crate::report::Report;
use crate::setup::Mesh;
use crate::world;

const APPLICATION: &str = "apsara-demo";
const SERVING: &str = "modelmesh-serving";
/// The port of the application's services.
const HTTP: u16 = 8000;
/// The port of the model servers.
const GRPC: u16 = 8033;
/// The sign-on, which in the vendor's mesh no resource describes.
const SIGN_ON: [&str; 6] =
    ["--sign-on", claims::ISSUER, "--jwks", "https://idp.example.com/jwks", "--audience", "ai-app"];
/// How long modules and endpoints may take to be there.
const SETTLED: Duration = Duration::from_secs(90);
/// How many rows that differ are shown.
const SHOWN: usize = 20;

/// Migrates, applies, and sends what the table has.
pub(super) fn run(mesh: &Mesh, issuer: &mut Option<Issuer>, report: &mut Report) -> Result<()> {
    if e2e::identity_provider().is_none() {
        report.skip("the vendor's article", "its identity provider needs Node and npm");
        return Ok(());
    }
    let issuer = match issuer {
        Some(issuer) => issuer,
        none => none.insert(Issuer::start(mesh)?),
    };
    let resources = migrated(&SIGN_ON)?;
    report.check("the article's manifests migrated, nothing refused", Ok(()));
    application::define_modelmesh(&mesh.world)?;
    let tried = Tried::raise(mesh, issuer, &resources).and_then(|mut tried| {
        report.check("applied unchanged", Ok(()));
        tried.all(&resources, report)
    });
    application::forget(&mesh.world)?;
    tried
}

/// What the command makes of the article's manifests.
fn migrated(options: &[&str]) -> Result<Vec<Resource>> {
    let article = e2e::repository().join("cli/tests/article");
    let folder = tempfile::tempdir().context("make a folder for what is migrated")?;
    let (out, account) = (folder.path().join("stock"), folder.path().join("account.txt"));
    let mut words: Vec<OsString> = ["inference-mesh", "migrate"].map(OsString::from).into();
    words.extend([
        article.into(),
        "-o".into(),
        out.clone().into(),
        "--report".into(),
        account.clone().into(),
    ]);
    words.extend(options.iter().map(OsString::from));
    let outcome = inference_mesh::run(&Arguments::try_parse_from(words)?, &mut io::sink())?;
    ensure!(outcome == Outcome::Right, "{}", fs::read_to_string(&account).unwrap_or_default());
    let files = fs::read_dir(&out)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let resources = files.iter().map(|file| istio_lint::read(file)).collect::<Result<Vec<_>, _>>()?;
    Ok(resources.concat())
}

/// The application on stock Istio. What is declared first ends first.
struct Tried<'m> {
    mesh: &'m Mesh,
    /// For model servers.
    inference: Proxy,
    /// For users.
    users: Proxy,
    waypoint: Waypoint,
    _backend: Workload,
    /// The pods of style-transfer, by [`SUBSETS`].
    _workloads: [Workload; 2],
    servers: Vec<OddServer>,
    tokens: Tokens,
}

impl<'m> Tried<'m> {
    fn raise(mesh: &'m Mesh, issuer: &Issuer, resources: &[Resource]) -> Result<Self> {
        let world = &mesh.world;
        world.ambient_namespace(SERVING)?;
        for (namespace, account) in [(SERVING, "modelmesh"), (SERVING, "default")] {
            world.account(namespace, account)?;
        }
        // istioctl waypoint apply -n apsara-demo --enroll-namespace
        let enrolled = json!({"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"});
        world.plane.cluster.apply_value(&namespace(APPLICATION, enrolled))?;
        for account in ["default", "stranger"] {
            world.account(APPLICATION, account)?;
        }
        world.plane.cluster.apply_value(&waypoint())?;
        world.apply(resources)?;

        let selector = [("modelmesh-service", SERVING)];
        world.service(SERVING, SERVING, &[], &selector, &[("grpc", GRPC, GRPC)])?;
        let servers = NAMES.into_iter().map(|name| runtime(mesh, name)).collect::<Result<Vec<_>>>()?;
        let labels = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
        let inference = world.chart_gateway("istio-ingressgateway", &labels, &[("grpc", 8008)])?;

        let workloads = [
            deployed(mesh, "style-transfer-tf", SUBSETS[0])?,
            deployed(mesh, "style-transfer-torch", SUBSETS[1])?,
        ];
        let style_transfer = world.virtual_address(APPLICATION, "style-transfer")?;
        let waypoint = Waypoint::raise(mesh, SocketAddr::new(style_transfer, HTTP))?;
        let backend = claims::backend(mesh, "user_class", Some(waypoint.for_the_backend()))?;
        let users = claims::chart_gateway(mesh, &[("http", HTTP)])?;
        Ok(Self {
            mesh,
            inference,
            users,
            waypoint,
            _backend: backend,
            _workloads: workloads,
            servers,
            tokens: issuer.tokens()?,
        })
    }

    fn all(&mut self, resources: &[Resource], report: &mut Report) -> Result<()> {
        let semantics = Semantics::read()?;
        report.check("first answers", self.settle(&semantics));
        let proxies = [&self.inference, &self.users, &self.waypoint.proxy];
        report.check("accepted by Envoy", proxies.into_iter().try_for_each(accepted));
        report.check("modules pulled from the registry", pulled(self.mesh, resources));
        for (what, rows) in [
            ("requests of headers, paths, JSON and gRPC", self.inference(&semantics)),
            ("requests of users and of clients that lie", self.of_users(&semantics)),
            ("calls of the backend", self.inside(&semantics)),
        ] {
            let number = rows.len();
            report
                .check(&format!("{number} {what}, each where the vendor documents it"), as_documented(rows));
        }
        report.check("the same of model servers with --groups subset-lb", self.by_subset_lb(&semantics));
        report.check("the API server takes the other forms", self.other_forms());
        Ok(())
    }

    /// The same headers and paths with the other form of groups, in place of the first.
    fn by_subset_lb(&mut self, semantics: &Semantics) -> Result<()> {
        let resources = migrated(&["--groups", "subset-lb"])?;
        let rules = Kind("networking.istio.io/v1", "DestinationRule");
        self.mesh.world.plane.cluster.delete(rules, SERVING, "dr-modelmesh-serving-service")?;
        self.mesh.world.apply(&resources)?;
        let pods_known = |clusters: &str| {
            let of_groups = clusters.lines().filter(|line| line.contains(".groups.internal::"));
            of_groups.filter(|line| line.ends_with("::health_flags::healthy")).count() == NAMES.len()
        };
        self.inference.wait("the groups' pods are not known", "/clusters", SETTLED, pods_known)?;
        let routed =
            |dump: &str| dump.contains("groups.internal\"") && dump.contains("envoy.filters.http.lua");
        self.inference.wait("the route is the old one", "/config_dump", SETTLED, routed)?;
        accepted(&self.inference)?;
        as_documented(self.inference(semantics))
    }

    /// What the command makes with other options.
    fn other_forms(&self) -> Result<()> {
        let native = [&SIGN_ON[..], &["--form", "native"]].concat();
        for options in [&["--form", "hold", "--groups", "subset-lb"][..], &["--form", "hold"], &native] {
            self.mesh.world.apply(&migrated(options)?).with_context(|| format!("{options:?}"))?;
        }
        Ok(())
    }

    /// Until every kind of request is answered by the pods that it is for.
    fn settle(&mut self, semantics: &Semantics) -> Result<()> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let rows = [self.inference(semantics), self.of_users(semantics), self.inside(semantics)].concat();
            let Some(late) = rows.iter().find(|row| matches!(row.went, Went::Nowhere(_))) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let last = [&mut self.inference, &mut self.users, &mut self.waypoint.proxy];
                let last: Vec<_> = last.into_iter().map(|proxy| proxy.process().last_lines()).collect();
                bail!("{late}\n{}", last.join("\n"));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Headers and paths at the gateway of the model servers.
    fn inference(&self, semantics: &Semantics) -> Vec<Row> {
        let mut rows = Vec::new();
        let table = &semantics.inference;
        for line in &table.headers {
            for asked in &table.requests {
                for &protocol in asked.protocols() {
                    let said =
                        format!("{} {} over {protocol:?} with {:?}", asked.method, asked.path, line.send);
                    let request = with(asked.request(), &line.send);
                    let went = went(request.and_then(|request| self.served(protocol, &request, &asked.rpc)));
                    rows.push(Row { said, goes: line.goes.clone(), went });
                }
            }
        }
        rows
    }

    /// Which group's server was asked for this RPC, and answered.
    fn served(&self, protocol: Protocol, request: &Request, rpc: &str) -> Result<String> {
        let seen = || self.servers.iter().map(|server| server.requests().len()).collect::<Vec<_>>();
        let before = seen();
        let address = SocketAddr::new(self.inference.address(), 8008);
        let answer = send(protocol, address, request)?.complete()?;
        ensure!(answer.status() == 200, "{} {}", answer.status(), answer.text());
        let after = seen();
        let asked: Vec<usize> = (0..NAMES.len()).filter(|server| after[*server] > before[*server]).collect();
        let [server] = asked[..] else { bail!("{} servers were asked", asked.len()) };
        let requests = self.servers[server].requests();
        let path = requests.last().map_or("", |request| &request.path);
        let expected = format!("/inference.GRPCInferenceService/{rpc}");
        ensure!(path == expected, "{} was asked for {path}, not {expected}", NAMES[server]);
        let group = NAMES[server].split('-').next().unwrap_or_default();
        Ok(group.to_owned())
    }

    /// Users with a token at the application's gateway.
    fn of_users(&self, semantics: &Semantics) -> Vec<Row> {
        let mut rows = Vec::new();
        let table = &semantics.users;
        for token in &table.tokens {
            for forged in &table.forged {
                for plain in &table.requests {
                    let said =
                        format!("{} {} of a {} user with {forged:?}", plain.method, plain.path, token.user);
                    let bearer = format!("Bearer {}", self.tokens.of(&token.user));
                    let request = with(plain.request().header("authorization", bearer), forged);
                    // All pods are one machine here, so port 80, which both of the article's Gateways have, is not one's alone.
                    let address = SocketAddr::new(self.users.address(), HTTP);
                    let went = went(request.and_then(|request| workload(address, &request)));
                    rows.push(Row { said, goes: token.goes.clone(), went });
                }
            }
        }
        rows
    }

    /// Calls of the backend's at the waypoint.
    fn inside(&self, semantics: &Semantics) -> Vec<Row> {
        let mut rows = Vec::new();
        for line in &semantics.inside.classes {
            for plain in &semantics.inside.requests {
                let said = format!("{} {} of the backend with {:?}", plain.method, plain.path, line.send);
                let request = with(plain.request(), &line.send);
                let address = self.waypoint.for_the_backend();
                let went = went(request.and_then(|request| workload(address, &request)));
                rows.push(Row { said, goes: line.goes.clone(), went });
            }
        }
        rows
    }
}

/// A request, where it has to go, and where it went.
#[derive(Clone)]
struct Row {
    said: String,
    goes: String,
    went: Went,
}

#[derive(Clone)]
enum Went {
    /// To the pods of a group.
    To(String),
    /// To none, or it was not answered well.
    Nowhere(String),
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let went = match &self.went {
            Went::To(group) => group.clone(),
            Went::Nowhere(why) => format!("nowhere: {why}"),
        };
        write!(f, "{}: went to {went}, and the vendor's mesh sends it to {}", self.said, self.goes)
    }
}

fn went(group: Result<String>) -> Went {
    group.map_or_else(|error| Went::Nowhere(format!("{error:#}")), Went::To)
}

/// Whether every request went where it has to go. Those that may go anywhere must not all go to one group.
fn as_documented(rows: Vec<Row>) -> Result<()> {
    let right = |row: &&Row| match &row.went {
        Went::To(group) => row.goes == "any" || row.goes == *group,
        Went::Nowhere(_) => false,
    };
    let wrong: Vec<_> = rows.iter().filter(|row| !right(row)).collect();
    if !wrong.is_empty() {
        let shown: Vec<_> = wrong.iter().take(SHOWN).map(ToString::to_string).collect();
        bail!("{} of {} differ:\n{}", wrong.len(), rows.len(), shown.join("\n"));
    }
    let anywhere = rows.iter().filter(|row| row.goes == "any").filter_map(|row| match &row.went {
        Went::To(group) => Some(group),
        Went::Nowhere(_) => None,
    });
    let anywhere: BTreeSet<_> = anywhere.collect();
    ensure!(anywhere.len() != 1, "all requests of no group went to {anywhere:?}");
    Ok(())
}

/// Which workload answers a request for the application.
fn workload(address: SocketAddr, request: &Request) -> Result<String> {
    let answer = send(Protocol::Http1, address, request)?.complete()?;
    let text = answer.text();
    let name = text.trim_end().strip_prefix("workload ").filter(|_| answer.status() == 200);
    name.map(str::to_owned).with_context(|| format!("{} {text}", answer.status()))
}

/// What `istioctl waypoint apply` applies.
fn waypoint() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": APPLICATION, "labels": {"istio.io/waypoint-for": "service"}},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

/// A pod of a runtime, with the label that the account asks for.
fn runtime(mesh: &Mesh, server: &'static str) -> Result<OddServer> {
    let address = mesh.world.place.address()?;
    let running = groups::start_on(server, SocketAddr::new(address, GRPC))?;
    let (deployment, label) = match server.starts_with("tensorflow") {
        true => ("modelmesh-serving-triton-2.x", "model.format.tensorflow"),
        false => ("modelmesh-serving-ovms-1.x", "model.format.pytorch"),
    };
    let labels = [("modelmesh-service", SERVING), ("name", deployment), (label, "true")];
    let pod = world::Workload {
        namespace: SERVING,
        deployment,
        account: "modelmesh",
        labels: &labels,
        ports: &[GRPC],
    };
    mesh.world.pod(&pod, address)?;
    Ok(running)
}

/// A pod of a Deployment of the article's.
fn deployed(mesh: &Mesh, deployment: &str, name: &str) -> Result<Workload> {
    let world = &mesh.world;
    let found = world.plane.cluster.get(Kind("apps/v1", "Deployment"), APPLICATION, deployment)?;
    let found = found.with_context(|| format!("there is no Deployment {APPLICATION}/{deployment}"))?;
    let address = world.place.address()?;
    let text = format!("workload {name}\n");
    let listener = https::of_pod(SocketAddr::new(address, HTTP))?;
    let running = Workload::answering_on(listener, move |_| (200, text.clone()))?;
    world.deployed_pod(APPLICATION, deployment, &found["spec"]["template"], address)?;
    Ok(running)
}
