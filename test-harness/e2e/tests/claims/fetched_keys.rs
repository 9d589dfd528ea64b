//! Tokens that the filter verifies with keys that it fetches, in both hosts.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::{
    Envoy, Installed, Listener, Options, Protocol, Request, Seen, Workload, gateway_to, repository, send,
};
use odd_server::{OddServer, Script};
use serde_json::{Value, json};
use testkit::Column;

use crate::identity::{HEADER, ISSUER, Issuer, payload, who};

pub(crate) const HOSTS: [(&str, Column); 2] = [("wasm", Column::Wasm), ("native", Column::Native)];
/// A client's own header may select a premium user's route by either name, until the filter has the route selected
/// again.
pub(crate) const ROUTES: &str = r#"[
  { match: { prefix: "/", headers: [{ name: user_class, string_match: { exact: premium } }] }, route: { cluster: premium } },
  { match: { prefix: "/", headers: [{ name: user-class, string_match: { exact: premium } }] }, route: { cluster: premium } },
  { match: { prefix: "/" }, route: { cluster: everyone } }]"#;
/// How long it may take until keys are asked for.
const BOUND: Duration = Duration::from_secs(20);
/// The same where the filter waits for half a minute first, because it has asked before.
const BOUND_AGAIN: Duration = Duration::from_secs(90);
/// How long to wait between two requests that ask whether it has.
const POLL: Duration = Duration::from_millis(250);

/// What stands behind Envoy.
pub(crate) struct Upstreams {
    premium: Workload,
    pub(crate) everyone: Workload,
    issuer: OddServer,
}

impl Upstreams {
    pub(crate) fn start(issuer: Script) -> Self {
        let (premium, everyone) = (Workload::start("premium").unwrap(), Workload::start("everyone").unwrap());
        let server = OddServer::start().unwrap();
        server.default_script(issuer);
        Self { premium, everyone, issuer: server }
    }

    /// An Envoy with a listener for each of these hosts.
    pub(crate) fn envoy(
        &self,
        installed: &Installed,
        hosts: &[(&str, Column)],
        config: &Value,
        workers: u32,
    ) -> Envoy {
        let listeners: Vec<Listener> = hosts
            .iter()
            .map(|(name, column)| {
                Listener::new(name).routes(ROUTES).ours("claim_headers", *column, &config.to_string())
            })
            .collect();
        self.envoy_with(installed, &listeners, workers)
    }

    /// An Envoy with these listeners.
    pub(crate) fn envoy_with(&self, installed: &Installed, listeners: &[Listener], workers: u32) -> Envoy {
        let ports = [self.premium.port(), self.everyone.port(), self.issuer.port()];
        envoy_in_front_of(ports, installed, listeners, workers)
    }
}

/// An Envoy in front of the workloads for premium users and for everyone else, and of an issuer that speaks HTTP/2,
/// each by its port.
pub(crate) fn envoy_in_front_of(
    [premium, everyone, issuer]: [u16; 3],
    installed: &Installed,
    listeners: &[Listener],
    workers: u32,
) -> Envoy {
    let http2 = r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }"#;
    let clusters = [("premium", premium, ""), ("everyone", everyone, ""), ("idp", issuer, http2)];
    let clusters = clusters.map(|(name, port, protocol)| {
        format!(
            r#"
  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]{protocol}"#
        )
    });
    let options = Options { concurrency: workers, ..Options::default() };
    Envoy::start(&installed.path, &gateway_to(listeners, &clusters.concat()), &options).unwrap()
}

