//! Every rule about `claim-headers` and about signing on catches what it is for: each row breaks one thing in an
//! overlay that is right.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod broken;

use broken::broken;
use istio_lint::{Resource, directory, kustomize, rules};
use serde_json::{Value, json};

/// Overlay, kind or `Kind/name`, where, the new value (`null` removes), and part of the reason that must be given.
type Row = (&'static str, &'static str, &'static str, Value, &'static str);

const PLUGIN: &str = "WasmPlugin";
const GATEWAY_TOKENS: &str = "RequestAuthentication/idp-at-the-gateway";
const WAYPOINT_TOKENS: &str = "RequestAuthentication/idp-at-the-waypoint";
const STRANGERS: &str = "AuthorizationPolicy/user-class-from-the-backend-only";
const BACKEND: &str = "AuthorizationPolicy/backend-from-the-gateway-only";
const PODS: &str = "AuthorizationPolicy/style-transfer-from-the-waypoint-only";

fn points() -> Vec<Row> {
    vec![
        ("gateway-wasm", PLUGIN, "/spec/phase", json!("AUTHN"), "before RequestAuthentication"),
        ("gateway-wasm", PLUGIN, "/spec/phase", json!("STATS"), "after authorisation"),
        ("gateway-wasm", PLUGIN, "/spec/phase", Value::Null, "after authorisation"),
        ("gateway-wasm-builtin", PLUGIN, "/spec/phase", json!("AUTHZ"), "builtin, use AUTHN"),
        ("gateway-wasm-builtin", PLUGIN, "/spec/phase", json!("UNSPECIFIED_PHASE"), "after authorisation"),
        ("gateway-wasm", PLUGIN, "/spec/match", json!([{"ports": [{"number": 80}]}]), "on the others"),
        ("gateway-wasm", PLUGIN, "/spec/failStrategy", json!("FAIL_OPEN"), "must be FAIL_RELOAD"),
        (
            "gateway-wasm",
            PLUGIN,
            "/spec/selector/matchLabels/istio",
            json!("ingressgateway"),
            "have no RequestAuthentication for the same proxy",
        ),
        ("gateway-native", "EnvoyFilter", "/spec/priority", Value::Null, "IST0151"),
        (
            "gateway-native",
            "EnvoyFilter",
            "/spec/configPatches/0/patch/value/typed_config/dynamic_module_config/do_not_close",
            Value::Null,
            "do_not_close must be true",
        ),
        (
            "forwarded-token-native",
            "EnvoyFilter/claim-headers-at-the-waypoint",
            "/spec/configPatches/0/match/listener/name",
            Value::Null,
            "not name the listener main_internal",
        ),
    ]
}

