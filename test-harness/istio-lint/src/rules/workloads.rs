//! Workloads that an overlay brings along: Services, the pods behind them, accounts, addresses and waypoints must fit
//! together. An API server accepts each of these mistakes.
//!
//! Most overlays are for workloads that are there already. So a rule asks only about a namespace of which the overlay
//! has the resources in question.

use serde_json::{Map, Value};

use super::{GATEWAY_API, NETWORKING, Overlay};
use crate::Problem;
use crate::resource::{Resource, items, text};

const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// The value with which a Service goes without the waypoint of its namespace.
const OPT_OUT: &str = "none";
const DATAPLANE: &str = "istio.io/dataplane-mode";
const IN_CLUSTER: &str = ".svc.cluster.local";

/// Everything that does not fit together.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for resource in overlay.resources {
        let reasons = match (resource.group(), resource.kind()) {
            ("", "Service") => service(overlay, resource),
            (GATEWAY_API, "Gateway") => ambient(overlay, resource),
            (NETWORKING, "DestinationRule") => subsets(overlay, resource),
            ("apps", "Deployment") => deployment(overlay, resource),
            ("security.istio.io", "AuthorizationPolicy") => principals(overlay, resource),
            ("serving.kserve.io", "InferenceService") => inference_service(overlay, resource),
            _ => targets(overlay, resource),
        };
        problems.extend(reasons.into_iter().map(|reason| Problem::new(resource, reason)));
    }
    problems
}

/// Pods that a resource makes.
struct Pods<'a> {
    resource: &'a Resource,
    labels: &'a Map<String, Value>,
}

impl Pods<'_> {
    fn have(&self, labels: &Value) -> bool {
        labels.as_object().is_some_and(|wanted| wanted.iter().all(|(k, v)| self.labels.get(k) == Some(v)))
    }

    /// What is wrong with a Service's target port. A container listens on a number whether it declares it or not, but
    /// a name is only what a container declares. Of pods whose containers are somewhere else nothing is known.
    fn lack(&self, port: &Value) -> Option<String> {
        let lists = ["/spec/template/spec/containers", "/spec/template/spec/initContainers"];
        let containers = || lists.iter().flat_map(|list| self.resource.list(list));
        if self.resource.kind() != "Deployment" || containers().any(|c| text(c, "/image") == "auto") {
            return None;
        }
        let mut ports = containers().flat_map(|container| items(container, "/ports")).peekable();
        let named = port.as_str().is_some_and(|port| port.parse::<u16>().is_err());
        let declared = ports.peek().is_some();
        if !named && !declared {
            return None;
        }
        let number = port.as_u64().or_else(|| port.as_str()?.parse().ok());
        let is_it = |p: &Value| {
            p.get("name") == Some(port) || number.is_some() && p["containerPort"].as_u64() == number
        };
        if ports.any(is_it) {
            return None;
        }
        let among = if named { "" } else { " among those it declares" };
        Some(format!("{} has no container port {port}{among}", self.resource.id()))
    }
}

fn pods<'a>(overlay: &Overlay<'a>, namespace: &str) -> Vec<Pods<'a>> {
    let here = overlay.within(namespace).iter().copied();
    let made = here.filter_map(|resource| {
        let labels = match resource.kind() {
            "Deployment" => "/spec/template/metadata/labels",
            "InferenceService" => "/spec/predictor/labels",
            _ => return None,
        };
        Some(Pods { resource, labels: resource.at(labels)?.as_object()? })
    });
    made.collect()
}

