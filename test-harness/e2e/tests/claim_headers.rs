//! Claims as headers in stock Envoy: what attackers send gets no header and no route, in both hosts and from both sources.
//!
//! The modules are `$CLAIM_HEADERS_WASM` and `$INFERENCE_FILTERS_SO`, or those in `dist/`.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use e2e::{Answer, Envoy, Installed, Options, Protocol, Request, Suite, send};
use odd_server::{OddServer, Recorded, Script};
use serde_json::Value;

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("attackers_get_no_header_and_no_route_with_keys_that_are_fetched", attacks)
        .each_envoy("claims_that_jwt_authn_verified_choose_the_route_and_a_client_does_not", behind_jwt_authn)
        .each_envoy("a_request_waits_for_the_first_keys_and_is_answered_when_there_are_none", waits_for_keys)
        .run()
}

/// The hosts, by the names of their listeners.
const HOSTS: [&str; 2] = ["wasm", "native"];

/// A bound on how long fetched keys may take to be there.
const BOUND: Duration = Duration::from_secs(20);

/// What stands behind Envoy: one server for premium users, one for everybody else, and the issuer.
struct Upstreams {
    premium: OddServer,
    basic: OddServer,
    idp: OddServer,
}

impl Upstreams {
    fn start() -> Self {
        let [premium, basic, idp] = [0; 3].map(|_| OddServer::start().unwrap());
        premium.default_script(Script::plain(200, "text/plain", "premium"));
        basic.default_script(Script::plain(200, "text/plain", "basic"));
        Self { premium, basic, idp }
    }

    /// The request that the server of this name got last.
    fn last(&self, server: &str) -> Recorded {
        let server = if server == "premium" { &self.premium } else { &self.basic };
        server.requests().pop().unwrap()
    }
}

fn attacks(installed: &Installed) {
    let attacks: Value = serde_json::from_str(&read("filters/claim-headers/tests/attacks.json")).unwrap();
    let upstreams = Upstreams::start();
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    let keys = issuer.remove("jwks").unwrap();
    issuer.insert("cluster".to_owned(), "idp".into());
    issuer.insert("jwks_uri".to_owned(), "http://idp.test/keys".into());
    upstreams.idp.default_script(Script::plain(200, "application/json", keys.to_string()));
    let filter = |host: &str| claim_headers(host, &config);
    let envoy = Envoy::start(&installed.path, &bootstrap(&upstreams, filter), &Options::default()).unwrap();
    let mut attempts = 0;
    for host in HOSTS {
        let address = envoy.address(host).unwrap();
        for row in attacks["rows"].as_array().unwrap() {
            for attempt in row["attempts"].as_array().unwrap() {
                attempts += 1;
                let what = format!("{host}, {}: {}", row["name"], attempt["what"]);
                check(address, attempt, &upstreams, &what);
            }
        }
    }
    assert!(attempts > 400, "{attempts}");
    let stats = envoy.stats("claim_headers").unwrap();
    let sum = |suffix: &str| {
        stats.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, value)| value).sum::<u64>()
    };
    assert!(sum(".verified") > 50 && sum(".unverified_signature") > 20, "{stats:?}");
    // Every VM and the native module have the keys to fetch once.
    let fetches = upstreams.idp.requests().len();
    assert!((2..8).contains(&fetches), "{fetches} fetches");
}

/// Sends an attempt and looks where it came out, and with what.
fn check(address: SocketAddr, attempt: &Value, upstreams: &Upstreams, what: &str) {
    let mut request = Request::get(attempt["path"].as_str().unwrap());
    for header in attempt["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        request = match name {
            ":method" => Request { method: value.to_owned(), ..request },
            _ => request.header(name, value),
        };
    }
    let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
    if answer.status() == 431 {
        // Larger than Envoy's own limit.
        return;
    }
    let class = attempt["expect"]["class"].as_str();
    let server = if class == Some("premium") { "premium" } else { "basic" };
    assert_eq!((answer.status(), answer.text().as_str()), (200, server), "{what}");
    let got = upstreams.last(server);
    assert_eq!(spellings(&got, "user-class"), class.into_iter().collect::<Vec<_>>(), "{what}");
    let level = attempt["expect"]["level"].as_str();
    assert_eq!(spellings(&got, "x-level"), level.into_iter().collect::<Vec<_>>(), "{what}");
    assert!(got.header("x-admin").is_none() && got.header("x-id-token").is_none(), "{what}");
}

