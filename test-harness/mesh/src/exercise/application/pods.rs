//! The application's pods: their Deployments as the cluster has them, and a kubelet's work for each.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context as _, Result, anyhow};
use e2e::application::{self, GROUPS, Service};
use e2e::{MlServer, Process};
use istio_lint::Resource;
use serde_json::Value;

use super::serving::Made;
use super::{NAMESPACE, SERVING, named};
use crate::api::Kind;
use crate::exercise::claims;
use crate::setup::Mesh;
use crate::world::World;

/// The programs of all pods. They are ended when this is dropped.
pub(super) struct Pods {
    /// By [`GROUPS`].
    pub(super) servers: [Vec<MlServer>; GROUPS.len()],
    pub(super) services: Vec<Service>,
    /// The address of the backend's pod.
    pub(super) backend: IpAddr,
    _sign_on: Vec<(SocketAddr, Process)>,
}

impl Pods {
    /// Starts all programs at once, each at the address of the pod that is then made. `models` has a folder for each
    /// group.
    pub(super) fn start(mesh: &Mesh, resources: &[Resource], made: &[Made], models: &Path) -> Result<Self> {
        let world = &mesh.world;
        let python = &named("MODELS_PYTHON")?;
        let groups = GROUPS.map(|group| {
            let of_group = |made: &&Made| made.model.as_bytes().first() == group.as_bytes().first();
            let made =
                made.iter().find(of_group).with_context(|| format!("no model of the group {group}"))?;
            let deployed = Deployed::read(world, SERVING, &made.deployment)?;
            Ok::<_, anyhow::Error>((deployed, models.join(group)))
        });
        let [tensorflow, pytorch] = groups;
        let groups = [tensorflow?, pytorch?];
        let names = application::WORKLOADS.iter().copied().chain(["ai-backend"]);
        let of_services =
            names.map(|name| Deployed::read(world, NAMESPACE, name)).collect::<Result<Vec<_>>>()?;

        thread::scope(|scope| {
            let sign_on = scope.spawn(|| claims::sign_on_pods(mesh, resources));
            let servers = groups.each_ref().map(|(deployed, models)| {
                let start = |address| MlServer::start_on(python, models, &application::runtimes(), address);
                let all = (0..deployed.replicas)
                    .map(|_| scope.spawn(move || deployed.run(world, |at| Ok(start(at)?)).map(|run| run.0)));
                all.collect::<Vec<_>>()
            });
            let services: Vec<_> = of_services
                .iter()
                .map(|deployed| scope.spawn(|| deployed.run(world, |at| deployed.service(python, at))))
                .collect();
            let [tensorflow, pytorch] = servers.map(joined);
            let services = joined(services)?;
            let backend = services.last().map(|(_, address)| *address).context("no backend")?;
            Ok(Self {
                servers: [tensorflow?, pytorch?],
                services: services.into_iter().map(|(service, _)| service).collect(),
                backend,
                _sign_on: sign_on.join().map_err(|_| lost())??,
            })
        })
    }
}

/// The pods that a Deployment asks for.
struct Deployed {
    namespace: String,
    name: String,
    template: Value,
    replicas: u64,
    /// The first container's first.
    port: u16,
}

impl Deployed {
    fn read(world: &World, namespace: &str, name: &str) -> Result<Self> {
        let found = world.plane.cluster.get(Kind("apps/v1", "Deployment"), namespace, name)?;
        let found = found.with_context(|| format!("there is no Deployment {namespace}/{name}"))?;
        let template = found["spec"]["template"].clone();
        let port = template.pointer("/spec/containers/0/ports/0/containerPort").and_then(Value::as_u64);
        let port = port.and_then(|port| port.try_into().ok());
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas: found["spec"]["replicas"].as_u64().unwrap_or(1),
            port: port.with_context(|| format!("{namespace}/{name} declares no port"))?,
            template,
        })
    }

    /// Starts the program of a pod, and makes the pod; its address.
    fn run<T>(&self, world: &World, start: impl FnOnce(SocketAddr) -> Result<T>) -> Result<(T, IpAddr)> {
        let address = world.place.address()?;
        let program = start(SocketAddr::new(address, self.port))?;
        world.deployed_pod(&self.namespace, &self.name, &self.template, address)?;
        Ok((program, address))
    }

    /// Starts one of the application's own services by the command and environment of its container. Its host, "all
    /// addresses" of a pod, is the pod's one address here.
    fn service(&self, python: &Path, address: SocketAddr) -> Result<Service> {
        let container = &self.template["spec"]["containers"][0];
        let list = |name: &str| container[name].as_array().into_iter().flatten();
        let module = list("command").filter_map(Value::as_str).find_map(|word| word.strip_suffix(":app"));
        let module = module.with_context(|| format!("{} runs {}", self.name, container["command"]))?;
        let environment: Vec<(&str, &str)> = list("env")
            .filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
            .collect();
        Service::start(python, module, address, &environment).with_context(|| format!("start {}", self.name))
    }
}

fn joined<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| lost())?).collect()
}

fn lost() -> anyhow::Error {
    anyhow!("a thread that started a pod's program is gone")
}
