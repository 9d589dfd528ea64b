//! `ASMGrpcJsonTranscoder`: a filter at the gateway, or at the waypoint of the Service whose pods it selects.

mod patches;

use serde_json::{Value, json};

use super::Settings;
use super::account::{Account, Action};
use super::render::{self, Source};
use super::tree::{at, fields, item, list, map, moved, placed, text};
use crate::arguments::Shape;
use crate::input::{Item, Key, Located};

/// What the filter may be told instead of the vendor's fields.
struct Plan {
    form: Shape,
    gateway: bool,
    labels: Option<Item>,
    port: Option<u64>,
    phase: &'static str,
    config: Vec<(Key, Item)>,
    /// How answers are printed.
    print: Vec<(Key, Item)>,
}

/// The plugin's text; `None` if a field is refused.
pub(super) fn plugin(
    located: &Located,
    source: Source<'_>,
    all: &[Located],
    settings: &Settings,
    account: &mut Account,
) -> Option<String> {
    let before = account.entries.len();
    let plan = plan(located, settings.form, account);
    let labels = plan.labels.clone();
    let target = target(located, &plan, labels.as_ref(), all, account);
    let name = located.resource.name();
    if name.contains('.') || name.len() > 63 {
        account.refuse(
            located,
            "/metadata/name",
            "becomes part of a filter's name, and must be a DNS label: rename it",
        );
    }
    for (key, _) in located.item.get("metadata").map_or(&[][..], fields) {
        if !matches!(key.name.as_str(), "name" | "namespace" | "labels" | "annotations") {
            account.add(
                Action::Dropped,
                located,
                &format!("/metadata/{}", key.name),
                "the API server writes it",
            );
        }
    }
    for (key, _) in fields(&located.item) {
        match key.name.as_str() {
            "apiVersion" | "kind" | "metadata" | "spec" => {}
            "status" => account.add(Action::Dropped, located, "/status", "the controller writes it"),
            other => account.refuse(located, &format!("/{other}"), "unknown field"),
        }
    }
    let patches = settings.form != Shape::Wasm;
    let becomes = if patches { "EnvoyFilter" } else { "WasmPlugin" };
    let what = format!("becomes the {becomes} {name} with the filter kserve-transcoder");
    account.add(Action::Mapped, located, "/kind", what);
    let described = ["/spec/builtinProtoDescriptor", "/spec/protoDescriptorBin"];
    if described.iter().all(|pointer| located.resource.at(pointer).is_none()) {
        let what = "it names no descriptor: KServe's is taken, which is built into the filter";
        account.add(Action::Assumed, located, "/spec", what);
    }
    let target = target?;
    if plan.port.is_some() {
        let what = match (&target, patches) {
            (Target::Gateway(_), false) => "becomes match.ports".to_owned(),
            (Target::Gateway(_), true) => "becomes the port of the listener that the patch is for".to_owned(),
            (Target::Waypoint { service, .. }, _) => {
                format!("is the only port of {}, whose waypoint has the filter", service.resource.id())
            }
        };
        account.add(Action::Mapped, located, "/spec/portNumber", what);
    }
    let (api, spec) = if patches {
        let spec = patches::spec(located, &plan, &target, all, &settings.registry, account)?;
        ("networking.istio.io/v1alpha3", spec)
    } else {
        ("extensions.istio.io/v1alpha1", wasm(located, plan, target, settings, account))
    };
    if account.entries[before..].iter().any(|entry| entry.action == Action::Refused) {
        return None;
    }
    let mut metadata = located.item.get("metadata").cloned()?;
    for (key, _) in fields(&metadata.clone()) {
        if !matches!(key.name.as_str(), "name" | "namespace" | "labels" | "annotations") {
            super::tree::remove(&mut metadata, &key.name);
        }
    }
    let keys = fields(&located.item);
    let line = |name: &str| keys.iter().find(|(key, _)| key.name == name).map_or(0, |(key, _)| key.line);
    // The comments in front of a document stay there, whichever field it begins with.
    let first = keys.iter().map(|(key, _)| key.line).min().unwrap_or_default();
    let kind = if line("kind") == first { line("apiVersion") } else { line("kind") };
    // In an EnvoyFilter nothing of the specification is a field of its own: its comments come before it.
    let below = if patches { usize::MAX } else { line("spec") };
    let resource = placed(vec![
        (moved("apiVersion", first), text(api)),
        (moved("kind", kind), text(becomes)),
        (moved("metadata", line("metadata")), metadata),
        (moved("spec", below), spec),
    ]);
    Some(render::rewritten(&resource, source))
}

