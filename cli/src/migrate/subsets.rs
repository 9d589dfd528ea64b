//! `headerToDynamicSubsetKey` and `dynamicSubset`: a route and a subset for each group.
//!
//! The vendor's gateway takes a header's value for a pair of the key, and then the endpoints whose labels are all pairs
//! of the request, if a selector has exactly these keys; otherwise the fallback. Stock Istio tells Envoy no labels, but
//! its DestinationRules have subsets by labels: so each group that there is becomes a subset, with a route for the
//! headers that lead to it. Two other forms are there for those who ask for them: a cluster with Envoy's subset load
//! balancing, and the policy `runtime-group`.

mod cluster;
mod groups;
mod policy;
pub(super) mod route;
mod rules;
mod selectors;

use std::collections::BTreeMap;

use super::Settings;
use super::account::{Account, Action, Place, place};
use super::tree::{at, fields, get_mut, items, list, prune, remove, set, text};
use crate::arguments::Groups;
use crate::input::{Item, Located, Node};
use groups::Group;
use route::Route;

const NETWORKING: &str = "networking.istio.io";
const DYNAMIC: [&str; 4] = ["spec", "trafficPolicy", "loadBalancer", "dynamicSubset"];
const HEADERS: &str = "headerToDynamicSubsetKey";

/// A header and the key whose value it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) header: String,
    pub(super) key: String,
}

/// A DestinationRule with dynamic subsets.
struct Dynamic<'a> {
    located: &'a Located,
    host: String,
    selectors: Vec<Vec<String>>,
    otherwise: Otherwise,
}

/// What a request of no group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Otherwise {
    /// Any endpoint.
    Any,
    /// 503.
    Refusal,
    /// The pods with these labels.
    Subset(BTreeMap<String, String>),
}

/// What becomes other resources.
#[derive(Default)]
pub(super) struct Changes {
    /// What each document becomes.
    pub(super) items: BTreeMap<Place, Change>,
    /// Documents that only work together once they are migrated, each pair in both directions: routes and the
    /// DestinationRule of their groups.
    pub(super) pairs: Vec<(Place, Place)>,
}

/// What a document becomes.
pub(super) struct Change {
    /// What it is now; `None` if nothing of it is left.
    pub(super) own: Option<Item>,
    /// Documents that come after it.
    pub(super) more: Vec<Item>,
}

impl Changes {
    fn belong_together(&mut self, route: &Located, rule: &Located) {
        self.pairs.push((place(route), place(rule)));
        self.pairs.push((place(rule), place(route)));
    }
}

/// The resources that change.
pub(super) fn changes(all: &[Located], settings: &Settings, account: &mut Account) -> Changes {
    let mut changes = Changes::default();
    let dynamic: Vec<_> =
        all.iter().filter_map(|located| selectors::read(located, settings, account)).collect();
    for rule in &dynamic {
        twice(rule, all, account);
    }
    for key in settings.values.keys() {
        if !dynamic.is_empty()
            && !dynamic.iter().any(|rule| rule.selectors.iter().flatten().any(|known| known == key))
        {
            let what = format!("no dynamicSubset of the input has the key {key}, so its values are not used");
            account.note(Action::Fault, "command line".into(), what);
        }
    }
    let broken: BTreeMap<String, &Located> = all
        .iter()
        .filter(|located| {
            at(&located.item, &DYNAMIC).is_some() && located.resource.is(NETWORKING, "DestinationRule")
        })
        .filter(|located| !dynamic.iter().any(|rule| std::ptr::eq(rule.located, *located)))
        .map(|located| {
            (full_name(located.resource.text("/spec/host"), located.resource.namespace()), located)
        })
        .collect();
    let mut named = vec![false; dynamic.len()];
    let pods = groups::Pods::of(all);
    let mut users: Vec<Vec<Route<'_>>> = dynamic.iter().map(|_| Vec::new()).collect();
    for located in all.iter().filter(|located| located.resource.is(NETWORKING, "VirtualService")) {
        let Some(http) = at(&located.item, &["spec", "http"]) else { continue };
        let mut rules = Vec::new();
        let mut own = false;
        for (index, rule) in items(http).iter().enumerate() {
            if rule.get(HEADERS).is_none() {
                rules.push(rule.clone());
                continue;
            }
            own = true;
            let pointer = format!("/spec/http/{index}");
            for host in destinations(located, rule) {
                if let Some(which) = dynamic.iter().position(|rule| rule.host == host) {
                    named[which] = true;
                    changes.belong_together(located, dynamic[which].located);
                }
                if let Some(other) = broken.get(&host) {
                    changes.belong_together(located, other);
                }
            }
            let Some(mappings) = mappings(located, rule, &pointer, account) else { continue };
            let Some(which) = rule_for(located, rule, &pointer, &dynamic, &broken, all, account) else {
                continue;
            };
            changes.belong_together(located, dynamic[which].located);
            let route = Route { located, rule, pointer, mappings, host: destination(located, rule) };
            rules.extend(rewritten(&route, &dynamic[which], &pods, settings, account));
            users[which].push(route);
        }
        if own {
            let mut item = located.item.clone();
            if let Some(http) = get_mut(&mut item, "spec").and_then(|spec| get_mut(spec, "http")) {
                http.node = Node::List(rules);
            }
            changes.items.insert(place(located), Change { own: Some(item), more: Vec::new() });
        }
    }
    for (index, rule) in dynamic.iter().enumerate() {
        let routes = &users[index];
        if routes.is_empty() && named[index] {
            // The routes that choose its groups are refused, and it is kept with them.
            continue;
        }
        if routes.is_empty() {
            let why = "no route has headerToDynamicSubsetKey for this host, so nothing chooses a group: take dynamicSubset out, or name the route's host";
            account.refuse(rule.located, "/spec/trafficPolicy/loadBalancer/dynamicSubset", why);
            continue;
        }
        if let Some(change) = chosen_from(rule, routes, &pods, all, settings, account) {
            changes.items.insert(place(rule.located), change);
        }
    }
    changes
}

