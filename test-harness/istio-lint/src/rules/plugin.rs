//! `WasmPlugin` and `TrafficExtension`.

use serde_json::Value;

use super::{Overlay, Place, is_dns_label};
use crate::Problem;
use crate::embedded;
use crate::resource::{self, Resource};

pub(super) fn check(overlay: &Overlay<'_>, plugin: &Resource) -> Vec<Problem> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, pointer: &str, reason: &str| {
        if !holds {
            wrong.push(Problem { pointer: pointer.to_owned(), ..Problem::new(plugin, reason) });
        }
    };
    let lua = embedded::lua(plugin).is_some();
    let wasm = if plugin.kind() == "TrafficExtension" { "/spec/wasm" } else { "/spec" };
    let ours = embedded::has_ours(plugin);
    must(
        !ours || is_dns_label(plugin.name()),
        "/metadata/name",
        "the name becomes part of the filter's name: it must be a DNS label",
    );
    must(
        !ours || lua || plugin.text(&format!("{wasm}/failStrategy")) == "FAIL_RELOAD",
        &format!("{wasm}/failStrategy"),
        "failStrategy must be FAIL_RELOAD: after a VM has died, FAIL_CLOSE answers 503 until a restart, and FAIL_OPEN serves without the filter",
    );

    let matches = plugin.list("/spec/match");
    if let Err(reason) = overlay.place(plugin) {
        must(false, "/spec/targetRefs", &reason);
    }
    if let Some(place) = overlay.likely_place(plugin) {
        let useless: Vec<_> = matches.iter().map(|entry| useless(place, entry)).collect();
        // One entry that matches is enough.
        let all = useless.iter().all(Option::is_some);
        for (index, reason) in useless.iter().enumerate() {
            let Some(reason) = reason else { continue };
            if all {
                must(false, "/spec/match", reason);
            } else {
                let reason = format!("{reason}: only the other entries count");
                must(false, &format!("/spec/match/{index}"), &reason);
            }
        }
    }

    let late = |name: &str| matches!(name, "kserve-transcoder" | "dynamic-subset");
    let gives_body = embedded::lua(plugin).is_some_and(|code| code.contains(":body(true)"));
    if gives_body || embedded::configurations(plugin).is_ok_and(|all| all.iter().any(|c| late(&c.filter))) {
        must(
            matches!(plugin.text("/spec/phase"), "" | "UNSPECIFIED" | "UNSPECIFIED_PHASE" | "STATS"),
            "/spec/phase",
            "phase must come after authorisation: AUTHN and AUTHZ run before it",
        );
    }
    for key in ["hold_request_headers", "hold_response_headers"] {
        must(
            plugin.at(&format!("{wasm}/pluginConfig/{key}")) != Some(&true.into()),
            &format!("{wasm}/pluginConfig/{key}"),
            &format!(
                "{key} needs allow_on_headers_stop_iteration, which a WasmPlugin cannot set: exchanges would hang"
            ),
        );
    }
    wrong
}

/// Why an entry of `match` takes no request at a place.
fn useless(place: Place, entry: &Value) -> Option<&'static str> {
    match (place, resource::text(entry, "/mode")) {
        (Place::Waypoint, _) if !resource::items(entry, "/ports").is_empty() => {
            Some("match.ports at a waypoint never matches")
        }
        (Place::Waypoint, "CLIENT") => Some("mode CLIENT at a waypoint never matches"),
        (Place::Gateway, "SERVER") => Some("mode SERVER at a gateway never matches"),
        _ => None,
    }
}
