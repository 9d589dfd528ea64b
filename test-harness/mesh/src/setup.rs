//! Everything that resources name, raised: control plane, registry, names.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::api::{Cluster, Kind};
use crate::authority::Authority;
use crate::control_plane::{ControlPlane, Programs};
use crate::names::Names;
use crate::place::{Place, RESOLVER};
use crate::registry::Registry;
use crate::world::World;

/// The registry's name in the resources.
pub const REGISTRY: &str = "registry.example";

/// A running mesh. What is declared first ends first.
pub struct Mesh {
    /// The cluster.
    pub world: World,
    /// Where the agent pulls modules from.
    pub registry: Registry,
    /// Who vouches for the registry, the issuer and the gateways' certificates.
    pub authority: Authority,
    _names: Names,
    _runtime: Runtime,
}

impl Mesh {
    /// Raises it, saying what takes how long.
    ///
    /// # Errors
    /// If a part does not come up.
    pub fn raise(place: Place) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let handle = runtime.handle().clone();
        let programs = Programs::from_environment()?;
        let authority = Authority::new()?;
        place.write("authorities.pem", authority.pem())?;
        // What a DestinationRule and the agent take for the authorities of the proxy's image.
        place.over("/etc/ssl/certs/ca-certificates.crt", "authorities.pem")?;

        let address = place.address()?;
        place.name(REGISTRY, address)?;
        let registry =
            Registry::start(&handle, SocketAddr::new(address, 443), authority.server(&[REGISTRY])?)?;
        fill(&registry)?;

        let begun = Instant::now();
        let providers = extension_providers()?;
        let plane = ControlPlane::start(&handle, &place, &programs, &authority, &providers)?;
        println!("control plane: ready after {:.1} s", begun.elapsed().as_secs_f64());
        let (outside, inside) = (place.names(), lookup(Arc::clone(&plane.cluster)));
        let lookup = move |name: &str| outside(name).map(|address| vec![address]).or_else(|| inside(name));
        let names = Names::start(&handle, (RESOLVER, 53).into(), lookup)?;
        let world = World::new(&handle, place, plane, &e2e::repository().join("dist"))?;
        Ok(Self { world, registry, authority, _names: names, _runtime: runtime })
    }
}

/// What a cluster's DNS says of a Service: its virtual address, or the addresses of its ready pods if it has none.
fn lookup(cluster: Arc<Cluster>) -> impl Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync + 'static {
    move |name| {
        let (service, namespace) = name.strip_suffix(".svc.cluster.local")?.split_once('.')?;
        let found = cluster.get(Kind("v1", "Service"), namespace, service).ok()??;
        if let Some(address) = found.pointer("/spec/clusterIP").and_then(Value::as_str)
            && let Ok(address) = address.parse()
        {
            return Some(vec![address]);
        }
        let slices = cluster.list(Kind("discovery.k8s.io/v1", "EndpointSlice"), namespace).ok()?;
        let of_service =
            |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service;
        let endpoints =
            slices.iter().filter(of_service).filter_map(|slice| slice["endpoints"].as_array()).flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let addresses = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok());
        Some(addresses.collect::<Vec<_>>()).filter(|addresses| !addresses.is_empty())
    }
}

/// The provider that `istio/claim-headers` tells users to add to the mesh's configuration.
fn extension_providers() -> Result<Value> {
    let values = e2e::repository().join("istio/claim-headers/sign-on.meshconfig.yaml");
    let values = istio_lint::yaml::<Value>(Path::new(&values))?;
    let providers = values.first().and_then(|values| values.pointer("/meshConfig/extensionProviders"));
    providers.cloned().context("sign-on.meshconfig.yaml has no meshConfig.extensionProviders")
}

/// What `cargo xtask` names in the environment.
pub(crate) fn named(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    path.with_context(|| format!("{variable} is missing: run this through `cargo xtask`"))
}

/// Takes in the images that `cargo xtask` has made for this run, under the names that the resources give them.
pub(crate) fn fill(registry: &Registry) -> Result<()> {
    let images = named("IMAGES")?;
    let images = images::layout::read_all(&images)?;
    for (repository, (tag, image)) in &images {
        let digest = registry.add(repository, tag, image);
        println!("{REGISTRY}/{repository}:{tag}: {digest}");
    }
    Ok(())
}
