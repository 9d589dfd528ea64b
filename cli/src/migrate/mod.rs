//! `migrate`: the vendor's resources become stock ones, and every field is accounted for.

mod account;
mod files;
mod others;
mod render;
mod sign_on;
mod spot;
mod subsets;
mod transcoder;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use istio_lint::Level;

use crate::arguments::{Fallback, Form, Groups, Migrate, Shape};
use crate::check;
use crate::input::{self, Located, Set};
use crate::{Error, Outcome};
use account::{Account, Action, Place};
use files::{Fate, File};
use sign_on::SignOn;

/// The API group of the vendor's own resources.
const VENDOR: &str = "istio.alibabacloud.com";

/// What the input does not say.
pub(crate) struct Settings {
    form: Shape,
    groups: Groups,
    registry: String,
    /// What a request of no group gets.
    fallback: Fallback,
    /// Values of labels that no pod of the input has.
    values: BTreeMap<String, Vec<String>>,
    /// The labels of the pods with a value, where they are others.
    pods: BTreeMap<(String, String), (String, String)>,
    sign_on: Option<SignOn>,
}

/// Migrates what the command line names.
pub(crate) fn run(options: &Migrate, out: &mut dyn Write) -> Result<Outcome, Error> {
    let settings = settings(options)?;
    if let Some(folder) = &options.out {
        apart(folder, &options.inputs)?;
    }
    let mut files = files::read(&options.inputs, &options.namespace)?;
    let mut account = migrate(&mut files, &settings, options)?;
    let refused = account.has_refused();
    if !refused || options.keep_going {
        write(&files, options.out.as_deref(), out)?;
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
            saved(path, &text)?;
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

/// The output's folder must not be one of the input: what it drops would stay there, and what it changes be lost.
fn apart(folder: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    let whole = std::path::absolute(folder)
        .map_err(|source| Error::Input(input::Error::Io { path: folder.display().to_string(), source }))?;
    // A folder that is not there yet is where the nearest one around it is.
    let there = whole.ancestors().find_map(|around| around.canonicalize().ok()).unwrap_or_default();
    let is_there = whole.exists();
    for (shown, input) in inputs.iter().filter_map(|input| Some((input, input.canonicalize().ok()?))) {
        let inside = input.is_dir() && there.starts_with(&input);
        if inside || is_there && input.is_file() && input.parent() == Some(&there) {
            let (folder, shown) = (folder.display(), shown.display());
            let why = if inside {
                format!(
                    "{folder} is in the input {shown}, where what is dropped would stay: name another folder"
                )
            } else {
                format!("{folder} has the input {shown}, which would be lost: name another folder")
            };
            return Err(wrong("--out", why));
        }
    }
    Ok(())
}

fn settings(options: &Migrate) -> Result<Settings, Error> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for value in &options.values {
        let (key, value) =
            value.split_once('=').ok_or_else(|| wrong("--value", format!("{value:?} is not KEY=VALUE")))?;
        is_label("--value", key, value)?;
        values.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    let mut pods = BTreeMap::new();
    for one in &options.pods {
        let parts = one
            .split_once(':')
            .and_then(|(group, label)| Some((group.split_once('=')?, label.split_once('=')?)));
        let ((key, value), (label, of)) =
            parts.ok_or_else(|| wrong("--pods", format!("{one:?} is not KEY=VALUE:LABEL=VALUE")))?;
        is_label("--pods", key, value)?;
        is_label("--pods", label, of)?;
        let group = values.entry(key.to_owned()).or_default();
        if !group.iter().any(|known| known == value) {
            group.push(value.to_owned());
        }
        pods.insert((key.to_owned(), value.to_owned()), (label.to_owned(), of.to_owned()));
    }
    let registry = |letter: char| letter.is_ascii_alphanumeric() || ".-_/:".contains(letter);
    if options.registry.is_empty()
        || options.registry.contains("://")
        || !options.registry.chars().all(registry)
    {
        let why = format!(
            "{:?} is not HOST/PATH, without a scheme, such as registry.example/mesh",
            options.registry
        );
        return Err(wrong("--registry", why));
    }
    Ok(Settings {
        form: options.form,
        groups: options.groups,
        sign_on: sign_on::read(options)?,
        registry: options.registry.clone(),
        fallback: options.fallback,
        values,
        pods,
    })
}

/// Whether a key and a value can be those of a label (Kubernetes, labels and selectors), as pods of a group have one.
fn is_label(option: &str, key: &str, value: &str) -> Result<(), Error> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let part = |text: &str| {
        let ends = [text.bytes().next(), text.bytes().next_back()];
        text.len() <= 63
            && text.bytes().all(inner)
            && ends.into_iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
    };
    let prefix = |text: &str| !text.is_empty() && text.split('.').all(part);
    let named = match key.split_once('/') {
        Some((before, name)) => prefix(before) && part(name),
        None => part(key),
    };
    if !named {
        return Err(wrong(option, format!("{key:?} cannot be the key of a label")));
    }
    if !part(value) {
        return Err(wrong(option, format!("{value:?} cannot be the value of a label")));
    }
    Ok(())
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
        let Some(located) = part.located.clone() else {
            nested(part, &mut account);
            continue;
        };
        let resource = &located.resource;
        let comments = files::leading_comments(&part.document.text);
        part.fate = match (resource.group(), resource.kind()) {
            (VENDOR, "ASMGrpcJsonTranscoder") => {
                match transcoder::plugin(&located, &all, settings, &mut account) {
                    Some(text) => Fate::Changed(format!("{comments}{text}")),
                    None => Fate::Same,
                }
            }
            (VENDOR, "ASMKServeConfig") => others::serving(&located, &mut account),
            (VENDOR, _) => others::unknown(&located, &mut account),
            ("networking.istio.io", "EnvoyFilter") => {
                others::envoy_filter(&located, &transcoders, &mut routed.pairs, &mut account)
            }
            ("gateway.networking.k8s.io", "Gateway") => {
                others::waypoint(&located, &part.document.text, &mut account)
            }
            ("networking.istio.io", "VirtualService" | "DestinationRule") => {
                match routed.items.remove(&account::place(&located)) {
                    Some(change) => {
                        part.after = change.more.iter().map(render::document).collect();
                        let own = change.own.map(|own| render::rewritten(&own, &part.document.text));
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
    }
    let decided = account.entries.len();
    let before = faults(&all);
    checked(files, options, &before, &mut account)?;
    let kept = keep(files, &routed.pairs, decided, &mut account);
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
    same_place(&transcoders, &mut account);
    for file in files.iter().filter(|file| file.parts.iter().all(|part| part.document.root.is_none())) {
        let name = file.parts.first().map_or_else(String::new, |part| part.document.file.clone());
        account.note(Action::Passed, name, "the file has no resources: it is empty, or has only comments");
    }
    let waypoints = waypoints(&all);
    for part in files.iter().flat_map(|file| &file.parts) {
        let Some(located) = &part.located else { continue };
        match located.resource.kind() {
            "VirtualService" => in_the_mesh(located, &waypoints, sign_on, &mut account),
            "Gateway" if located.resource.group() == "networking.istio.io" => pods_of(located, &mut account),
            _ => {}
        }
        let (action, what) = match &part.fate {
            _ if kept.contains(&account::place(located)) => continue,
            Fate::Same if is_vendors(located) => continue,
            Fate::Same => (Action::Passed, "as it stands"),
            Fate::Changed(_) if is_vendors(located) => continue,
            Fate::Changed(_) => {
                (Action::Passed, "its other fields and its comments as they stand, written anew")
            }
            Fate::Gone => continue,
        };
        account.add(action, located, "", what);
    }
    Ok(account)
}

/// Leaves every document as it is of which something is refused, and those that do not work without it.
fn keep(
    files: &mut [File],
    pairs: &[(Place, Place)],
    decided: usize,
    account: &mut Account,
) -> BTreeSet<Place> {
    let own = account.refused();
    let mut beside: BTreeMap<&Place, Vec<&Place>> = BTreeMap::new();
    for (one, other) in pairs {
        beside.entry(one).or_default().push(other);
    }
    // What is kept on account of another document, with the one that is to blame.
    let mut kept: BTreeMap<Place, Option<Place>> = own.iter().map(|place| (place.clone(), None)).collect();
    let mut left: Vec<Place> = own.into_iter().collect();
    while let Some(place) = left.pop() {
        for other in beside.get(&place).into_iter().flatten().filter(|other| **other != &place) {
            if !kept.contains_key(*other) {
                kept.insert((*other).clone(), Some(place.clone()));
                left.push((*other).clone());
            }
        }
    }
    let places: BTreeSet<Place> = kept.keys().cloned().collect();
    account.take_back(&places, decided);
    for part in files.iter_mut().flat_map(|file| &mut file.parts) {
        for located in items_of(part).iter().filter(|located| kept.contains_key(&account::place(located))) {
            account.add(Action::Kept, located, "", "as it stands, because of its List some is refused");
        }
        let Some((located, why)) =
            part.located.as_ref().and_then(|l| Some((l, kept.get(&account::place(l))?)))
        else {
            continue;
        };
        part.fate = Fate::Same;
        part.after.clear();
        let what = match why {
            None => "as it stands, because some of it is refused".to_owned(),
            Some((file, line)) => {
                format!("as it stands, because it belongs with the document at {file}:{line}, which is kept")
            }
        };
        account.add(Action::Kept, located, "", what);
    }
    places
}

fn is_vendors(located: &Located) -> bool {
    located.resource.group() == VENDOR
}

/// The resources of a list; of another document there are none.
fn items_of(part: &files::Part) -> Vec<Located> {
    let root = part.document.root.as_ref().filter(|_| part.located.is_none());
    let items = root.and_then(|root| root.get("items")).map_or(&[][..], tree::items);
    items.iter().filter_map(|inner| input::one(&part.document, inner, "default").ok()).collect()
}

/// A list of resources passes if none of them is the vendor's: they have no documents of their own to change.
fn nested(part: &mut files::Part, account: &mut Account) {
    for (index, located) in items_of(part).into_iter().enumerate() {
        let text = located.resource.value.to_string();
        let vendors = located.resource.group() == VENDOR
            || ["headerToDynamicSubsetKey", "dynamicSubset"]
                .iter()
                .any(|name| text.contains(&format!("\"{name}\"")));
        if vendors {
            account.refuse(
                &located,
                "",
                format!("is item {index} of a List, whose items are not changed: write it as a document of its own"),
            );
        } else {
            account.add(Action::Passed, &located, "", format!("item {index} of a List, as it stands"));
        }
    }
}

/// What the vendor's mesh tolerates, and stock Istio as well: neither says that it does nothing.
fn faults(all: &[Located]) -> Vec<(&Located, check::Finding)> {
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
fn same_place(transcoders: &[&Located], account: &mut Account) {
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

/// The namespaces that have a waypoint.
fn waypoints(all: &[Located]) -> BTreeSet<String> {
    let waypoints = all.iter().filter(|l| l.resource.text("/spec/gatewayClassName") == "istio-waypoint");
    waypoints.map(|l| l.resource.namespace().to_owned()).collect()
}

/// Routes of the mesh need a waypoint, and a header that says who a user is needs someone to set it.
fn in_the_mesh(
    located: &Located,
    waypoints: &BTreeSet<String>,
    sign_on: Option<&SignOn>,
    account: &mut Account,
) {
    let gateways = located.resource.list("/spec/gateways");
    let namespace = located.resource.namespace();
    // One without hosts is where another one delegates to.
    let child = located.resource.list("/spec/hosts").is_empty();
    let mesh = !child && (gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh"));
    if mesh && !waypoints.contains(namespace) {
        let what = format!(
            "needs a waypoint, which in the vendor's mesh was one for a service account: istioctl waypoint apply -n {namespace} --enroll-namespace"
        );
        account.add(Action::Todo, located, "/spec/http", what);
    }
    for (index, rule) in located.resource.list("/spec/http").iter().enumerate() {
        let matches = rule.get("match").and_then(serde_json::Value::as_array).into_iter().flatten();
        for (place, one) in matches.enumerate() {
            let header = sign_on.and_then(|sign_on| sign_on.matched(one));
            if let Some(header) = header.filter(|_| mesh) {
                let what = format!(
                    "{header} is set at the gateway, and in the mesh believed from any caller: admit to these pods only the waypoint, and \
                     there deny {header} from others than the callers that hand it on (AuthorizationPolicy; examples/ai-application/k8s \
                     has them)"
                );
                let pointer = format!("/spec/http/{index}/match/{place}/headers/{header}");
                account.add(Action::Todo, located, &pointer, what);
            }
            if one.pointer("/headers/user_class").is_some() && !sign_on.is_some_and(|s| s.sets("user_class"))
            {
                let what = "the vendor's sign-on sets user_class of the claim user_type, and takes a client's own off: on stock parts \
                            the filter claim-headers does, which --sign-on adds, and without which clients choose their class";
                account.add(
                    Action::Todo,
                    located,
                    &format!("/spec/http/{index}/match/{place}/headers/user_class"),
                    what,
                );
            }
        }
    }
}

/// A gateway of Istio's is chosen by a label that its pods must have.
fn pods_of(located: &Located, account: &mut Account) {
    if let Some(name) = located.resource.at("/spec/selector/istio").and_then(serde_json::Value::as_str) {
        account.add(
            Action::Todo,
            located,
            "/spec/selector",
            format!("needs pods with istio={name}, and their Service the ports of this Gateway: helm install {name} istio/gateway --set labels.istio={name}"),
        );
    }
}

/// The output must be right: whatever of it stock Istio would not take is refused here.
fn checked(
    files: &[File],
    options: &Migrate,
    before: &[(&Located, check::Finding)],
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
    let refused = account.refused();
    for finding in report.findings.into_iter().filter(certain) {
        let Some((located, same)) = origins.get(&finding.resource) else { continue };
        // What the input has is a fault of its own, with the place in the input.
        let is_it = |(_, known): &(_, check::Finding)| {
            (&known.resource, known.rule) == (&finding.resource, finding.rule)
        };
        if before.iter().any(is_it) {
            continue;
        }
        // A field of the vendor's that stays because of another refusal has its reason already.
        if finding.reason.contains(", a vendor's: ") && refused.contains(&account::place(located)) {
            continue;
        }
        let what = format!("{} [{}]", finding.reason, finding.rule);
        // A fault that a stock resource had before is reported, and does not keep the rest from being written.
        let action = if *same && finding.rule != "schema" { Action::Fault } else { Action::Refused };
        account.add(action, located, &finding.pointer, what);
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

/// Writes the files that are left below a folder, or all of them as one stream.
fn write(files: &[File], folder: Option<&Path>, out: &mut dyn Write) -> Result<(), Error> {
    let mut first = true;
    for file in files {
        let text = file.text();
        let nothing = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        match folder {
            _ if nothing => {}
            Some(folder) => saved(&folder.join(&file.name), text.as_bytes())?,
            None => {
                if !first && !text.starts_with("---") {
                    writeln!(out, "---")?;
                }
                out.write_all(text.as_bytes())?;
                if !text.ends_with('\n') {
                    writeln!(out)?;
                }
                first = false;
            }
        }
    }
    Ok(())
}

fn saved(path: &Path, text: &[u8]) -> Result<(), Error> {
    let io = |source| Error::Input(input::Error::Io { path: path.display().to_string(), source });
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(io)?;
    }
    fs::write(path, text).map_err(io)
}
