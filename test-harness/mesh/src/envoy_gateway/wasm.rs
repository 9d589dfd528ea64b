//! What the wasm forms need beside the resources: a registry, and without Kubernetes the trust between Envoy and the server
//! from which Envoy Gateway hands modules to it.
//!
//! That server is `https://envoy-gateway.envoy-gateway-system.svc.cluster.local:18002`. Envoy has to find it by that name.
//! It has to show a certificate, which Envoy Gateway takes from a Secret of the cluster: without one it makes up
//! another, which its own server refuses. And it has to trust the server's, whose authority is at `/certs/ca.crt` in
//! the pod of a proxy: without that file Envoy refuses the cluster, and the Gateway never listens. Here the Secret is one more
//! resource, and a patch names another file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::runtime::Runtime;

use crate::authority::Authority;
use crate::place::Place;
use crate::registry::Registry;
use crate::setup::{REGISTRY, fill};

/// The name of the server of modules.
pub(super) const CODE_SERVER: &str = "envoy-gateway.envoy-gateway-system.svc.cluster.local";
/// The authorities that Envoy Gateway trusts, among the place's files.
pub(super) const AUTHORITIES: &str = "authorities.pem";

/// A registry with the images of the wasm modules.
pub(super) fn registry(place: &Place, runtime: &Runtime) -> Result<Registry> {
    let authority = Authority::new()?;
    place.write(AUTHORITIES, authority.pem())?;
    place.name(CODE_SERVER, Ipv4Addr::LOCALHOST.into())?;
    let address = place.address()?;
    place.name(REGISTRY, address)?;
    let registry =
        Registry::start(runtime.handle(), SocketAddr::new(address, 443), authority.server(&[REGISTRY])?)?;
    fill(&registry)?;
    Ok(registry)
}

/// That Envoy Gateway has pulled an image since the registry was told to forget.
pub(super) fn pulled(registry: &Registry, repository: &str) -> Result<()> {
    let requests = registry.requests();
    let asked = requests.iter().any(|request| request.contains(&format!("/v2/{repository}/manifests/")));
    ensure!(asked, "{repository} was not pulled: {requests:?}");
    Ok(())
}

/// What Kubernetes would have, for the certificates that `envoy-gateway certgen` has made in `certificates`.
pub(super) fn trust(certificates: &Path) -> Result<String> {
    let file = |name: &str| certificates.join("envoy").join(name);
    let encoded = |name: &str| -> Result<String> {
        let file = file(name);
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(STANDARD.encode(bytes))
    };
    Ok(format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{ name: envoy, namespace: envoy-gateway-system }}
type: kubernetes.io/tls
data: {{ tls.crt: {}, tls.key: {} }}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {{ name: trust, namespace: inference }}
spec:
  targetRef: {{ group: gateway.networking.k8s.io, kind: Gateway, name: inference }}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: wasm_cluster
    operation:
      op: replace
      path: /transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename
      value: {}
"#,
        encoded("tls.crt")?,
        encoded("tls.key")?,
        file("ca.crt").display()
    ))
}
