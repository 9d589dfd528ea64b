//! A gateway's or waypoint's pod: the agent of Istio, and stock Envoy under it.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::{Process, Protocol, Request, send};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, ISTIOD};
use crate::shims;

/// How long a proxy may take to have its configuration, modules included, on a loaded machine.
const READY: Duration = Duration::from_secs(90);

/// What the agent calls the two kinds of proxies without a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway.
    Router,
    /// A waypoint.
    Waypoint,
}

/// Which proxy.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod's name.
    pub pod: String,
    /// The Deployment that the pod belongs to.
    pub deployment: String,
    /// Its service account.
    pub account: String,
    /// Its pod's labels.
    pub labels: Vec<(String, String)>,
    /// Its pod's address.
    pub address: IpAddr,
    /// Where Envoy finds dynamic modules, if it is told to look for any.
    pub modules: Option<PathBuf>,
}

/// A running proxy.
pub struct Proxy {
    process: Process,
    admin: SocketAddr,
    address: IpAddr,
    namespace: String,
}

impl Proxy {
    /// Starts the agent, which gets a certificate, makes a bootstrap, and starts Envoy. `number` keeps the ports of
    /// several proxies apart, which in a cluster each have a network of their own.
    ///
    /// # Errors
    /// If it is not ready in time; its last lines are shown.
    pub fn start(plane: &ControlPlane, identity: &Identity, number: u16) -> Result<Self> {
        let name = match identity.role {
            Role::Router => "router",
            Role::Waypoint => "waypoint",
        };
        let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir();
        let directory = directory.with_context(|| format!("make a directory for {}", identity.pod))?;
        let template = write_files(plane, identity, directory.path())?;
        let admin = 15_000 + 100 * number;

        let mut command = Command::new(&plane.programs().agent);
        command.args(["proxy", name, "--domain", &format!("{}.svc.cluster.local", identity.namespace)]);
        command.args(["--serviceCluster", &format!("{}.{}", identity.deployment, identity.namespace)]);
        command.args(["--proxyLogLevel", "warning", "--proxyComponentLogLevel", "misc:error,wasm:info"]);
        command.args(["--log_output_level", "default:info"]);
        command.current_dir(directory.path());
        command.envs(environment(plane, identity, admin));
        command.env("ISTIO_BOOTSTRAP", template).env("SSL_CERT_FILE", plane.authority());
        if let Some(modules) = &identity.modules {
            command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", modules);
        }
        let process = Process::start(&identity.pod, command, directory)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut proxy = Self {
            process,
            admin: local(admin),
            address: identity.address,
            namespace: identity.namespace.clone(),
        };
        let health = local(admin + 21);
        proxy.process.wait("its agent says that it is not ready", READY, |_| {
            let answer = send(Protocol::Http1, health, &Request::get("/healthz/ready")).ok()?;
            (answer.status() == 200).then_some(())
        })?;
        Ok(proxy)
    }

    /// The pod's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The agent's and Envoy's log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The running program, for its memory and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What Envoy's admin endpoint says.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn admin(&self, path: &str) -> Result<String> {
        let answer = send(Protocol::Http1, self.admin, &Request::get(path))?;
        ensure!(answer.status() == 200, "Envoy's admin endpoint answers {} to {path}", answer.status());
        Ok(answer.text())
    }

    /// Waits until what Envoy's admin endpoint says fulfils `wanted`.
    ///
    /// # Errors
    /// If it does not within `bound`.
    pub fn wait(
        &mut self,
        what: &str,
        path: &str,
        bound: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let admin = self.admin;
        self.process.wait(what, bound, |_| {
            let answer = send(Protocol::Http1, admin, &Request::get(path)).ok()?;
            wanted(&answer.text()).then_some(())
        })?;
        Ok(())
    }

    /// What Envoy refused of its configuration, by the agent's log: a refused listener leaves the old one serving.
    pub fn rejected(&self) -> Vec<String> {
        let log = self.log();
        let refused =
            |line: &&str| line.contains("rejected:") || line.contains("Error adding/updating listener");
        log.lines().filter(refused).map(str::to_owned).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked to end, the agent first lets connections go on for five seconds.
        self.process.kill();
    }
}

/// The files that a cluster mounts into the pod, and the bootstrap's template; where that is.
fn write_files(plane: &ControlPlane, identity: &Identity, directory: &Path) -> Result<PathBuf> {
    let write = |path: &str, text: &str| -> Result<()> {
        let path = directory.join(path);
        let folder = path.parent().ok_or_else(|| anyhow!("{} has no folder", path.display()))?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let token = plane.cluster.token(&identity.namespace, &identity.account, "istio-ca")?;
    write("var/run/secrets/tokens/istio-token", &token)?;
    write("var/run/secrets/istio/root-cert.pem", &plane.root_certificate()?)?;
    let mut labels = String::new();
    for (key, value) in &identity.labels {
        writeln!(labels, "{key}=\"{value}\"")?;
    }
    write("etc/istio/pod/labels", &labels)?;
    fs::create_dir_all(directory.join("etc/istio/proxy")).context("make the proxy's folder")?;
    let istio = &plane.programs().istio_files;
    if identity.role == Role::Router {
        return Ok(istio.join("tools/packaging/common/envoy_bootstrap.json"));
    }
    write("bootstrap.json", &shims::waypoint_bootstrap(istio)?)?;
    Ok(directory.join("bootstrap.json"))
}

fn environment(plane: &ControlPlane, identity: &Identity, admin: u16) -> Vec<(&'static str, String)> {
    let owner = format!(
        "kubernetes://apis/apps/v1/namespaces/{}/deployments/{}",
        identity.namespace, identity.deployment
    );
    let configuration: Value = json!({
        "discoveryAddress": format!("{ISTIOD}:15012"),
        "binaryPath": plane.programs().envoy,
        "configPath": "./etc/istio/proxy",
        "proxyAdminPort": admin,
        "statusPort": admin + 20,
        "concurrency": 1,
    });
    let text = str::to_owned;
    vec![
        ("INSTANCE_IP", identity.address.to_string()),
        ("POD_NAME", identity.pod.clone()),
        ("POD_NAMESPACE", identity.namespace.clone()),
        ("SERVICE_ACCOUNT", identity.account.clone()),
        ("ISTIO_META_SERVICE_ACCOUNT", identity.account.clone()),
        ("ISTIO_META_CLUSTER_ID", text("Kubernetes")),
        ("ISTIO_META_MESH_ID", text("cluster.local")),
        ("ISTIO_META_WORKLOAD_NAME", identity.deployment.clone()),
        ("ISTIO_META_INTERCEPTION_MODE", text("REDIRECT")),
        ("ISTIO_META_OWNER", owner),
        ("TRUST_DOMAIN", text("cluster.local")),
        ("CA_ADDR", format!("{ISTIOD}:15012")),
        ("PILOT_CERT_PROVIDER", text("istiod")),
        ("JWT_POLICY", text("third-party-jwt")),
        ("PROXY_CONFIG", configuration.to_string()),
        ("ENVOY_STATUS_PORT", (admin + 21).to_string()),
        ("ENVOY_PROMETHEUS_PORT", (admin + 90).to_string()),
        ("GOMEMLIMIT", text("500MiB")),
    ]
}
