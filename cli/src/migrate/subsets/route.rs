//! A route that chooses from groups: where it is, and where it sends to.

use serde_json::Value;

use super::super::account::Account;
use super::super::spot::Spot;
use super::super::tree::{at, items};
use super::{HEADERS, Mapping, NETWORKING, full_name};
use crate::input::{Item, Located};

/// A route with `headerToDynamicSubsetKey`.
pub(super) struct Route<'a> {
    pub(super) located: &'a Located,
    pub(super) rule: &'a Item,
    pub(super) pointer: String,
    pub(super) mappings: Vec<Mapping>,
    /// The full name of the Service that it sends to.
    pub(super) host: String,
}

impl Route<'_> {
    /// Whether callers in the mesh have it.
    pub(super) fn is_for_the_mesh(&self) -> bool {
        let gateways = self.located.resource.list("/spec/gateways");
        gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
    }

    /// The ports of the Service that it sends to; `None` if one is not named.
    pub(super) fn ports(&self, account: &mut Account) -> Option<Vec<u64>> {
        let mut ports = Vec::new();
        for (index, route) in self.rule.get("route").map_or(&[][..], items).iter().enumerate() {
            let port = at(route, &["destination", "port", "number"]).and_then(|port| port.value().as_u64());
            let Some(port) = port else {
                let here = format!("{}/route/{index}/destination", self.pointer);
                let why = "has no port.number, which the cluster's name in Envoy has";
                account.refuse(self.located, &here, why);
                return None;
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Some(ports)
    }

    /// The proxies that have it; `None` if one is not known.
    pub(super) fn spots(&self, all: &[Located], account: &mut Account) -> Option<Vec<Spot>> {
        let gateways = self.located.resource.list("/spec/gateways");
        if gateways.is_empty() {
            return self.waypoint(all, "/spec/hosts", account).map(|spot| vec![spot]);
        }
        let mut spots = Vec::new();
        for (index, gateway) in gateways.iter().enumerate() {
            let here = format!("/spec/gateways/{index}");
            let spot = match gateway.as_str().unwrap_or_default() {
                "mesh" => self.waypoint(all, &here, account),
                gateway => self.gateway(all, gateway, &here, account),
            }?;
            if !spots.contains(&spot) {
                spots.push(spot);
            }
        }
        Some(spots)
    }

    fn gateway(&self, all: &[Located], gateway: &str, here: &str, account: &mut Account) -> Option<Spot> {
        let own = self.located.resource.namespace();
        let Some(found) = find(all, own, gateway) else {
            let why = format!(
                "the Gateway {gateway} is not in the input, and an EnvoyFilter is for its pods and ports: add it, or take --groups routes"
            );
            account.refuse(self.located, here, why);
            return None;
        };
        let labels = at(&found.item, &["spec", "selector"]);
        let servers = found.resource.list("/spec/servers").iter();
        let mut ports: Vec<u64> =
            servers.filter_map(|server| server.pointer("/port/number").and_then(Value::as_u64)).collect();
        // A route that asks for ports is on no other one.
        let asked: Vec<Option<u64>> = self
            .rule
            .get("match")
            .map_or(&[][..], items)
            .iter()
            .map(|one| one.get("port").and_then(|port| port.value().as_u64()))
            .collect();
        if !asked.is_empty() && asked.iter().all(Option::is_some) {
            ports.retain(|port| asked.contains(&Some(*port)));
        }
        ports.sort_unstable();
        ports.dedup();
        match labels {
            Some(labels) if !ports.is_empty() => Some(Spot::Gateway { labels: labels.clone(), ports }),
            _ => {
                let why =
                    format!("{} has no selector, or no port that this route is on", found.resource.id());
                account.refuse(self.located, here, why);
                None
            }
        }
    }

    fn waypoint(&self, all: &[Located], here: &str, account: &mut Account) -> Option<Spot> {
        let namespace = self.located.resource.namespace();
        let port = self.ports(account)?.first().copied()?;
        let spot = Spot::at_waypoint(all, namespace, &self.host, port);
        let hosts = self.located.resource.list("/spec/hosts").iter().filter_map(Value::as_str);
        let own = hosts.map(|host| full_name(host, namespace)).all(|host| host == self.host);
        if spot.is_none() || !own {
            let why = format!(
                "is for the mesh: an EnvoyFilter needs the waypoint's Gateway, which {namespace} {} in the input, and a route for the \
                 Service that it sends to: take --groups routes",
                if spot.is_none() { "does not have" } else { "has" },
            );
            account.refuse(self.located, here, why);
            return None;
        }
        spot
    }

    /// The path of its mappings.
    pub(super) fn headers(&self) -> String {
        format!("{}/{HEADERS}", self.pointer)
    }
}

/// A Gateway of Istio's, as a route in a namespace names it.
pub(in crate::migrate) fn find<'a>(all: &'a [Located], own: &str, name: &str) -> Option<&'a Located> {
    let (namespace, name) = match name.split_once('/') {
        Some((".", name)) => (own, name),
        Some(both) => both,
        None => (own, name),
    };
    all.iter().find(|l| {
        l.resource.is(NETWORKING, "Gateway")
            && l.resource.namespace() == namespace
            && l.resource.name() == name
    })
}
