//! Routes for groups.

use serde_json::json;

use super::super::account::Account;
use super::super::tree::{fields, get_mut, item, items, list, map, remove, set, text};
use super::groups::Group;
use super::route::Route;
use super::{HEADERS, Otherwise, for_each_destination};
use crate::input::Item;

/// The routes that take the place of one: one for each group, and one for requests of no group.
pub(super) fn routes(
    of: &Route<'_>,
    groups: &[Group],
    otherwise: &Otherwise,
    fallback: Option<&Group>,
    account: &mut Account,
) -> Vec<Item> {
    let rule = of.rule;
    let mut rest = rule.clone();
    remove(&mut rest, HEADERS);
    let name = rule.text("name").to_owned();
    let mut routes = Vec::new();
    for group in groups {
        let mut route = rest.clone();
        let Some(matches) = matches(of, group, account) else { continue };
        if !name.is_empty() {
            set(&mut route, "name", text(format!("{name}-{}", group.name)));
        }
        set(&mut route, "match", matches);
        for_each_destination(&mut route, |to| set(to, "subset", text(group.name.clone())));
        routes.push(route);
    }
    if let Some(group) = fallback {
        for_each_destination(&mut rest, |to| set(to, "subset", text(group.name.clone())));
    }
    routes.push(if *otherwise == Otherwise::Refusal { refusing(&rest, &name) } else { rest });
    routes
}

/// A route that answers 503, as Envoy does without an endpoint.
fn refusing(rest: &Item, name: &str) -> Item {
    let mut route = map(Vec::new());
    if !name.is_empty() {
        set(&mut route, "name", text(name));
    }
    if let Some(matches) = rest.get("match") {
        set(&mut route, "match", matches.clone());
    }
    set(&mut route, "directResponse", item(&json!({"status": 503})));
    route
}

/// The route's own conditions, each with the headers of the group, and without those of other keys.
fn matches(of: &Route<'_>, group: &Group, account: &mut Account) -> Option<Item> {
    let Route { located, rule, pointer, mappings, .. } = of;
    let own = match rule.get("match").map(items) {
        Some(own) if !own.is_empty() => own.to_vec(),
        _ => vec![map(Vec::new())],
    };
    let mut found = Vec::new();
    for (index, one) in own.into_iter().enumerate() {
        let mut one = one;
        for mapping in mappings {
            let (field, condition) = match group.pairs.get(&mapping.key) {
                Some(value) => ("headers", json!({"exact": value})),
                // Present with any value, it would be one key more than the selector has.
                None => ("withoutHeaders", json!({})),
            };
            if one.get(field).is_none() {
                set(&mut one, field, map(Vec::new()));
            }
            let headers = get_mut(&mut one, field)?;
            let before =
                fields(headers).iter().find(|(key, _)| key.name.eq_ignore_ascii_case(&mapping.header));
            if before.is_some_and(|(_, before)| before.value() != condition) {
                let here = format!("{pointer}/match/{index}/{field}/{}", mapping.header);
                let why: &str = "the route has a condition on this header of its own: split the route by it";
                account.refuse(located, &here, why);
                return None;
            }
            set(headers, &mapping.header, item(&condition));
        }
        found.push(one);
    }
    Some(list(found))
}
