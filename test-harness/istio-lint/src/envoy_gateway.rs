//! Envoy Gateway's resources: which ones they are, and the filters' configurations in them.
//!
//! Istio's rules are not about them. A GatewayClass says which controller a Gateway and its routes are for; where it is
//! elsewhere, policies of Envoy Gateway's tell, which are for its own Gateways and routes only.

use std::collections::HashSet;

use serde_json::Value;

use crate::embedded::{self, Configuration, Host};
use crate::resource::{Resource, items, text};
use crate::rules::GATEWAY_API;

/// The API group of its own kinds; its controllers' names begin so, too.
pub const GROUP: &str = "gateway.envoyproxy.io";

/// What is Envoy Gateway's among resources.
#[derive(Clone, Debug, Default)]
pub struct EnvoyGateway {
    /// The names of GatewayClasses.
    classes: HashSet<String>,
    /// Gateways and routes: kind, namespace and name.
    own: HashSet<[String; 3]>,
}

impl EnvoyGateway {
    /// Looks at the classes, Gateways and policies among these.
    pub fn among<'a>(resources: impl Iterator<Item = &'a Resource> + Clone) -> Self {
        let mut known = Self::default();
        let classes = resources.clone().filter(|r| r.is(GATEWAY_API, "GatewayClass"));
        let classes = classes.filter(|class| class.text("/spec/controllerName").starts_with(GROUP));
        known.classes.extend(classes.map(|class| class.name().to_owned()));
        for resource in resources {
            if resource.group() == GROUP {
                let targets =
                    resource.targets().iter().filter(|target| text(target, "/group") == GATEWAY_API);
                let targets = targets.map(|target| [text(target, "/kind"), text(target, "/name")]);
                known.own.extend(
                    targets.map(|[kind, name]| [kind, resource.namespace(), name].map(str::to_owned)),
                );
            } else if resource.is(GATEWAY_API, "Gateway")
                && known.classes.contains(resource.text("/spec/gatewayClassName"))
            {
                known.own.insert(named(resource));
            }
        }
        known
    }

    /// Whether a resource is Envoy Gateway's: of its group, or a route or Gateway that its controller serves.
    #[must_use]
    pub fn has(&self, resource: &Resource) -> bool {
        if resource.group() == GROUP {
            return true;
        }
        if resource.group() != GATEWAY_API {
            return false;
        }
        match resource.kind() {
            "GatewayClass" => self.classes.contains(resource.name()),
            "Gateway" => self.own.contains(&named(resource)),
            _ => {
                self.own.contains(&named(resource))
                    || self.has_parent_of(resource)
                    || names_a_backend(resource)
            }
        }
    }

    fn has_parent_of(&self, route: &Resource) -> bool {
        route.list("/spec/parentRefs").iter().any(|parent| {
            let namespace = Some(text(parent, "/namespace")).filter(|own| !own.is_empty());
            let gateway = ["Gateway", namespace.unwrap_or(route.namespace()), text(parent, "/name")];
            self.own.contains(&gateway.map(str::to_owned))
        })
    }
}

fn named(resource: &Resource) -> [String; 3] {
    [resource.kind(), resource.namespace(), resource.name()].map(str::to_owned)
}

/// Whether a route leads to a Backend, which is a kind of Envoy Gateway's.
fn names_a_backend(route: &Resource) -> bool {
    let rules = route.list("/spec/rules").iter();
    rules.flat_map(|rule| items(rule, "/backendRefs")).any(|backend| text(backend, "/group") == GROUP)
}

/// Every configuration of a filter or policy of this project in an EnvoyExtensionPolicy or an EnvoyPatchPolicy, each with its
/// place as a JSON pointer: that of the configuration itself in the first, that of the filter in the second.
#[must_use]
pub fn configurations(resource: &Resource) -> Vec<(String, Configuration)> {
    if resource.group() != GROUP {
        return Vec::new();
    }
    match resource.kind() {
        "EnvoyExtensionPolicy" => extensions(resource),
        "EnvoyPatchPolicy" => {
            let patched = embedded::within(&resource.value).into_iter();
            patched.filter(|(_, configuration)| embedded::is_ours(&configuration.filter)).collect()
        }
        _ => Vec::new(),
    }
}

/// The filters of an EnvoyExtensionPolicy. Envoy Gateway makes JSON of their configurations.
fn extensions(policy: &Resource) -> Vec<(String, Configuration)> {
    let json = |filter: &Value| filter.get("config").map_or_else(String::new, Value::to_string);
    let mut found = Vec::new();
    for (index, filter) in policy.list("/spec/wasm").iter().enumerate() {
        let Ok(name) = module_of(filter) else { continue };
        let configuration = Configuration { filter: name, host: Host::Wasm, json: json(filter) };
        if embedded::is_ours(&configuration.filter) {
            found.push((format!("/spec/wasm/{index}/config"), configuration));
        }
    }
    for (index, filter) in policy.list("/spec/dynamicModule").iter().enumerate() {
        let name = text(filter, "/filterName").replace('_', "-");
        let module = text(filter, "/name").replace('-', "_");
        // A misspelt filter of this project's module is found by the module's name.
        if embedded::is_ours(&name) || module == embedded::MODULE {
            let configuration = Configuration { filter: name, host: Host::Native, json: json(filter) };
            found.push((format!("/spec/dynamicModule/{index}/config"), configuration));
        }
    }
    found
}

/// The name of the module of a wasm extension, by its image or file.
pub(crate) fn module_of(filter: &Value) -> Result<String, String> {
    let [image, file] = ["/code/image/url", "/code/http/url"].map(|place| text(filter, place));
    embedded::module_name(if image.is_empty() { file } else { image })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(value: Value) -> Resource {
        Resource { value }
    }

    fn route(parent: &str, backend: &Value) -> Resource {
        resource(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "route", "namespace": "a"},
            "spec": {"parentRefs": [{"name": parent}], "rules": [{"backendRefs": [backend]}]},
        }))
    }

    #[test]
    fn a_route_is_envoy_gateways_by_its_class_its_policy_or_its_backend() {
        let service = json!({"name": "s", "port": 1});
        let class = resource(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "eg"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        }));
        let gateway = |class: &str| {
            resource(json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "g", "namespace": "a"}, "spec": {"gatewayClassName": class},
            }))
        };
        let policy = |kind: &str, name: &str| {
            resource(json!({
                "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy",
                "metadata": {"name": "p", "namespace": "a"},
                "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": kind, "name": name}]},
            }))
        };
        let its = |others: &[Resource], route: &Resource| EnvoyGateway::among(others.iter()).has(route);
        let plain = route("g", &service);
        assert!(its(&[class.clone(), gateway("eg")], &plain));
        assert!(!its(&[class.clone(), gateway("istio")], &plain));
        assert!(!its(&[class], &route("other", &service)));
        assert!(its(&[policy("HTTPRoute", "route")], &plain));
        assert!(its(&[policy("Gateway", "g")], &plain));
        assert!(!its(&[policy("HTTPRoute", "another")], &plain));
        assert!(its(
            &[],
            &route("g", &json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "b"}))
        ));
        assert!(!its(&[], &plain));
    }
}
