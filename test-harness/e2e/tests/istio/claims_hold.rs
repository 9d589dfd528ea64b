//! The chains of `istio/claim-headers` in Envoy, with the waypoint's routes behind them. What istiod does is done here:
//! it makes `jwt_authn` of a RequestAuthentication, orders the filters, and makes routes of a VirtualService. The keys
//! are this test's.

use std::path::Path;

use e2e::classes::{FORGERIES, SUBSETS, USERS, badly_signed};
use e2e::{Answer, Envoy, Installed, Protocol, Request, send};
use istio_lint::{Resource, embedded, kustomize};
use serde_json::{Value, json};

use crate::groups_hold::wasm;
use crate::{as_the_agent_hands_it_on, listening, options};

const JWT_AUTHN: &str = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// What a request had when it left the chain comes back under these names.
const SEEN: [(&str, &str); 6] = [
    ("x-seen-class", "user_class"),
    ("x-seen-hyphen", "user-class"),
    ("x-seen-token", "authorization"),
    ("x-seen-payload", "x-jwt-payload"),
    ("x-seen-cookie", "cookie"),
    ("x-seen-other", "x-other"),
];

pub(crate) fn hold(installed: &Installed, overlay: &Path, name: &str) {
    let resources = kustomize::build(overlay).unwrap();
    let whole = kustomize::build(&overlay.with_file_name("forwarded-header")).unwrap();
    let tokens: Value = serde_json::from_str(include_str!("tokens.json")).unwrap();
    for waypoint in [false, true] {
        let chain = chain(&resources, waypoint, &tokens["jwks"]);
        assert_eq!(chain.is_empty(), waypoint && !name.contains("forwarded-token"), "{name}");
        if chain.is_empty() {
            continue;
        }
        let bootstrap = listening(chain, routes(&whole), Vec::new());
        let envoy = Envoy::start(&installed.path, &bootstrap.to_string(), &options()).unwrap();
        let address = envoy.address("inference").unwrap();
        let keeps = name.contains("forwarded-token") && !waypoint;
        for protocol in Protocol::BOTH {
            let ask = |request: &Request| send(protocol, address, request).unwrap().complete().unwrap();
            requests(&ask, &tokens, keeps, name.ends_with("-native"));
            if name.starts_with("sign-on") && !waypoint {
                let cookies = "a=1; __Host-session_0=x; __Host-session_csrf=y; __Host-session_1=z; b=2";
                let answer = ask(&with(&tokens["basic"]).header("cookie", cookies));
                assert_eq!(answer.header_text("x-seen-cookie").as_deref(), Some("a=1; b=2"));
            }
        }
    }
}

/// `keeps`: the token goes on. `payload`: the chain has a header for verified claims, which never does.
fn requests(ask: &impl Fn(&Request) -> Answer, tokens: &Value, keeps: bool, payload: bool) {
    let home = || Request::get("/home").header("x-other", "kept");
    let arrives = |request: Request, workload: &str, class: Option<&str>, token: bool| {
        let answer = ask(&request);
        let said = without_token(&request);
        assert_eq!((answer.status(), answer.text().as_str()), (200, workload), "{said}");
        let seen = |name: &str| answer.header_text(name);
        assert_eq!(seen("x-seen-class").as_deref(), class, "{said}");
        assert_eq!(seen("x-seen-hyphen"), None, "{said}");
        assert_eq!(seen("x-seen-token").is_some(), token, "{said}");
        assert_eq!(seen("x-seen-other").as_deref(), Some("kept"), "{said}");
        assert!(!payload || seen("x-seen-payload").is_none(), "{said}");
    };
    let user = |token: &str| with(&tokens[token]).header("x-other", "kept");
    let everyone = SUBSETS[1];
    arrives(home(), everyone, None, false);
    for of in USERS {
        arrives(user(of.name), of.subset, of.class, keeps);
    }
    for forged in FORGERIES {
        let forged = |request: Request| forged.iter().fold(request, |r, (name, value)| r.header(name, value));
        for of in USERS {
            arrives(forged(user(of.name)), of.subset, of.class, keeps);
        }
        arrives(forged(home()), everyone, None, false);
        // jwt_authn refuses a bad token; the filter takes it off.
        let other = json!(badly_signed(tokens["premium"].as_str().unwrap()));
        for bad in [&tokens["for_another_application"], &other] {
            let answer = ask(&forged(with(bad)));
            let refused = matches!(answer.status(), 401 | 403);
            assert!(refused || answer.text() == everyone, "{} {}", answer.status(), answer.text());
            assert_eq!(answer.header_text("x-seen-class"), None);
        }
    }
}