/// Istio merges the rules for a host: of two subsets with one name only the first counts, and so does only the first
/// traffic policy. Which one that is depends on their age.
fn twice(rule: &Dynamic<'_>, all: &[Located], account: &mut Account) {
    let other = all.iter().find(|other| {
        let resource = &other.resource;
        other.resource.is(NETWORKING, "DestinationRule")
            && !std::ptr::eq(*other, rule.located)
            && resource.namespace() == rule.located.resource.namespace()
            && resource.id() != rule.located.resource.id()
            && resource.at("/spec/workloadSelector").is_none()
            && full_name(resource.text("/spec/host"), resource.namespace()) == rule.host
    });
    if let Some(other) = other {
        let why = format!(
            "is the host of {} too, at {}:{}, and Istio takes only the older one's traffic policy, and of subsets with one name \
             only one: make one DestinationRule of both",
            other.resource.id(),
            other.file,
            other.line_of("/spec/host")
        );
        account.refuse(rule.located, "/spec/host", why);
    }
}

/// What takes the place of a route.
fn rewritten(
    route: &Route<'_>,
    rule: &Dynamic<'_>,
    pods: &groups::Pods,
    settings: &Settings,
    account: &mut Account,
) -> Vec<Item> {
    let mapped = |account: &mut Account, what: String| {
        account.add(Action::Mapped, route.located, &route.headers(), what);
    };
    let id = rule.located.resource.id();
    let mut alone = route.rule.clone();
    remove(&mut alone, HEADERS);
    match settings.groups {
        Groups::Routes => {
            let groups = groups::of(rule, &route.mappings, pods, settings, account);
            let otherwise = groups::otherwise(rule, settings);
            let rules = rules::routes(route, &groups, &rule.otherwise, otherwise.as_ref(), account);
            // The last one is for requests of no group.
            let routes = count(rules.len().saturating_sub(1), "route");
            mapped(
                account,
                format!("becomes {routes} for the subsets of {id}; a new group needs another one"),
            );
            return rules;
        }
        Groups::SubsetLb => {
            let host = cluster::host(&route.host);
            for_each_destination(&mut alone, |to| set(to, "host", text(host.clone())));
            mapped(
                account,
                format!(
                    "becomes header_to_metadata in the EnvoyFilter that stands where {id} was, which adds the cluster of {host}"
                ),
            );
        }
        Groups::Policy => {
            // At a waypoint no patch reaches the Service's own cluster: the policy is in one beside it.
            if route.is_for_the_mesh() {
                let host = cluster::host(&route.host);
                for_each_destination(&mut alone, |to| set(to, "host", text(host.clone())));
            }
            mapped(
                account,
                format!(
                    "becomes keys of the policy runtime-group, in the EnvoyFilter behind {id}; a new group needs nothing"
                ),
            );
        }
    }
    vec![alone]
}

