//! What a cluster would hold, and what its kubelets would do.
//!
//! Pods are objects whose status is written here, and their processes are started by this program. A pod's name and
//! labels are as a Deployment's controllers make them, because Istio reads the workload's name from them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use istio_lint::Resource;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use crate::api::Kind;
use crate::control_plane::{ControlPlane, ROOT_NAMESPACE, namespace};
use crate::hbone;
use crate::place::Place;
use crate::proxy::{Identity, Proxy, Role};
use crate::redirect::{self, Redirect};
use crate::shims;

const NODE: &str = "node-1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// The hash in every ReplicaSet's and pod's name.
const HASH: &str = "5d8c9f7b6";
/// How long a controller may take over a resource.
const SOON: Duration = Duration::from_secs(90);

/// A cluster with a control plane, to which resources are applied.
pub struct World {
    /// etcd, the API server, istiod.
    pub plane: ControlPlane,
    /// Where addresses come from.
    pub place: Place,
    /// The runtime that connections run on.
    pub handle: Handle,
    /// What ends HBONE at pods.
    pub redirect: Redirect,
    /// Where `libinference_filters.so` is.
    pub modules: PathBuf,
    pods: AtomicU32,
    proxies: AtomicU16,
}

/// A pod's owner and labels.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The Deployment that it belongs to.
    pub deployment: &'a str,
    /// Its service account.
    pub account: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The ports that its processes listen on.
    pub ports: &'a [u16],
}

