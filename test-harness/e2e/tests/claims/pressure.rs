//! Many workers at once: at cold start behind a slow key endpoint, and under a flood of forged tokens. No valid token
//! is ever taken for none.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::{Envoy, Installed, Listener, Protocol, Request, Workload, base64url, h2c, send};
use odd_server::{Gate, OddServer, Script, Step};
use serde_json::json;
use testkit::Column;

use crate::fetched_keys::{HOSTS, envoy_in_front_of};
use crate::identity::{HEADER, ISSUER, Issuer, payload, who};

const ROUTES: &str = r#"[
  { match: { prefix: "/", headers: [{ name: x-user-class, string_match: { exact: premium } }] }, route: { cluster: premium } },
  { match: { prefix: "/" }, route: { cluster: everyone } }]"#;

const PATIENCE: Duration = Duration::from_secs(20);

/// What stands behind Envoy.
struct Upstreams {
    premium: Workload,
    everyone: Workload,
    /// The keys, which come over HTTP/2, and what else is asked there.
    keys: OddServer,
}

impl Upstreams {
    /// `before`: what the key endpoint does before it answers.
    fn start(issuer: &Issuer, before: Script) -> Self {
        let set = issuer.key_set();
        let answer = Script::plain(200, "application/json", set);
        let steps = before.steps.into_iter().chain(answer.steps).collect();
        let keys = OddServer::start().unwrap();
        keys.script_for_path("/keys", Script { steps });
        keys.default_script(Script::plain(200, "text/plain", "workload premium"));
        Self {
            premium: Workload::start("premium").unwrap(),
            everyone: Workload::start("everyone").unwrap(),
            keys,
        }
    }

    fn envoy(
        &self,
        installed: &Installed,
        listeners: &[(&str, Column)],
        routes: &str,
        workers: u32,
    ) -> Envoy {
        let config = json!({
            "source": "builtin",
            "issuers": [{"issuer": ISSUER, "audiences": ["inference"], "cluster": "idp",
                "jwks_uri": format!("{ISSUER}/keys")}],
            "map": [{"claim": ["user_type"], "header": "x-user-class", "type": "string"}],
        });
        let listener = |(name, column): &(&str, Column)| {
            Listener::new(name).routes(routes).ours("claim_headers", *column, &config.to_string())
        };
        let listeners: Vec<Listener> = listeners.iter().map(listener).collect();
        let ports = [self.premium.port(), self.everyone.port(), self.keys.port()];
        envoy_in_front_of(ports, installed, &listeners, workers)
    }

    fn fetches(&self) -> usize {
        self.keys.requests().iter().filter(|request| request.path == "/keys").count()
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
    let slow = Script::new().then(Step::Pause(Duration::from_millis(300)));
    let upstreams = Upstreams::start(&issuer, slow);
    let envoy = upstreams.envoy(installed, &HOSTS, ROUTES, 16);
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
    // Every VM has fetched its keys, and the native module once: none waited for another.
    let fetches = upstreams.fetches();
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
    let upstreams = Upstreams::start(&issuer, Script::new());
    let envoy = upstreams.envoy(installed, &HOSTS, ROUTES, 2);
    let forged: Vec<String> = (0..1000u64)
        .map(|number| {
            let token = user(&issuer, number);
            let (text, _) = token.rsplit_once('.').unwrap();
            let signature = [&[7; 56][..], &number.to_be_bytes()].concat();
            format!("{text}.{}", base64url(signature))
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

/// Natively all filter chains with the same configuration have one fetch, one memory and one thread.
pub(crate) fn one_instance(installed: &Installed) {
    let issuer = Issuer::new(1);
    let upstreams = Upstreams::start(&issuer, Script::new());
    let listeners = ["one", "two", "three"].map(|name| (name, Column::Native));
    let envoy = upstreams.envoy(installed, &listeners, ROUTES, 2);
    let token = user(&issuer, 1);
    for (name, _) in listeners {
        assert_eq!(ask(envoy.address(name).unwrap(), &token), "premium", "{name}");
    }
    assert_eq!(upstreams.fetches(), 1);
    let stats = envoy.stats("claim_headers").unwrap();
    let sum = |suffix: &str| {
        stats.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, value)| value).sum::<u64>()
    };
    assert_eq!((sum(".verified"), sum(".cache_hits")), (3, 2), "{stats:?}");
}

/// Two requests with trailers: one that waits for keys, whose body and trailers come meanwhile, and one that does not.
/// The trailers of both are cleaned.
pub(crate) fn trailers(installed: &Installed) {
    let issuer = Issuer::new(1);
    for host in [HOSTS[0], ("wasm-hold", Column::WasmHold), HOSTS[1]] {
        let gate = Gate::new();
        let upstreams = Upstreams::start(&issuer, Script::after_request().wait(&gate));
        let routes = r#"[{ match: { prefix: "/" }, route: { cluster: idp } }]"#;
        let envoy = upstreams.envoy(installed, &[host], routes, 1);
        let connection = h2c::Connection::open(envoy.address(host.0).unwrap(), PATIENCE).unwrap();
        let upload = |path: &str| {
            let request = Request::new("POST", path)
                .header("authorization", format!("Bearer {}", user(&issuer, 1)))
                .header("x-user-class", "root");
            let mut stream = connection.begin(&request, false).unwrap();
            stream.data(b"hello", false).unwrap();
            let trailers = [("x-user-class", "root"), ("x_user_class", "root"), ("x-checksum", "1")];
            let trailers = trailers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
            stream.trailers(&trailers.to_vec()).unwrap();
            stream
        };
        let mut waiting = upload("/waiting");
        // The filter has asked for keys, and has them now.
        upstreams.keys.wait_for(1, PATIENCE).unwrap();
        (0..4).for_each(|_| gate.open());
        let answer = waiting.answer();
        assert_eq!(answer.status(), 200, "{}: {} {}", host.0, answer.text(), envoy.log());
        assert_eq!(upload("/at-once").answer().status(), 200, "{}", host.0);
        for path in ["/waiting", "/at-once"] {
            let asked = upstreams.keys.requests();
            let asked = asked.iter().find(|request| request.path == path).unwrap();
            assert_eq!(asked.header("x-user-class"), Some(&b"premium"[..]), "{} {path}", host.0);
            assert_eq!(asked.body, b"hello", "{} {path}", host.0);
            let left = asked.trailers.clone().unwrap_or_default();
            assert_eq!(left, [("x-checksum".to_owned(), b"1".to_vec())], "{} {path}", host.0);
        }
    }
}
