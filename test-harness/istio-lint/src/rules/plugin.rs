//! `WasmPlugin` and `TrafficExtension`.

use super::{Overlay, Place, is_dns_label};
use crate::embedded;
use crate::resource::{self, Resource};

pub(super) fn check(overlay: &Overlay<'_>, plugin: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, reason: &str| {
        if !holds {
            wrong.push(reason.to_owned());
        }
    };
    must(is_dns_label(plugin.name()), "the name becomes part of the filter's name: it must be a DNS label");
    let lua = embedded::lua(plugin).is_some();
    let wasm = if plugin.kind() == "TrafficExtension" { "/spec/wasm" } else { "/spec" };
    must(
        lua || plugin.text(&format!("{wasm}/failStrategy")) == "FAIL_RELOAD",
        "failStrategy must be FAIL_RELOAD: after a VM has died, FAIL_CLOSE answers 503 until a restart, and FAIL_OPEN serves without the filter",
    );

    let matches = plugin.list("/spec/match");
    let place = overlay.place(plugin);
    match &place {
        Ok(Place::Waypoint) => {
            must(
                matches.iter().all(|m| resource::items(m, "/ports").is_empty()),
                "match.ports at a waypoint never matches",
            );
            must(
                matches.iter().all(|m| resource::text(m, "/mode") != "CLIENT"),
                "mode CLIENT at a waypoint never matches",
            );
        }
        Ok(Place::Gateway) => must(
            matches.iter().all(|m| resource::text(m, "/mode") != "SERVER"),
            "mode SERVER at a gateway never matches",
        ),
        Err(reason) => must(false, reason),
    }

    let ours = |name: &str| matches!(name, "kserve-transcoder" | "dynamic-subset");
    if lua || embedded::configurations(plugin).is_ok_and(|all| all.iter().any(|c| ours(&c.filter))) {
        must(
            matches!(plugin.text("/spec/phase"), "" | "UNSPECIFIED" | "UNSPECIFIED_PHASE" | "STATS"),
            "phase must come after authorisation: AUTHN and AUTHZ run before it",
        );
    }
    for key in ["hold_request_headers", "hold_response_headers"] {
        must(
            plugin.at(&format!("{wasm}/pluginConfig/{key}")) != Some(&true.into()),
            &format!(
                "{key} needs allow_on_headers_stop_iteration, which a WasmPlugin cannot set: exchanges would hang"
            ),
        );
    }
    wrong
}
