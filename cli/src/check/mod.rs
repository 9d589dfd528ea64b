//! `check`: what is wrong with resources that Istio accepts.

mod configurations;
mod finding;
mod sarif;
mod schemas;
mod text;
mod versions;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use istio_lint::envoy_gateway::EnvoyGateway;
use istio_lint::{Level, Published, Resource, rules};
use serde_json::{Value, json};

pub(crate) use finding::Finding;
use versions::Need;
pub use versions::Version;
pub(crate) use versions::known as known_version;

use crate::arguments::{Check, Colour, Format};
use crate::input::{self, Set};
use crate::progress::Progress;
use crate::{Error, Outcome};

/// What was found in all sets.
pub(crate) struct Report {
    /// Everything that is wrong, in the order of files and lines, each once.
    pub(crate) findings: Vec<Finding>,
    /// What needs a certain Istio, the newest first.
    pub(crate) needs: Vec<Need>,
    /// How many resources were looked at.
    pub(crate) resources: usize,
    /// How many of Envoy's bootstraps were.
    pub(crate) bootstraps: usize,
    /// How many of the resources are for Envoy Gateway, and of a kind that this command does not read.
    pub(crate) not_checked: usize,
}

/// Checks what the command line names and writes what was found.
pub(crate) fn run(options: &Check, out: &mut dyn Write) -> Result<Outcome, Error> {
    let sets = input::sets(&options.inputs, &options.namespace)?;
    let report = check(&sets, options.istio)?;
    match options.output {
        Format::Text => {
            let colours = match options.color {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            };
            text::write(&report, colours, out)?;
        }
        Format::Json => {
            let findings: Vec<_> = report.findings.iter().map(Finding::json).collect();
            let needs: Vec<_> = report.needs.iter().map(Need::json).collect();
            let istio = report.needs.first().map(|need| need.version.to_string());
            let all = json!({
                "findings": findings, "needs": needs, "istio": istio, "resources": report.resources,
                "not_checked_of_envoy_gateway": report.not_checked,
            });
            writeln!(out, "{all:#}")?;
        }
        Format::Sarif => writeln!(out, "{:#}", sarif::log(&report))?,
    }
    let counts = |level: Level| report.findings.iter().any(|finding| finding.level == level);
    let wrong = counts(Level::Error) || (options.strict && counts(Level::Warning));
    Ok(if wrong { Outcome::Wrong } else { Outcome::Right })
}

/// Checks sets of resources.
pub(crate) fn check(sets: &[Set], target: Option<Version>) -> Result<Report, Error> {
    let published = Published::load().map_err(Error::Own)?;
    let mut report =
        Report { findings: Vec::new(), needs: Vec::new(), resources: 0, bootstraps: 0, not_checked: 0 };
    let envoy_gateway =
        EnvoyGateway::among(sets.iter().flat_map(|set| &set.resources).map(|located| &located.resource));
    let gateways = gateways(sets);
    let all = sets.iter().map(|set| set.resources.len()).sum();
    let mut progress = Progress::new();
    for set in sets {
        for located in &set.resources {
            report.needs.extend(versions::needs(located));
            report.findings.extend(schemas::check(&published, located, target));
            report.findings.extend(configurations::check(located));
            report.resources += 1;
            let resource = &located.resource;
            if is_for_envoy_gateway(&envoy_gateway, resource) && !configurations::is_read(resource) {
                report.not_checked += 1;
            }
            progress.at("resources checked", report.resources, all);
        }
        report.findings.extend(by_rules_beside(set, &gateways));
        report.findings.extend(set.skipped.iter().map(Finding::skipped));
        let bootstraps = set.others.iter().filter(|other| configurations::is_bootstrap(other));
        report.bootstraps += bootstraps.count();
        report.findings.extend(set.others.iter().flat_map(configurations::bootstrap));
    }
    if let Some(target) = target {
        report.findings.extend(
            report.needs.iter().filter(|need| need.version > target).map(|need| need.finding(target)),
        );
    }
    let place = |f: &Finding| (f.file.clone(), f.line, f.pointer.clone(), f.reason.clone());
    report.findings.sort_by_key(place);
    report.findings.dedup_by(|a, b| place(a) == place(b) && a.resource == b.resource);
    report
        .needs
        .sort_by(|a, b| b.version.cmp(&a.version).then_with(|| (&a.file, a.line).cmp(&(&b.file, b.line))));
    report.needs.dedup();
    Ok(report)
}

/// Whether a resource is a policy or route of Envoy Gateway's. The Gateway API's own schemas and rules are enough for the
/// Gateway and its class.
fn is_for_envoy_gateway(envoy_gateway: &EnvoyGateway, resource: &Resource) -> bool {
    !matches!(resource.kind(), "Gateway" | "GatewayClass") && envoy_gateway.has(resource)
}

/// The Gateways of all sets: one set may be a part that is applied with another.
fn gateways(sets: &[Set]) -> Vec<Resource> {
    let all = sets.iter().flat_map(|set| &set.resources).map(|located| &located.resource);
    all.filter(|resource| resource.is("gateway.networking.k8s.io", "Gateway")).cloned().collect()
}

/// What the rules find in resources that are applied together.
pub(crate) fn by_rules(set: &Set) -> Vec<Finding> {
    by_rules_beside(set, &[])
}

/// What the rules find in a set that may target `gateways` of other sets.
fn by_rules_beside(set: &Set, gateways: &[Resource]) -> Vec<Finding> {
    let resources: Vec<Resource> = set.resources.iter().map(|located| located.resource.clone()).collect();
    let mut problems = rules::check_beside(&resources, gateways);
    for other in &set.others {
        let value = other.root.as_ref().map_or(Value::Null, input::Item::value);
        let mesh = value.get("meshConfig").unwrap_or(&value);
        if mesh.get("extensionProviders").is_some() {
            problems.extend(rules::sign_on(&resources, mesh));
        }
    }
    let mut findings = Vec::new();
    let mut named: BTreeMap<String, (&input::Located, &input::Located)> = BTreeMap::new();
    for located in &set.resources {
        named.entry(located.resource.id()).or_insert((located, located)).1 = located;
    }
    for problem in problems {
        // Of two resources with one name the later one is the surplus.
        let twice = problem.rule == "twice";
        let found = named.get(&problem.resource).copied();
        // Neighbouring folders often hold one resource in several forms, of which one is applied.
        let folder = |located: &input::Located| Path::new(&located.file).parent().map(Path::to_owned);
        let forms = twice && found.is_some_and(|(first, last)| folder(first) != folder(last));
        let located = found.map(|(first, last)| if twice { last } else { first });
        findings.extend(located.map(|located| Finding {
            level: if forms { Level::Note } else { problem.level() },
            rule: if problem.rule.is_empty() { "sign-on" } else { problem.rule },
            ..Finding::error("", located, &problem.pointer, &problem.reason)
        }));
    }
    findings
}