/// The `spec` of a plugin.
fn wasm(
    located: &Located,
    plan: Plan,
    target: Target<'_>,
    settings: &Settings,
    account: &mut Account,
) -> Item {
    let url = module(located, &settings.registry, account);
    let of = located.item.get("spec").map_or(&[][..], fields);
    // A field that takes the place of one of the vendor's has its comments.
    let moved = |name: &str, from: &str| {
        moved(name, of.iter().find(|(key, _)| key.name == from).map_or(0, |(key, _)| key.line))
    };
    let mut spec = match target {
        Target::Gateway(labels) => {
            let labels = map(vec![("matchLabels", labels.clone())]);
            vec![(moved("selector", "workloadSelector"), labels)]
        }
        Target::Waypoint { service, .. } => {
            let reference = json!({"group": "", "kind": "Service", "name": service.resource.name()});
            vec![(moved("targetRefs", "workloadSelector"), list(vec![item(&reference)]))]
        }
    };
    if let Some(port) = plan.port.filter(|_| plan.gateway) {
        spec.push((moved("match", "portNumber"), item(&json!([{"ports": [{"number": port}]}]))));
    }
    spec.push((moved("url", ""), text(url)));
    spec.push((moved("failStrategy", ""), text("FAIL_RELOAD")));
    spec.push((moved("phase", "transcodeFirst"), text(plan.phase)));
    spec.push((moved("priority", "priority"), item(&json!(0))));
    spec.push((moved("pluginConfig", ""), placed(plan.config)));
    placed(spec)
}

/// Where the module is.
fn module(located: &Located, registry: &str, account: &mut Account) -> String {
    super::module(located, "/kind", "kserve-transcoder", registry, account)
}

fn plan(located: &Located, form: Shape, account: &mut Account) -> Plan {
    let mut plan = Plan {
        form,
        gateway: false,
        labels: None,
        port: None,
        phase: "UNSPECIFIED_PHASE",
        config: vec![
            (moved("answer_form", 0), text("proto")),
            (moved("ignore_unknown_fields", 0), item(&json!(true))),
        ],
        print: Vec::new(),
    };
    account.add(
        Action::Assumed,
        located,
        "/spec",
        "answers stay protobuf's JSON (answer_form: proto), those to inferences with the names of the .proto file; errors are {\"error\": TEXT}, those of \
         servers only without convertGrpcStatus; \
         unknown members of a body are left out, as the vendor's mesh does",
    );
    let empty = map(Vec::new());
    let spec = located.item.get("spec").unwrap_or(&empty);
    for (key, value) in fields(spec) {
        field(located, key, value, &mut plan, account);
    }
    // Also without options: they have Envoy's defaults then, which are the vendor's.
    let line = fields(spec).iter().find(|(key, _)| key.name == "printOptions").map_or(0, |(key, _)| key.line);
    plan.config.push((moved("print_options", line), placed(std::mem::take(&mut plan.print))));
    plan
}

