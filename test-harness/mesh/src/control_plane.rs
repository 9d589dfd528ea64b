//! The control plane: etcd, the API server, three of its controllers, and istiod, as their own programs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::{Process, Protocol, Request, send};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::api::{Cluster, Kind};
use crate::authority::Authority;
use crate::place::Place;

/// Where the API server listens. The network is this program's own, so that its usual ports are free.
const API_SERVER: &str = "https://127.0.0.1:6443";
const TOKEN: &str = "admin-of-this-cluster";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The name that proxies know istiod by.
pub const ISTIOD: &str = "istiod.istio-system.svc";
/// The namespace of istiod and of the mesh's root configuration.
pub const ROOT_NAMESPACE: &str = "istio-system";
/// How long a program of the control plane may take to be ready, on a loaded machine.
const READY: Duration = Duration::from_secs(90);

/// The programs, and Istio's own files, as `cargo xtask mesh` built and unpacked them.
#[derive(Clone, Debug)]
pub struct Programs {
    /// etcd.
    pub etcd: PathBuf,
    /// The API server.
    pub api_server: PathBuf,
    /// The controllers of EndpointSlices, namespaces, service accounts and root certificates.
    pub controllers: PathBuf,
    /// istiod.
    pub istiod: PathBuf,
    /// What runs a proxy.
    pub agent: PathBuf,
    /// Stock Envoy.
    pub envoy: PathBuf,
    /// oauth2-proxy.
    pub oauth2_proxy: PathBuf,
    /// CRDs, templates and the bootstrap of Istio's module, by their paths in it.
    pub istio_files: PathBuf,
}

impl Programs {
    /// As the environment names them.
    ///
    /// # Errors
    /// If a variable is missing.
    pub fn from_environment() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let path = env::var_os(name).filter(|path| !path.is_empty());
            path.map(PathBuf::from)
                .ok_or_else(|| anyhow!("{name} is missing: run this through `cargo xtask mesh`"))
        };
        Ok(Self {
            etcd: path("ETCD")?,
            api_server: path("KUBE_APISERVER")?,
            controllers: path("KUBE_CONTROLLER_MANAGER")?,
            istiod: path("PILOT_DISCOVERY")?,
            agent: path("PILOT_AGENT")?,
            envoy: path("ENVOY")?,
            oauth2_proxy: path("OAUTH2_PROXY")?,
            istio_files: path("ISTIO_FILES")?,
        })
    }
}

/// A running control plane, with the CRDs of Istio and of the Gateway API.
pub struct ControlPlane {
    /// The API server's client.
    pub cluster: Arc<Cluster>,
    programs: Programs,
    directory: PathBuf,
    authority: PathBuf,
    etcd: Process,
    api_server: Mutex<Process>,
    controllers: Process,
    istiod: Mutex<Process>,
}

impl ControlPlane {
    /// Starts everything and waits until it is ready. `extension_providers` become part of the mesh's configuration.
    ///
    /// # Errors
    /// If a program does not come up; its last lines are shown.
    pub fn start(
        handle: &Handle,
        place: &Place,
        programs: &Programs,
        authority: &Authority,
        extension_providers: &Value,
    ) -> Result<Self> {
        let directory = place.directory().join("control-plane");
        fs::create_dir_all(&directory).context("make the control plane's directory")?;
        place.name(ISTIOD, Ipv4Addr::LOCALHOST.into())?;
        let authority_pem = directory.join("authority.pem");
        fs::write(&authority_pem, authority.pem()).context("write the authority's certificate")?;
        write_credentials(&directory)?;

        let etcd = etcd(programs, &directory)?;
        let mut api_server = api_server(programs, &directory)?;
        let cluster = Cluster::new(handle, API_SERVER, TOKEN)?;
        api_server.wait("it is not ready", READY, |_| cluster.ready().then_some(()))?;
        let controllers = controllers(programs, &directory)?;
        apply_crds(&cluster, &programs.istio_files)?;
        cluster.apply_value(&namespace(ROOT_NAMESPACE, json!({})))?;

        write_istiods_files(&directory, &programs.istio_files, extension_providers)?;
        let mut istiod = istiod(programs, &directory, &authority_pem)?;
        wait_for_istiod(&mut istiod, &cluster)?;
        Ok(Self {
            cluster: Arc::new(cluster),
            programs: programs.clone(),
            directory,
            authority: authority_pem,
            etcd,
            api_server: api_server.into(),
            controllers,
            istiod: istiod.into(),
        })
    }

    /// What clients of istiod trust: its own root certificate, in PEM.
    ///
    /// # Errors
    /// If istiod has not written it.
    pub fn root_certificate(&self) -> Result<String> {
        let map = self.cluster.get(Kind("v1", "ConfigMap"), ROOT_NAMESPACE, "istio-ca-root-cert")?;
        let pem = map.as_ref().and_then(|map| map.pointer("/data/root-cert.pem")).and_then(Value::as_str);
        pem.map(str::to_owned).ok_or_else(|| anyhow!("istiod has not written istio-ca-root-cert"))
    }

