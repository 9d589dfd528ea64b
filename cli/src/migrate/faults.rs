//! Faults of the input, and of what would come out.

use std::collections::BTreeMap;

use istio_lint::Level;

use super::account::{self, Account, Action, Place};
use super::files::{Fate, File};
use super::{keeping, transcoder};
use crate::arguments::Migrate;
use crate::input::{self, Located, Set};
use crate::{Error, check};

/// What the vendor's mesh tolerates, and stock Istio as well: neither says that it does nothing.
pub(super) fn of_the_input(all: &[Located]) -> Vec<(&Located, check::Finding)> {
    let mut named: BTreeMap<String, &Located> = BTreeMap::new();
    for located in all {
        named.entry(located.resource.id()).or_insert(located);
    }
    let set = Set { resources: all.to_vec(), ..Set::default() };
    let tolerated = ["unnamed-host", "missing-port", "unreached-route", "mixed-routes", "twice"];
    let findings = check::by_rules(&set).into_iter().filter(|finding| tolerated.contains(&finding.rule));
    findings.filter_map(|finding| Some((*named.get(&finding.resource)?, finding))).collect()
}

/// Two transcoders for the same workload and port both see every request.
pub(super) fn same_place(transcoders: &[&Located], account: &mut Account) {
    let labels = |l: &Located| l.resource.at("/spec/workloadSelector/labels").cloned();
    let port = |l: &Located| l.resource.at("/spec/portNumber").cloned();
    for (index, later) in transcoders.iter().enumerate() {
        let same = transcoders[..index].iter().find(|earlier| {
            earlier.resource.namespace() == later.resource.namespace()
                && labels(earlier) == labels(later)
                && (port(earlier) == port(later) || port(earlier).is_none() || port(later).is_none())
        });
        if let Some(earlier) = same {
            let what = format!(
                "is for the workload and the port of {} too, at {}:{}: a request would meet the filter twice, so take one out",
                earlier.resource.id(),
                earlier.file,
                earlier.line_of("/spec")
            );
            account.add(Action::Fault, later, "/spec", what);
        }
    }
}

/// The output must be right: whatever of it stock Istio would not take is refused here.
pub(super) fn of_the_output(
    files: &[File],
    options: &Migrate,
    before: &[(&Located, check::Finding)],
    pairs: &[(Place, Place)],
    account: &mut Account,
) -> Result<(), Error> {
    let mut set = Set::default();
    // What each resource of the output was, and whether it is still that.
    let mut origins: BTreeMap<String, (&Located, bool)> = BTreeMap::new();
    for part in files.iter().flat_map(|file| &file.parts) {
        let Some(located) = &part.located else { continue };
        let own = match &part.fate {
            Fate::Same => vec![located.clone()],
            Fate::Changed(text) => written(&located.file, text, options)?,
            Fate::Gone => Vec::new(),
        };
        let same = matches!(part.fate, Fate::Same);
        for resource in own {
            origins.entry(resource.resource.id()).or_insert((located, same));
            set.resources.push(resource);
        }
        for text in &part.after {
            for resource in written(&located.file, text, options)? {
                origins.entry(resource.resource.id()).or_insert((located, false));
                set.resources.push(resource);
            }
        }
    }
    let report = check::check(&[set], options.istio)?;
    let certain = |finding: &check::Finding| finding.level == Level::Error && finding.rule != "vendor-kind";
    let kept = keeping::kept(account.refused(), pairs);
    for finding in report.findings.into_iter().filter(certain) {
        let Some((located, same)) = origins.get(&finding.resource) else { continue };
        // What the input has is a fault of its own, with the place in the input.
        let is_it = |(_, known): &(_, check::Finding)| {
            (&known.resource, known.rule) == (&located.resource.id(), finding.rule)
        };
        if before.iter().any(is_it) {
            continue;
        }
        // A field of the vendor's that stays because of another refusal has its reason already.
        if finding.reason.contains(", a vendor's: ") && kept.contains_key(&account::place(located)) {
            continue;
        }
        let what = format!("{} [{}]", finding.reason, finding.rule);
        // A fault that a stock resource had before is reported, and does not keep the rest from being written.
        let action = if *same && finding.rule != "schema" { Action::Fault } else { Action::Refused };
        account.add(action, located, transcoder::of_the_input(located, &finding.pointer), what);
    }
    Ok(())
}

/// The resources of a text that comes out.
fn written(file: &str, text: &str, options: &Migrate) -> Result<Vec<Located>, Error> {
    let documents = input::split(file, text)?;
    let roots = documents.iter().filter_map(|document| Some((document, document.root.as_ref()?)));
    Ok(roots
        .map(|(document, root)| input::one(document, root, &options.namespace))
        .collect::<Result<_, _>>()?)
}
