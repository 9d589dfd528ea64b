//! What is left to do for routes and gateways that are stock already.

use std::collections::BTreeSet;

use super::account::{Account, Action};
use super::sign_on::SignOn;
use crate::input::Located;

/// The namespaces that have a waypoint.
pub(super) fn waypoints(all: &[Located]) -> BTreeSet<String> {
    let waypoints = all.iter().filter(|l| l.resource.text("/spec/gatewayClassName") == "istio-waypoint");
    waypoints.map(|l| l.resource.namespace().to_owned()).collect()
}

/// Routes of the mesh need a waypoint, and a header that says who a user is needs someone to set it.
pub(super) fn in_the_mesh(
    located: &Located,
    waypoints: &BTreeSet<String>,
    sign_on: Option<&SignOn>,
    account: &mut Account,
) {
    let gateways = located.resource.list("/spec/gateways");
    let namespace = located.resource.namespace();
    // One without hosts is where another one delegates to.
    let child = located.resource.list("/spec/hosts").is_empty();
    let mesh = !child && (gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh"));
    if mesh && !waypoints.contains(namespace) {
        let what = format!(
            "needs a waypoint, which in the vendor's mesh was one for a service account: istioctl waypoint apply -n {namespace} --enroll-namespace"
        );
        account.add(Action::Todo, located, "/spec/http", what);
    }
    for (index, rule) in located.resource.list("/spec/http").iter().enumerate() {
        let matches = rule.get("match").and_then(serde_json::Value::as_array).into_iter().flatten();
        for (place, one) in matches.enumerate() {
            let header = sign_on.and_then(|sign_on| sign_on.matched(one));
            if let Some(header) = header.filter(|_| mesh) {
                let what = format!(
                    "{header} is set at the gateway, and in the mesh believed from any caller: admit to these pods only the waypoint, and \
                     there deny {header} from others than the callers that hand it on (AuthorizationPolicy; examples/ai-application/k8s \
                     has them)"
                );
                let pointer = format!("/spec/http/{index}/match/{place}/headers/{header}");
                account.add(Action::Todo, located, &pointer, what);
            }
            if one.pointer("/headers/user_class").is_some() && !sign_on.is_some_and(|s| s.sets("user_class"))
            {
                let what = "the vendor's sign-on sets user_class of the claim user_type, and takes a client's own off: on stock parts \
                            the filter claim-headers does, which --sign-on adds, and without which clients choose their class";
                account.add(
                    Action::Todo,
                    located,
                    &format!("/spec/http/{index}/match/{place}/headers/user_class"),
                    what,
                );
            }
        }
    }
}

/// A gateway of Istio's is chosen by a label that its pods must have.
pub(super) fn pods_of(located: &Located, account: &mut Account) {
    if let Some(name) = located.resource.at("/spec/selector/istio").and_then(serde_json::Value::as_str) {
        account.add(
            Action::Todo,
            located,
            "/spec/selector",
            format!("needs pods with istio={name}, and their Service the ports of this Gateway: helm install {name} istio/gateway --set labels.istio={name}"),
        );
    }
}
