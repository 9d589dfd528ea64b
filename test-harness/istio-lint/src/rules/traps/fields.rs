//! The fields of those of Envoy's messages that filters like ours are made of.
//!
//! istiod drops a field that a message does not have, with a warning that is easily missed: a misspelt flag is as good as
//! none. The fields are those of Envoy 1.40's protos (`envoy/config/cluster/v3`, `envoy/extensions/filters/http/*/v3`,
//! `envoy/extensions/wasm/v3`, `envoy/extensions/dynamic_modules/v3`).

use serde_json::Value;

use crate::embedded::{DYNAMIC_MODULE, POLICY, TYPE_PREFIX, WASM};
use crate::resource::text;

use super::messages;

/// A message: its name, its fields, and which of them hold messages that are known here as well.
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [&'static str],
    pub(super) below: &'static [(&'static str, &'static Message)],
}

/// The fields that the message does not have, each with its place within `value` and the message's name.
pub(super) fn unknown(apply_to: &str, value: &Value) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    match apply_to {
        "HTTP_FILTER" => look(&HTTP_FILTER, value, "", &mut found),
        "EXTENSION_CONFIG" => look(&EXTENSION, value, "", &mut found),
        "NETWORK_FILTER" => look(&NETWORK_FILTER, value, "", &mut found),
        "CLUSTER" => look(&messages::CLUSTER, value, "", &mut found),
        "LISTENER" => look(&messages::LISTENER, value, "", &mut found),
        "FILTER_CHAIN" => look(&messages::FILTER_CHAIN, value, "", &mut found),
        "LISTENER_FILTER" => look(&messages::LISTENER_FILTER, value, "", &mut found),
        "ROUTE_CONFIGURATION" => look(&messages::ROUTES, value, "", &mut found),
        "VIRTUAL_HOST" => look(&messages::VIRTUAL_HOST, value, "", &mut found),
        "HTTP_ROUTE" => look(&messages::ROUTE, value, "", &mut found),
        _ => {}
    }
    typed(value, "", &mut found);
    found
}