    /// The certificate of the test's own authority, as a file.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// How a program of the cluster reaches the API server, as its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// The programs that it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Kills istiod, waits, and starts it once more.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart_istiod(&self, away: Duration) -> Result<()> {
        let mut running = held(&self.istiod);
        running.kill();
        thread::sleep(away);
        *running = istiod(&self.programs, &self.directory, &self.authority)?;
        let health = (Ipv4Addr::LOCALHOST, 18080).into();
        running.wait("it says that it is not ready", READY, |_| {
            let answer = send(Protocol::Http1, health, &Request::get("/ready")).ok()?;
            (answer.status() == 200).then_some(())
        })?;
        Ok(())
    }

    /// Kills the API server, waits, and starts it once more.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart_api_server(&self, away: Duration) -> Result<()> {
        let mut running = held(&self.api_server);
        running.kill();
        thread::sleep(away);
        *running = api_server(&self.programs, &self.directory)?;
        running.wait("it is not ready", READY, |_| self.cluster.ready().then_some(()))?;
        Ok(())
    }

    /// The most memory that was resident in each of its processes, in bytes.
    pub fn memory(&self) -> Vec<(&'static str, u64)> {
        let peak = |process: &Process| process.memory().map_or(0, |memory| memory.peak);
        vec![
            ("etcd", peak(&self.etcd)),
            ("kube-apiserver", peak(&held(&self.api_server))),
            ("kube-controller-manager", peak(&self.controllers)),
            ("istiod", peak(&held(&self.istiod))),
        ]
    }
}

/// A process that can be replaced. A panic while it was held cannot have left it half changed.
fn held(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_for_istiod(istiod: &mut Process, cluster: &Cluster) -> Result<()> {
    let root = Kind("v1", "ConfigMap");
    let class = Kind("gateway.networking.k8s.io/v1", "GatewayClass");
    istiod.wait("it has not written its root certificate and the GatewayClass", READY, |_| {
        let root = cluster.get(root, ROOT_NAMESPACE, "istio-ca-root-cert").ok()??;
        cluster.get(class, "", "istio-waypoint").ok()?.map(|_| root)
    })?;
    Ok(())
}

/// A namespace with labels.
pub fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A program that keeps a log in a directory of its own.
pub(crate) fn start(name: &str, command: Command) -> Result<Process> {
    let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir();
    let directory = directory.with_context(|| format!("make a directory for {name}"))?;
    Process::start(name, command, directory).map_err(anyhow::Error::from)
}

/// Keys and tokens of the API server, and a kubeconfig for the controllers and istiod.
fn write_credentials(directory: &Path) -> Result<()> {
    let private = directory.join("sa.key");
    let public = directory.join("sa.pub");
    let key = rcgen::KeyPair::generate().context("make the service accounts' key")?;
    fs::write(&private, key.serialize_pem()).context("write the service accounts' key")?;
    fs::write(&public, key.public_key_pem()).context("write the service accounts' public key")?;
    fs::write(directory.join("tokens.csv"), format!("{TOKEN},admin,admin-uid,system:masters\n"))
        .context("write the API server's tokens")?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "mesh",
        "clusters": [{"name": "mesh", "cluster": {"server": API_SERVER, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": "admin"}}],
    });
    fs::write(directory.join("kubeconfig"), kubeconfig.to_string()).context("write the kubeconfig")
}

fn etcd(programs: &Programs, directory: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.etcd);
    command.arg("--data-dir").arg(directory.join("etcd"));
    command.args(["--log-level", "warn", "--unsafe-no-fsync"]);
    start("etcd", command)
}

fn api_server(programs: &Programs, directory: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.api_server);
    command.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--secure-port=6443",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        // Pods get no token of their own: their processes are ours, and ask for one.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
    ]);
    command
        .arg(format!("--service-account-issuer={ISSUER}"))
        .arg(format!("--api-audiences={ISSUER},istio-ca"));
    let file = |option: &str, name: &str| {
        let mut argument = OsString::from(option);
        argument.push(directory.join(name));
        argument
    };
    command.arg(file("--cert-dir=", "certs")).arg(file("--token-auth-file=", "tokens.csv"));
    command.arg(file("--service-account-signing-key-file=", "sa.key"));
    command.arg(file("--service-account-key-file=", "sa.pub"));
    start("kube-apiserver", command)
}

fn controllers(programs: &Programs, directory: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.controllers);
    command.args([
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--controllers=endpointslice-controller,serviceaccount-controller,namespace-controller,\
         root-ca-certificate-publisher-controller",
        "--use-service-account-credentials=false",
    ]);
    command.arg("--kubeconfig").arg(directory.join("kubeconfig"));
    command.arg("--service-account-private-key-file").arg(directory.join("sa.key"));
    start("kube-controller-manager", command)
}

