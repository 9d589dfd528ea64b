//! What providers issue, in both hosts; and claims that stock filters leave in metadata, which wasm reads.

use std::fs;

use e2e::{Installed, Listener, Protocol, Request, repository, send};
use odd_server::Script;
use serde_json::{Value, json};
use testkit::Column;

use crate::fetched_keys::{HOSTS, ROUTES, Upstreams, spellings};

pub(crate) fn tokens(installed: &Installed) {
    let text = fs::read_to_string(repository().join("filters/claim-headers/tests/providers.json")).unwrap();
    let corpus: Value = serde_json::from_str(&text).unwrap();
    let upstreams = Upstreams::start(Script::never());
    let envoy = upstreams.envoy(installed, &HOSTS, &corpus["config"], 1);
    let mut attempts = 0;
    for (host, _) in HOSTS {
        let address = envoy.address(host).unwrap();
        for row in corpus["rows"].as_array().unwrap() {
            for attempt in row["attempts"].as_array().unwrap() {
                attempts += 1;
                let what = format!("{host}, {}: {}", row["name"], attempt["what"]);
                let header = &attempt["headers"][0];
                let request =
                    Request::get("/").header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
                let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
                assert_eq!(answer.status(), 200, "{what}");
                let got = upstreams.everyone.requests().pop().unwrap();
                for rule in corpus["config"]["map"].as_array().unwrap() {
                    let name = rule["header"].as_str().unwrap();
                    let expected = attempt["expect"]["headers"].get(name).and_then(Value::as_str);
                    assert_eq!(
                        spellings(&got, name),
                        expected.into_iter().collect::<Vec<_>>(),
                        "{what}: {name}"
                    );
                }
            }
        }
    }
    assert!(attempts > 50, "{attempts}");
}

/// Values in Lua that stock Envoy's Lua filter leaves where `jwt_authn` leaves claims, and what each turns into as a
/// string, a list, a boolean and an integer. `STANDARD` is the number whose eight bytes are these letters in lower
/// case.
const CLAIMS: [(&str, [Option<&str>; 4]); 13] = [
    (r#""premium""#, [Some("premium"), Some("premium"), None, None]),
    (r#""standard""#, [Some("standard"), Some("standard"), None, None]),
    (r#""true""#, [Some("true"), Some("true"), Some("true"), None]),
    (r#""\001""#, [None; 4]),
    (r#""\000\000\000\000\000\000\020@""#, [None; 4]),
    ("STANDARD", [None; 4]),
    ("{STANDARD}", [None; 4]),
    ("5", [None, None, None, Some("5")]),
    ("-7", [None, None, None, Some("-7")]),
    ("true", [None, None, Some("true"), None]),
    (r#"{"admin","standard"}"#, [None, Some("admin,standard"), None, None]),
    ("{1,20}", [None, Some("1,20"), None, None]),
    (r#"{admin=""}"#, [None; 4]),
];

pub(crate) fn metadata(installed: &Installed) {
    let rule =
        |(header, kind): (&str, &str)| json!({"header": header, "claim": ["realm", "c"], "type": kind});
    let kinds = [("x-string", "string"), ("x-list", "list"), ("x-bool", "bool"), ("x-integer", "integer")];
    let config = json!({"map": kinds.map(rule)}).to_string();
    let standard = format!("{:?}", f64::from_le_bytes(*b"standard"));
    let listeners: Vec<Listener> = CLAIMS
        .iter()
        .enumerate()
        .map(|(index, (claim, _))| {
            let code = format!(
                r#"function envoy_on_request(handle)
  handle:streamInfo():dynamicMetadata():set("envoy.filters.http.jwt_authn", "payload", {{realm={{c={}}}}})
end"#,
                claim.replace("STANDARD", &standard)
            );
            let stock = json!({"name": "stock", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": code}}})
            .to_string();
            let listener = Listener::new(&format!("claim-{index}")).routes(ROUTES).filter(&stock);
            listener.ours("claim_headers", Column::Wasm, &config)
        })
        .collect();
    let upstreams = Upstreams::start(Script::never());
    let envoy = upstreams.envoy_with(installed, &listeners, 1);
    for (index, (claim, expected)) in CLAIMS.iter().enumerate() {
        let address = envoy.address(&format!("claim-{index}")).unwrap();
        let answer = send(Protocol::Http1, address, &Request::get("/")).unwrap().complete().unwrap();
        assert_eq!(answer.status(), 200, "{claim}");
        let got = upstreams.everyone.requests().pop().unwrap();
        for ((name, _), value) in kinds.into_iter().zip(expected) {
            assert_eq!(spellings(&got, name), value.iter().copied().collect::<Vec<_>>(), "{name} of {claim}");
        }
    }
}
