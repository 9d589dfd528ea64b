//! Fields and kinds that no Istio has, or only some.

use istio_lint::{Published, Unfit};

use super::{Finding, Version};
use crate::input::Located;

/// The API group of the vendor's own resources.
const VENDOR: &str = "istio.alibabacloud.com";
/// Groups whose kinds are all known here or below.
const GROUPS: [&str; 4] =
    ["networking.istio.io", "security.istio.io", "extensions.istio.io", "telemetry.istio.io"];
/// Kinds without a schema here.
const WITHOUT_SCHEMA: [&str; 6] =
    ["PeerAuthentication", "ProxyConfig", "Sidecar", "Telemetry", "WorkloadEntry", "WorkloadGroup"];
const VERSIONS: [&str; 5] = ["v1alpha1", "v1alpha2", "v1alpha3", "v1beta1", "v1"];

/// What an API server with Istio's definitions refuses.
pub(super) fn check(published: &Published, located: &Located, target: Option<Version>) -> Vec<Finding> {
    let resource = &located.resource;
    if resource.group() == VENDOR {
        let reason = format!(
            "{} is a vendor's kind, unknown to stock Istio: inference-mesh migrate says what replaces it",
            resource.kind()
        );
        return vec![Finding::error("vendor-kind", located, "/kind", &reason)];
    }
    if GROUPS.contains(&resource.group()) {
        let version = resource.api_version().rsplit('/').next().unwrap_or_default();
        if !VERSIONS.contains(&version) {
            let reason = format!("unknown API version {}", resource.api_version());
            return vec![Finding::error("unknown-kind", located, "/apiVersion", &reason)];
        }
        if published.knowing(resource).is_empty() && !WITHOUT_SCHEMA.contains(&resource.kind()) {
            let reason = format!("unknown kind {} {}", resource.api_version(), resource.kind());
            return vec![Finding::error("unknown-kind", located, "/kind", &reason)];
        }
    }
    let all = published.unfit(resource);
    let knowing = published.knowing(resource);
    let mut findings = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let same = |other: &&Unfit| other.pointer == one.pointer && other.reason == one.reason;
        if all[..index].iter().any(|other| same(&other)) {
            continue;
        }
        let refusing: Vec<_> = all.iter().filter(same).map(|unfit| unfit.release).collect();
        // What the newest release takes is a need, unless the target is older.
        let newest = knowing.last().is_some_and(|newest| refusing.contains(newest));
        if newest || target.is_some_and(|target| refusing.iter().any(|release| target.is_at_most(release))) {
            let whose = if refusing.len() == knowing.len() {
                String::new()
            } else {
                format!("{}: ", refusing.join(", "))
            };
            let reason = format!("{whose}{}{}", one.reason, hint(&one.pointer));
            findings.push(Finding::error("schema", located, &one.pointer, &reason));
        }
    }
    findings
}

/// What to say of a vendor's field besides that it is unknown.
fn hint(pointer: &str) -> &'static str {
    match pointer.rsplit('/').next().unwrap_or_default() {
        "headerToDynamicSubsetKey" => {
            ", a vendor's: on stock Istio the filter dynamic-subset does this, its configuration has the same key"
        }
        "dynamicSubset" => {
            ", a vendor's: on stock Istio the filter dynamic-subset and the subsets of a DestinationRule do this"
        }
        "fallback" => ", a vendor's: stock Istio has no other subset to fall back on",
        _ => "",
    }
}
