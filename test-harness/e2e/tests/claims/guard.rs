//! A client's own copy of the payload header, behind `jwt_authn` with two providers of which one writes that header and
//! the other does not: with a guard in front and without one, in both hosts.

use e2e::{Envoy, Installed, Listener, Options, Protocol, Request, Workload, base64url, gateway_to, send};
use serde_json::{Value, json};
use testkit::Column;

use crate::identity::{HEADER, ISSUER, Issuer, payload, who};

const HEADER_NAME: &str = "x-jwt-payload";
const OTHER_ISSUER: &str = "http://127.0.0.1:8091";
const JWT_AUTHN: &str = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const ROUTES: &str = r#"[
  { match: { prefix: "/", headers: [{ name: x-user-class, string_match: { exact: premium } }] }, route: { cluster: premium } },
  { match: { prefix: "/" }, route: { cluster: everyone } }]"#;

/// A listener: its name, its host, and whether it has a guard.
const LISTENERS: [(&str, Column, bool); 5] = [
    ("wasm", Column::Wasm, true),
    ("wasm-hold", Column::WasmHold, true),
    ("native", Column::Native, true),
    ("wasm-bare", Column::Wasm, false),
    ("native-bare", Column::Native, false),
];

/// What a path asks of a request, in `jwt_authn`'s words. `a` writes no header, `b` does.
fn rules() -> Value {
    let any = |names: &[&str], missing: &str| {
        let providers = names.iter().map(|name| json!({"provider_name": name}));
        let all: Vec<Value> = providers.chain([json!({missing: {}})]).collect();
        json!({"requires_any": {"requirements": all}})
    };
    json!([
        {"match": {"prefix": "/a"}, "requires": any(&["a"], "allow_missing")},
        {"match": {"prefix": "/b"}, "requires": any(&["b"], "allow_missing")},
        {"match": {"prefix": "/strict-a"}, "requires": {"provider_name": "a"}},
        {"match": {"prefix": "/first-a"}, "requires": any(&["a", "b"], "allow_missing")},
        {"match": {"prefix": "/first-b"}, "requires": any(&["b", "a"], "allow_missing")},
        {"match": {"prefix": "/failed-a"}, "requires": any(&["a", "b"], "allow_missing_or_failed")},
        {"match": {"prefix": "/failed-b"}, "requires": any(&["b", "a"], "allow_missing_or_failed")},
        {"match": {"prefix": "/open"}},
    ])
}

const PATHS: [&str; 9] =
    ["/a", "/b", "/strict-a", "/first-a", "/first-b", "/failed-a", "/failed-b", "/open", "/none"];

fn jwt_authn(issuer: &Issuer) -> String {
    let provider = |name: &str| {
        json!({"issuer": name, "audiences": ["inference"], "payload_in_metadata": "payload",
            "local_jwks": {"inline_string": issuer.key_set()}})
    };
    let (a, mut b) = (provider(ISSUER), provider(OTHER_ISSUER));
    b["forward_payload_header"] = HEADER_NAME.into();
    json!({"name": "envoy.filters.http.jwt_authn", "typed_config":
        {"@type": JWT_AUTHN, "providers": {"a": a, "b": b}, "rules": rules()}})
    .to_string()
}

fn listener(name: &str, column: Column, guarded: bool, issuer: &Issuer) -> Listener {
    let guard = json!({"source": "guard", "metadata": {"payload_header": HEADER_NAME}}).to_string();
    let maps = json!({
        "metadata": {"payload_header": HEADER_NAME},
        "map": [{"header": "x-user-class", "claim": ["user_type"], "type": "string"}],
    });
    let mut listener = Listener::new(name).routes(ROUTES);
    if guarded {
        listener = listener.ours("claim_headers", column, &guard);
    }
    listener.filter(&jwt_authn(issuer)).ours("claim_headers", column, &maps.to_string())
}

