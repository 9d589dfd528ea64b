//! `migrate`: the vendor's resources become stock ones, and every field is accounted for.

mod account;
mod advice;
mod faults;
mod files;
mod keeping;
mod others;
mod output;
mod render;
mod settings;
mod sign_on;
mod spot;
mod subsets;
mod transcoder;
mod tree;

use std::collections::BTreeSet;
use std::io::Write;

use crate::arguments::{Form, Migrate};
use crate::input::{self, Located};
use crate::{Error, Outcome};
use account::{Account, Action, Place};
use files::{Fate, File};
use settings::Settings;

/// The API group of the vendor's own resources.
const VENDOR: &str = "istio.alibabacloud.com";

/// Migrates what the command line names.
pub(crate) fn run(options: &Migrate, out: &mut dyn Write) -> Result<Outcome, Error> {
    let settings = settings::read(options)?;
    if let Some(folder) = &options.out {
        output::apart(folder, &options.inputs)?;
    }
    let mut files = files::read(&options.inputs, &options.namespace)?;
    let mut account = migrate(&mut files, &settings, options)?;
    let refused = account.has_refused();
    if !refused || options.keep_going {
        if let Some(folder) = &options.out {
            output::alone(folder, &files, options.report.as_deref())?;
        }
        output::write(&files, options.out.as_deref(), out)?;
    }
    let stderr = std::io::stderr();
    match (&options.report, options.report_format) {
        (None, Form::Text) => account.write(&mut stderr.lock())?,
        (None, Form::Json) => writeln!(stderr.lock(), "{:#}", account.json())?,
        (Some(path), format) => {
            let mut text = Vec::new();
            match format {
                Form::Text => account.write(&mut text)?,
                Form::Json => writeln!(text, "{:#}", account.json())?,
            }
            output::saved(path, &text)?;
        }
    }
    if refused && !options.keep_going {
        writeln!(
            stderr.lock(),
            "nothing was written: mend what is refused, or take the rest with --keep-going"
        )?;
    }
    Ok(if refused { Outcome::Wrong } else { Outcome::Right })
}

/// What is wrong with an option.
fn wrong(option: &str, reason: String) -> Error {
    Error::Input(input::Error::Content { file: option.to_owned(), line: 1, reason })
}

/// Where a module is, which is left to do.
fn module(located: &Located, pointer: &str, name: &str, registry: &str, account: &mut Account) -> String {
    let url = format!("oci://{registry}/{name}:{}", env!("CARGO_PKG_VERSION"));
    let what = format!("put the module's image at {url}, or name your registry with --registry");
    account.add(Action::Todo, located, pointer, what);
    url
}

/// Decides what comes out in place of every document, and says so.
fn migrate(files: &mut [File], settings: &Settings, options: &Migrate) -> Result<Account, Error> {
    let mut account = Account::default();
    let all: Vec<Located> =
        files.iter().flat_map(|file| &file.parts).filter_map(|part| part.located.clone()).collect();
    let transcoders: Vec<&Located> =
        all.iter().filter(|located| located.resource.is(VENDOR, "ASMGrpcJsonTranscoder")).collect();
    let mut routed = subsets::changes(&all, settings, &mut account);
    let sign_on = settings.sign_on.as_ref();
    let gateway = sign_on.map(|sign_on| sign_on.gateway(&all, &mut account)).transpose()?;
    for part in files.iter_mut().flat_map(|file| &mut file.parts) {
        let Some(located) = part.located.clone() else { continue };
        let resource = &located.resource;
        let fate = match (resource.group(), resource.kind()) {
            (VENDOR, "ASMGrpcJsonTranscoder") => {
                match transcoder::plugin(&located, part.source(), &all, settings, &mut account) {
                    Some(text) => Fate::Changed(text),
                    None => Fate::Same,
                }
            }
            (VENDOR, "ASMKServeConfig") => others::serving(&located, &mut account),
            (VENDOR, _) => others::unknown(&located, &mut account),
            ("networking.istio.io", "EnvoyFilter") => {
                others::envoy_filter(&located, &transcoders, &mut routed.pairs, &mut account)
            }
            ("gateway.networking.k8s.io", "Gateway") => {
                others::waypoint(&located, part.source(), &mut account)
            }
            ("networking.istio.io", "VirtualService" | "DestinationRule") => {
                match routed.items.remove(&account::place(&located)) {
                    Some(change) => {
                        let own = change.own.map(|own| render::rewritten(&own, part.source()));
                        let mut after: Vec<String> = change.more.iter().map(render::document).collect();
                        // Where nothing else is left of a document, its comments are of what takes its place.
                        if let (None, Some(first)) = (&own, after.first_mut()) {
                            first.insert_str(0, &render::comments(part.source()));
                        }
                        part.after = after;
                        own.map_or(Fate::Gone, Fate::Changed)
                    }
                    None => Fate::Same,
                }
            }
            ("networking.istio.io", "Gateway") => {
                if let (Some(sign_on), Some(gateway)) = (sign_on, gateway)
                    && account::place(gateway) == account::place(&located)
                {
                    let made = sign_on.resources(gateway, &all, settings, &mut account);
                    part.after = made.iter().map(render::document).collect();
                }
                Fate::Same
            }
            _ => Fate::Same,
        };
        part.fate = fate;
    }
    let decided = account.entries.len();
    let before = faults::of_the_input(&all);
    faults::of_the_output(files, options, &before, &routed.pairs, &mut account)?;
    let kept = keeping::keep(files, &routed.pairs, decided, &mut account);
    for (located, finding) in before {
        // What is mended has its line already, which says so.
        let said = account.entries.iter().any(|entry| {
            (entry.action, &entry.resource, &entry.pointer)
                == (Action::Fault, &finding.resource, &finding.pointer)
        });
        if said {
            continue;
        }
        account.add(Action::Fault, located, &finding.pointer, finding.reason);
    }
    faults::same_place(&transcoders, &mut account);
    passed(files, &kept, &all, settings, &mut account);
    Ok(account)
}

/// Says of what is stock already that it passes, and what it needs besides.
fn passed(
    files: &[File],
    kept: &BTreeSet<Place>,
    all: &[Located],
    settings: &Settings,
    account: &mut Account,
) {
    for file in files.iter().filter(|file| file.parts.iter().all(|part| part.document.root.is_none())) {
        let name = file.parts.first().map_or_else(String::new, |part| part.document.file.clone());
        account.note(Action::Passed, name, "the file has no resources: it is empty, or has only comments");
    }
    let waypoints = advice::waypoints(all);
    for (file, part) in files.iter().flat_map(|file| file.parts.iter().map(move |part| (file, part))) {
        let Some(located) = &part.located else { continue };
        match located.resource.kind() {
            "VirtualService" => {
                advice::in_the_mesh(located, &waypoints, settings.sign_on.as_ref(), account);
            }
            "Gateway" if located.resource.group() == "networking.istio.io" => {
                advice::pods_of(located, account);
            }
            _ => {}
        }
        let apart = part.list.is_some_and(|(list, _)| file.is_taken_apart(list));
        let what = match &part.fate {
            _ if kept.contains(&account::place(located)) => continue,
            Fate::Gone => continue,
            Fate::Same | Fate::Changed(_) if is_vendors(located) => continue,
            Fate::Same if apart => "as it stands, in a document of its own, as others of its List change",
            Fate::Same => "as it stands",
            Fate::Changed(_) => "its other fields and its comments as they stand, written anew",
        };
        account.add(Action::Passed, located, "", what);
    }
}

fn is_vendors(located: &Located) -> bool {
    located.resource.group() == VENDOR
}