fn verifiers() -> Vec<Row> {
    let rule = "/spec/jwtRules/0";
    let at = |pointer: &str| -> &'static str { Box::leak(format!("{rule}{pointer}").into_boxed_str()) };
    let written = json!([{"header": "User-Class", "claim": "user_type"}]);
    vec![
        ("gateway-wasm", GATEWAY_TOKENS, at("/audiences"), Value::Null, "any other application"),
        ("gateway-wasm", GATEWAY_TOKENS, at("/outputClaimToHeaders"), written, "writes User-Class, which"),
        (
            "gateway-wasm",
            GATEWAY_TOKENS,
            at("/outputPayloadToHeader"),
            json!("x-p"),
            "reads claims from the header \"\"",
        ),
        ("gateway-native", GATEWAY_TOKENS, at("/outputPayloadToHeader"), Value::Null, "writes them to \"\""),
        ("gateway-native", "EnvoyFilter", "/spec/configPatches/1", Value::Null, "ignores x-jwt-payload"),
        (
            "gateway-native",
            "EnvoyFilter",
            "/spec/configPatches/1/patch/operation",
            json!("INSERT_BEFORE"),
            "is not the first in the connection manager",
        ),
        (
            "forwarded-token-native",
            "EnvoyFilter/claim-headers-at-the-waypoint",
            "/spec/configPatches/1/match/context",
            json!("GATEWAY"),
            "only SIDECAR_INBOUND applies",
        ),
        (
            "gateway-native",
            "EnvoyFilter",
            "/spec/configPatches/1/patch/value/allow_missing_or_failed",
            json!({}),
            "could not be checked because the keys could not be fetched",
        ),
        (
            "gateway-wasm-builtin",
            PLUGIN,
            "/spec/pluginConfig/issuers/0/audiences",
            Value::Null,
            "an issuer without audiences",
        ),
        (
            "gateway-wasm-builtin",
            PLUGIN,
            "/spec/pluginConfig/issuers/0/cluster",
            json!("idp"),
            "not the name of an Istio cluster",
        ),
        (
            "gateway-wasm-builtin",
            "ServiceEntry",
            "/spec/ports/0/number",
            json!(8443),
            "no ServiceEntry has idp.example.com with the port 443",
        ),
        (
            "gateway-wasm-builtin",
            "DestinationRule",
            "/spec/trafficPolicy/tls/caCertificates",
            Value::Null,
            "from an unverified server",
        ),
        ("forwarded-token", GATEWAY_TOKENS, at("/forwardOriginalToken"), Value::Null, "removes the token"),
        ("forwarded-token", PLUGIN, "/spec/pluginConfig/strip", json!(["authorization"]), "at the waypoint"),
        (
            "forwarded-token-native",
            GATEWAY_TOKENS,
            at("/forwardOriginalToken"),
            json!(false),
            "removes the token",
        ),
        (
            "forwarded-token",
            WAYPOINT_TOKENS,
            "/metadata/namespace",
            json!("istio-system"),
            "have no RequestAuthentication for the same proxy",
        ),
    ]
}

fn beliefs() -> Vec<Row> {
    let source = "/spec/rules/0/from/0/source";
    let at = |pointer: &str| -> &'static str { Box::leak(format!("{source}{pointer}").into_boxed_str()) };
    let gateway = "cluster.local/ns/istio-system/sa/api-ingressgateway";
    vec![
        (
            "forwarded-header",
            "VirtualService/style-transfer-vs",
            "/spec/http/0/match/0/headers/user_class/exact",
            json!("gold"),
            "user_class: gold, which claim-headers never sets",
        ),
        ("forwarded-header", STRANGERS, "/spec/action", json!("ALLOW"), "rejects user_class from"),
        ("forwarded-header", STRANGERS, "/spec/rules/1", Value::Null, "rejects user-class from"),
        ("forwarded-header", STRANGERS, at("/notPrincipals"), json!(["*"]), "rejects user_class"),
        ("forwarded-header", STRANGERS, at("/namespaces"), json!(["default"]), "rejects user_class"),
        (
            "forwarded-header",
            STRANGERS,
            "/spec/rules/0/when/0/values",
            json!(["premium"]),
            "no DENY policy rejects",
        ),
        (
            "forwarded-header",
            STRANGERS,
            "/spec/rules/0/to",
            json!([{"operation": {"methods": ["POST"]}}]),
            "no DENY policy rejects",
        ),
        ("forwarded-header", STRANGERS, "/spec/targetRefs/0/kind", json!("Pod"), "rejects user_class"),
        ("forwarded-header", BACKEND, "/spec/rules/0/from", Value::Null, "limits who may call those"),
        (
            "forwarded-header",
            BACKEND,
            at("/principals"),
            json!([gateway, "cluster.local/ns/default/sa/default"]),
            "limits who may call those",
        ),
        (
            "forwarded-header-native",
            BACKEND,
            at("/principals"),
            json!([gateway]),
            "limits who may call those",
        ),
        ("forwarded-header", PODS, "/spec/selector", Value::Null, "can go past the waypoint"),
        ("forwarded-token", PODS, at("/principals/0"), Value::Null, "can go past the waypoint"),
        (
            "forwarded-token",
            "Gateway/waypoint",
            "/metadata/name",
            json!("way-point"),
            "can go past the waypoint",
        ),
    ]
}

