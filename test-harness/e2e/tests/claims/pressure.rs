//! Many workers at once: at cold start behind a slow key endpoint, and under a flood of forged tokens. No valid token is ever
//! taken for none.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::{Envoy, Installed, Listener, Options, Protocol, Request, Workload, gateway_to, send};
use scenario::Column;
use serde_json::json;

use crate::identity::{HEADER, ISSUER, Issuer, encode, payload, who};

const HOSTS: [(&str, Column); 2] = [("wasm", Column::Wasm), ("native", Column::Native)];
const ROUTES: &str = r#"[
  { match: { prefix: "/", headers: [{ name: x-user-class, string_match: { exact: premium } }] }, route: { cluster: premium } },
  { match: { prefix: "/" }, route: { cluster: everyone } }]"#;

/// What stands behind Envoy.
struct Upstreams {
    premium: Workload,
    everyone: Workload,
    keys: Workload,
}

impl Upstreams {
    fn start(issuer: &Issuer, delay: Duration) -> Self {
        let set = format!(r#"{{"keys":[{}]}}"#, issuer.key());
        Self {
            premium: Workload::start("premium").unwrap(),
            everyone: Workload::start("everyone").unwrap(),
            keys: Workload::serving_slowly("application/json", &set, delay).unwrap(),
        }
    }

    fn envoy(&self, installed: &Installed, workers: u32) -> Envoy {
        let config = json!({
            "source": "builtin",
            "issuers": [{"issuer": ISSUER, "audiences": ["inference"], "cluster": "idp",
                "jwks_uri": format!("{ISSUER}/keys")}],
            "map": [{"claim": ["user_type"], "header": "x-user-class", "type": "string"}],
        });
        let listeners = HOSTS.map(|(name, column)| {
            Listener::new(name).routes(ROUTES).ours("claim_headers", column, &config.to_string())
        });
        let clusters = [("premium", &self.premium), ("everyone", &self.everyone), ("idp", &self.keys)];
        let clusters = clusters.map(|(name, server)| {
            let port = server.port();
            format!(
                r#"
  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]"#
            )
        });
        let options = Options { concurrency: workers, ..Options::default() };
        Envoy::start(&installed.path, &gateway_to(&listeners, &clusters.concat()), &options).unwrap()
    }
}

/// The token of another premium user.
fn user(issuer: &Issuer, number: u64) -> String {
    issuer.sign(HEADER, &payload(r#""premium""#).replace(r#""u""#, &format!("\"u{number}\"")))
}

fn ask(address: SocketAddr, token: &str) -> String {
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    who(&send(Protocol::Http1, address, &request).unwrap().complete().unwrap())
}

/// Sixteen workers that have just started, keys that take 0.3 seconds, and premium users from the first moment on.
pub(crate) fn cold_start(installed: &Installed) {
    let issuer = Issuer::new(1);
    let upstreams = Upstreams::start(&issuer, Duration::from_millis(300));
    let envoy = upstreams.envoy(installed, 16);
    for (host, _) in HOSTS {
        let address = envoy.address(host).unwrap();
        // Each connection is some worker's.
        let answers: Vec<String> = std::thread::scope(|scope| {
            let users: Vec<_> = (0..48)
                .map(|number| {
                    let token = user(&issuer, number);
                    scope.spawn(move || ask(address, &token))
                })
                .collect();
            users.into_iter().map(|user| user.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|who| who == "premium" || who == "503"), "{host}: {answers:?}");
        let served = answers.iter().filter(|who| *who == "premium").count();
        assert!(served * 2 > answers.len(), "{host}: only {served} were served: {answers:?}");
    }
    assert_eq!(upstreams.everyone.requests(), [], "a valid token passed as none");
    // Every VM has fetched its keys, and the native module once: nobody waited for another's turn.
    let fetches = upstreams.keys.requests().len();
    assert!((2..=20).contains(&fetches), "{fetches} fetches");
    for (host, _) in HOSTS {
        let address = envoy.address(host).unwrap();
        for number in 0..32 {
            assert_eq!(ask(address, &user(&issuer, number)), "premium", "{host}");
        }
    }
}

/// A thousand forged tokens, again and again as fast as they are answered, beside fifty new users a second.
pub(crate) fn flood(installed: &Installed) {
    const SECONDS: u64 = 3;
    let issuer = Issuer::new(1);
    let upstreams = Upstreams::start(&issuer, Duration::ZERO);
    let envoy = upstreams.envoy(installed, 2);
    let forged: Vec<String> = (0..1000u64)
        .map(|number| {
            let token = user(&issuer, number);
            let (text, _) = token.rsplit_once('.').unwrap();
            let signature = [&[7; 56][..], &number.to_be_bytes()].concat();
            format!("{text}.{}", encode(signature))
        })
        .collect();
    for (host, _) in HOSTS {
        let address = envoy.address(host).unwrap();
        // The keys are there.
        assert_eq!(ask(address, &user(&issuer, 1_000_000)), "premium", "{host}");
        let (over, replays, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (over, replays, refused, forged) = (&over, &replays, &refused, &forged);
        let upstreams = &upstreams;
        std::thread::scope(|scope| {
            for part in 0..4 {
                scope.spawn(move || {
                    for token in forged.iter().cycle().skip(part * 250) {
                        if over.load(Relaxed) {
                            return;
                        }
                        match ask(address, token).as_str() {
                            "everyone" => replays.fetch_add(1, Relaxed),
                            "503" => refused.fetch_add(1, Relaxed),
                            other => panic!("{host}: a forged token is {other}"),
                        };
                    }
                });
            }
            let issuer = Issuer::new(1);
            let (began, mut number) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(SECONDS) {
                number += 1;
                let answered = ask(address, &user(&issuer, 10_000 + number));
                assert_eq!(answered, "premium", "{host}: user {number}");
                let next = Duration::from_millis(20 * number);
                std::thread::sleep(next.saturating_sub(began.elapsed()));
            }
            over.store(true, Relaxed);
        });
        let (replays, refused) = (replays.load(Relaxed), refused.load(Relaxed));
        assert!(replays > 500, "{host}: {replays} replays");
        assert_eq!(refused, 0, "{host}: {replays} replays");
        let seen = upstreams.everyone.requests();
        assert!(seen.iter().all(|seen| seen.all("x-user-class").is_empty()), "{host}");
        upstreams.everyone.forget();
    }
}
