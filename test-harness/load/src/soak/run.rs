//! One host: its Envoy, its clients, and what must hold in the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Envoy, Listener, Options, Protocol, gateway};
use testkit::Column;

use crate::Result;
use crate::client::{Client, MAX_REQUEST_BYTES, Outcome, Requests};
use crate::kind::KINDS;
use crate::memory::{EVERY, Memory};
use crate::plan::Plan;
use crate::server;

/// Worker threads.
pub(crate) const WORKERS: u32 = 2;
/// What all exchanges of a VM may hold: just more than all clients' largest requests, so that what is not given back
/// soon shows as requests that are refused.
const BUDGET_BYTES: usize = 48 << 20;
/// How long Envoy may take to end what clients have left.
const CLEAR_WITHIN: Duration = Duration::from_secs(30);
/// How many requests memory needs to be warm after a fifth of them.
const MEMORY_NEEDS: u64 = 20_000;
/// How many failures are told in full.
const SHOWN: usize = 20;

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) column: Column,
    pub(crate) version: String,
    pub(crate) elapsed: Duration,
    pub(crate) kinds: Vec<Tally>,
    pub(crate) memory: Memory,
    /// Of the filter and of Envoy, as `name`, found and wanted.
    pub(crate) checks: Vec<(String, String, String)>,
    /// Why it did not go well.
    pub(crate) failures: Vec<String>,
}

/// What the requests of one kind came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) told: u64,
    pub(crate) cut: u64,
    pub(crate) left: u64,
    pub(crate) wrong: u64,
    pub(crate) longest: Duration,
}

impl Tally {
    pub(crate) fn all(&self) -> u64 {
        self.told + self.cut + self.left + self.wrong
    }

    fn add(&mut self, more: &Self) {
        self.told += more.told;
        self.cut += more.cut;
        self.left += more.left;
        self.wrong += more.wrong;
        self.longest = self.longest.max(more.longest);
    }
}

/// Soaks one host.
pub(crate) fn column(column: Column, plan: &Plan) -> Result<Ran> {
    let server = server::start()?;
    let bootstrap = gateway(&[listener(column)], server.address());
    let options = Options { concurrency: WORKERS, log_level: "error".into(), ..Options::default() };
    let mut envoy = Envoy::start(&plan.envoy, &bootstrap, &options)?;
    let vms_before = vms(&envoy)?;

    let start = Instant::now();
    let (kinds, mut failures, samples) = load(column, plan, &mut envoy)?;
    let elapsed = start.elapsed();

    let mut checks = Vec::new();
    let mut check = |name: &str, found: String, wanted: String, holds: bool| {
        if !holds {
            failures.push(format!("{name}: {found}, not {wanted}"));
        }
        checks.push((name.to_owned(), found, wanted));
    };
    for gauge in active(column) {
        let found = match envoy.wait_for_stat(&gauge, CLEAR_WITHIN, |value| value == 0) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        let holds = found == "0";
        check(&gauge, found, "0".into(), holds);
    }
    let vms_after = vms(&envoy)?;
    let holds = vms_after == vms_before;
    check("VMs, made and alive", format!("{vms_after:?}"), format!("{vms_before:?}"), holds);
    for (name, least, most) in wanted_counts(column, &kinds) {
        let found: u64 = envoy.stats(&format!("kserve_transcoder\\.{name}$"))?.values().sum();
        check(name, found.to_string(), format!("{least} to {most}"), (least..=most).contains(&found));
    }
    let memory = Memory::of(&samples);
    if plan.requests >= MEMORY_NEEDS {
        let (late, tolerated) = (memory.late >> 20, memory.tolerated() >> 20);
        check("resident memory, MiB", late.to_string(), format!("at most {tolerated}"), memory.is_flat());
    }
    if let Some(status) = envoy.process().exited() {
        failures.push(format!("Envoy has ended: {status}"));
    }
    let version = envoy.get("/server_info")?;
    let version = version.split('"').find(|part| part.contains("/RELEASE/")).unwrap_or("?").to_owned();
    Ok(Ran { column, version, elapsed, kinds, memory, checks, failures })
}

