//! Compares this crate with `abi.facts`: the functions of Envoy's that it declares, the hooks that it exports, and the
//! numbers that both sides must agree on.

use crate::abi::{
    self, DataStatus, EnvoyBuffer, EnvoyHeader, HeadersStatus, ModuleBuffer, ModuleHeader, TrailersStatus,
};
use crate::{balancer, lookup};
use std::collections::BTreeMap;

const FACTS: &str = include_str!("../abi.facts");

/// What calls Envoy's functions, and what Envoy calls.
const SOURCES: [&str; 5] = [
    include_str!("abi.rs"),
    include_str!("balancer/abi.rs"),
    include_str!("hooks.rs"),
    include_str!("balancer/hooks.rs"),
    // `module!` makes a hook.
    include_str!("lib.rs"),
];

/// The types of parameters, and of the result, by the function's full name.
type Signatures = BTreeMap<String, (Vec<String>, String)>;

#[test]
fn every_function_is_declared_as_the_facts_have_it() {
    assert_eq!(
        of_the_sources("#[link_name = \""),
        of_the_facts("callbacks", "envoy_dynamic_module_callback_")
    );
}

#[test]
fn every_hook_is_exported_as_the_facts_have_it() {
    assert_eq!(of_the_sources("#[unsafe(no_mangle)]"), of_the_facts("hooks", "envoy_dynamic_module_on_"));
}

#[test]
fn every_number_is_that_of_the_facts() {
    let ours = [
        ("log_level", "Debug", abi::LOG_DEBUG),
        ("log_level", "Info", abi::LOG_INFO),
        ("log_level", "Warn", abi::LOG_WARN),
        ("log_level", "Error", abi::LOG_ERROR),
        ("http_header_type", "RequestHeader", abi::REQUEST_HEADERS),
        ("http_header_type", "RequestTrailer", abi::REQUEST_TRAILERS),
        ("http_header_type", "ResponseHeader", abi::RESPONSE_HEADERS),
        ("http_header_type", "ResponseTrailer", abi::RESPONSE_TRAILERS),
        ("http_body_type", "ReceivedRequestBody", abi::RECEIVED_REQUEST_BODY),
        ("http_body_type", "BufferedRequestBody", abi::BUFFERED_REQUEST_BODY),
        ("http_body_type", "ReceivedResponseBody", abi::RECEIVED_RESPONSE_BODY),
        ("http_body_type", "BufferedResponseBody", abi::BUFFERED_RESPONSE_BODY),
        ("metadata_source", "Dynamic", abi::DYNAMIC_METADATA),
        ("metrics_result", "Success", abi::SUCCESS),
        ("http_callout_init_result", "Success", abi::SUCCESS),
        ("http_callout_result", "Success", abi::SUCCESS),
        ("http_filter_stream_reset_reason", "LocalReset", abi::LOCAL_RESET),
        ("on_http_filter_headers_status", "Continue", HeadersStatus::Continue as u32),
        ("on_http_filter_headers_status", "StopIteration", HeadersStatus::StopIteration as u32),
        ("on_http_filter_body_status", "Continue", DataStatus::Continue as u32),
        ("on_http_filter_body_status", "StopIterationAndWatermark", DataStatus::StopAndWatermark as u32),
        ("on_http_filter_body_status", "StopIterationNoBuffer", DataStatus::StopNoBuffer as u32),
        ("on_http_filter_trailers_status", "Continue", TrailersStatus::Continue as u32),
        ("on_http_filter_trailers_status", "StopIteration", TrailersStatus::StopIteration as u32),
        ("host_health", "Healthy", balancer::HEALTHY),
        ("host_stat", "RqActive", balancer::ACTIVE_REQUESTS),
    ];
    let facts = section("numbers").flat_map(|line| {
        let (kind, codes) = line.split_once(": ").unwrap();
        codes.split(", ").map(move |code| {
            let (name, number) = code.split_once(' ').unwrap();
            (kind, name, number.parse::<u32>().unwrap())
        })
    });
    assert_eq!(ours.to_vec(), facts.collect::<Vec<_>>());
}

/// A name and a value as pointer and length each, in this order (`envoy_buffer`, `envoy_http_header` and so on).
#[test]
fn buffers_and_headers_lie_in_memory_as_envoy_has_them() {
    const WORD: usize = size_of::<usize>();
    assert_eq!((size_of::<EnvoyBuffer>(), size_of::<ModuleBuffer>()), (2 * WORD, 2 * WORD));
    assert_eq!((size_of::<EnvoyHeader>(), size_of::<ModuleHeader>()), (4 * WORD, 4 * WORD));
    let lengths = [std::mem::offset_of!(EnvoyBuffer, len), std::mem::offset_of!(ModuleBuffer, len)];
    let values = [std::mem::offset_of!(EnvoyHeader, value), std::mem::offset_of!(ModuleHeader, value)];
    assert_eq!((lengths, values), ([WORD; 2], [2 * WORD; 2]));
}

