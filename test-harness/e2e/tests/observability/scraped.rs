//! Prometheus with `observability/prometheus.yaml`, and what it makes of rules and queries while Envoys serve.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Envoy, Process, Protocol, Request, free_ports, groups, send, start_shipped};
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
    let server = groups::start_on(groups::NAMES[0], (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let envoys: Vec<Envoy> =
        BOOTSTRAPS.iter().map(|name| start_shipped(envoy, name, &[server.address()]).unwrap()).collect();
    let mut prometheus = Prometheus::start(programs, &envoys);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for envoy in &envoys[..2] {
            scope.spawn(|| load(envoy, &ended));
        }
        // Also after a panic, or the scope would wait for ever.
        let _end = Ends(&ended);
        // Both hosts, under one name.
        for hosts in [
            "count(rate(kserve_transcoder_transcoded[10s]) > 0)",
            "count(rate(kserve_transcoder_refused[10s]) > 0)",
        ] {
            prometheus.wait(hosts, |answer| value_of(answer) == Some("2"));
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

/// Sets a flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests that a model server answers, and requests that the filter refuses, until the flag is set.
fn load(envoy: &Envoy, ended: &AtomicBool) {
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.5]}]}"#;
    let address = *envoy.listeners().values().next().unwrap();
    while !ended.load(Ordering::Relaxed) {
        for (body, status) in [(body, 200), ("{}", 400)] {
            let answer = send(Protocol::Http1, address, &Request::post("/v2/models/m/infer", body)).unwrap();
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
