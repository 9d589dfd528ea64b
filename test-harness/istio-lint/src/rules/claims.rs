//! `claim-headers`: where in a proxy it runs, and what verifies the tokens.

use serde_json::Value;

use super::header::{of_condition, same};
use super::instance::{self, FILTER, Instance};
use super::{NETWORKING, Overlay, Place, belief, payload, subsets};
use crate::Problem;
use crate::resource::{Resource, items, text};

/// They act upon headers that `claim-headers` sets, or replace what it has yet to see.
const LATER: [&str; 2] = ["dynamic-subset", "kserve-transcoder"];

/// Everything that is wrong with an overlay that has `claim-headers`; nothing for other overlays.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let (guards, instances): (Vec<_>, Vec<_>) = instance::all(overlay).into_iter().partition(Instance::guard);
    let mut problems: Vec<_> = guards.iter().flat_map(ahead).collect();
    for instance in &instances {
        problems.extend(point(instance));
        problems.extend(verifier(overlay, instance));
        problems.extend(guarded(instance, &guards));
        problems.extend(order(overlay, instance));
        problems.extend(policies(overlay, instance));
    }
    problems.extend(kept_tokens(overlay, &instances));
    problems.extend(belief::check(overlay, &instances));
    problems
}

/// The phase of a plugin, and the ports that it is for. An `EnvoyFilter`'s point has rules of its own.
fn point(instance: &Instance<'_>) -> Vec<Problem> {
    let plugin = instance.resource;
    if plugin.kind() == "EnvoyFilter" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let reason = match (instance.builtin(), plugin.text("/spec/phase")) {
        (false, "AUTHZ") | (true, "AUTHN") => None,
        (false, "AUTHN") => {
            Some("phase AUTHN runs before RequestAuthentication, so there are never any claims: use AUTHZ")
        }
        (true, "AUTHZ") => Some(
            "phase AUTHZ runs after RequestAuthentication, which may remove the token: with source builtin, use AUTHN",
        ),
        _ => Some(
            "this phase runs after authorisation, so an AuthorizationPolicy would trust a client's own header: use AUTHZ, or AUTHN with source builtin",
        ),
    };
    problems.extend(reason.map(|reason| instance.wrong(reason)));
    if plugin.list("/spec/match").iter().any(|one| one.get("ports").is_some()) {
        problems.push(instance.wrong(
            "match.ports limits it to some ports: on the others, clients' own headers would not be removed",
        ));
    }
    problems
}

/// A guard comes before `RequestAuthentication`: a plugin by its phase. An `EnvoyFilter`'s point has rules of its own.
fn ahead(guard: &Instance<'_>) -> Option<Problem> {
    let plugin = guard.resource;
    let late = plugin.kind() != "EnvoyFilter" && plugin.text("/spec/phase") != "AUTHN";
    late.then(|| {
        guard.wrong(
            "guards a header in another phase than AUTHN: RequestAuthentication has written it by then",
        )
    })
}

/// A header with verified claims is ignored without a guard.
fn guarded(instance: &Instance<'_>, guards: &[Instance<'_>]) -> Option<Problem> {
    let header = instance.payload_header();
    let guards_it = |guard: &&Instance<'_>| {
        guard.proxy == instance.proxy && guard.host == instance.host && same(guard.payload_header(), header)
    };
    let unguarded = !header.is_empty() && !guards.iter().any(|guard| guards_it(&guard));
    unguarded.then(|| {
        instance.wrong(format!(
            "ignores {header}: no instance with \"source\": \"guard\" takes a client's own off before \
             RequestAuthentication"
        ))
    })
}

/// Who verifies what this instance maps.
fn verifier(overlay: &Overlay<'_>, instance: &Instance<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let authentications: Vec<_> = at(overlay, "RequestAuthentication", instance).collect();
    if instance.builtin() {
        for issuer in items(&instance.config, "/issuers") {
            if items(issuer, "/audiences").is_empty() && items(issuer, "/require").is_empty() {
                problems.push(instance.wrong(
                    "an issuer without audiences: tokens issued for any other application are accepted",
                ));
            }
            problems.extend(keys(overlay, issuer).map(|reason| instance.wrong(reason)));
        }
        if let Some(other) = authentications.first().filter(|_| instance.strips("authorization")) {
            problems.push(
                instance.wrong(format!("removes the token that {}, which runs later, verifies", other.id())),
            );
        }
        return problems;
    }
    if authentications.is_empty() {
        problems.push(
            instance.wrong("maps claims that RequestAuthentication verifies, but these resources have no RequestAuthentication for the same proxy"),
        );
    }
    let filters = overlay.of_kind("EnvoyFilter").iter().copied();
    for filter in filters.filter(|filter| overlay.proxy(filter) == instance.proxy) {
        problems.extend(payload::failed_fetch(&filter.value).map(|reason| Problem::new(filter, reason)));
    }
    let payload = instance.payload_header();
    for authentication in authentications {
        for rule in authentication.list("/spec/jwtRules") {
            if items(rule, "/audiences").is_empty() {
                problems.push(Problem::new(
                    authentication,
                    "a rule without audiences: tokens issued for any other application are accepted",
                ));
            }
            let passed_on = text(rule, "/outputPayloadToHeader");
            if passed_on != payload {
                problems.push(instance.wrong(format!(
                    "reads claims from the header {payload:?}, but {} writes them to {passed_on:?}",
                    authentication.id()
                )));
            }
            for claim in items(rule, "/outputClaimToHeaders") {
                let header = text(claim, "/header");
                if instance.headers().any(|mapped| same(mapped, header)) {
                    let reason = format!("writes {header}, which {} writes as well", instance.resource.id());
                    problems.push(Problem::new(authentication, reason));
                }
            }
        }
    }
    problems
}

