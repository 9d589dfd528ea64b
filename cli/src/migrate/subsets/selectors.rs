//! What a DestinationRule says of its dynamic subsets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::Settings;
use super::super::account::{Account, Action};
use super::super::tree::{at, fields, items};
use super::{DYNAMIC, Dynamic, NETWORKING, Otherwise, full_name};
use crate::arguments::{Fallback, Groups};
use crate::input::{Item, Located};

/// The dynamic subsets of a DestinationRule; `None` if it has none, or if they are refused.
pub(super) fn read<'a>(
    located: &'a Located,
    settings: &Settings,
    account: &mut Account,
) -> Option<Dynamic<'a>> {
    if !located.resource.is(NETWORKING, "DestinationRule") {
        return None;
    }
    let dynamic = at(&located.item, &DYNAMIC)?;
    let pointer = "/spec/trafficPolicy/loadBalancer/dynamicSubset";
    let mut selectors = Vec::new();
    let (mut fallback, mut labels) = (None, None);
    let before = account.entries.len();
    for (key, value) in fields(dynamic) {
        let here = format!("{pointer}/{}", key.name);
        match (key.name.as_str(), value.value()) {
            ("subsetSelectors", Value::Array(_)) => {
                for (index, selector) in items(value).iter().enumerate() {
                    selectors.extend(keys(located, selector, &format!("{here}/{index}"), account));
                }
            }
            ("fallbackPolicy", Value::String(policy)) if policy == "ANY_ENDPOINT" => {
                fallback = Some(Otherwise::Any);
            }
            ("fallbackPolicy", Value::String(policy)) if policy == "NO_FALLBACK" => {
                fallback = Some(Otherwise::Refusal);
            }
            ("fallbackPolicy", Value::String(policy)) if policy == "DEFAULT_SUBSET" => {
                fallback = Some(Otherwise::Subset(BTreeMap::new()));
            }
            ("defaultSubset", Value::Object(pairs))
                if !pairs.is_empty() && pairs.values().all(Value::is_string) =>
            {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                labels = Some(pairs.iter().map(|(key, value)| (key.clone(), text(value))).collect());
            }
            ("defaultSubset", _) => {
                account.refuse(located, &here, "must be a map of texts with at least one label");
            }
            ("fallbackPolicy", policy) => account.refuse(
                located,
                &here,
                format!("{policy} is not known: ANY_ENDPOINT, NO_FALLBACK and DEFAULT_SUBSET are"),
            ),
            (_, _) => account.refuse(located, &here, "unknown field of dynamicSubset"),
        }
    }
    if selectors.is_empty() && account.entries.len() == before {
        account.refuse(located, pointer, "has no subsetSelectors");
    }
    with_labels(&mut fallback, labels, located, pointer, account);
    if account.entries[before..].iter().any(|entry| entry.action == Action::Refused) {
        return None;
    }
    match &fallback {
        Some(_) => account.add(Action::Mapped, located, &format!("{pointer}/fallbackPolicy"), match settings.groups {
            Groups::Routes => "becomes the last route",
            Groups::SubsetLb => "becomes fallback_policy",
            Groups::Policy => "becomes no_group, unknown_group and unhealthy_group",
        }),
        None => account.add(
            Action::Assumed,
            located,
            pointer,
            match settings.fallback {
                Fallback::Any => "it has no fallbackPolicy: a request of no group goes to any endpoint; --fallback none answers 503",
                Fallback::None => "it has no fallbackPolicy: a request of no group is answered 503, as --fallback says",
            },
        ),
    }
    let what = match settings.groups {
        Groups::Routes => "become subsets by labels",
        Groups::SubsetLb => "become subset_selectors",
        Groups::Policy => "are every combination of the policy's keys",
    };
    account.add(Action::Mapped, located, &format!("{pointer}/subsetSelectors"), what);
    let host = full_name(located.resource.text("/spec/host"), located.resource.namespace());
    let otherwise = fallback.unwrap_or(match settings.fallback {
        Fallback::Any => Otherwise::Any,
        Fallback::None => Otherwise::Refusal,
    });
    Some(Dynamic { located, host, selectors, otherwise })
}

/// The default subset belongs to its policy.
fn with_labels(
    fallback: &mut Option<Otherwise>,
    labels: Option<BTreeMap<String, String>>,
    located: &Located,
    pointer: &str,
    account: &mut Account,
) {
    let place = format!("{pointer}/defaultSubset");
    match (fallback, labels) {
        (Some(Otherwise::Subset(own)), Some(labels)) => {
            let what =
                "is read as Envoy's default_subset: requests of no group go to the pods with these labels";
            account.add(Action::Assumed, located, &place, what);
            *own = labels;
        }
        (Some(Otherwise::Subset(_)), None) => {
            let why = "DEFAULT_SUBSET needs the labels of its pods, in defaultSubset";
            account.refuse(located, &format!("{pointer}/fallbackPolicy"), why);
        }
        (_, Some(_)) => {
            account.add(Action::Dropped, located, &place, "counts with fallbackPolicy: DEFAULT_SUBSET only");
        }
        (_, None) => {}
    }
}

fn keys(located: &Located, selector: &Item, pointer: &str, account: &mut Account) -> Option<Vec<String>> {
    for (key, _) in fields(selector).iter().filter(|(key, _)| key.name != "keys") {
        account.refuse(
            located,
            &format!("{pointer}/{}", key.name),
            "unknown field of a selector, or one that routes have no equal of",
        );
    }
    let list = selector.get("keys").map_or(&[][..], items);
    let mut keys: Vec<String> =
        list.iter().filter_map(|key| key.value().as_str().map(str::to_owned)).collect();
    if keys.is_empty() || keys.len() != list.len() || keys.iter().any(String::is_empty) {
        account.refuse(located, pointer, "keys must be a list of names of labels, with at least one");
        return None;
    }
    keys.sort();
    keys.dedup();
    Some(keys)
}
