//! `claim-headers` behind `jwt_authn` in one chain of filters, as a bootstrap has it.
//!
//! The fields of `jwt_authn` are those of Envoy's `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.

use serde_json::Value;

use super::header::same;
use super::instance::FILTER;
use crate::embedded::{self, Fragment, Host};
use crate::resource::{items, text};

const JWT_AUTHN: &str = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// What is wrong with the chains of filters within `value`, a bootstrap or a part of one, in which `claim-headers` maps
/// what `jwt_authn` verified.
#[must_use]
pub fn verified_claims(value: &Value) -> Vec<String> {
    let mut wrong = chain(items(value, "/http_filters"));
    match value {
        Value::Object(fields) => wrong.extend(fields.values().flat_map(verified_claims)),
        Value::Array(values) => wrong.extend(values.iter().flat_map(verified_claims)),
        _ => {}
    }
    wrong
}

/// An instance of `claim-headers` in a chain.
struct Instance {
    at: usize,
    host: Host,
    config: Value,
}

impl Instance {
    fn source(&self) -> &str {
        let source = text(&self.config, "/source");
        if source.is_empty() { "metadata" } else { source }
    }

    fn payload_header(&self) -> &str {
        text(&self.config, "/metadata/payload_header")
    }

    /// The key in `jwt_authn`'s metadata that it reads; `None` if it reads another filter's.
    fn key(&self) -> Option<&str> {
        let stock = matches!(text(&self.config, "/metadata/filter"), "" | "envoy.filters.http.jwt_authn");
        let key = text(&self.config, "/metadata/key");
        stock.then_some(if key.is_empty() { "payload" } else { key })
    }
}

fn chain(filters: &[Value]) -> Vec<String> {
    let instances = instances(filters);
    let verifiers = filters.iter().enumerate().filter_map(|(at, filter)| {
        let config = filter.get("typed_config").filter(|config| text(config, "/@type") == JWT_AUTHN);
        config.map(|config| (at, config))
    });
    let verifiers: Vec<(usize, &Value)> = verifiers.collect();
    let mut wrong = Vec::new();
    for instance in instances.iter().filter(|instance| instance.source() == "metadata") {
        let header = instance.payload_header();
        let first = verifiers.first().map_or(instance.at, |(at, _)| *at);
        let guards = |guard: &&Instance| {
            guard.source() == "guard"
                // Such a filter is in the chain only of routes that ask for it.
                && filters[guard.at].get("disabled") != Some(&Value::Bool(true))
                && guard.at < first
                && guard.host == instance.host
                && same(guard.payload_header(), header)
        };
        if !header.is_empty() && !instances.iter().any(|guard| guards(&guard)) {
            wrong.push(format!(
                "claim-headers ignores {header:?}: no instance of the same kind with \"source\": \"guard\" and this \
                 header comes before jwt_authn, so it may be the client's"
            ));
        }
        for (_, verifier) in &verifiers {
            wrong.extend(providers(verifier, instance, header));
            wrong.extend(failed_fetch(verifier));
        }
    }
    wrong
}

fn instances(filters: &[Value]) -> Vec<Instance> {
    let mut found = Vec::new();
    for (at, value) in filters.iter().enumerate() {
        let fragment = Fragment { apply_to: "HTTP_FILTER", operation: "", value };
        for configuration in embedded::configured(fragment).unwrap_or_default() {
            if configuration.filter == FILTER {
                let config = serde_json::from_str(&configuration.json).unwrap_or_default();
                found.push(Instance { at, host: configuration.host, config });
            }
        }
    }
    found
}

/// Every provider that leaves its claims under the key must pass them on in the header as well.
fn providers(verifier: &Value, instance: &Instance, header: &str) -> Vec<String> {
    let Some(key) = instance.key() else { return Vec::new() };
    let providers = verifier.get("providers").and_then(Value::as_object).into_iter().flatten();
    let of_key = providers.filter(|(_, provider)| text(provider, "/payload_in_metadata") == key);
    let unlike = of_key.filter(|(_, provider)| text(provider, "/forward_payload_header") != header);
    let reason = |(name, provider): (&String, &Value)| match text(provider, "/forward_payload_header") {
        "" => format!(
            "the provider {name} leaves its claims in the metadata {key:?} and does not forward them in {header:?}: \
             its users have none natively"
        ),
        other => format!("the provider {name} forwards its claims in {other:?}, and {header:?} is read"),
    };
    unlike.map(reason).collect()
}