fn service(overlay: &Overlay<'_>, service: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    let pods = pods(overlay, service.namespace());
    let selector = service.at("/spec/selector").unwrap_or(&Value::Null);
    let selected: Vec<_> = pods.iter().filter(|pods| pods.have(selector)).collect();
    if selected.is_empty() && !pods.is_empty() {
        wrong.push(format!("its selector {selector} matches none of the pods of these resources"));
    }
    for port in service.list("/spec/ports") {
        let target = port.get("targetPort").or_else(|| port.get("port")).unwrap_or(&Value::Null);
        wrong.extend(selected.iter().filter_map(|pods| pods.lack(target)));
    }
    let waypoint = label(service, USE_WAYPOINT);
    if !matches!(waypoint, "" | OPT_OUT) {
        let namespace = match label(service, "istio.io/use-waypoint-namespace") {
            "" => service.namespace(),
            other => other,
        };
        let gateway = overlay.find(GATEWAY_API, "Gateway", namespace, waypoint);
        if gateway.is_none_or(|gateway| gateway.text("/spec/gatewayClassName") != "istio-waypoint") {
            wrong.push(format!(
                "{USE_WAYPOINT} names {waypoint:?}, and these resources have no such waypoint"
            ));
        }
        if service.text("/spec/clusterIP") == "None" {
            wrong.push("is headless: calls go to the pods' addresses, past the waypoint".to_owned());
        }
    }
    wrong
}

/// A waypoint in a namespace that is not in the mesh serves no request: they all go past it.
fn ambient(overlay: &Overlay<'_>, gateway: &Resource) -> Vec<String> {
    let class = gateway.text("/spec/gatewayClassName");
    let namespace = overlay.find("", "Namespace", "", gateway.namespace());
    let outside = namespace.is_some_and(|namespace| label(namespace, DATAPLANE) != "ambient");
    if class != "istio-waypoint" || !outside {
        return Vec::new();
    }
    vec![format!("its namespace lacks the label {DATAPLANE}=ambient: requests go past this waypoint")]
}

/// What targets a Service applies at its waypoint, so the Service must have one.
fn targets(overlay: &Overlay<'_>, resource: &Resource) -> Vec<String> {
    let references = resource.targets().iter();
    let names = references.filter(|r| text(r, "/kind") == "Service").map(|r| text(r, "/name"));
    let services = names.filter_map(|name| overlay.find("", "Service", resource.namespace(), name));
    let namespace = overlay.find("", "Namespace", "", resource.namespace());
    let of_namespace = namespace.map_or("", |namespace| label(namespace, USE_WAYPOINT));
    let past = services.filter_map(|service| match label(service, USE_WAYPOINT) {
        OPT_OUT => Some((service, "has the label istio.io/use-waypoint=none")),
        "" if matches!(of_namespace, "" | OPT_OUT) => {
            Some((service, "lacks the label istio.io/use-waypoint"))
        }
        _ => None,
    });
    past.map(|(service, why)| format!("targets {}, which {why}: requests go past the waypoint", service.id()))
        .collect()
}

/// A subset whose labels no pod has is a cluster without endpoints: 503.
fn subsets(overlay: &Overlay<'_>, rule: &Resource) -> Vec<String> {
    let Some(service) = in_cluster(overlay, rule.text("/spec/host")) else { return Vec::new() };
    let selector = service.at("/spec/selector").unwrap_or(&Value::Null);
    let pods = pods(overlay, service.namespace());
    let selected: Vec<_> = pods.iter().filter(|pods| pods.have(selector)).collect();
    let none = |subset: &&Value| {
        let labels = subset.get("labels").unwrap_or(&Value::Null);
        !selected.is_empty() && !selected.iter().any(|pods| pods.have(labels))
    };
    let empty = rule.list("/spec/subsets").iter().filter(none);
    empty
        .map(|subset| {
            let (name, labels) = (text(subset, "/name"), subset.get("labels").unwrap_or(&Value::Null));
            format!("the subset {name:?} has no endpoints: none of the pods of {} has {labels}", service.id())
        })
        .collect()
}