/// One field of the specification.
fn field(located: &Located, key: &Key, item: &Item, plan: &mut Plan, account: &mut Account) {
    let (name, line) = (key.name.as_str(), key.line);
    let pointer = format!("/spec/{name}");
    let value = item.value();
    let mapped = |account: &mut Account, what: &str| account.add(Action::Mapped, located, &pointer, what);
    match (name, &value) {
        ("workloadSelector", Value::Object(_)) => {
            for (key, _) in fields(item).iter().filter(|(key, _)| key.name != "labels") {
                account.refuse(located, &format!("{pointer}/{}", key.name), "unknown field");
            }
            let labels = item.get("labels").filter(|labels| {
                let texts = fields(labels).iter().all(|(_, label)| label.value().is_string());
                texts && !fields(labels).is_empty()
            });
            match labels {
                Some(labels) => {
                    plan.labels = Some(labels.clone());
                    account.add(Action::Mapped, located, &format!("{pointer}/labels"), "says where the plugin runs");
                }
                None => account.refuse(located, &pointer, "labels must be a map of texts with at least one label"),
            }
        }
        ("isGateway", Value::Bool(gateway)) => {
            plan.gateway = *gateway;
            mapped(account, if *gateway { "the plugin has a selector" } else { "the plugin targets a Service's waypoint: ambient has no sidecars" });
        }
        ("portNumber", Value::Number(number)) if number.as_u64().is_some_and(|n| (1..=65535).contains(&n)) => {
            // Where the plugin goes says what it is mapped to.
            plan.port = number.as_u64();
        }
        ("services", Value::Array(services)) if services.iter().all(Value::is_string) => {
            let kserve = |service: &Value| service == "inference.GRPCInferenceService";
            // The filter serves KServe's service always; its key is for others.
            let named: Vec<_> = services.iter().filter(|service| !kserve(service)).cloned().collect();
            let others = !named.is_empty();
            if others {
                plan.config.push((moved("services", line), super::tree::item(&Value::Array(named))));
            }
            mapped(account, if others { "becomes the key services" } else { "is served anyway" });
        }
        ("protoDescriptorBin", Value::String(descriptors)) => {
            plan.config.push((moved("descriptor_sets", line), list(vec![text(descriptors.clone())])));
            mapped(account, "becomes the key descriptor_sets");
        }
        ("builtinProtoDescriptor", Value::String(name)) if name.eq_ignore_ascii_case("kserve_predict_v2") => {
            mapped(account, "is built into the filter");
        }
        ("transcodeFirst", Value::Bool(first)) => {
            if *first {
                plan.phase = "AUTHN";
            }
            mapped(account, if *first { "phase AUTHN: before authentication and authorisation" } else { "after authorisation, which is the default" });
        }
        ("ignoredQueryParameters", Value::Array(names)) if names.iter().all(Value::is_string) => {
            plan.config.push((moved("ignored_query_parameters", line), item.clone()));
            mapped(account, "becomes the key ignored_query_parameters");
        }
        ("ignoreUnknownQueryParameters", Value::Bool(_)) => {
            plan.config.push((moved("ignore_unknown_query_parameters", line), item.clone()));
            mapped(account, "becomes the key ignore_unknown_query_parameters");
        }
        ("convertGrpcStatus" | "matchIncomingRequestRoute" | "autoMapping", Value::Bool(false)) => {
            account.add(Action::Dropped, located, &pointer, "false is what the filter does anyway");
        }
        ("convertGrpcStatus", Value::Bool(true)) => {
            plan.config.push((moved("convert_grpc_status", line), item.clone()));
            mapped(account, "becomes the key convert_grpc_status");
        }
        ("matchIncomingRequestRoute", Value::Bool(true)) if plan.form == Shape::Native => {
            plan.config.push((moved("reselect_route", line), super::tree::item(&json!(false))));
            mapped(account, "becomes reselect_route: false");
        }
        ("matchIncomingRequestRoute", Value::Bool(true)) => account.refuse(
            located,
            &pointer,
            "in wasm Envoy selects the route again for every request that a filter changes: let routes take both paths and take the field out, or take --form native",
        ),
        ("autoMapping", Value::Bool(true)) => {
            plan.config.push((moved("auto_mapping", line), item.clone()));
            mapped(account, "becomes the key auto_mapping");
        }
        ("printOptions", Value::Object(_)) => print_options(located, item, plan, account),
        ("priority", Value::Number(number)) if number.as_i64() == Some(0) => {
            account.add(Action::Dropped, located, &pointer, "0 is what the plugin has");
        }
        ("priority", Value::Number(_)) => account.refuse(
            located,
            &pointer,
            "orders the vendor's own filters: set the plugin's priority by hand, where a higher one comes first",
        ),
        ("builtinProtoDescriptor", Value::String(other)) => {
            account.refuse(located, &pointer, format!("unknown descriptor {other:?}: only kserve_predict_v2 is built in"));
        }
        (known, _) if KNOWN.contains(&known) => {
            account.refuse(located, &pointer, format!("{value} is not a value of this field"));
        }
        _ => account.refuse(located, &pointer, "unknown field of ASMGrpcJsonTranscoder: it is not on the vendor's reference page"),
    }
}

