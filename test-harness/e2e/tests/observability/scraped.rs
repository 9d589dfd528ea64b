//! Prometheus with `observability/prometheus.yaml`, and what it makes of rules and queries while Envoys serve.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Envoy, Options, Process, Protocol, Request, free_ports, send, shipped_on, start_shipped};
use odd_server::{OddServer, Script, Step, infer, wire};
use serde_json::Value;

use crate::documents::{names, queries, rules};
use crate::folder;

/// The bootstraps that are scraped: every filter, and the transcoder on both hosts.
const BOOTSTRAPS: [&str; 5] = [
    "kserve-transcoder.yaml",
    "kserve-transcoder.native.yaml",
    "dynamic-subset.yaml",
    "claim-headers.yaml",
    "runtime-group.yaml",
];
const BOUND: Duration = Duration::from_secs(60);

pub(crate) fn queried(envoy: &Path, programs: &Path) {
    let server = model_server();
    let mut envoys: Vec<Envoy> =
        BOOTSTRAPS.iter().map(|name| start_shipped(envoy, name, &[server.address()]).unwrap()).collect();
    envoys.push(without_tags(envoy, server.address().port()));
    let mut prometheus = Prometheus::start(programs, &envoys);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for envoy in [&envoys[0], &envoys[1], &envoys[BOOTSTRAPS.len()]] {
            scope.spawn(|| load(envoy, &ended));
        }
        // Also after a panic, or the scope would wait for ever.
        let _end = Ends(&ended);
        // Both hosts, and the one whose labels Prometheus takes out of the name, under one name.
        for hosts in [
            "count(rate(kserve_transcoder_transcoded[10s]) > 0)",
            "count(rate(kserve_transcoder_refused[10s]) > 0)",
            r#"count(rate(kserve_transcoder_model_requests{model="m",version="any",grpc_status="0"}[10s]) > 0)"#,
            r#"count(rate(kserve_transcoder_model_requests{model="other",grpc_status="5"}[10s]) > 0)"#,
            r#"count(rate(kserve_transcoder_model_elements{model="m",version="any",le=""}[10s]) > 0)"#,
            r#"count(rate(kserve_transcoder_model_last_byte_ms_bucket{model="m",version="any",le="+Inf"}[10s]) > 0)"#,
        ] {
            prometheus.wait(hosts, |answer| value_of(answer) == Some("3"));
        }
        for query in queries() {
            // A rate needs two scrapes.
            prometheus.wait(&query, |answer| value_of(answer).is_some());
        }
        let read: BTreeSet<String> =
            rules().iter().flat_map(|rule| names(rule["expr"].as_str().unwrap())).collect();
        for name in read {
            prometheus.wait(&format!("count({name})"), |answer| value_of(answer).is_some());
        }
        prometheus.rules_are_healthy(rules().len());
    });
}

/// A model that the server does not have.
const MISSING: &str = "missing";

/// Gives inputs back, but for one model.
fn model_server() -> OddServer {
    let server = OddServer::start_on((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    server.compute_default(|request| {
        let message = request.messages().unwrap()[0].bytes.clone();
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut headers = vec![header("content-type", "application/grpc")];
        let script = Script::after_request();
        if message.windows(MISSING.len()).any(|window| window == MISSING.as_bytes()) {
            headers.extend([header("grpc-status", "5"), header("grpc-message", "unknown model")]);
            return script.then(Step::Headers { status: 200, headers, end: true });
        }
        let message = infer::echo(&message).unwrap();
        script
            .then(Step::Headers { status: 200, headers, end: false })
            .data(wire::frame(&message))
            .grpc_trailers(0, "")
    });
    server
}

/// The wasm form whose bootstrap does not say how to take labels out of names.
fn without_tags(envoy: &Path, model_server: u16) -> Envoy {
    let text = shipped_on("kserve-transcoder.yaml", &[(8080, 0), (8081, model_server)]).unwrap();
    let (before, rest) = text.split_once("stats_config:").unwrap();
    let (_, after) = rest.split_once("\nstatic_resources:").unwrap();
    Envoy::start(envoy, &format!("{before}\nstatic_resources:{after}"), &Options::default()).unwrap()
}

/// Sets a flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests that a model server answers, with success and otherwise, and requests that the filter refuses, until the flag
/// is set.
fn load(envoy: &Envoy, ended: &AtomicBool) {
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.5]}]}"#;
    let address = *envoy.listeners().values().next().unwrap();
    while !ended.load(Ordering::Relaxed) {
        for (model, body, status) in [("m", body, 200), ("m", "{}", 400), (MISSING, body, 404)] {
            let request = Request::post(&format!("/v2/models/{model}/infer"), body);
            let answer = send(Protocol::Http1, address, &request).unwrap();
            assert_eq!(answer.status(), status, "{}", answer.text());
        }
    }
}

struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    /// With the shipped configuration, but for where and how often it scrapes.
    fn start(programs: &Path, envoys: &[Envoy]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let targets: Vec<String> = envoys.iter().map(|envoy| format!("\"{}\"", envoy.admin())).collect();
        let rules = format!("rule_files: [\"{}\"]", folder().join("rules.yaml").display());
        let mut text = fs::read_to_string(folder().join("prometheus.yaml")).unwrap();
        for (shipped, here) in [
            ("\"127.0.0.1:9901\"", targets.join(", ")),
            ("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s".to_owned()),
            ("rule_files: [rules.yaml]", rules),
        ] {
            assert!(text.contains(shipped), "{shipped}");
            text = text.replace(shipped, &here);
        }
        let config = directory.path().join("prometheus.yaml");
        fs::write(&config, text).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1).unwrap()[0]));
        let mut command = Command::new(programs.join("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("prometheus", command, directory).unwrap();
        let ready = |_: &Process| {
            let answer = send(Protocol::Http1, address, &Request::get("/-/ready")).ok()?;
            (answer.status() == 200).then_some(())
        };
        process.wait("not ready", BOUND, ready).unwrap();
        Self { process, address }
    }

    fn get(&self, path: &str) -> Value {
        send(Protocol::Http1, self.address, &Request::get(path)).unwrap().json().unwrap()
    }

    /// The samples that a query has now.
    fn query(&self, query: &str) -> Value {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].clone()
    }

    fn wait(&mut self, query: &str, until: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + BOUND;
        loop {
            let answer = self.query(query);
            if until(&answer) {
                return;
            }
            assert!(Instant::now() < deadline, "{query}: {answer}\n{}", self.process.last_lines());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until each rule has been evaluated, without an error.
    fn rules_are_healthy(&self, count: usize) {
        let deadline = Instant::now() + BOUND;
        loop {
            let answer = self.get("/api/v1/rules");
            let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
            if rules.len() == count && rules.iter().all(|rule| rule["health"] == "ok") {
                return;
            }
            assert!(Instant::now() < deadline, "{answer}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The value of a query's first sample.
fn value_of(answer: &Value) -> Option<&str> {
    answer[0]["value"][1].as_str()
}