fn listener(column: Column) -> Listener {
    let config = format!(
        r#"{{"max_request_bytes": {MAX_REQUEST_BYTES}, "memory_budget_bytes": {BUDGET_BYTES}, "hold_response_headers": {}}}"#,
        column != Column::Wasm
    );
    let to = |what: &str, cluster: &str, timeout: &str| {
        let header = format!("headers: [{{ name: x-case, string_match: {{ exact: {what} }} }}]");
        format!(
            r#"{{ match: {{ prefix: "/", {header} }}, route: {{ cluster: {cluster}, timeout: {timeout} }} }}"#
        )
    };
    // A server that hangs up takes all streams of its connection with it.
    let routes = format!(
        r#"[{}, {}, {{ match: {{ prefix: "/" }}, route: {{ cluster: model-server, timeout: 20s }} }}]"#,
        to("never", "model-server", "0.3s"),
        to("hang-up", "model-server-alone", "20s"),
    );
    Listener::new(column.name()).transcoder(column, &config).routes(&routes)
}

/// Has the clients send everything, while memory is watched.
fn load(column: Column, plan: &Plan, envoy: &mut Envoy) -> Result<(Vec<Tally>, Vec<String>, Vec<u64>)> {
    let address = envoy.address(column.name())?;
    let requests = &Requests::new();
    let sent = &AtomicU64::new(0);
    let ended = &AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| {
                let protocol = Protocol::BOTH[usize::from(number % 2 == 1)];
                let client = Client::new(column, protocol, address, requests, plan.seed * 1000 + number);
                scope.spawn(move || serve(client, plan.requests, sent))
            })
            .collect();
        let memory = scope.spawn(move || {
            let mut samples = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                samples.extend(envoy.process().memory().map(|memory| memory.resident));
                thread::sleep(EVERY);
            }
            samples
        });
        let (mut kinds, mut failures) = (vec![Tally::default(); KINDS.len()], Vec::new());
        for client in clients {
            let Ok((tallies, why)) = client.join() else {
                failures.push("a client panicked".to_owned());
                continue;
            };
            kinds.iter_mut().zip(&tallies).for_each(|(sum, tally)| sum.add(tally));
            failures.extend(why);
        }
        ended.store(true, Ordering::Relaxed);
        let samples = memory.join().map_err(|_| "the watch over memory panicked")?;
        let more = failures.len().saturating_sub(SHOWN);
        failures.truncate(SHOWN);
        if more > 0 {
            failures.push(format!("and {more} more"));
        }
        Ok((kinds, failures, samples))
    })
}

fn serve(mut client: Client<'_>, requests: u64, sent: &AtomicU64) -> (Vec<Tally>, Vec<String>) {
    let (mut tallies, mut failures) = (vec![Tally::default(); KINDS.len()], Vec::new());
    while sent.fetch_add(1, Ordering::Relaxed) < requests {
        let (kind, outcome, took) = client.turn();
        let tally: &mut Tally = &mut tallies[kind];
        tally.longest = tally.longest.max(took);
        match outcome {
            Outcome::Told => tally.told += 1,
            Outcome::Cut => tally.cut += 1,
            Outcome::Left => tally.left += 1,
            Outcome::Wrong(why) => {
                tally.wrong += 1;
                failures.push(format!("{}: {why}", KINDS[kind].name));
            }
        }
    }
    (tallies, failures)
}

/// Gauges that are 0 when nothing is under way.
fn active(column: Column) -> Vec<String> {
    let mut gauges = vec![format!("http.{}.downstream_rq_active", column.name())];
    gauges.extend(
        ["model-server", "model-server-alone"].map(|name| format!("cluster.{name}.upstream_rq_active")),
    );
    gauges
}

/// How many VMs were made, and are alive; none natively.
fn vms(envoy: &Envoy) -> Result<Vec<u64>> {
    Ok(envoy.stats("^wasm\\.envoy\\.wasm\\.runtime\\.v8\\.")?.into_values().collect())
}

/// What the filter must have counted: at least and at most.
fn wanted_counts(column: Column, kinds: &[Tally]) -> [(&'static str, u64, u64); 3] {
    let (mut transcoded, mut refused, mut under_200) = ((0, 0), 0, 0);
    for (kind, tally) in KINDS.iter().zip(kinds) {
        let counts = kind.counts;
        // A hostile client that left got nothing, nor did one that left its request; one that left the answer had
        // its request transcoded.
        let answered = tally.told + tally.cut + if counts.refused == 0 { tally.left } else { 0 };
        transcoded.0 += answered * counts.transcoded.0;
        transcoded.1 += answered * counts.transcoded.1;
        refused += answered * counts.refused;
        under_200 += answered * u64::from(counts.under_200 && column == Column::Wasm);
    }
    // What went wrong may have been counted, or not.
    let wrong: u64 = kinds.iter().map(|tally| tally.wrong).sum();
    [
        ("transcoded", transcoded.0, transcoded.1 + wrong),
        ("refused", refused, refused + wrong),
        ("errors_under_200", under_200, under_200 + wrong),
    ]
}
