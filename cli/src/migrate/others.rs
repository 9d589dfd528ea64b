//! The vendor's other kinds and habits.

use serde_json::{Value, json};

use super::account::{Account, Action, Place, place};
use super::files::Fate;
use super::render::{self, Source};
use super::tree::{fields, get_mut, item, prune, set};
use crate::input::Located;

const BUFFER_LIMIT: &str = "per_connection_buffer_limit_bytes";
/// Envoy's own limit of a listener, in bytes.
const ENVOYS_LIMIT: u64 = 1 << 20;
const ACCOUNT: &str = "istio.io/for-service-account";

/// `ASMKServeConfig`: it installs ModelMesh, which on stock parts one does oneself.
pub(super) fn serving(located: &Located, account: &mut Account) -> Fate {
    let release = located.resource.text("/spec/tag");
    let release = if release.is_empty() { "v0.12.0" } else { release };
    let namespace = located.resource.text("/spec/multiModelControllerNamespace");
    let namespace = if namespace.is_empty() { "modelmesh-serving" } else { namespace };
    if located.resource.at("/spec/enabled") != Some(&Value::Bool(false)) {
        account.add(
            Action::Todo,
            located,
            "/kind",
            format!(
                "install ModelMesh {release} as published (kserve/modelmesh-serving, scripts/install.sh) in {namespace}"
            ),
        );
    }
    let Some(spec) = located.item.get("spec") else {
        account.refuse(located, "", "has no spec");
        return Fate::Gone;
    };
    for (key, value) in fields(spec) {
        let pointer = format!("/spec/{}", key.name);
        let known = match (key.name.as_str(), value.value()) {
            ("enabled", Value::Bool(true)) => Ok("by the installation"),
            ("enabled", Value::Bool(false)) => Ok("nothing to install, then"),
            ("multiModel", Value::Bool(true)) => Ok("by the installation of ModelMesh"),
            ("multiModel", Value::Bool(false)) => Err(
                "single models are KServe's own, which this command does not install: see kserve.github.io",
            ),
            ("tag", Value::String(_)) => Ok("the release to install"),
            ("multiModelControllerNamespace", Value::String(_)) => Ok("the namespace to install in"),
            ("builtInServingRuntimeEnabled" | "builtInClusterServingRuntimeEnabled", Value::Bool(_)) => {
                Ok("ModelMesh's installation brings its runtimes: delete those you do not want")
            }
            ("enableMmCallLocalModelFirst", Value::Bool(false)) => Ok("what ModelMesh does"),
            ("enableMmCallLocalModelFirst", Value::Bool(true)) => Err(
                "a change of the vendor's to ModelMesh: the published one has no such option, so take it out",
            ),
            _ => Err("unknown field, or not a value of it"),
        };
        match known {
            Ok(why) => account.add(Action::Dropped, located, &pointer, why),
            Err(why) => account.refuse(located, &pointer, why),
        }
    }
    Fate::Gone
}

/// Other kinds of the vendor's group.
pub(super) fn unknown(located: &Located, account: &mut Account) -> Fate {
    let why = match located.resource.kind() {
        "ASMTrafficLabel" | "TrafficLabel" => {
            "labels on requests are not in stock Istio: match on a header that the application passes on, with a VirtualService"
        }
        _ => "a kind of the vendor's that this command does not know",
    };
    account.refuse(located, "/kind", why);
    Fate::Same
}

/// An `EnvoyFilter` that does nothing but raise the listener's buffer for the vendor's transcoder. Without one it is for
/// something else, and so is one that lowers the limit. It is needed for as long as a transcoder beside it stays.
pub(super) fn envoy_filter(
    located: &Located,
    transcoders: &[&Located],
    pairs: &mut Vec<(Place, Place)>,
    account: &mut Account,
) -> Fate {
    let patches = located.resource.list("/spec/configPatches");
    let raises = |patch: &Value| {
        let value = patch.pointer("/patch/value").and_then(Value::as_object);
        patch["applyTo"] == "LISTENER"
            && patch.pointer("/patch/operation") == Some(&json!("MERGE"))
            && value.is_some_and(|value| value.len() == 1 && value.get(BUFFER_LIMIT).is_some_and(is_more))
    };
    let count = patches.iter().filter(|patch| raises(patch)).count();
    if count == 0 {
        return Fate::Same;
    }
    let beside: Vec<_> = transcoders.iter().filter(|other| is_beside(located, other)).collect();
    if beside.is_empty() {
        return Fate::Same;
    }
    pairs.extend(beside.into_iter().map(|other| (place(other), place(located))));
    // A patch for something else, or another limit, is not to be lost.
    if count < patches.len() {
        for (index, _) in patches.iter().enumerate().filter(|(_, patch)| raises(patch)) {
            let pointer = format!("/spec/configPatches/{index}");
            account.add(
                Action::Passed,
                located,
                &pointer,
                "no larger buffer is needed for the filter: take this patch out if it was for the transcoder",
            );
        }
        return Fate::Same;
    }
    account.add(
        Action::Dropped,
        located,
        "",
        "the filter streams, so no larger buffer is needed; its own limits are max_request_bytes and max_response_bytes (100 MiB)",
    );
    Fate::Gone
}

/// Whether a limit is more than Envoy's own default (Listener.per_connection_buffer_limit_bytes: 1 MiB).
fn is_more(limit: &Value) -> bool {
    let text = || limit.as_str().and_then(|text| text.parse().ok());
    limit.as_u64().or_else(text).is_some_and(|bytes| bytes > ENVOYS_LIMIT)
}

/// Whether an `EnvoyFilter` may be for a transcoder: in its namespace, and at the same pods unless
/// the filter is for all of them.
fn is_beside(filter: &Located, other: &Located) -> bool {
    let labels = |located: &Located| located.resource.at("/spec/workloadSelector/labels").cloned();
    let own = labels(filter).filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()));
    other.resource.namespace() == filter.resource.namespace()
        && own.is_none_or(|own| labels(other) == Some(own))
}

/// A waypoint for a service account becomes one for the Services of that account's pods.
pub(super) fn waypoint(located: &Located, source: Source<'_>, account: &mut Account) -> Fate {
    let pointer = "/metadata/annotations/istio.io~1for-service-account";
    let Some(of) = located.resource.at(pointer).and_then(Value::as_str) else { return Fate::Same };
    if located.resource.text("/spec/gatewayClassName") != "istio-waypoint" {
        return Fate::Same;
    }
    let mut changed = located.item.clone();
    prune(&mut changed, &["metadata", "annotations", ACCOUNT]);
    if let Some(metadata) = get_mut(&mut changed, "metadata") {
        match get_mut(metadata, "labels") {
            Some(labels) => set(labels, "istio.io/waypoint-for", item(&json!("service"))),
            None => set(metadata, "labels", item(&json!({"istio.io/waypoint-for": "service"}))),
        }
    }
    account.add(
        Action::Mapped,
        located,
        pointer,
        "waypoints are for Services now: istio.io/waypoint-for: service",
    );
    account.add(
        Action::Todo,
        located,
        pointer,
        format!(
            "label the Services of the pods that run as {of}: kubectl label service -n {} NAME istio.io/use-waypoint={}",
            located.resource.namespace(),
            located.resource.name()
        ),
    );
    Fate::Changed(render::rewritten(&changed, source))
}