fn deployment(overlay: &Overlay<'_>, deployment: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    let account = deployment.text("/spec/template/spec/serviceAccountName");
    if !account.is_empty() && !has_account(overlay, deployment.namespace(), account) {
        wrong.push(format!("runs as the service account {account:?}, which is not among these resources"));
    }
    let selector = deployment.at("/spec/selector/matchLabels").unwrap_or(&Value::Null);
    let labels = deployment.at("/spec/template/metadata/labels").and_then(Value::as_object);
    if labels.is_some_and(|labels| !Pods { resource: deployment, labels }.have(selector)) {
        wrong.push("its selector does not match the labels of its own pods".to_owned());
    }
    let containers = deployment.list("/spec/template/spec/containers").iter();
    for variable in containers.flat_map(|container| items(container, "/env")) {
        let (name, value) = (text(variable, "/name"), text(variable, "/value"));
        let address = value.split_once("://").map_or(value, |(_, rest)| rest);
        let address = address.split('/').next().unwrap_or_default();
        let (host, port) = address.split_once(':').unwrap_or((address, "80"));
        if !host.ends_with(IN_CLUSTER) {
            continue;
        }
        let number = port.parse::<u64>().map(Value::from).unwrap_or_default();
        let has_port =
            |service: &&Resource| service.list("/spec/ports").iter().any(|p| p.get("port") == Some(&number));
        if in_cluster(overlay, host).filter(has_port).is_none() {
            wrong.push(format!("{name} names {address}, and no Service of these resources has that port"));
        }
    }
    wrong
}

/// A policy that names an account which does not exist lets nothing through, or refuses everything.
fn principals(overlay: &Overlay<'_>, policy: &Resource) -> Vec<String> {
    let mut wrong = targets(overlay, policy);
    let sources = policy.list("/spec/rules").iter().flat_map(|rule| items(rule, "/from"));
    let names = sources
        .flat_map(|from| ["/source/principals", "/source/notPrincipals"].map(|pointer| items(from, pointer)))
        .flatten();
    for principal in names.filter_map(Value::as_str) {
        let parts: Vec<_> = principal.split('/').collect();
        let [_, "ns", namespace, "sa", account] = parts[..] else { continue };
        if !has_account(overlay, namespace, account) {
            wrong.push(format!("names {principal}, and these resources have no such service account"));
        }
    }
    wrong
}

fn inference_service(overlay: &Overlay<'_>, service: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    let has = |kind: &str, name: &str| {
        let mut here = overlay.of_kind(kind).iter().peekable();
        let none = here.peek().is_none();
        none || here.any(|r| r.namespace() == service.namespace() && r.name() == name)
    };
    let model = "/spec/predictor/model";
    let runtime = service.text(&format!("{model}/runtime"));
    if !runtime.is_empty() && !has("ServingRuntime", runtime) {
        wrong.push(format!("runs on {runtime:?}, and these resources have no such ServingRuntime"));
    }
    let uri = service.text(&format!("{model}/storageUri")).strip_prefix("pvc://");
    let claim = uri.and_then(|path| path.split('/').next());
    let claim = claim.unwrap_or_else(|| service.text(&format!("{model}/storage/parameters/name")));
    if !claim.is_empty() && !has("PersistentVolumeClaim", claim) {
        wrong.push(format!("reads its model from the claim {claim:?}, which is not among these resources"));
    }
    wrong
}

/// Whether an account exists: one of the overlay, or one that Istio makes for a Gateway of it. Of a namespace without
/// accounts in the overlay nothing is known.
fn has_account(overlay: &Overlay<'_>, namespace: &str, account: &str) -> bool {
    let mut here = overlay.within(namespace).iter().copied();
    let made_for = |gateway: &Resource| match gateway.text("/spec/gatewayClassName") {
        "istio-waypoint" => gateway.name() == account,
        class => format!("{}-{class}", gateway.name()) == account,
    };
    let is_it = |r: &Resource| {
        (r.is("", "ServiceAccount") && r.name() == account) || (r.is(GATEWAY_API, "Gateway") && made_for(r))
    };
    !here.clone().any(|r| r.is("", "ServiceAccount")) || here.any(is_it)
}

/// The Service of a full name.
fn in_cluster<'a>(overlay: &Overlay<'a>, host: &str) -> Option<&'a Resource> {
    let (name, namespace) = host.strip_suffix(IN_CLUSTER)?.split_once('.')?;
    overlay.find("", "Service", namespace, name)
}

/// The value of a label; empty if it is missing.
fn label<'a>(resource: &'a Resource, name: &str) -> &'a str {
    let labels = resource.at("/metadata/labels");
    labels.and_then(|labels| labels.get(name)).and_then(Value::as_str).unwrap_or_default()
}