#[test]
fn each_mistake_is_seen_and_said() {
    for (overlay, kind, pointer, value, reason) in points().into_iter().chain(verifiers()).chain(beliefs()) {
        let broken = broken(&format!("claim-headers/overlays/{overlay}"), kind, pointer, value.clone());
        says(&broken, reason, &format!("{overlay}: {kind} {pointer} = {value}"));
    }
}

fn says(resources: &[Resource], reason: &str, change: &str) {
    let reasons: Vec<_> = rules::check(resources).iter().map(ToString::to_string).collect();
    assert!(reasons.iter().any(|r| r.contains(reason)), "{change}: no {reason:?} in {reasons:#?}");
}

fn overlay(name: &str) -> Vec<Resource> {
    kustomize::build(&directory().join(name)).unwrap()
}

/// The plugin or `EnvoyFilter` of `claim-headers` with the verifier that it needs, for another gateway.
fn in_front_of(other: &str, namespace: &str, labels: &Value) -> Vec<Resource> {
    let mut resources = overlay(other);
    for mut resource in overlay("claim-headers/overlays/gateway-wasm") {
        if matches!(resource.kind(), "WasmPlugin" | "RequestAuthentication") {
            resource.value["metadata"]["namespace"] = json!(namespace);
            resource.value["spec"]["selector"]["matchLabels"] = labels.clone();
            resources.push(resource);
        }
    }
    resources
}

#[test]
fn an_issuer_whose_tokens_have_no_audience_may_require_something_else() {
    let mut resources = overlay("claim-headers/overlays/gateway-wasm-builtin");
    let plugin = resources.iter_mut().find(|r| r.kind() == PLUGIN).unwrap();
    let issuer = &mut plugin.value["spec"]["pluginConfig"]["issuers"][0];
    issuer.as_object_mut().unwrap().remove("audiences");
    issuer["require"] = json!([{"claim": ["client_id"], "any_of": ["1example"]}]);
    assert_eq!(rules::check(&resources), []);
}

#[test]
fn claims_come_before_what_goes_by_headers() {
    let labels = json!({"istio": "ingressgateway"});
    for other in ["dynamic-subset/overlays/gateway-routes", "dynamic-subset/overlays/gateway-subset-lb-hold"]
    {
        let right = in_front_of(other, "istio-system", &labels);
        assert_eq!(rules::check(&right), [], "{other}");
    }
    let mut early = in_front_of("dynamic-subset/overlays/gateway-routes", "istio-system", &labels);
    for name in ["dynamic-subset", "kserve-transcoder"] {
        let plugin = early.iter_mut().find(|r| r.kind() == "WasmPlugin" && r.name() == name).unwrap();
        plugin.value["spec"]["phase"] = json!("AUTHN");
        says(&early, &format!("{name} runs before claim-headers"), name);
    }

    let native = |priority: i64| {
        let mut resources = overlay("dynamic-subset/overlays/gateway-native");
        for mut resource in overlay("claim-headers/overlays/gateway-native") {
            if matches!(resource.kind(), "EnvoyFilter" | "RequestAuthentication") {
                resource.value["metadata"]["namespace"] = json!("modelmesh-serving");
                resource.value["spec"]["targetRefs"][0]["name"] = json!("inference-gateway");
                if resource.kind() == "EnvoyFilter" {
                    resource.value["spec"]["priority"] = json!(priority);
                }
                resources.push(resource);
            }
        }
        resources
    };
    assert_eq!(rules::check(&native(1)), []);
    says(&native(7), "dynamic-subset runs before claim-headers", "7");
    says(&native(11), "kserve-transcoder runs before claim-headers", "11");
    says(&native(5), "their order is undefined", "5");
}

