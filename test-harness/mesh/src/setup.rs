//! Everything that resources name, raised: control plane, registry, names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::authority::Authority;
use crate::control_plane::{ControlPlane, Programs};
use crate::names::Names;
use crate::place::{Place, RESOLVER};
use crate::registry::Registry;
use crate::world::World;

/// What the resources' `oci://` URLs name, and the module behind it in `dist/`.
const MODULES: [(&str, &str); 3] = [
    ("kserve-transcoder", "kserve_transcoder.wasm"),
    ("dynamic-subset", "dynamic_subset.wasm"),
    ("claim-headers", "claim_headers.wasm"),
];
/// Their tag.
const TAG: &str = "0.1.0";
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

        let known: Arc<Mutex<HashMap<String, Vec<IpAddr>>>> = Arc::default();
        let lookup = {
            let known = Arc::clone(&known);
            move |name: &str| known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
        };
        let names = Names::start(&handle, (RESOLVER, 53).into(), lookup)?;

        let address = place.address()?;
        place.name(REGISTRY, address)?;
        let registry =
            Registry::start(&handle, SocketAddr::new(address, 443), authority.server(&[REGISTRY])?)?;
        for (repository, file) in MODULES {
            let path = e2e::dist(file);
            let module = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            registry.push(repository, TAG, &module)?;
        }

        let begun = Instant::now();
        let providers = extension_providers()?;
        let plane = ControlPlane::start(&handle, &place, &programs, &authority, &providers)?;
        println!("control plane: ready after {:.1} s", begun.elapsed().as_secs_f64());
        let modules = e2e::repository().join("dist");
        let world = World::new(&handle, place, plane, &modules, known)?;
        Ok(Self { world, registry, authority, _names: names, _runtime: runtime })
    }
}

/// The provider that `istio/claim-headers` tells users to add to the mesh's configuration.
fn extension_providers() -> Result<Value> {
    let values = e2e::repository().join("istio/claim-headers/sign-on.meshconfig.yaml");
    let values = resources::yaml::<Value>(Path::new(&values))?;
    let providers = values.first().and_then(|values| values.pointer("/meshConfig/extensionProviders"));
    providers.cloned().context("sign-on.meshconfig.yaml has no meshConfig.extensionProviders")
}
