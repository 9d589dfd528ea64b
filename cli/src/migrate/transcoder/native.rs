//! The filter as a dynamic module: an `EnvoyFilter` at the gateway or the waypoint.

use serde_json::json;

use super::super::account::{Account, Action};
use super::super::tree::{item, list, map, text};
use super::{Plan, Target};
use crate::input::{Item, Located};

/// The resource's `spec`; `None` if it cannot be said where the filter goes.
pub(super) fn spec(
    located: &Located,
    plan: &Plan,
    target: &Target<'_>,
    all: &[Located],
    account: &mut Account,
) -> Option<Item> {
    account.add(
        Action::Todo,
        located,
        "/kind",
        "give the pods the module, libinference_filters.so, and ENVOY_DYNAMIC_MODULES_SEARCH_PATH (istio/kserve-transcoder, *-native); Istio 1.31",
    );
    if plan.phase == "AUTHN" {
        account.refuse(
            located,
            "/spec/transcodeFirst",
            "a dynamic module is inserted after authorisation: take the form wasm, or the field out",
        );
        return None;
    }
    let (attached, context, listener) = match target {
        Target::Gateway(labels) => {
            let Some(port) = plan.port else {
                account.refuse(
                    located,
                    "/spec",
                    "has no portNumber, so the filter would be added on every port of the gateway",
                );
                return None;
            };
            let attached = ("workloadSelector", map(vec![("labels", (*labels).clone())]));
            (attached, "GATEWAY", vec![("portNumber", item(&json!(port))), ("filterChain", chain(None))])
        }
        Target::Waypoint { service, port } => {
            let namespace = service.resource.namespace();
            let waypoint = |l: &&Located| {
                l.resource.text("/spec/gatewayClassName") == "istio-waypoint"
                    && l.resource.namespace() == namespace
            };
            let Some(waypoint) = all.iter().find(waypoint) else {
                let why = format!(
                    "an EnvoyFilter targets the waypoint's Gateway, and {namespace} has none in the input: add it, or take the form wasm"
                );
                account.refuse(located, "/spec/workloadSelector/labels", why);
                return None;
            };
            let reference = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": waypoint.resource.name()});
            let name =
                format!("inbound-vip|{port}|http|{}.{namespace}.svc.cluster.local", service.resource.name());
            let listener = vec![("name", text("main_internal")), ("filterChain", chain(Some(name)))];
            (("targetRefs", list(vec![item(&reference)])), "SIDECAR_INBOUND", listener)
        }
    };
    let config = map(plan.config.clone()).value().to_string();
    let value = json!({
        "name": "kserve-transcoder",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "inference_filters", "do_not_close": true},
            "filter_name": "kserve_transcoder",
            "filter_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config},
        },
    });
    let patch = map(vec![
        ("applyTo", text("HTTP_FILTER")),
        ("match", map(vec![("context", text(context)), ("listener", map(listener))])),
        ("patch", map(vec![("operation", text("INSERT_BEFORE")), ("value", item(&value))])),
    ]);
    Some(map(vec![attached, ("priority", item(&json!(10))), ("configPatches", list(vec![patch]))]))
}

/// In front of the router, and so after authorisation.
fn chain(name: Option<String>) -> Item {
    let filter = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "subFilter": {"name": "envoy.filters.http.router"},
    });
    let mut fields = Vec::new();
    if let Some(name) = name {
        fields.push(("name", text(name)));
    }
    fields.push(("filter", item(&filter)));
    map(fields)
}