#[test]
fn a_policy_that_would_believe_a_client_is_seen() {
    let policy = |overlay: &str, place: Value| {
        let mut resources = self::overlay(overlay);
        let mut spec = json!({"action": "ALLOW", "rules": [{"when": [
            {"key": "request.headers[user-class]", "values": ["premium"]},
        ]}]});
        spec.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        let namespace = if spec.get("selector").is_some() { "istio-system" } else { "apsara-demo" };
        resources.push(Resource {
            value: json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": "premium-only", "namespace": namespace},
                "spec": spec,
            }),
        });
        resources
    };
    let gateway =
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "ai-app-gateway"}]);
    let native = policy("claim-headers/overlays/gateway-native", json!({"targetRefs": gateway}));
    says(&native, "reads user-class before", "natively");
    // In wasm, the filter comes before authorisation.
    let selector = json!({"selector": {"matchLabels": {"istio": "api-ingressgateway"}}});
    assert_eq!(rules::check(&policy("claim-headers/overlays/gateway-wasm", selector)), []);
}

#[test]
fn a_rule_that_does_not_pass_its_claims_on_is_seen_beside_one_that_does() {
    for (overlay, passed_on) in [("gateway-native", Value::Null), ("gateway-wasm", json!("x-jwt-payload"))] {
        let mut resources = self::overlay(&format!("claim-headers/overlays/{overlay}"));
        let tokens = resources.iter_mut().find(|r| r.kind() == "RequestAuthentication").unwrap();
        let rules = tokens.value["spec"]["jwtRules"].as_array_mut().unwrap();
        let mut other = rules[0].clone();
        other["issuer"] = json!("https://other.example.com");
        other["outputPayloadToHeader"] = passed_on;
        other.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        rules.push(other);
        says(&resources, "reads claims from", overlay);
    }
}

#[test]
fn two_verifiers_of_which_one_gets_no_token_are_seen() {
    let mut resources = overlay("claim-headers/overlays/gateway-wasm-builtin");
    let tokens = overlay("claim-headers/overlays/gateway-wasm");
    resources.extend(tokens.into_iter().filter(|r| r.kind() == "RequestAuthentication"));
    says(&resources, "removes the token that RequestAuthentication istio-system/idp-at-the-gateway", "");
}

#[test]
fn the_gateway_of_the_gateway_api_must_be_believed_under_its_own_name() {
    let mut resources = overlay("claim-headers/overlays/forwarded-header-native");
    let charts = overlay("claim-headers/overlays/forwarded-header");
    resources.retain(|r| !charts.iter().any(|c| c.id() == r.id() && r.kind() == "AuthorizationPolicy"));
    resources.extend(charts.into_iter().filter(|r| r.kind() == "AuthorizationPolicy"));
    says(&resources, "does not trust the gateway /ns/apsara-demo/sa/ai-app-gateway-istio", "");
}

/// The overlay `sign-on` and the mesh's configuration, with one change in one of them.
fn sign_on(kind: &str, pointer: &str, value: Value) -> Vec<String> {
    let mut resources = overlay("claim-headers/overlays/sign-on");
    let file = directory().join("claim-headers/sign-on.meshconfig.yaml");
    let mut mesh = istio_lint::yaml::<Value>(&file).unwrap().remove(0)["meshConfig"].take();
    let reasons = |resources: &[Resource], mesh: &Value| -> Vec<String> {
        rules::sign_on(resources, mesh).iter().map(ToString::to_string).collect()
    };
    assert_eq!(reasons(&resources, &mesh), [""; 0]);
    let (kind, name) = kind.split_once('/').unwrap_or((kind, ""));
    let document = match kind {
        "MeshConfig" => &mut mesh,
        _ => {
            let wanted = |r: &&mut Resource| r.kind() == kind && (name.is_empty() || r.name() == name);
            &mut resources.iter_mut().find(wanted).unwrap().value
        }
    };
    let before = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(object) if value.is_null() => drop(object.remove(key)),
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(array) => drop(array.remove(key.parse().unwrap())),
        other => panic!("cannot change {other}"),
    }
    assert_ne!(*document, before, "{kind} {pointer} is already so");
    reasons(&resources, &mesh)
}

