//! Which groups of pods there are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::Settings;
use super::super::account::{Account, Action};
use super::super::tree::{map, text};
use super::{Dynamic, Mapping, Otherwise};
use crate::input::{Item, Located};

/// More groups of one DestinationRule than this are refused: each is a route.
const MOST: usize = 64;

/// A group: the pods that have all of its pairs as labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The name of its subset.
    pub(super) name: String,
    /// Key and value.
    pub(super) pairs: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

impl Group {
    fn new(pairs: BTreeMap<String, String>, settings: &Settings) -> Self {
        let labels = pairs.iter().map(|(key, value)| {
            let own = settings.pods.get(&(key.clone(), value.clone())).cloned();
            own.unwrap_or((key.clone(), value.clone()))
        });
        Self { name: name(&pairs), labels: labels.collect(), pairs }
    }

    /// The labels of its pods.
    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The subset of a DestinationRule.
    pub(super) fn subset(&self) -> Item {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), text(value.clone()))).collect();
        map(vec![("name", text(self.name.clone())), ("labels", map(labels))])
    }
}

/// The groups of a DestinationRule that headers can lead to.
pub(super) fn of(
    rule: &Dynamic<'_>,
    mappings: &[Mapping],
    pods: &Pods,
    settings: &Settings,
    account: &mut Account,
) -> Vec<Group> {
    let place = "/spec/trafficPolicy/loadBalancer/dynamicSubset/subsetSelectors";
    let mut groups: Vec<Group> = Vec::new();
    for (index, keys) in rule.selectors.iter().enumerate() {
        let pointer = format!("{place}/{index}");
        if let Some(key) = keys.iter().find(|key| !mappings.iter().any(|mapping| mapping.key == **key)) {
            account.add(
                Action::Fault,
                rule.located,
                &pointer,
                format!("no header is mapped to its key {key}, so no request ever has this group: left out"),
            );
            continue;
        }
        for pairs in combinations(rule, keys, pods, settings, &pointer, account) {
            let group = Group::new(pairs, settings);
            match groups.iter().find(|other| other.name == group.name) {
                Some(other) if other.pairs == group.pairs => {}
                Some(_) => {
                    account.refuse(
                        rule.located,
                        &pointer,
                        format!("two groups would have the subset {}", group.name),
                    );
                }
                None => groups.push(group),
            }
        }
    }
    if groups.len() > MOST {
        account.refuse(rule.located, place, format!("{} groups are more than {MOST} routes: take the filter dynamic-subset instead (istio/dynamic-subset)", groups.len()));
        groups.clear();
    }
    groups
}

/// The group that requests of no other one get, where there is such a group.
pub(super) fn otherwise(rule: &Dynamic<'_>, settings: &Settings) -> Option<Group> {
    match &rule.otherwise {
        Otherwise::Subset(labels) => Some(Group::new(labels.clone(), settings)),
        Otherwise::Any | Otherwise::Refusal => None,
    }
}

/// Values of some labels.
type Pairs = BTreeMap<String, String>;

/// The labels of all pods that the input makes, and which values of some labels they have together.
pub(super) struct Pods {
    labels: Vec<Pairs>,
    together: RefCell<BTreeMap<Vec<String>, BTreeSet<Pairs>>>,
}

impl Pods {
    pub(super) fn of(all: &[Located]) -> Self {
        Self { labels: pods(all), together: RefCell::default() }
    }

    /// Many rules have the same keys: the pods are gone through once for each.
    fn together(&self, keys: &[String]) -> BTreeSet<Pairs> {
        let found = || {
            let having = self.labels.iter().filter(|labels| keys.iter().all(|key| labels.contains_key(key)));
            having.map(|labels| keys.iter().map(|key| (key.clone(), labels[key].clone())).collect()).collect()
        };
        self.together.borrow_mut().entry(keys.to_vec()).or_insert_with(found).clone()
    }
}

fn pods(all: &[Located]) -> Vec<BTreeMap<String, String>> {
    let pointers = |kind: &str| match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            &["/spec/template/metadata/labels"][..]
        }
        "Pod" => &["/metadata/labels"],
        "ServingRuntime" | "ClusterServingRuntime" => &["/spec/labels"],
        "InferenceService" => &["/spec/predictor/labels"],
        _ => &[],
    };
    let mut found = Vec::new();
    for located in all {
        for pointer in pointers(located.resource.kind()) {
            let labels = located.resource.at(pointer).and_then(Value::as_object).into_iter().flatten();
            let labels: BTreeMap<String, String> =
                labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
            if !labels.is_empty() {
                found.push(labels);
            }
        }
    }
    found
}

/// The values that pods of the input have together, or every combination of those that are known of each key.
fn combinations(
    rule: &Dynamic<'_>,
    keys: &[String],
    pods: &Pods,
    settings: &Settings,
    pointer: &str,
    account: &mut Account,
) -> BTreeSet<BTreeMap<String, String>> {
    let given = keys.iter().any(|key| settings.values.contains_key(key));
    let together = pods.together(keys);
    if !together.is_empty() && !given {
        return together;
    }
    let mut found: BTreeSet<BTreeMap<String, String>> = BTreeSet::from([BTreeMap::new()]);
    for key in keys {
        let mut values: BTreeSet<String> = settings.values.get(key).into_iter().flatten().cloned().collect();
        if values.is_empty() {
            values.extend(pods.labels.iter().filter_map(|labels| labels.get(key)).cloned());
        }
        if values.is_empty() {
            account.add(
                Action::Assumed,
                rule.located,
                pointer,
                format!(
                    "no pod of the input has the label {key}, so its one value is taken to be \"true\"; --value {key}=VALUE says otherwise, \
                     --pods {key}=true:LABEL=VALUE takes pods with another label"
                ),
            );
            account.add(
                Action::Todo,
                rule.located,
                pointer,
                format!(
                    "stock ModelMesh gives pods no label {key}: add it to spec.labels of the ServingRuntime"
                ),
            );
            values.insert("true".into());
        }
        found = found
            .into_iter()
            .flat_map(|pairs| {
                values.iter().map(move |value| {
                    let mut pairs = pairs.clone();
                    pairs.insert(key.clone(), value.clone());
                    pairs
                })
            })
            .take(MOST * MOST)
            .collect();
    }
    found
}

/// A DNS label (RFC 1123) of the pairs.
fn name(pairs: &BTreeMap<String, String>) -> String {
    let words: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}-{value}")).collect();
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = words.join("-").chars().map(letter).collect();
    let name = if name.len() > 63 { name[name.len() - 63..].to_owned() } else { name };
    name.trim_matches('-').to_owned()
}