fn istiod(programs: &Programs, directory: &Path, authority: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.istiod);
    command.arg("discovery").arg("--kubeconfig").arg(directory.join("kubeconfig"));
    command.arg("--meshConfig").arg(directory.join("mesh.yaml"));
    command.args(["--httpAddr", "127.0.0.1:18080", "--httpsAddr", "127.0.0.1:15017"]);
    command.args(["--grpcAddr", "127.0.0.1:15010", "--secureGRPCAddr", "127.0.0.1:15012"]);
    command.args(["--monitoringAddr", "127.0.0.1:15014", "-n", ROOT_NAMESPACE, "--domain", "cluster.local"]);
    command.current_dir(directory.join("istiod"));
    command.envs([
        ("POD_NAMESPACE", ROOT_NAMESPACE),
        ("POD_NAME", "istiod-0"),
        ("SERVICE_ACCOUNT", "istiod"),
        ("CLUSTER_ID", "Kubernetes"),
        // The name in its certificate.
        ("ISTIOD_CUSTOM_HOST", ISTIOD),
        ("PILOT_ENABLE_AMBIENT", "true"),
        // Stock Envoy has neither filter (`shims`).
        ("PILOT_ENABLE_ALPN_FILTER", "false"),
        ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
        ("GOMEMLIMIT", "500MiB"),
    ]);
    // Whom it trusts when it fetches an issuer's keys.
    command.env("SSL_CERT_FILE", authority);
    start("istiod", command)
}

/// The CRDs of Istio and of the Gateway API. The second file holds a policy about CRDs, too, which no cluster needs.
fn apply_crds(cluster: &Cluster, istio: &Path) -> Result<()> {
    let mut applied = 0;
    for file in [
        "manifests/charts/base/files/crd-all.gen.yaml",
        "tests/integration/pilot/testdata/gateway-api-crd.yaml",
    ] {
        for resource in istio_lint::read(&istio.join(file))? {
            if resource.kind() == "CustomResourceDefinition" {
                cluster.apply(&resource)?;
                applied += 1;
            }
        }
    }
    ensure!(applied > 20, "only {applied} CRDs in {}", istio.display());
    for name in ["wasmplugins.extensions.istio.io", "gatewayclasses.gateway.networking.k8s.io"] {
        let crd = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        cluster.wait(crd, "", name, READY, |crd| {
            let conditions = crd.pointer("/status/conditions")?.as_array()?;
            conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True").then_some(())
        })?;
    }
    Ok(())
}

/// What Istio's chart would give istiod: the mesh's configuration, and the templates by which it makes the Deployments
/// of Gateways.
fn write_istiods_files(directory: &Path, istio: &Path, extension_providers: &Value) -> Result<()> {
    let mesh = json!({
        // Istio's own Envoy build has the filter istio.stats, which the chart's provider "prometheus" needs.
        "defaultProviders": {"metrics": [], "accessLogging": [], "tracing": []},
        "enablePrometheusMerge": false,
        "trustDomain": "cluster.local",
        "accessLogFile": "",
        "defaultConfig": {"discoveryAddress": format!("{ISTIOD}:15012")},
        "extensionProviders": extension_providers,
    });
    // JSON is YAML.
    fs::write(directory.join("mesh.yaml"), mesh.to_string()).context("write the mesh's configuration")?;

    let chart = istio.join("manifests/charts/istio-control/istio-discovery");
    let template = |file: &str| -> Result<Value> {
        let path = chart.join("files").join(file);
        fs::read_to_string(&path).map(Value::from).with_context(|| format!("read {}", path.display()))
    };
    let config = json!({
        "policy": "enabled",
        "defaultTemplates": ["sidecar"],
        "templates": {
            "sidecar": template("injection-template.yaml")?,
            "gateway": template("gateway-injection-template.yaml")?,
            "waypoint": template("waypoint.yaml")?,
            "kube-gateway": template("kube-gateway.yaml")?,
        },
    });
    let defaults = istio_lint::yaml::<Value>(&chart.join("values.yaml"))?;
    let of_chart = defaults.first().map(|values| &values["_internal_defaults_do_not_set"]);
    let of_chart = of_chart.ok_or_else(|| anyhow!("the chart of istiod has no values"))?;
    let mut values = json!({
        "global": of_chart["global"],
        "sidecarInjectorWebhook": of_chart["sidecarInjectorWebhook"],
        "revision": of_chart["revision"],
        "pilot": {"cni": of_chart["pilot"]["cni"], "env": of_chart["pilot"]["env"]},
        "gateways": {
            "securityContext": of_chart["gateways"]["securityContext"],
            "seccompProfile": of_chart["gateways"]["seccompProfile"],
        },
    });
    values["global"]["hub"] = json!("registry.example/istio");
    values["global"]["tag"] = json!("1.31");
    let inject = directory.join("istiod/var/lib/istio/inject");
    fs::create_dir_all(&inject).context("make istiod's directory")?;
    fs::write(inject.join("config"), config.to_string()).context("write istiod's templates")?;
    fs::write(inject.join("values"), values.to_string()).context("write istiod's values")
}