/// To an instance behind it, a token that `jwt_authn` could not check because it had no keys looks like a missing one.
pub(super) fn failed_fetch(verifier: &Value) -> Option<String> {
    let text = verifier.to_string();
    text.contains(r#""allow_missing_or_failed""#).then(|| {
        "allow_missing_or_failed lets a request through whose token could not be checked because the keys could not be \
         fetched, and claim-headers cannot tell: a user loses the claims. Take allow_missing, or \"source\": \"builtin\""
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MODULE: &str =
        "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
    const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";

    fn native(config: Value) -> Value {
        let config = json!({"@type": STRING, "value": config.to_string()});
        json!({"name": "x", "typed_config":
            {"@type": MODULE, "filter_name": "claim_headers", "filter_config": config}})
    }

    fn wasm(config: Value) -> Value {
        let config = json!({"@type": STRING, "value": config.to_string()});
        let code = json!({"local": {"filename": "dist/claim_headers.wasm"}});
        json!({"name": "x", "typed_config":
            {"@type": WASM, "config": {"configuration": config, "vm_config": {"code": code}}}})
    }

    fn guard(header: &str) -> Value {
        json!({"source": "guard", "metadata": {"payload_header": header}})
    }

    fn maps() -> Value {
        json!({"metadata": {"payload_header": "x-p"}, "map": []})
    }

    fn jwt_authn(providers: Value) -> Value {
        let requires =
            json!({"requires_any": {"requirements": [{"provider_name": "a"}, {"allow_missing": {}}]}});
        json!({"name": "j", "typed_config":
            {"@type": JWT_AUTHN, "providers": providers, "rules": [{"requires": requires}]}})
    }

    fn forwards() -> Value {
        json!({"payload_in_metadata": "payload", "forward_payload_header": "x-p"})
    }

    fn wrong(filters: Value) -> Vec<String> {
        let manager = json!({"filters": [{"typed_config": {"http_filters": filters}}]});
        verified_claims(&json!({"static_resources": {"listeners": [{"filter_chains": [manager]}]}}))
    }

    #[test]
    fn a_chain_with_a_guard_and_one_rule_for_all_providers_is_right() {
        let verifier = || jwt_authn(json!({"a": forwards(), "b": forwards(), "c": {"issuer": "c"}}));
        assert_eq!(wrong(json!([native(guard("X_P")), verifier(), native(maps())])), [""; 0]);
        assert_eq!(wrong(json!([wasm(guard("x-p")), verifier(), wasm(maps())])), [""; 0]);
        let plain = jwt_authn(json!({"a": {"payload_in_metadata": "payload"}}));
        assert_eq!(wrong(json!([plain, wasm(json!({"map": []}))])), [""; 0]);
    }

    #[test]
    fn an_unguarded_header_is_seen() {
        let verifier = || jwt_authn(json!({"a": forwards()}));
        let mut disabled = native(guard("x-p"));
        disabled["disabled"] = json!(true);
        for filters in [
            json!([disabled, verifier(), native(maps())]),
            json!([verifier(), native(maps())]),
            json!([verifier(), native(guard("x-p")), native(maps())]),
            json!([verifier(), native(maps()), native(guard("x-p"))]),
            json!([native(guard("x-other")), verifier(), native(maps())]),
            json!([wasm(guard("x-p")), verifier(), native(maps())]),
        ] {
            let wrong = wrong(filters.clone());
            assert_eq!(wrong.len(), 1, "{filters}: {wrong:?}");
            assert!(wrong[0].contains("ignores \"x-p\""), "{wrong:?}");
        }
    }

    #[test]
    fn a_provider_that_does_not_forward_is_seen() {
        let chain = |b: Value| {
            wrong(json!([native(guard("x-p")), jwt_authn(json!({"a": forwards(), "b": b})), native(maps())]))
        };
        let found = chain(json!({"payload_in_metadata": "payload"}));
        assert!(found.len() == 1 && found[0].contains("the provider b leaves its claims"), "{found:?}");
        let found = chain(json!({"payload_in_metadata": "payload", "forward_payload_header": "x-q"}));
        assert!(found.len() == 1 && found[0].contains("forwards its claims in \"x-q\""), "{found:?}");
        assert_eq!(chain(json!({"payload_in_metadata": "other"})), [""; 0]);
    }

    #[test]
    fn a_requirement_that_hides_a_failed_fetch_is_seen() {
        let mut verifier = jwt_authn(json!({"a": forwards()}));
        verifier["typed_config"]["rules"][0]["requires"]["requires_any"]["requirements"][1] =
            json!({"allow_missing_or_failed": {}});
        let found = wrong(json!([native(guard("x-p")), verifier, native(maps())]));
        assert!(found.len() == 1 && found[0].contains("allow_missing_or_failed"), "{found:?}");
    }
}