/// Keys that are fetched come through a cluster that exists, by TLS, from a server that is known.
fn keys(overlay: &Overlay<'_>, issuer: &Value) -> Option<String> {
    let cluster = issuer.get("cluster").and_then(Value::as_str)?;
    let parts: Vec<&str> = cluster.split('|').collect();
    let ["outbound", port, "", host] = parts[..] else {
        return Some(format!(
            "{cluster:?} is not the name of an Istio cluster: expected outbound|PORT||HOST"
        ));
    };
    let of_host = |kind: &str, pointer: &str| {
        let names = |r: &Resource| r.text(pointer) == host || r.list(pointer).iter().any(|name| name == host);
        overlay.resources.iter().find(|r| r.is(NETWORKING, kind) && names(r))
    };
    let entry = of_host("ServiceEntry", "/spec/hosts");
    let ports = entry.map_or(&[][..], |entry| entry.list("/spec/ports"));
    let named =
        port.parse::<u64>().is_ok_and(|port| ports.iter().any(|p| p.get("number") == Some(&port.into())));
    if !named {
        return Some(format!(
            "no ServiceEntry has {host} with the port {port}, so the cluster {cluster} does not exist"
        ));
    }
    let tls = |field: &str| {
        of_host("DestinationRule", "/spec/host")
            .map_or("", |r| r.text(&format!("/spec/trafficPolicy/tls/{field}")))
    };
    let checked = tls("mode") == "SIMPLE" && tls("sni") == host && !tls("caCertificates").is_empty();
    (!checked).then(|| format!("keys of {host} are fetched from an unverified server: add a DestinationRule with TLS mode SIMPLE, sni and caCertificates"))
}

/// What acts upon headers comes after the filter that sets them.
fn order(overlay: &Overlay<'_>, instance: &Instance<'_>) -> Vec<Problem> {
    let steps = subsets::chain(overlay);
    let here: Vec<_> = steps.iter().filter(|step| overlay.proxy(step.resource) == instance.proxy).collect();
    let Some(own) = here.iter().position(|step| step.filter.name() == FILTER) else { return Vec::new() };
    let mut problems = Vec::new();
    for (index, step) in here.iter().enumerate().filter(|(_, step)| LATER.contains(&step.filter.name())) {
        let name = step.filter.name();
        if step.place == here[own].place && step.resource != here[own].resource {
            problems.push(Problem::new(
                step.resource,
                format!("has the same priority as {}: their order is undefined", instance.resource.id()),
            ));
        } else if index < own {
            problems.push(Problem::new(
                step.resource,
                format!("{name} runs before claim-headers: it would act on clients' own headers"),
            ));
        }
    }
    problems
}

/// What an `EnvoyFilter` inserts comes after authorisation.
fn policies(overlay: &Overlay<'_>, instance: &Instance<'_>) -> Vec<Problem> {
    if instance.resource.kind() != "EnvoyFilter" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for policy in at(overlay, "AuthorizationPolicy", instance) {
        let rules = policy.list("/spec/rules").iter().flat_map(|rule| items(rule, "/when"));
        let read = rules.filter_map(|when| of_condition(text(when, "/key")));
        for header in read.filter(|header| instance.headers().any(|mapped| same(mapped, header))) {
            let reason = format!(
                "reads {header} before {} has removed a client's own copy: use request.auth.claims instead",
                instance.resource.id()
            );
            problems.push(Problem::new(policy, reason));
        }
    }
    problems
}

/// A filter at a waypoint needs the token, so the gateway must let it pass.
fn kept_tokens(overlay: &Overlay<'_>, instances: &[Instance<'_>]) -> Vec<Problem> {
    let at_gateway = |proxy: &Option<(Place, String)>| proxy.as_ref().is_some_and(|p| p.0 == Place::Gateway);
    if instances.iter().all(|instance| at_gateway(&instance.proxy)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for instance in instances.iter().filter(|instance| at_gateway(&instance.proxy)) {
        if instance.strips("authorization") {
            problems.push(instance.wrong("removes the token that the filter at the waypoint verifies"));
        }
        for authentication in at(overlay, "RequestAuthentication", instance) {
            let kept = |rule: &Value| rule.get("forwardOriginalToken") == Some(&Value::Bool(true));
            if !authentication.list("/spec/jwtRules").iter().all(kept) {
                let reason =
                    "removes the token that the filter at the waypoint needs: set forwardOriginalToken";
                problems.push(Problem::new(authentication, reason));
            }
        }
    }
    problems
}

/// The resources of a kind that apply to the instance's proxy.
fn at<'a>(overlay: &Overlay<'a>, kind: &str, instance: &Instance<'_>) -> impl Iterator<Item = &'a Resource> {
    let here = |r: &&Resource| r.kind() == kind && overlay.proxy(r) == instance.proxy;
    overlay.resources.iter().filter(here).collect::<Vec<_>>().into_iter()
}