const KNOWN: [&str; 14] = [
    "autoMapping",
    "builtinProtoDescriptor",
    "convertGrpcStatus",
    "ignoreUnknownQueryParameters",
    "ignoredQueryParameters",
    "isGateway",
    "matchIncomingRequestRoute",
    "portNumber",
    "printOptions",
    "priority",
    "protoDescriptorBin",
    "services",
    "transcodeFirst",
    "workloadSelector",
];

/// Where a field of the plugin came from, for what is said of it.
pub(super) fn of_the_input<'a>(located: &Located, pointer: &'a str) -> &'a str {
    let Some(key) = pointer.strip_prefix("/spec/pluginConfig/") else { return pointer };
    if !located.resource.is(super::VENDOR, "ASMGrpcJsonTranscoder") {
        return pointer;
    }
    match key.split('/').next().unwrap_or_default() {
        "services" => "/spec/services",
        "descriptor_sets" => "/spec/protoDescriptorBin",
        "ignored_query_parameters" => "/spec/ignoredQueryParameters",
        "ignore_unknown_query_parameters" => "/spec/ignoreUnknownQueryParameters",
        "print_options" => "/spec/printOptions",
        "auto_mapping" => "/spec/autoMapping",
        _ => pointer,
    }
}

/// Those of Envoy's own transcoder, which the vendor's is.
fn print_options(located: &Located, options: &Item, plan: &mut Plan, account: &mut Account) {
    for (key, value) in fields(options) {
        let pointer = format!("/spec/printOptions/{}", key.name);
        let name = match key.name.as_str() {
            "addWhitespace" => "add_whitespace",
            "alwaysPrintEnumsAsInts" => "always_print_enums_as_ints",
            "alwaysPrintPrimitiveFields" => "always_print_primitive_fields",
            "preserveProtoFieldNames" => "preserve_proto_field_names",
            "streamNewlineDelimited" => "stream_newline_delimited",
            "streamSseStyleDelimited" => "stream_sse_style_delimited",
            _ => {
                account.refuse(located, &pointer, "unknown field of printOptions");
                continue;
            }
        };
        if value.value().is_boolean() {
            plan.print.push((moved(name, key.line), value.clone()));
            account.add(Action::Mapped, located, &pointer, format!("becomes the key print_options.{name}"));
        } else {
            account.refuse(located, &pointer, format!("{} is not a value of this field", value.value()));
        }
    }
}