/// A request for messages.
fn without_token(request: &Request) -> String {
    let headers = request.headers.iter().filter(|(name, _)| name != "authorization");
    let headers = headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    format!("{:?}", headers.collect::<Vec<_>>())
}

fn with(token: &Value) -> Request {
    Request::get("/home").header("authorization", format!("Bearer {}", token.as_str().unwrap()))
}

/// The filters of the gateway or the waypoint, in Istio's order.
fn chain(resources: &[Resource], waypoint: bool, jwks: &Value) -> Vec<Value> {
    let there = |r: &&Resource| {
        let target = r.text("/spec/targetRefs/0/name");
        matches!(target, "waypoint" | "style-transfer") == waypoint
    };
    let here: Vec<_> = resources.iter().filter(there).collect();
    let in_phase = |phase: &str| -> Vec<Value> {
        let plugins = here.iter().filter(|r| r.kind() == "WasmPlugin" && r.text("/spec/phase") == phase);
        plugins.map(|plugin| wasm(&of_this_test(plugin, jwks))).collect()
    };
    let mut filters = in_phase("AUTHN");
    let authentications = here.iter().filter(|r| r.kind() == "RequestAuthentication");
    filters.extend(authentications.map(|authentication| jwt_authn(authentication, jwks)));
    filters.extend(in_phase("AUTHZ"));
    for fragment in here.iter().flat_map(|r| embedded::fragments(r)) {
        let filter = as_the_agent_hands_it_on(fragment.value.clone());
        let at = if fragment.operation == "INSERT_FIRST" { 0 } else { filters.len() };
        filters.insert(at, filter);
    }
    filters
}

/// A plugin that verifies tokens itself does so with this test's keys.
fn of_this_test(plugin: &Resource, jwks: &Value) -> Resource {
    let mut plugin = plugin.clone();
    let issuer = plugin.value.pointer_mut("/spec/pluginConfig/issuers/0").and_then(Value::as_object_mut);
    if let Some(issuer) = issuer {
        for key in ["cluster", "jwks_uri"] {
            issuer.remove(key).unwrap();
        }
        issuer.insert("jwks".to_owned(), jwks.clone());
    }
    plugin
}

/// What istiod makes of a RequestAuthentication at a gateway or waypoint, with keys that it has fetched.
fn jwt_authn(authentication: &Resource, jwks: &Value) -> Value {
    let [rule] = authentication.list("/spec/jwtRules") else { panic!("one rule is meant") };
    let mut provider = json!({
        "issuer": rule["issuer"],
        "audiences": rule["audiences"],
        "forward": rule.get("forwardOriginalToken").unwrap_or(&json!(false)),
        "local_jwks": {"inline_string": jwks.to_string()},
        "payload_in_metadata": "payload",
        "clear_route_cache": true,
    });
    if let Some(header) = rule.get("outputPayloadToHeader") {
        provider["forward_payload_header"] = header.clone();
    }
    let either = json!([{"provider_name": "origins-0"}, {"allow_missing": {}}]);
    let rule = json!({"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": either}}});
    json!({"name": "envoy.filters.http.jwt_authn", "typed_config": {
        "@type": JWT_AUTHN, "providers": {"origins-0": provider}, "rules": [rule],
        "bypass_cors_preflight": true,
    }})
}

/// The routes to style-transfer. Each answers with the name of its subset.
fn routes(resources: &[Resource]) -> Value {
    let service = resources.iter().find(|r| r.name() == "style-transfer-vs").unwrap();
    let seen =
        SEEN.map(|(name, header)| json!({"header": {"key": name, "value": format!("%REQ({header})%")}}));
    let route = |rule: &Value| {
        let headers = rule.pointer("/match/0/headers").and_then(Value::as_object).into_iter().flatten();
        let headers: Vec<_> =
            headers.map(|(name, value)| json!({"name": name, "string_match": value})).collect();
        let subset = rule["route"][0]["destination"]["subset"].clone();
        json!({
            "match": {"prefix": "/", "headers": headers},
            "direct_response": {"status": 200, "body": {"inline_string": subset}},
            "response_headers_to_add": seen,
        })
    };
    service.list("/spec/http").iter().map(route).collect()
}