/// The values of all headers that have this name but for case and dashes.
fn spellings(request: &Recorded, name: &str) -> Vec<String> {
    let same = |found: &str| found.to_ascii_lowercase().replace('_', "-") == name;
    let found = request.headers.iter().filter(|(found, _)| same(found));
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn behind_jwt_authn(installed: &Installed) {
    let attacks: Value = serde_json::from_str(&read("filters/claim-headers/tests/attacks.json")).unwrap();
    let keys = attacks["config"]["issuers"][0]["jwks"].to_string();
    let good = attacks["rows"][0]["attempts"][0]["headers"].as_array().unwrap().last().unwrap()[1].clone();
    let good = good.as_str().unwrap();
    let upstreams = Upstreams::start();
    let filters = |host: &str| {
        let metadata = if host == "native" { r#"{"payload_header":"x-jwt-payload"}"# } else { "{}" };
        let config = format!(
            r#"{{"metadata":{metadata},"strip":["authorization"],"map":[{{"header":"user_class","claim":["user_type"],"type":"string"}}]}}"#
        );
        let own = claim_headers(host, &serde_json::from_str(&config).unwrap());
        format!(
            r#"
          - name: jwt
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                idp:
                  issuer: https://idp.test
                  audiences: [inference]
                  local_jwks: {{ inline_string: '{keys}' }}
                  payload_in_metadata: payload
                  forward: true
                  forward_payload_header: x-jwt-payload
              rules:
              - match: {{ prefix: / }}
                requires: {{ requires_any: {{ requirements: [{{ provider_name: idp }}, {{ allow_missing: {{}} }}] }} }}{own}"#
        )
    };
    let envoy = Envoy::start(&installed.path, &bootstrap(&upstreams, filters), &Options::default()).unwrap();
    for host in HOSTS {
        let address = envoy.address(host).unwrap();
        let sent = |headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
            ask(address, &request)
        };
        assert_eq!(sent(&[("authorization", good), ("user-class", "root")]).text(), "premium", "{host}");
        let got = upstreams.last("premium");
        assert_eq!(spellings(&got, "user-class"), ["premium"], "{host}");
        assert!(got.header("authorization").is_none(), "{host}");

        // A route that the client's header has chosen is not kept, although jwt_authn has nothing to remove.
        for name in ["user_class", "User_Class", "user-class"] {
            assert_eq!(sent(&[(name, "premium")]).text(), "basic", "{host}: {name}");
            assert!(spellings(&upstreams.last("basic"), "user-class").is_empty(), "{host}: {name}");
        }
        // {"user_type":"premium"}
        assert_eq!(sent(&[("x-jwt-payload", "eyJ1c2VyX3R5cGUiOiJwcmVtaXVtIn0")]).text(), "basic", "{host}");
        if host == "native" {
            assert!(upstreams.last("basic").header("x-jwt-payload").is_none());
        }
    }
}

fn waits_for_keys(installed: &Installed) {
    let attacks: Value = serde_json::from_str(&read("filters/claim-headers/tests/attacks.json")).unwrap();
    let upstreams = Upstreams::start();
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    issuer.remove("jwks");
    // Found by discovery, from a server that never answers.
    issuer.insert("cluster".to_owned(), "idp".into());
    config["on_unverified"] = "deny".into();
    config["jwks_wait_milliseconds"] = 1000.into();
    upstreams.idp.default_script(Script::never());
    let good = attacks["rows"][0]["attempts"][0]["headers"].as_array().unwrap().last().unwrap()[1].clone();
    let filter = |host: &str| claim_headers(host, &config);
    let envoy = Envoy::start(&installed.path, &bootstrap(&upstreams, filter), &Options::default()).unwrap();
    for host in HOSTS {
        let request = Request::post("/", "body").header("authorization", good.as_str().unwrap());
        let answer = ask(envoy.address(host).unwrap(), &request);
        assert_eq!(answer.status(), 503, "{host}");
        assert_eq!(answer.text(), r#"{"error":"the issuer's keys are not available"}"#, "{host}");
    }
    assert!(upstreams.basic.requests().is_empty() && upstreams.premium.requests().is_empty());
    let asked = upstreams.idp.wait_for(1, BOUND).unwrap();
    assert_eq!(asked[0].path, "/.well-known/openid-configuration");
}

fn ask(address: SocketAddr, request: &Request) -> Answer {
    send(Protocol::Http1, address, request).unwrap().complete().unwrap()
}

/// The filter in a host, with this configuration.
fn claim_headers(host: &str, config: &Value) -> String {
    let value = config.to_string();
    let module = |variable: &str, name: &str| {
        std::env::var_os(variable).map_or_else(|| repository().join("dist").join(name), PathBuf::from)
    };
    match host {
        "wasm" => format!(
            r#"
          - name: claims
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: claims
                configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: '{value}' }}
                vm_config: {{ runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {module:?} }} }} }}"#,
            module = module("CLAIM_HEADERS_WASM", "claim_headers.wasm")
        ),
        _ => format!(
            r#"
          - name: claims
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: {{ do_not_close: true, module: {{ local: {{ filename: {module:?} }} }} }}
              filter_name: claim_headers
              filter_config: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: '{value}' }}"#,
            module = module("INFERENCE_FILTERS_SO", "libinference_filters.so")
        ),
    }
}

/// A listener for each host, whose routes match on the header that a claim becomes.
fn bootstrap(upstreams: &Upstreams, filters: impl Fn(&str) -> String) -> String {
    let listeners = HOSTS.map(|host| {
        format!(
            r#"
  - name: {host}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {host}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/", headers: [{{ name: user_class, string_match: {{ exact: premium }} }}] }}
                route: {{ cluster: premium }}
              - match: {{ prefix: "/", headers: [{{ name: user-class, string_match: {{ exact: premium }} }}] }}
                route: {{ cluster: premium }}
              - {{ match: {{ prefix: "/" }}, route: {{ cluster: basic }} }}
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}"#,
            filters = filters(host)
        )
    });
    let servers = [("premium", &upstreams.premium), ("basic", &upstreams.basic), ("idp", &upstreams.idp)];
    let clusters = servers.map(|(name, server)| {
        format!(
            r#"
  - name: {name}
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: {name}
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]"#,
            port = server.port()
        )
    });
    format!("\nstatic_resources:\n  listeners:{}\n  clusters:{}\n", listeners.concat(), clusters.concat())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}