/// Who sends a request: an anonymous client, or a user of one of the providers.
fn people(issuer: &Issuer) -> Vec<(&'static str, Option<String>)> {
    let of = |name: &str| payload(r#""basic""#).replace(ISSUER, name);
    let stranger = Issuer::new(2);
    vec![
        ("nobody", None),
        ("a's basic user", Some(issuer.sign(HEADER, &of(ISSUER)))),
        ("b's basic user", Some(issuer.sign(HEADER, &of(OTHER_ISSUER)))),
        ("a stranger as a's premium user", Some(stranger.token(r#""premium""#))),
        ("junk", Some("x.y.z".to_owned())),
    ]
}

/// Ways to write the header.
fn forgeries() -> Vec<Vec<(&'static str, String)>> {
    let claims = payload(r#""premium""#);
    let forged = [base64url(&claims), base64url(r#"{"user_type":"premium"}"#)];
    let names = [HEADER_NAME, "x_jwt_payload", "x-jwt_payload", "X-Jwt-Payload", "X_JWT-PAYLOAD"];
    let mut all: Vec<Vec<(&str, String)>> =
        names.iter().flat_map(|name| forged.iter().map(|text| vec![(*name, text.clone())])).collect();
    let [text, other] = forged;
    all.push(vec![(HEADER_NAME, text.clone()), (HEADER_NAME, text.clone())]);
    all.push(vec![(HEADER_NAME, "e30".to_owned()), (HEADER_NAME, other.clone())]);
    all.push(names.iter().map(|name| (*name, other.clone())).collect());
    all.push(vec![(HEADER_NAME, format!("{text}="))]);
    all.push(vec![(HEADER_NAME, String::new()), ("x_jwt_payload", text)]);
    all
}

pub(crate) fn hold(installed: &Installed) {
    let issuer = Issuer::new(1);
    let (premium, everyone) = (Workload::start("premium").unwrap(), Workload::start("everyone").unwrap());
    let listeners = LISTENERS.map(|(name, column, guarded)| listener(name, column, guarded, &issuer));
    let clusters = [("premium", premium.port()), ("everyone", everyone.port())].map(|(name, port)| {
        format!(
            r#"
  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]"#
        )
    });
    let bootstrap = gateway_to(&listeners, &clusters.concat());
    let envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();
    for (name, column, guarded) in LISTENERS {
        let address = envoy.address(name).unwrap();
        let mut attempts = 0;
        for (person, token) in people(&issuer) {
            for path in PATHS {
                for forged in forgeries() {
                    // Over HTTP/1.1 a name may have capitals; both at once would be twice the time.
                    let protocol = Protocol::BOTH[attempts % 2];
                    attempts += 1;
                    let mut request = Request::get(path);
                    if let Some(token) = &token {
                        request = request.header("authorization", format!("Bearer {token}"));
                    }
                    for (name, value) in &forged {
                        let lower = name.to_ascii_lowercase();
                        let name = if protocol == Protocol::Http2 { lower.as_str() } else { name };
                        request = request.header(name, value.as_str());
                    }
                    let context = format!("{name} {protocol:?}: {person} at {path} with {forged:?}");
                    let answer = send(protocol, address, &request).unwrap().complete().unwrap();
                    let who = who(&answer);
                    assert!(who == "everyone" || who == "401" || who == "403", "{context}: {who}");
                }
            }
        }
        assert_eq!(premium.requests(), [], "{name}");
        for seen in everyone.requests() {
            let left = seen.headers.iter().filter(|(name, _)| name.replace('_', "-") == HEADER_NAME);
            assert_eq!(left.count(), 0, "{name}: {seen:?}");
            assert!(!seen.all("x-user-class").contains(&"premium".to_owned()), "{name}: {seen:?}");
        }
        assert!(attempts > 500, "{attempts}");

        // A premium user's claims arrive where they can: in wasm always, natively from the header behind the guard.
        let sent = |path: &str, issuer_name: &str, forged: &[(&str, String)]| {
            let token = issuer.sign(HEADER, &payload(r#""premium""#).replace(ISSUER, issuer_name));
            let mut request = Request::get(path).header("authorization", format!("Bearer {token}"));
            for (name, value) in forged {
                request = request.header(name, value.as_str());
            }
            who(&send(Protocol::Http1, address, &request).unwrap().complete().unwrap())
        };
        let native = column == Column::Native;
        let from_header = if native && !guarded { "everyone" } else { "premium" };
        let from_metadata = if native { "everyone" } else { "premium" };
        let basic =
            vec![(HEADER_NAME, base64url(payload(r#""basic""#))), ("x_jwt_payload", "e30".to_owned())];
        for forged in [Vec::new(), basic] {
            for path in ["/b", "/first-b", "/first-a", "/failed-a"] {
                assert_eq!(sent(path, OTHER_ISSUER, &forged), from_header, "{name} {path} {forged:?}");
            }
            for path in ["/a", "/strict-a", "/first-a"] {
                assert_eq!(sent(path, ISSUER, &forged), from_metadata, "{name} {path} {forged:?}");
            }
        }
        let premium_requests = premium.requests().len();
        assert_eq!(premium_requests > 0, name != "native-bare", "{name}");
        for seen in premium.requests() {
            assert!(seen.headers.iter().all(|(name, _)| name.replace('_', "-") != HEADER_NAME), "{seen:?}");
        }
        premium.forget();
        everyone.forget();
    }
    let stats = envoy.stats("claim_headers").unwrap();
    let sum = |suffix: &str| {
        stats.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, value)| value).sum::<u64>()
    };
    assert!(sum(".payload_header_ignored") > 100 && sum(".unverified_no_payload") > 10, "{stats:?}");
    let log = envoy.log();
    assert!(log.contains("is ignored, because it may be the client's"), "{log}");
    assert!(!log.contains("eyJ"), "claims are in the log");
}