/// A pod that is running, as the API server is told.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl World {
    /// A cluster of one node without pods.
    ///
    /// # Errors
    /// If the node is refused.
    pub fn new(handle: &Handle, place: Place, plane: ControlPlane, modules: &Path) -> Result<Self> {
        // Before any pod: the controller of EndpointSlices passes over pods of unknown nodes.
        plane
            .cluster
            .apply_value(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}))?;
        let redirect = Redirect::start(&plane.programs().envoy, redirect::HBONE_PORT)?;
        Ok(Self {
            plane,
            place,
            handle: handle.clone(),
            redirect,
            modules: modules.to_owned(),
            pods: AtomicU32::new(0),
            proxies: AtomicU16::new(0),
        })
    }

    /// Applies resources in the order given.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub fn apply(&self, resources: &[Resource]) -> Result<()> {
        resources.iter().try_for_each(|resource| self.plane.cluster.apply(resource))
    }

    /// Makes a namespace whose pods belong to the ambient mesh.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn ambient_namespace(&self, name: &str) -> Result<()> {
        self.plane.cluster.apply_value(&namespace(name, json!({"istio.io/dataplane-mode": "ambient"})))
    }

    /// Makes a service account.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn account(&self, namespace: &str, name: &str) -> Result<()> {
        self.plane.cluster.apply_value(&json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        }))
    }

    /// Makes a Service with a virtual address; which. `ports` are name, port, and the pods' port.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn service(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        selector: &[(&str, &str)],
        ports: &[(&str, u16, u16)],
    ) -> Result<IpAddr> {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target}))
            .collect();
        self.plane.cluster.apply_value(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": map(labels)},
            "spec": {"selector": map(selector), "ports": ports},
        }))?;
        self.virtual_address(namespace, name)
    }

    /// The virtual address of a Service.
    ///
    /// # Errors
    /// If there is no such Service, or it is headless.
    pub fn virtual_address(&self, namespace: &str, name: &str) -> Result<IpAddr> {
        self.plane.cluster.wait(Kind("v1", "Service"), namespace, name, SOON, |service| {
            service.pointer("/spec/clusterIP")?.as_str()?.parse().ok()
        })
    }

    /// Makes a running pod of the mesh at an address where its processes listen already. HBONE to it ends with its
    /// account's certificate.
    ///
    /// # Errors
    /// If the API server or istiod refuses something.
    pub fn pod(&self, workload: &Workload<'_>, address: IpAddr) -> Result<Pod> {
        let identity = self.identity(workload.namespace, workload.account)?;
        self.redirect.add(redirect::Pod { ip: address, ports: workload.ports.to_vec(), identity })?;
        let redirected = json!({"ambient.istio.io/redirection": "enabled"});
        self.make_pod(workload, address, redirected)
    }

    /// Makes a running pod of the mesh, as the template of a Deployment has it, at an address where its processes listen
    /// already.
    ///
    /// # Errors
    /// As [`pod`](Self::pod).
    pub fn deployed_pod(
        &self,
        namespace: &str,
        deployment: &str,
        template: &Value,
        address: IpAddr,
    ) -> Result<Pod> {
        let containers = template["spec"]["containers"].as_array().into_iter().flatten();
        let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        let ports = ports.filter_map(|port| port["containerPort"].as_u64()?.try_into().ok()).collect();
        let account = template["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let identity = self.identity(namespace, account)?;
        self.redirect.add(redirect::Pod { ip: address, ports, identity })?;
        let labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let redirected = json!({"ambient.istio.io/redirection": "enabled"});
        self.run_pod(namespace, deployment, labels, redirected, template["spec"].clone(), address)
    }

    /// A certificate of istiod's for a service account.
    ///
    /// # Errors
    /// If istiod refuses it.
    pub fn identity(&self, namespace: &str, account: &str) -> Result<hbone::Identity> {
        let token = self.plane.cluster.token(namespace, account, "istio-ca")?;
        let istiod = ([127, 0, 0, 1], 15012).into();
        let roots = self.plane.root_certificate()?;
        let name = crate::control_plane::ISTIOD;
        hbone::Identity::from_istiod(&self.handle, istiod, name, &roots, &token, namespace, account)
    }

    /// Deletes a pod, whose processes go on, as a kubelet does: its endpoint is taken away first, and its connections are
    /// closed once `gone` says that no proxy sends anything there.
    ///
    /// # Errors
    /// If the API server does not answer, or the endpoint stays.
    pub fn remove(&self, pod: &Pod, gone: impl Fn() -> Result<bool>) -> Result<()> {
        self.plane.cluster.delete(Kind("v1", "Pod"), &pod.namespace, &pod.name)?;
        let deadline = Instant::now() + SOON;
        while !gone()? {
            ensure!(Instant::now() < deadline, "the endpoint {} is still there after {SOON:?}", pod.address);
            std::thread::sleep(Duration::from_millis(50));
        }
        self.redirect.remove(pod.address)
    }

    fn make_pod(&self, workload: &Workload<'_>, address: IpAddr, annotations: Value) -> Result<Pod> {
        let ports: Vec<Value> = workload.ports.iter().map(|port| json!({"containerPort": port})).collect();
        let spec = json!({
            "serviceAccountName": workload.account,
            "containers": [{"name": "main", "image": "registry.example/main", "ports": ports}],
        });
        let labels = map(workload.labels);
        self.run_pod(workload.namespace, workload.deployment, labels, annotations, spec, address)
    }

    /// What the controllers of Deployments and ReplicaSets, the scheduler and a kubelet do.
    fn run_pod(
        &self,
        namespace: &str,
        deployment: &str,
        mut labels: Map<String, Value>,
        annotations: Value,
        mut spec: Value,
        address: IpAddr,
    ) -> Result<Pod> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let replica_set = format!("{deployment}-{HASH}");
        let name = format!("{replica_set}-{number:05}");
        labels.insert("pod-template-hash".into(), HASH.into());
        spec["nodeName"] = NODE.into();
        self.plane.cluster.apply_value(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name,
                "generateName": format!("{replica_set}-"),
                "namespace": namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "controller": true,
                    "uid": format!("00000000-0000-0000-0000-{number:012}"),
                }],
            },
            "spec": spec,
        }))?;
        let address_text = address.to_string();
        self.plane.cluster.set_status(
            Kind("v1", "Pod"),
            namespace,
            &name,
            json!({
                "phase": "Running", "podIP": address_text, "podIPs": [{"ip": address_text}],
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "ContainersReady", "status": "True"},
                ],
            }),
        )?;
        Ok(Pod { namespace: namespace.to_owned(), name, address })
    }

    /// Makes the account, Service and pod of a gateway that Istio's `gateway` chart installs under this name, and runs
    /// it. `ports` are those of the Service, which are the pod's own.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn chart_gateway(&self, name: &str, labels: &[(&str, &str)], ports: &[(&str, u16)]) -> Result<Proxy> {
        self.account(ROOT_NAMESPACE, name)?;
        let same: Vec<_> = ports.iter().map(|&(name, port)| (name, port, port)).collect();
        self.service(ROOT_NAMESPACE, name, labels, labels, &same)?;
        let numbers: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
        let workload =
            Workload { namespace: ROOT_NAMESPACE, deployment: name, account: name, labels, ports: &numbers };
        self.allow_secrets(ROOT_NAMESPACE, name)?;
        self.run_proxy(Role::Router, &workload, None)
    }

    /// Runs the pod of a gateway whose Deployment is there, for Istio's webhook to complete ("gateway injection").
    ///
    /// # Errors
    /// If there is no such Deployment, or the proxy does not come up.
    pub fn injected_gateway(&self, namespace: &str, deployment: &str) -> Result<Proxy> {
        self.run_deployment(Role::Router, namespace, deployment)
    }

    /// What a gateway's chart grants its account: istiod asks by whom a certificate is read.
    fn allow_secrets(&self, namespace: &str, account: &str) -> Result<()> {
        let rbac = "rbac.authorization.k8s.io/v1";
        let metadata = json!({"name": account, "namespace": namespace});
        self.plane.cluster.apply_value(&json!({
            "apiVersion": rbac, "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}],
        }))?;
        self.plane.cluster.apply_value(&json!({
            "apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }))
    }

    /// Runs the pod of a Gateway API's Gateway, as the Deployment that istiod makes of it says. Its Service gets the
    /// pod's address, as a cloud would give it one.
    ///
    /// # Errors
    /// If istiod makes no Deployment, the proxy does not come up, or the Gateway does not become programmed.
    pub fn gateway(&self, namespace: &str, name: &str) -> Result<Proxy> {
        let deployment = format!("{name}-istio");
        let proxy = self.run_deployment(Role::Router, namespace, &deployment)?;
        let ingress = json!({"loadBalancer": {"ingress": [{"ip": proxy.address().to_string()}]}});
        self.plane.cluster.set_status(Kind("v1", "Service"), namespace, &deployment, ingress)?;
        self.programmed(namespace, name)?;
        Ok(proxy)
    }

    /// Runs the pod of a waypoint, as the Deployment that istiod makes of its Gateway says.
    ///
    /// # Errors
    /// As [`gateway`](Self::gateway).
    pub fn waypoint(&self, namespace: &str, name: &str) -> Result<Proxy> {
        self.plane.cluster.apply_value(&shims::waypoint_filter(namespace, name))?;
        let proxy = self.run_deployment(Role::Waypoint, namespace, name)?;
        self.programmed(namespace, name)?;
        Ok(proxy)
    }

    fn programmed(&self, namespace: &str, name: &str) -> Result<()> {
        self.plane.cluster.wait(Kind(GATEWAY_API, "Gateway"), namespace, name, SOON, |gateway| {
            has_condition(gateway, "Programmed").then_some(())
        })
    }

    fn run_deployment(&self, role: Role, namespace: &str, deployment: &str) -> Result<Proxy> {
        let kind = Kind("apps/v1", "Deployment");
        let made = self.plane.cluster.wait(kind, namespace, deployment, SOON, |made| Some(made.clone()));
        let made = made.context(
            "a gateway or waypoint runs as its Deployment says, which istiod makes unless it is applied",
        )?;
        let template = &made["spec"]["template"];
        let labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let labels: Vec<(&str, &str)> =
            labels.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
        let account = template["spec"]["serviceAccountName"].as_str().unwrap_or(deployment);
        let modules = self.mounted_modules(&template["spec"])?;
        let workload = Workload { namespace, deployment, account, labels: &labels, ports: &[] };
        self.run_proxy(role, &workload, modules)
    }

    /// Where the pod would find dynamic modules: the folder of this machine that stands for what the Deployment mounts.
    fn mounted_modules(&self, pod: &Value) -> Result<Option<PathBuf>> {
        let named = |list: &Value, name: &str| -> Option<Value> {
            list.as_array()?.iter().find(|item| item["name"] == name).cloned()
        };
        let proxy =
            named(&pod["containers"], "istio-proxy").ok_or_else(|| anyhow!("a pod without istio-proxy"))?;
        let Some(path) = named(&proxy["env"], "ENVOY_DYNAMIC_MODULES_SEARCH_PATH") else { return Ok(None) };
        let mounts = proxy["volumeMounts"].as_array().cloned().unwrap_or_default();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path["value"]);
        let mount =
            mount.ok_or_else(|| anyhow!("nothing is mounted at the search path {}", path["value"]))?;
        let volume = named(&pod["volumes"], mount["name"].as_str().unwrap_or_default());
        ensure!(volume.is_some(), "the pod has no volume {}", mount["name"]);
        Ok(Some(self.modules.clone()))
    }

    fn run_proxy(&self, role: Role, workload: &Workload<'_>, modules: Option<PathBuf>) -> Result<Proxy> {
        let address = self.place.address()?;
        let pod = self.make_pod(workload, address, json!({}))?;
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let identity = Identity {
            role,
            namespace: workload.namespace.to_owned(),
            pod: pod.name,
            deployment: workload.deployment.to_owned(),
            account: workload.account.to_owned(),
            labels: workload.labels.iter().map(owned).collect(),
            address,
            modules,
        };
        Proxy::start(&self.plane, &identity, self.proxies.fetch_add(1, Ordering::Relaxed))
    }

    /// Deletes everything that overlays and exercises make in these namespaces. istiod's own ConfigMaps stay, and the
    /// Secret with the key of its authority; their names begin with `istio-`.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn clear(&self, namespaces: &[&str]) -> Result<()> {
        const KINDS: [Kind<'static>; 18] = [
            Kind("extensions.istio.io/v1alpha1", "WasmPlugin"),
            Kind("extensions.istio.io/v1alpha1", "TrafficExtension"),
            Kind("networking.istio.io/v1alpha3", "EnvoyFilter"),
            Kind("networking.istio.io/v1", "Gateway"),
            Kind("networking.istio.io/v1", "VirtualService"),
            Kind("networking.istio.io/v1", "DestinationRule"),
            Kind("networking.istio.io/v1", "ServiceEntry"),
            Kind("networking.istio.io/v1", "Sidecar"),
            Kind("security.istio.io/v1", "AuthorizationPolicy"),
            Kind("security.istio.io/v1", "PeerAuthentication"),
            Kind("security.istio.io/v1", "RequestAuthentication"),
            Kind("telemetry.istio.io/v1", "Telemetry"),
            Kind(GATEWAY_API, "Gateway"),
            Kind(GATEWAY_API, "HTTPRoute"),
            Kind(GATEWAY_API, "GRPCRoute"),
            Kind("apps/v1", "Deployment"),
            Kind("v1", "Pod"),
            Kind("discovery.k8s.io/v1", "EndpointSlice"),
        ];
        for name in namespaces {
            if self.plane.cluster.get(Kind("v1", "Namespace"), "", name)?.is_none() {
                continue;
            }
            for kind in KINDS {
                self.plane.cluster.delete_all(kind, name)?;
            }
            let rbac = "rbac.authorization.k8s.io/v1";
            let by_name = [
                Kind("v1", "Service"),
                Kind("v1", "Secret"),
                Kind("v1", "ConfigMap"),
                Kind("v1", "PersistentVolumeClaim"),
                Kind(rbac, "Role"),
                Kind(rbac, "RoleBinding"),
            ];
            for kind in by_name {
                for found in self.plane.cluster.list(kind, name)? {
                    let found = found["metadata"]["name"].as_str().unwrap_or_default();
                    let of_istiod = matches!(kind.1, "Secret" | "ConfigMap") && found.starts_with("istio-");
                    if !of_istiod {
                        self.plane.cluster.delete(kind, name, found)?;
                    }
                }
            }
        }
        self.redirect.clear()
    }
}

/// Whether a resource's status has a condition that is true.
pub fn has_condition(resource: &Value, kind: &str) -> bool {
    let conditions = resource.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

fn map(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
}
