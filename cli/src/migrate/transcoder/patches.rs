//! The filter by an `EnvoyFilter`: as a dynamic module, or in wasm with held headers, which no `WasmPlugin` can have.

use serde_json::{Value, json};

use super::super::account::{Account, Action};
use super::super::spot::{self, Spot};
use super::super::tree::placed;
use super::{Plan, Target, module};
use crate::arguments::Shape;
use crate::input::{Item, Located};

/// Behind what chooses groups, which has 5.
const PRIORITY: i64 = 10;

/// The resource's `spec`; `None` if it cannot be said where the filter goes.
pub(super) fn spec(
    located: &Located,
    plan: &Plan,
    target: &Target<'_>,
    all: &[Located],
    registry: &str,
    account: &mut Account,
) -> Option<Item> {
    if plan.phase == "AUTHN" {
        account.refuse(
            located,
            "/spec/transcodeFirst",
            "an EnvoyFilter inserts the filter after authorisation: take the form wasm, or the field out",
        );
        return None;
    }
    let spot = spot(located, plan, target, all, account)?;
    let mut config = placed(plan.config.clone()).value();
    if plan.form == Shape::Native {
        account.add(Action::Todo, located, "/kind", spot::MODULE);
        let filter = spot::native("kserve-transcoder", "kserve_transcoder", &config.to_string());
        return Some(spot.spec(PRIORITY, spot.filters(&filter)));
    }
    // The key and the flag go together: a module cannot see the flag, and with the key alone every answer hangs.
    config["hold_response_headers"] = Value::Bool(true);
    let name = located.resource.name();
    let url = module(located, registry, account);
    let mut patches = vec![spot.added("EXTENSION_CONFIG", &held(name, &url, &config.to_string()))];
    patches.extend(spot.filters(&discovered(name)));
    Some(spot.spec(PRIORITY, patches))
}

/// The plugin, which Istio's agent fetches the module for.
fn held(name: &str, url: &str, config: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                // A name and a root id of its own: on Envoy 1.38 plugins of one module that differ in the flag alone share it.
                "name": name,
                "root_id": "kserve_transcoder",
                "allow_on_headers_stop_iteration": true,
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    // The cluster is never used, but Envoy's type needs one.
                    "code": {"remote": {"http_uri": {"uri": url, "timeout": "30s", "cluster": "_"}}},
                },
                "configuration": spot::string(config),
            },
        },
    })
}

/// The filter that asks for the plugin by its name. RBAC is what the agent answers with while it cannot fetch the module.
fn discovered(name: &str) -> Value {
    json!({
        "name": name,
        "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
            "type_urls": [
                "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            ],
        },
    })
}

fn spot(
    located: &Located,
    plan: &Plan,
    target: &Target<'_>,
    all: &[Located],
    account: &mut Account,
) -> Option<Spot> {
    match target {
        Target::Gateway(labels) => {
            let Some(port) = plan.port else {
                let why = "has no portNumber, so the filter would be added on every port of the gateway";
                account.refuse(located, "/spec", why);
                return None;
            };
            Some(Spot::Gateway { labels: (*labels).clone(), ports: vec![port] })
        }
        Target::Waypoint { service, port } => {
            let namespace = service.resource.namespace();
            let host = format!("{}.{namespace}.svc.cluster.local", service.resource.name());
            let spot = Spot::at_waypoint(all, namespace, &host, *port);
            if spot.is_none() {
                let why = format!(
                    "an EnvoyFilter targets the waypoint's Gateway, and {namespace} has none in the input: add it, or take the form wasm"
                );
                account.refuse(located, "/spec/workloadSelector/labels", why);
            }
            spot
        }
    }
}