#[test]
fn what_no_envoy_exports_is_told_by_name() {
    // There is no Envoy in this process.
    assert_eq!(abi::find(), Err("envoy_dynamic_module_callback_log"));
    assert!(!lookup::exported("envoy_dynamic_module_callback_log"));
    assert!(abi::set_config_gauge().is_none());
    assert!(lookup::exported("dlsym") && !abi::log_enabled(abi::LOG_ERROR));
}

fn of_the_facts(name: &str, prefix: &str) -> Signatures {
    let signature = |line: &str| {
        let (_since, signature) = line.split_once(' ').unwrap();
        let (name, rest) = signature.split_once('(').unwrap();
        let (parameters, result) = rest.split_once(')').unwrap();
        let parameters = parameters.split(", ").filter(|kind| !kind.is_empty()).map(in_rust);
        let result = result.strip_prefix(" -> ").map(in_rust).unwrap_or_default();
        (format!("{prefix}{name}"), (parameters.collect(), result))
    };
    section(name).map(signature).collect()
}

fn section(name: &str) -> impl Iterator<Item = &'static str> {
    let (_, rest) = FACTS.split_once(&format!("[{name}]\n")).unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What a type of the header's is here.
fn in_rust(kind: &str) -> String {
    let kind = match kind {
        "abi_version_module_ptr" => "*c_char",
        "http_filter_config_envoy_ptr" => "*EnvoyConfig",
        "http_filter_config_module_ptr" => "*Configured",
        "http_filter_envoy_ptr" => "*EnvoyStream",
        "http_filter_module_ptr" => "*Exchange",
        "http_filter_scheduler_module_ptr" => "*EnvoyScheduler",
        "http_filter_config_scheduler_module_ptr" => "*EnvoyConfigScheduler",
        "lb_config_envoy_ptr" => "*EnvoyLbConfig",
        "lb_config_module_ptr" => "*Loaded",
        "lb_envoy_ptr" => "*EnvoyLb",
        "lb_module_ptr" => "*Worker",
        "lb_context_envoy_ptr" => "*EnvoyLbContext",
        "envoy_buffer" => "EnvoyBuffer",
        "envoy_buffer*" => "*EnvoyBuffer",
        "envoy_http_header*" => "*EnvoyHeader",
        "module_buffer" => "ModuleBuffer",
        "module_buffer*" => "*ModuleBuffer",
        "module_http_header*" => "*ModuleHeader",
        "log_level" => "LogLevel",
        "http_header_type" => "MapType",
        "http_body_type" => "BodyType",
        "metadata_source" => "MetadataSource",
        "on_http_filter_request_headers_status" | "on_http_filter_response_headers_status" => "HeadersStatus",
        "on_http_filter_request_body_status" | "on_http_filter_response_body_status" => "DataStatus",
        "on_http_filter_request_trailers_status" | "on_http_filter_response_trailers_status" => {
            "TrailersStatus"
        }
        // Enumerations of C, which are as wide as an `int`.
        "attribute_id"
        | "host_health"
        | "host_stat"
        | "http_callout_init_result"
        | "http_callout_result"
        | "http_filter_stream_reset_reason"
        | "http_stream_reset_reason"
        | "metrics_result" => "u32",
        "uint32_t" => "u32",
        "uint32_t*" => "*u32",
        "uint64_t" => "u64",
        "uint64_t*" => "*u64",
        "size_t" => "usize",
        "size_t*" => "*usize",
        "double*" => "*f64",
        "bool" => "bool",
        "bool*" => "*bool",
        unknown => panic!("abi.facts: unknown type {unknown}"),
    };
    kind.to_owned()
}

/// The functions behind an attribute. With `#[link_name = "` the name is the attribute's.
fn of_the_sources(attribute: &str) -> Signatures {
    let mut found = Signatures::new();
    for source in SOURCES {
        let code: Vec<&str> = source.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
        for declaration in code.join(" ").split(attribute).skip(1) {
            let (before, rest) = declaration.split_once('(').unwrap();
            // In the macro that declares them, names and types are yet to come.
            if rest.contains("$parameter") || before.starts_with('$') {
                continue;
            }
            let (parameters, rest) = rest.split_once(')').unwrap();
            let end = rest.find([';', '{']).unwrap();
            let name = match before.split_once('"') {
                Some((link_name, _)) if attribute.ends_with('"') => link_name,
                _ => before.rsplit(' ').next().unwrap(),
            };
            let kinds = parameters.split(',').filter_map(|parameter| parameter.split_once(": "));
            let result = rest[..end].trim().strip_prefix("-> ").map(plain).unwrap_or_default();
            found.insert(name.to_owned(), (kinds.map(|(_, kind)| plain(kind)).collect(), result));
        }
    }
    found
}

/// A type without its path, and a pointer without what may be done through it, which is the same to Envoy.
fn plain(kind: &str) -> String {
    let (pointer, target) = match kind.trim().strip_prefix("*mut ").or(kind.trim().strip_prefix("*const ")) {
        Some(target) => ("*", target),
        None => ("", kind.trim()),
    };
    format!("{pointer}{}", target.rsplit("::").next().unwrap_or(target))
}