/// The attacks of the filter's own tests.
fn corpus() -> Value {
    let text = fs::read_to_string(repository().join("filters/claim-headers/tests/attacks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn attacks(installed: &Installed) {
    let attacks = corpus();
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    let keys = issuer.remove("jwks").unwrap();
    issuer.insert("cluster".to_owned(), "idp".into());
    issuer.insert("jwks_uri".to_owned(), "http://idp.test/keys".into());
    let upstreams = Upstreams::start(Script::plain(200, "application/json", keys.to_string()));
    let envoy = upstreams.envoy(installed, &HOSTS, &config, 1);
    let mut attempts = 0;
    for (host, _) in HOSTS {
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
    let fetches = upstreams.issuer.requests().len();
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
    let workload = if class == Some("premium") { "premium" } else { "everyone" };
    assert_eq!(who(&answer), workload, "{what}");
    let server = if workload == "premium" { &upstreams.premium } else { &upstreams.everyone };
    let got = server.requests().pop().unwrap();
    assert_eq!(spellings(&got, "user-class"), class.into_iter().collect::<Vec<_>>(), "{what}");
    let level = attempt["expect"]["level"].as_str();
    assert_eq!(spellings(&got, "x-level"), level.into_iter().collect::<Vec<_>>(), "{what}");
    assert!(got.all("x-admin").is_empty() && got.all("x-id-token").is_empty(), "{what}");
}

/// The values of all headers that have this name but for dashes.
pub(crate) fn spellings(request: &Seen, name: &str) -> Vec<String> {
    let found = request.headers.iter().filter(|(found, _)| found.replace('_', "-") == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

pub(crate) fn that_never_come(installed: &Installed) {
    let attacks = corpus();
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    issuer.remove("jwks");
    // Found by discovery, from a server that never answers.
    issuer.insert("cluster".to_owned(), "idp".into());
    config["on_unverified"] = "deny".into();
    config["jwks_wait_milliseconds"] = 1000.into();
    let upstreams = Upstreams::start(Script::never());
    let envoy = upstreams.envoy(installed, &HOSTS, &config, 1);
    let good = &attacks["rows"][0]["attempts"][0]["headers"].as_array().unwrap().last().unwrap()[1];
    for (host, _) in HOSTS {
        let request = Request::post("/", "body").header("authorization", good.as_str().unwrap());
        let address = envoy.address(host).unwrap();
        let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
        assert_eq!(answer.status(), 503, "{host}");
        assert_eq!(answer.text(), r#"{"error":"the issuer's keys are not available"}"#, "{host}");
    }
    assert_eq!((upstreams.premium.requests(), upstreams.everyone.requests()), (Vec::new(), Vec::new()));
    let asked = upstreams.issuer.wait_for(1, BOUND).unwrap();
    assert_eq!(asked[0].path, "/.well-known/openid-configuration");
}

/// What a host's Envoy and its issuer do while the issuer's key changes.
struct Rotation {
    host: &'static str,
    upstreams: Upstreams,
    envoy: Envoy,
}

impl Rotation {
    fn start(installed: &Installed, (host, column): (&'static str, Column)) -> Self {
        let config = json!({
            "source": "builtin",
            "issuers": [{"issuer": ISSUER, "audiences": ["inference"], "cluster": "idp"}],
            "map": [{"claim": ["user_type"], "header": "user_class", "type": "string"}],
        });
        let document = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")});
        let upstreams = Upstreams::start(Script::plain(404, "text/plain", "no such page"));
        let document = Script::plain(200, "application/json", document.to_string());
        upstreams.issuer.script_for_path("/.well-known/openid-configuration", document);
        publish(&upstreams.issuer, 1);
        // Natively all workers have the same keys; in wasm each has its own, and asks for newer ones when it needs
        // them.
        let workers = if column == Column::Native { 4 } else { 1 };
        Self { host, envoy: upstreams.envoy(installed, &[(host, column)], &config, workers), upstreams }
    }

    /// Who answers a premium user whose token is signed with this key.
    fn who(&self, key: u8) -> String {
        let token = Issuer::new(key).sign(&HEADER.replace("one", &name(key)), &payload(r#""premium""#));
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        who(&send(Protocol::Http1, self.envoy.address(self.host).unwrap(), &request)
            .unwrap()
            .complete()
            .unwrap())
    }

    /// Sends such requests until it is so.
    fn until(&self, what: &str, mut it_is_so: impl FnMut() -> bool) {
        let end = Instant::now() + BOUND_AGAIN;
        while !it_is_so() {
            assert!(Instant::now() < end, "{}: {what}", self.host);
            std::thread::sleep(POLL);
        }
    }

    /// How often the issuer was asked for its keys.
    fn fetches(&self) -> usize {
        self.upstreams.issuer.requests().iter().filter(|request| request.path == "/keys").count()
    }
}

/// From now on the issuer has this key, and only this one, in its set.
fn publish(issuer: &OddServer, key: u8) {
    let set = Issuer::new(key).key_set().replace("one", &name(key));
    issuer.script_for_path("/keys", Script::plain(200, "application/json", set));
}

/// What an issuer calls a key.
fn name(key: u8) -> String {
    format!("key-{key}")
}

pub(crate) fn rotate(installed: &Installed) {
    let hosts = HOSTS.map(|host| Rotation::start(installed, host));
    for host in &hosts {
        // The first request may come before the keys, and waits for them.
        assert_eq!(
            (host.who(1), host.who(2)),
            ("premium".to_owned(), "everyone".to_owned()),
            "{}",
            host.host
        );
        publish(&host.upstreams.issuer, 2);
    }
    for host in &hosts {
        host.until("a new key is fetched for the tokens that name it", || host.who(2) == "premium");
        let fetches = host.fetches();
        match host.host {
            // Four workers, and the keys are fetched once and once again.
            "native" => assert_eq!(fetches, 2),
            // The worker's VM, and the main thread's.
            _ => assert!((2..=4).contains(&fetches), "{fetches} fetches"),
        }
        host.upstreams.issuer.script_for_path("/keys", Script::plain(500, "text/plain", "out of order"));
    }
    for host in &hosts {
        let before = host.fetches();
        host.until("an unknown key has them fetched", || {
            // The keys are new, so that the token is wrong; or newer ones cannot be fetched.
            let who = host.who(3);
            assert!(["everyone", "503"].contains(&who.as_str()), "{}: {who}", host.host);
            host.fetches() > before
        });
        assert_eq!(host.who(3), "503", "{}: newer keys might have it", host.host);
        assert_eq!(host.who(2), "premium", "{}: the keys that are known stay in use", host.host);
    }
}