/// Every message with a type that is known, at any depth.
fn typed(value: &Value, place: &str, found: &mut Vec<(String, &'static str)>) {
    match value {
        Value::Object(fields) => {
            let message = match text(value, "/@type").strip_prefix(TYPE_PREFIX) {
                Some(WASM) => Some(&FILTER),
                Some(DYNAMIC_MODULE) => Some(&MODULE_FILTER),
                Some(POLICY) => Some(&MODULE_POLICY),
                Some("envoy.extensions.filters.http.header_to_metadata.v3.Config") => Some(&TO_METADATA),
                Some("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager") => {
                    Some(&messages::MANAGER)
                }
                Some("envoy.extensions.filters.http.lua.v3.Lua") => Some(&LUA),
                _ => None,
            };
            if let Some(message) = message {
                look(message, value, place, found);
            }
            for (name, below) in fields {
                typed(below, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                typed(below, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn look(message: &'static Message, value: &Value, place: &str, found: &mut Vec<(String, &'static str)>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(message, item, &format!("{place}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, below) in fields {
                // Protobuf's JSON has two spellings of each name.
                let snake = snake(name);
                let here = format!("{place}/{}", name.replace('/', "~1"));
                if name != "@type" && !message.fields.contains(&snake.as_str()) {
                    found.push((here, message.name));
                } else if let Some((_, known)) = message.below.iter().find(|(field, _)| *field == snake) {
                    look(known, below, &here, found);
                }
            }
        }
        _ => {}
    }
}

/// `failurePolicy` as `failure_policy`.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

pub(super) static HTTP_FILTER: Message = Message {
    name: "HttpFilter",
    fields: &["name", "typed_config", "config_discovery", "is_optional", "disabled"],
    below: &[],
};
pub(super) static NETWORK_FILTER: Message =
    Message { name: "Filter", fields: &["name", "typed_config", "config_discovery"], below: &[] };
static EXTENSION: Message =
    Message { name: "TypedExtensionConfig", fields: &["name", "typed_config"], below: &[] };
static FILTER: Message = Message { name: "Wasm", fields: &["config"], below: &[("config", &PLUGIN)] };
static PLUGIN: Message = Message {
    name: "PluginConfig",
    fields: &[
        "name",
        "root_id",
        "vm_config",
        "configuration",
        "fail_open",
        "failure_policy",
        "reload_config",
        "capability_restriction_config",
        "allow_on_headers_stop_iteration",
    ],
    below: &[("vm_config", &VM)],
};
static VM: Message = Message {
    name: "VmConfig",
    fields: &[
        "vm_id",
        "runtime",
        "code",
        "configuration",
        "allow_precompiled",
        "nack_on_code_cache_miss",
        "environment_variables",
    ],
    below: &[],
};
static MODULE_FILTER: Message = Message {
    name: "DynamicModuleFilter",
    fields: &["dynamic_module_config", "filter_name", "filter_config", "terminal_filter"],
    below: &[("dynamic_module_config", &MODULE)],
};
static MODULE_POLICY: Message = Message {
    name: "DynamicModulesLoadBalancerConfig",
    fields: &["dynamic_module_config", "lb_policy_name", "lb_policy_config"],
    below: &[("dynamic_module_config", &MODULE)],
};
static MODULE: Message = Message {
    name: "DynamicModuleConfig",
    fields: &["name", "do_not_close", "load_globally", "metrics_namespace", "module", "nack_on_cache_miss"],
    below: &[],
};
static TO_METADATA: Message = Message {
    name: "header_to_metadata's Config",
    fields: &["request_rules", "response_rules", "stat_prefix"],
    below: &[("request_rules", &TO_METADATA_RULE), ("response_rules", &TO_METADATA_RULE)],
};
static TO_METADATA_RULE: Message = Message {
    name: "Rule",
    fields: &["header", "cookie", "on_header_present", "on_header_missing", "remove"],
    below: &[("on_header_present", &PAIR), ("on_header_missing", &PAIR)],
};
static PAIR: Message = Message {
    name: "KeyValuePair",
    fields: &["metadata_namespace", "key", "value", "regex_value_rewrite", "type", "encode"],
    below: &[],
};
static LUA: Message = Message {
    name: "Lua",
    fields: &["inline_code", "source_codes", "default_source_code", "stat_prefix", "clear_route_cache"],
    below: &[],
};
pub(super) static SUBSETS: Message = Message {
    name: "LbSubsetConfig",
    fields: &[
        "fallback_policy",
        "default_subset",
        "subset_selectors",
        "locality_weight_aware",
        "scale_locality_weight",
        "panic_mode_any",
        "list_as_any",
        "metadata_fallback_policy",
    ],
    below: &[("subset_selectors", &SELECTOR)],
};
static SELECTOR: Message = Message {
    name: "LbSubsetSelector",
    fields: &["keys", "single_host_per_subset", "fallback_policy", "fallback_keys_subset"],
    below: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_are_known_and_a_misspelt_field_is_found_at_its_place() {
        let filter = |config: Value| json!({"name": "x", "typed_config": {"@type": format!("{TYPE_PREFIX}{WASM}"), "config": config}});
        assert_eq!(
            unknown("HTTP_FILTER", &filter(json!({"failurePolicy": "FAIL_RELOAD", "root_id": "x"}))),
            []
        );
        let found = unknown("HTTP_FILTER", &filter(json!({"vm_config": {"runtimes": "x"}})));
        assert_eq!(found, [("/typed_config/config/vm_config/runtimes".to_owned(), "VmConfig")]);
        let found = unknown("CLUSTER", &json!({"lb_subset_config": {"subset_selectors": [{"key": ["a"]}]}}));
        assert_eq!(found, [("/lb_subset_config/subset_selectors/0/key".to_owned(), "LbSubsetSelector")]);
    }

    #[test]
    fn the_fields_of_clusters_listeners_and_routes_are_known() {
        let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        for (apply_to, right, wrong, place) in [
            (
                "CLUSTER",
                json!({"lbPolicy": "RANDOM", "http2_protocol_options": {}}),
                json!({"foo_bar": 1}),
                "/foo_bar",
            ),
            ("LISTENER", json!({"per_connection_buffer_limit_bytes": 1}), json!({"nope": 1}), "/nope"),
            (
                "FILTER_CHAIN",
                json!({"filterChainMatch": {"server_names": ["a"]}, "transport_socket_connect_timeout": "1s"}),
                json!({"filter_chain_match": {"server_name": ["a"]}}),
                "/filter_chain_match/server_name",
            ),
            (
                "LISTENER_FILTER",
                json!({"name": "l", "filter_disabled": {"any_match": true}}),
                json!({"name": "l", "disabled": true}),
                "/disabled",
            ),
            (
                "LISTENER",
                json!({"filter_chains": [{"name": "c"}], "default_filter_chain": {"filters": []}}),
                json!({"filter_chains": [{"nme": "c"}]}),
                "/filter_chains/0/nme",
            ),
            (
                "HTTP_ROUTE",
                json!({"route": {"cluster_header": "x"}}),
                json!({"route": {"cluster_headr": "x"}}),
                "/route/cluster_headr",
            ),
            ("VIRTUAL_HOST", json!({"rate_limits": []}), json!({"ratelimits": []}), "/ratelimits"),
            (
                "ROUTE_CONFIGURATION",
                json!({"virtual_hosts": [{"routes": [{"name": "r"}]}]}),
                json!({"virtual_hosts": [{"routes": [{"nme": "r"}]}]}),
                "/virtual_hosts/0/routes/0/nme",
            ),
            (
                "NETWORK_FILTER",
                json!({"typed_config": {"@type": manager, "server_name": "x"}}),
                json!({"typed_config": {"@type": manager, "serverr_name": "x"}}),
                "/typed_config/serverr_name",
            ),
        ] {
            assert_eq!(unknown(apply_to, &right), [], "{apply_to}");
            let found: Vec<_> = unknown(apply_to, &wrong).into_iter().map(|(at, _)| at).collect();
            assert_eq!(found, [place], "{apply_to}");
        }
    }
}