/// Whether a transcoder of the vendor's is at a gateway's pods with these labels, on one of these ports.
pub(super) fn at_gateway(all: &[Located], labels: &Item, ports: &[u64]) -> bool {
    all.iter().any(|l| {
        let port = l.resource.at("/spec/portNumber").and_then(Value::as_u64);
        l.resource.is(super::VENDOR, "ASMGrpcJsonTranscoder")
            && l.resource.at("/spec/isGateway") == Some(&Value::Bool(true))
            && l.resource.at("/spec/workloadSelector/labels") == Some(&labels.value())
            && port.is_none_or(|port| ports.contains(&port))
    })
}

/// Whether a transcoder of the vendor's is at the pods of a Service.
pub(super) fn at_service(all: &[Located], service: &Located) -> bool {
    all.iter().any(|l| {
        l.resource.is(super::VENDOR, "ASMGrpcJsonTranscoder")
            && l.resource.at("/spec/isGateway") != Some(&Value::Bool(true))
            && l.resource.namespace() == service.resource.namespace()
            && l.resource.at("/spec/workloadSelector/labels").is_some_and(|labels| selects(service, labels))
    })
}

/// Whether a Service selects pods with these labels.
fn selects(service: &Located, labels: &Value) -> bool {
    let selector = service.resource.at("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(name, value)| labels.get(name) == Some(value)))
}

/// What a filter is attached to.
enum Target<'a> {
    /// The pods of a gateway, by their labels.
    Gateway(&'a Item),
    /// The waypoint of a Service.
    Waypoint { service: &'a Located, port: u64 },
}

/// What the filter is attached to.
fn target<'a>(
    located: &Located,
    plan: &Plan,
    labels: Option<&'a Item>,
    all: &'a [Located],
    account: &mut Account,
) -> Option<Target<'a>> {
    let Some(labels) = labels else {
        if at(&located.item, &["spec", "workloadSelector"]).is_none() {
            account.refuse(
                located,
                "/spec",
                "has no workloadSelector.labels, which are required: it would apply nowhere",
            );
        }
        return None;
    };
    if plan.gateway {
        return Some(Target::Gateway(labels));
    }
    let wanted = labels.value();
    let selected = |service: &&Located| {
        service.resource.is("", "Service")
            && service.resource.namespace() == located.resource.namespace()
            && selects(service, &wanted)
    };
    let services: Vec<_> = all.iter().filter(selected).collect();
    let [service] = services[..] else {
        account.refuse(
            located,
            "/spec/workloadSelector/labels",
            format!(
                "sidecars have no place in ambient, and of the Services of its namespace {} select pods with these labels, so it is \
                 not known which waypoint to use: give the one Service with the other files",
                services.len()
            ),
        );
        return None;
    };
    let ports = service.resource.list("/spec/ports");
    let own = ports.first().and_then(|port| port.get("port")).and_then(Value::as_u64);
    if ports.len() > 1 || plan.port.is_some_and(|port| Some(port) != own) {
        account.refuse(
            located,
            "/spec/portNumber",
            format!(
                "a waypoint's plugin is for every port of {}: give the port a Service of its own",
                service.resource.id()
            ),
        );
        return None;
    }
    let namespace = located.resource.namespace();
    let mut left = Vec::new();
    if !all.iter().any(|l| {
        l.resource.text("/spec/gatewayClassName") == "istio-waypoint" && l.resource.namespace() == namespace
    }) {
        left.push(format!("a waypoint: istioctl waypoint apply -n {namespace}"));
    }
    let enrolled = |l: &Located| l.resource.at("/metadata/labels/istio.io~1use-waypoint").is_some();
    let its_namespace = |l: &&Located| l.resource.kind() == "Namespace" && l.resource.name() == namespace;
    if !enrolled(service) && !all.iter().filter(its_namespace).any(enrolled) {
        left.push(format!("the label istio.io/use-waypoint on the Service {}", service.resource.name()));
    }
    if !left.is_empty() {
        let what = format!("needs {}", left.join(", and "));
        account.add(Action::Todo, located, "/spec/workloadSelector/labels", what);
    }
    Some(Target::Waypoint { service, port: own.unwrap_or_default() })
}