/// What a DestinationRule becomes whose groups these routes choose from.
fn chosen_from(
    rule: &Dynamic<'_>,
    routes: &[Route<'_>],
    pods: &groups::Pods,
    all: &[Located],
    settings: &Settings,
    account: &mut Account,
) -> Option<Change> {
    let host = routes.last().map(|route| route.host.clone());
    let mut mappings: Vec<Mapping> = Vec::new();
    for mapping in routes.iter().flat_map(|route| &route.mappings) {
        if !mappings.contains(mapping) {
            mappings.push(mapping.clone());
        }
    }
    let added = settings.groups == Groups::SubsetLb || routes.iter().any(Route::is_for_the_mesh);
    if settings.groups != Groups::Routes
        && added
        && let Some(left) = left(rule, host.as_ref())
    {
        for (key, _) in left.get("spec").map_or(&[][..], fields).iter().filter(|(key, _)| key.name != "host")
        {
            let why = "is not for the cluster that an EnvoyFilter adds: take --groups routes";
            account.refuse(rule.located, &format!("/spec/{}", key.name), why);
        }
        return None;
    }
    if settings.groups == Groups::Policy {
        let more = vec![policy::resource(rule, routes, all, account)?];
        let own = left(rule, host.as_ref());
        if own.is_none() {
            account.add(
                Action::Mapped,
                rule.located,
                "/kind",
                format!("becomes the EnvoyFilter {}", filter(rule)),
            );
        }
        return Some(Change { own, more });
    }
    let mut groups = groups::of(rule, &mappings, pods, settings, account);
    if settings.groups == Groups::Routes {
        let own = groups::otherwise(rule, settings);
        groups.extend(own.filter(|own| !groups.iter().any(|group| group.name == own.name)));
        return Some(Change {
            own: Some(with_subsets(rule, host.as_ref(), &groups, account)),
            more: Vec::new(),
        });
    }
    let more = cluster::resources(rule, routes, &groups, all, settings, account)?;
    let what = format!("becomes the EnvoyFilter {} and a Service for each group", filter(rule));
    account.add(Action::Mapped, rule.located, "/kind", what);
    Some(Change { own: None, more })
}

/// The name of the `EnvoyFilter` that a DestinationRule becomes.
fn filter(rule: &Dynamic<'_>) -> String {
    format!("{}-groups", rule.located.resource.name())
}

/// What is left of a DestinationRule without its dynamic subsets; `None` if it says nothing any more.
fn left(rule: &Dynamic<'_>, host: Option<&String>) -> Option<Item> {
    let item = without_groups(rule, host);
    let says = item.get("spec").is_some_and(|spec| fields(spec).iter().any(|(key, _)| key.name != "host"));
    says.then_some(item)
}

/// The DestinationRule without its dynamic subsets, for the host that routes name.
fn without_groups(rule: &Dynamic<'_>, host: Option<&String>) -> Item {
    let mut item = rule.located.item.clone();
    prune(&mut item, &DYNAMIC);
    if let (Some(spec), Some(host)) = (get_mut(&mut item, "spec"), host.filter(|host| **host != rule.host)) {
        set(spec, "host", text(host.clone()));
    }
    item
}

/// Does something with every destination of a route.
fn for_each_destination(rule: &mut Item, mut change: impl FnMut(&mut Item)) {
    let Some(Node::List(targets)) = get_mut(rule, "route").map(|targets| &mut targets.node) else { return };
    targets.iter_mut().filter_map(|target| get_mut(target, "destination")).for_each(&mut change);
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The pairs of header and key of a route.
fn mappings(located: &Located, rule: &Item, pointer: &str, account: &mut Account) -> Option<Vec<Mapping>> {
    let list = rule.get(HEADERS)?;
    let pointer = format!("{pointer}/{HEADERS}");
    let before = account.entries.len();
    if items(list).is_empty() {
        account.refuse(located, &pointer, "must be a list of header and key, with at least one");
    }
    let mut found: Vec<Mapping> = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let here = format!("{pointer}/{index}");
        for (key, _) in fields(one).iter().filter(|(key, _)| !matches!(key.name.as_str(), "header" | "key")) {
            account.refuse(
                located,
                &format!("{here}/{}", key.name),
                "unknown field: only header and key are known",
            );
        }
        let mapping =
            Mapping { header: one.text("header").to_ascii_lowercase(), key: one.text("key").to_owned() };
        if mapping.header.is_empty() || mapping.key.is_empty() {
            account.refuse(located, &here, "header and key must be texts that are not empty");
        } else if !is_token(&mapping.header) {
            account.refuse(
                located,
                &format!("{here}/header"),
                format!(
                    "{:?} cannot be the name of a header (RFC 9110, 5.1), so no request has it",
                    mapping.header
                ),
            );
        } else if found.iter().any(|other| other.key == mapping.key || other.header == mapping.header) {
            account.refuse(
                located,
                &here,
                "another entry has the same header or key: which one counts is not documented",
            );
        }
        found.push(mapping);
    }
    let refused = account.entries[before..].iter().any(|entry| entry.action == Action::Refused);
    (!refused).then_some(found)
}

/// Whether a text is a token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The host that a route sends to first.
fn destination(located: &Located, rule: &Item) -> String {
    destinations(located, rule).next().unwrap_or_default()
}

/// The hosts that a route sends to.
fn destinations<'a>(located: &'a Located, rule: &'a Item) -> impl Iterator<Item = String> + 'a {
    let routes = rule.get("route").map_or(&[][..], items).iter();
    routes.map(|route| {
        let to = route.get("destination");
        to.map_or_else(String::new, |to| full_name(to.text("host"), located.resource.namespace()))
    })
}

/// Which DestinationRule's groups a route chooses from.
fn rule_for(
    located: &Located,
    rule: &Item,
    pointer: &str,
    dynamic: &[Dynamic<'_>],
    broken: &BTreeMap<String, &Located>,
    all: &[Located],
    account: &mut Account,
) -> Option<usize> {
    let host = destination(located, rule);
    let routes = rule.get("route").map_or(&[][..], items);
    for (index, route) in routes.iter().enumerate() {
        let to = route.get("destination");
        let here = format!("{pointer}/route/{index}/destination");
        if to.is_none_or(|to| to.text("host").is_empty()) {
            account.refuse(located, &here, "has no host");
            return None;
        }
        if to.is_some_and(|to| to.get("subset").is_some()) {
            account.refuse(located, &format!("{here}/subset"), "a route with headerToDynamicSubsetKey has a subset as well: which of the two counts is not documented");
            return None;
        }
        if to.is_some_and(|to| full_name(to.text("host"), located.resource.namespace()) != host) {
            account.refuse(
                located,
                &here,
                "a route with headerToDynamicSubsetKey has several hosts: split it",
            );
            return None;
        }
    }
    if routes.is_empty() {
        account.refuse(located, pointer, "a route with headerToDynamicSubsetKey has no destination");
        return None;
    }
    if let Some(found) = dynamic.iter().position(|rule| rule.host == host) {
        return Some(found);
    }
    if let Some(rule) = broken.get(&host) {
        let why = format!("the groups of {}, which it chooses from, are refused", rule.resource.id());
        account.refuse(located, &format!("{pointer}/{HEADERS}"), why);
        return None;
    }
    // A rule for a host that no route names is taken for this one's, if it is the only such rule.
    let named = |host: &str| {
        all.iter().filter(|l| l.resource.is(NETWORKING, "VirtualService")).any(|l| {
            at(&l.item, &["spec", "http"])
                .map_or(&[][..], items)
                .iter()
                .any(|rule| destination(l, rule) == host)
        })
    };
    let namespace = |host: &str| host.split('.').nth(1).unwrap_or_default().to_owned();
    let stray: Vec<usize> = (0..dynamic.len())
        .filter(|index| !named(&dynamic[*index].host) && namespace(&dynamic[*index].host) == namespace(&host))
        .collect();
    match stray[..] {
        [only] => {
            account.add(
                Action::Fault,
                dynamic[only].located,
                "/spec/host",
                format!("is {}, which no route names, so the vendor's mesh ignores it too: mended to {host}, which a route with headerToDynamicSubsetKey names", dynamic[only].host),
            );
            Some(only)
        }
        _ => {
            let why = format!(
                "no DestinationRule for {host} has dynamicSubset, so it is not known which groups there are"
            );
            account.refuse(located, &format!("{pointer}/{HEADERS}"), why);
            None
        }
    }
}

/// The DestinationRule with a subset for each group.
fn with_subsets(rule: &Dynamic<'_>, host: Option<&String>, groups: &[Group], account: &mut Account) -> Item {
    let mut item = without_groups(rule, host);
    let Some(spec) = get_mut(&mut item, "spec") else { return item };
    let mut subsets: Vec<Item> = spec.get("subsets").map_or(&[][..], items).to_vec();
    for group in groups {
        let taken = subsets.iter().any(|subset| subset.text("name") == group.name);
        if taken {
            account.refuse(
                rule.located,
                "/spec/subsets",
                format!("there is a subset {} already: rename it", group.name),
            );
        }
        subsets.push(group.subset());
    }
    set(spec, "subsets", list(subsets));
    item
}

fn full_name(host: &str, namespace: &str) -> String {
    if host.contains('.') || host.is_empty() {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}
