//! Whose headers a waypoint may trust when its routes use one that `claim-headers` sets elsewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::header::{of_condition, same};
use super::instance::Instance;
use super::{GATEWAY_API, Overlay, Place, subsets};
use crate::Problem;
use crate::resource::{Resource, items, text};

/// Either a filter at the waypoint sets the header, or a policy there names the callers that may send it, and only
/// callers that these trust may talk to them. In both shapes callers cannot go past the waypoint.
pub(super) fn check(overlay: &Overlay<'_>, instances: &[Instance<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (routes, header, value) in subsets::matched_headers(overlay) {
        let mapped = |instance: &&Instance<'_>| instance.headers().any(|mapped| same(mapped, header));
        let Some(setter) = instances.iter().find(mapped) else { continue };
        if let Some(value) = value.filter(|value| !sets(&setter.config, header, value)) {
            problems.push(Problem::new(
                routes,
                format!("matches {header}: {value}, which claim-headers never sets"),
            ));
        }
        let gateways = routes.list("/spec/gateways");
        if !gateways.is_empty() && gateways.iter().all(|gateway| gateway != "mesh") {
            continue;
        }
        let waypoint = Some((Place::Waypoint, routes.namespace().to_owned()));
        problems.extend(past_the_waypoint(overlay, routes));
        if !instances.iter().filter(mapped).any(|instance| instance.proxy == waypoint) {
            problems.extend(strangers(overlay, routes, header, &waypoint));
        }
    }
    problems
}

/// Whether a rule for the header can give it this value.
fn sets(config: &Value, header: &str, value: &str) -> bool {
    let rules = items(config, "/map").iter().filter(|rule| text(rule, "/header") == header);
    rules.into_iter().any(|rule| {
        let table = rule.get("table").and_then(Value::as_object);
        let allow = rule.get("allow").and_then(Value::as_array);
        let given = match (table, allow) {
            (Some(table), _) => table.values().any(|to| to == value),
            (None, Some(allow)) => allow.iter().any(|text| text == value),
            (None, None) => true,
        };
        given || text(rule, "/default") == value
    })
}

/// The pods of the routes' Service must take requests of the waypoint only.
fn past_the_waypoint(overlay: &Overlay<'_>, routes: &Resource) -> Option<Problem> {
    let waypoints = overlay.resources.iter().filter(|r| {
        r.is(GATEWAY_API, "Gateway")
            && r.text("/spec/gatewayClassName") == "istio-waypoint"
            && r.namespace() == routes.namespace()
    });
    let identity = |r: &Resource| format!("/ns/{}/sa/{}", r.namespace(), r.name());
    let identities: Vec<String> = waypoints.map(identity).collect();
    let only = |policy: &&Resource| {
        let callers = callers(policy);
        !callers.is_empty() && callers.iter().all(|c| identities.iter().any(|i| c.ends_with(i.as_str())))
    };
    let closed = overlay.resources.iter().any(|policy| allows_at_pods(policy) && only(&policy));
    let reason = "no policy at the pods admits only the waypoint: callers that know a pod's address can go past the waypoint";
    (!closed).then(|| Problem::new(routes, reason))
}

/// Each spelling of the header is refused from all but some identities, and those listen to each other only.
pub(super) fn strangers(
    overlay: &Overlay<'_>,
    routes: &Resource,
    header: &str,
    waypoint: &Option<(Place, String)>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut believed: BTreeSet<&str> = BTreeSet::new();
    for spelling in spellings(header) {
        let mut refused = false;
        let policies = overlay.resources.iter().filter(|r| {
            r.kind() == "AuthorizationPolicy"
                && r.text("/spec/action") == "DENY"
                && overlay.proxy(r) == *waypoint
        });
        for rule in policies.flat_map(|policy| policy.list("/spec/rules")) {
            let names = named(rule, "/source/notPrincipals");
            if refuses(rule, &spelling) && !names.is_empty() && !names.contains(&"*") {
                refused = true;
                believed.extend(names);
            }
        }
        if !refused {
            let reason =
                format!("routes by {header}, but no DENY policy rejects {spelling} from other callers");
            problems.push(Problem::new(routes, reason));
        }
    }
    let listens = |policy: &&Resource| {
        let callers = callers(policy);
        !callers.is_empty() && callers.iter().all(|caller| believed.contains(caller))
    };
    if !overlay.resources.iter().any(|policy| allows_at_pods(policy) && listens(&policy)) {
        let from = if believed.is_empty() { "any caller".to_owned() } else { format!("{believed:?}") };
        let reason =
            format!("trusts {header} from {from}, but no policy limits who may call those workloads");
        problems.push(Problem::new(routes, reason));
    }
    for gateway in overlay.resources.iter().filter(|r| r.is(GATEWAY_API, "Gateway")) {
        let (class, name) = (gateway.text("/spec/gatewayClassName"), gateway.name());
        let identity = format!("/ns/{}/sa/{name}-{class}", gateway.namespace());
        if class == "istio" && !believed.iter().any(|principal| principal.ends_with(&identity)) {
            problems.push(Problem::new(routes, format!("does not trust the gateway {identity}")));
        }
    }
    problems
}

/// Whether a rule of a DENY policy covers every request with this header, without further conditions.
fn refuses(rule: &Value, spelling: &str) -> bool {
    let [when] = items(rule, "/when") else { return false };
    let present = when.pointer("/values") == Some(&Value::from(vec!["*"]));
    rule.get("to").is_none() && of_condition(text(when, "/key")) == Some(spelling) && present
}

/// A policy that ztunnel enforces, at pods that are chosen by their labels.
fn allows_at_pods(policy: &Resource) -> bool {
    policy.kind() == "AuthorizationPolicy"
        && matches!(policy.text("/spec/action"), "ALLOW" | "")
        && policy.at("/spec/selector/matchLabels").is_some()
}

/// The identities that a policy names; empty if one of its rules is open to others.
fn callers(policy: &Resource) -> Vec<&str> {
    let rules = policy.list("/spec/rules");
    if rules.iter().any(|rule| named(rule, "/source/principals").is_empty()) {
        return Vec::new();
    }
    rules.iter().flat_map(|rule| named(rule, "/source/principals")).collect()
}

/// The names in all sources of a rule; empty if a source has no names, or further conditions.
fn named<'a>(rule: &'a Value, pointer: &str) -> Vec<&'a str> {
    let sources = items(rule, "/from");
    let only = |from: &Value| {
        from.get("source").and_then(Value::as_object).is_some_and(|s| s.len() == 1)
            && !items(from, pointer).is_empty()
    };
    if !sources.iter().all(only) {
        return Vec::new();
    }
    sources.iter().flat_map(|from| items(from, pointer)).filter_map(Value::as_str).collect()
}

/// Every way to write a name with `-` or `_` as its separators.
fn spellings(header: &str) -> Vec<String> {
    header.chars().fold(vec![String::new()], |so_far, letter| {
        let letters: &[char] = if matches!(letter, '-' | '_') { &['-', '_'] } else { &[letter] };
        so_far.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_two_separators_has_four_spellings() {
        assert_eq!(spellings("a-b_c"), ["a-b-c", "a-b_c", "a_b-c", "a_b_c"]);
        assert_eq!(spellings("tier"), ["tier"]);
    }
}