#[test]
fn a_login_that_does_not_hold_is_seen() {
    let option = |name: &str| format!("/data/OAUTH2_PROXY_{name}");
    let provider = |field: &str| format!("/extensionProviders/0/envoyExtAuthzHttp/{field}");
    let env = "/spec/template/spec/containers/0/env/2";
    let needed = "AuthorizationPolicy/a-verified-token-is-needed";
    let rows = [
        (
            "AuthorizationPolicy/users-sign-in",
            "/spec/provider/name".into(),
            json!("other"),
            "no such ext_authz",
        ),
        ("MeshConfig", provider("failOpen"), json!(true), "lets every request in"),
        ("MeshConfig", provider("port"), json!(4181), "does not have the provider's port"),
        ("MeshConfig", provider("service"), json!("oauth2-proxy"), "not the full name"),
        ("MeshConfig", provider("headersToUpstreamOnAllow"), json!([]), "OnAllow must contain authorization"),
        ("MeshConfig", provider("headersToDownstreamOnDeny/1"), Value::Null, "OnDeny must contain location"),
        (
            "MeshConfig",
            provider("includeRequestHeadersInCheck/2"),
            Value::Null,
            "InCheck must contain cookie",
        ),
        ("Service", "/metadata/namespace".into(), json!("default"), "is not among these resources"),
        ("Service", "/spec/selector/app".into(), json!("other"), "selects no Deployment"),
        ("Deployment", env.into(), Value::Null, "has no variable OAUTH2_PROXY_COOKIE_SECRET"),
        ("ConfigMap", "/metadata/name".into(), json!("other"), "has no ConfigMap"),
        ("ConfigMap", option("REVERSE_PROXY"), json!("true"), "the x-forwarded-* headers that clients send"),
        ("ConfigMap", option("INSECURE_OIDC_SKIP_NONCE"), Value::Null, "of another login"),
        ("ConfigMap", option("CODE_CHALLENGE_METHOD"), Value::Null, "an intercepted code"),
        ("ConfigMap", option("UPSTREAMS"), json!("static://202"), "takes only 200"),
        ("ConfigMap", option("SKIP_PROVIDER_BUTTON"), Value::Null, "comes with status 200"),
        ("ConfigMap", option("SKIP_AUTH_ROUTES"), json!("^/public"), "past the login"),
        ("ConfigMap", option("WHITELIST_DOMAINS"), json!("*"), "to other sites"),
        ("ConfigMap", option("CLIENT_SECRET"), json!("s3cret"), "move it to a Secret"),
        ("ConfigMap", option("OIDC_ISSUER_URL"), json!("https://other.example"), "no RequestAuthentication"),
        ("ConfigMap", option("COOKIE_NAME"), json!("session"), "not limited to one host"),
        ("ConfigMap", option("COOKIE_DOMAINS"), json!("example.com"), "not limited to one host"),
        (
            "WasmPlugin",
            "/spec/pluginConfig/strip_cookies/0".into(),
            Value::Null,
            "\"__Host-session\" is sent",
        ),
        ("WasmPlugin", "/spec/pluginConfig/strip_cookies".into(), Value::Null, "_csrf\" is sent upstream"),
        ("Gateway", "/spec/servers/1/tls".into(), Value::Null, "serves plain HTTP"),
        (needed, "/spec/action".into(), json!("AUDIT"), "lets through without a session"),
        (
            needed,
            "/spec/rules/0/to".into(),
            json!([{"operation": {"ports": ["80"]}}]),
            "lets through without",
        ),
    ];
    for (kind, pointer, value, reason) in rows {
        let reasons = sign_on(kind, &pointer, value.clone());
        let said = reasons.iter().any(|r| r.contains(reason));
        assert!(said, "{kind} {pointer} = {value}: no {reason:?} in {reasons:#?}");
    }
}
