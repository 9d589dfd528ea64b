//! Values that an enumeration of Envoy's does not have.
//!
//! istiod drops a name that it does not know as it drops unknown fields, so the default is what counts. The names are
//! those of Envoy 1.40's protos. A number is taken as it stands.

use serde_json::Value;

/// A field, and the names that it takes. The fields are ones whose name has one meaning wherever it stands.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "lb_policy",
        &[
            "ROUND_ROBIN",
            "LEAST_REQUEST",
            "RING_HASH",
            "RANDOM",
            "MAGLEV",
            "CLUSTER_PROVIDED",
            "LOAD_BALANCING_POLICY_CONFIG",
        ],
    ),
    ("dns_lookup_family", &["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"]),
    ("protocol_selection", &["USE_CONFIGURED_PROTOCOL", "USE_DOWNSTREAM_PROTOCOL"]),
    ("metadata_fallback_policy", &["METADATA_NO_FALLBACK", "FALLBACK_LIST"]),
    ("failure_policy", &["UNSPECIFIED", "FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"]),
    ("codec_type", &["AUTO", "HTTP1", "HTTP2", "HTTP3"]),
    ("server_header_transformation", &["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"]),
    (
        "forward_client_cert_details",
        &["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"],
    ),
    (
        "path_with_escaped_slashes_action",
        &[
            "IMPLEMENTATION_SPECIFIC_DEFAULT",
            "KEEP_UNCHANGED",
            "REJECT_REQUEST",
            "UNESCAPE_AND_REDIRECT",
            "UNESCAPE_AND_FORWARD",
        ],
    ),
    ("drain_type", &["DEFAULT", "MODIFY_ONLY"]),
    ("traffic_direction", &["UNSPECIFIED", "INBOUND", "OUTBOUND"]),
    ("require_tls", &["NONE", "EXTERNAL_ONLY", "ALL"]),
    ("cluster_not_found_response_code", &["SERVICE_UNAVAILABLE", "NOT_FOUND", "INTERNAL_SERVER_ERROR"]),
];
/// The way of finding endpoints, of a cluster only: filters have fields of this name too.
const DISCOVERY: (&str, &[&str]) = ("type", &["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"]);
/// What a request of no group gets, of a cluster and of a selector.
const FALLBACK: (&str, &[&str]) = ("fallback_policy", &["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]);
const OF_SELECTOR: (&str, &[&str]) =
    ("fallback_policy", &["NOT_DEFINED", "NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET", "KEYS_SUBSET"]);

/// The values that are not known, each with its place within `value` and what is wrong with it.
pub(super) fn unknown(apply_to: &str, value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if apply_to == "CLUSTER" {
        found.extend(wrong(value, "", &[DISCOVERY]));
        if let Some(subsets) = field(value, "lb_subset_config") {
            found.extend(wrong(subsets, "/lb_subset_config", &[FALLBACK]));
            let selectors = field(subsets, "subset_selectors").and_then(Value::as_array);
            for (index, selector) in selectors.into_iter().flatten().enumerate() {
                let place = format!("/lb_subset_config/subset_selectors/{index}");
                found.extend(wrong(selector, &place, &[OF_SELECTOR]));
            }
        }
    }
    within(value, "", &mut found);
    found
}

fn within(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            found.extend(wrong(value, place, FIELDS));
            for (name, below) in fields {
                // What a filter of another project's is told has names of its own.
                if name != "filter_config" && name != "value" {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    within(below, &format!("{place}/{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                within(below, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn wrong(value: &Value, place: &str, fields: &[(&str, &[&str])]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, given) in value.as_object().into_iter().flatten() {
        let Some(text) = given.as_str() else { continue };
        let snake = super::fields::snake(name);
        let known = fields.iter().find(|(field, _)| *field == snake).map(|(_, known)| *known);
        if let Some(known) = known.filter(|known| !known.contains(&text)) {
            let reason = format!(
                "{text} is not a value of {snake}, and istiod drops it with a warning, so the default counts: it takes {}",
                known.join(", ")
            );
            found.push((format!("{place}/{name}"), reason));
        }
    }
    found
}

/// A field in either of the spellings that protobuf's JSON has.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields.iter().find(|(own, _)| super::fields::snake(own) == name).map(|(_, below)| below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_misspelt_value_is_found_at_its_place_and_numbers_and_right_ones_are_not() {
        let right = json!({
            "lbPolicy": "RANDOM", "type": 3, "dns_lookup_family": "ALL",
            "lb_subset_config": {"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"fallback_policy": "KEYS_SUBSET"}]},
        });
        assert_eq!(unknown("CLUSTER", &right), []);
        let places = |apply_to: &str, value: Value| -> Vec<String> {
            unknown(apply_to, &value).into_iter().map(|(place, _)| place).collect()
        };
        assert_eq!(places("CLUSTER", json!({"lbPolicy": "NOPE", "type": "DNS"})), ["/type", "/lbPolicy"]);
        let subsets =
            json!({"fallbackPolicy": "KEYS_SUBSET", "subsetSelectors": [{"fallback_policy": "NOPE"}]});
        assert_eq!(
            places("CLUSTER", json!({"lb_subset_config": subsets})),
            ["/lb_subset_config/fallbackPolicy", "/lb_subset_config/subset_selectors/0/fallback_policy"]
        );
        let manager = json!({"typed_config": {"codec_type": "HTTP4", "type": "DNS"}});
        assert_eq!(places("NETWORK_FILTER", manager), ["/typed_config/codec_type"]);
    }
}
