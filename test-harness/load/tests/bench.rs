//! The benchmark itself works: a smoke run measures a row of each kind, with answers checked, in every column.

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::descendants;
use rustix::process::{Pid, Signal, kill_process};

fn main() -> ExitCode {
    e2e::Suite::new()
        .newest_envoy("a_quick_run_measures_a_row_of_each_kind_in_every_column", a_quick_run)
        .newest_envoy("a_benchmark_that_is_ended_leaves_no_envoy_running", is_ended)
        .run()
}

/// How long the machine may take to start two Envoys, or to end them.
const BOUND: Duration = Duration::from_secs(60);

/// All kinds. The other rows differ in their numbers only, and each would start five more Envoys.
const ROWS: [&str; 21] = [
    "tiny",
    "subset",
    "nothing_both",
    "least_tiny",
    "least_subset",
    "least_claims_cached_rs256",
    "claims_metadata",
    "claims_cached_es256",
    "claims_rs256",
    "request_17",
    "response_typed_9",
    "response_binary",
    "request_4mb",
    "response_1mb",
    "idle_100",
    "rules_1000",
    "streams_first",
    "streams_2000",
    "streams_100000_events",
    "descriptors_10",
    "tiny_2_workers",
];

/// The rows whose requests go on as they came, and so have no column `grpc`; nor has one that stands still, or one whose
/// filter is in wasm only.
const PASSED_ON: [&str; 6] = ["subset", "rules_", "claims_", "nothing_", "idle_", "least_"];

/// The tables of rows that grow.
const TABLES: [&str; 6] = [
    "growing requests: ",
    "growing responses: ",
    "requests that stand still ",
    "rules of dynamic-subset: ",
    "rows of a descriptor set: ",
    "workers, tiny: ",
];

fn a_quick_run(envoy: &e2e::Installed) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.arg("--quick").args(ROWS.iter().flat_map(|row| ["--row", row])).env("ENVOY", &envoy.path);
    let output = e2e::output(&mut bench).expect("the benchmark can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);

    let path = stdout.lines().find_map(|line| line.strip_prefix("as JSON: ")).expect("the JSON is named");
    let text = std::fs::read_to_string(path).expect("the JSON can be read");
    let report: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let rows = report["rows"].as_array().expect("it has rows");
    assert_eq!(rows.iter().filter_map(|row| row["row"].as_str()).collect::<Vec<_>>(), ROWS);
    assert!(TABLES.iter().all(|table| stdout.contains(table)), "{stdout}");
    for row in rows {
        let columns = row["columns"].as_array().expect("a row has columns");
        let names: Vec<&str> = columns.iter().filter_map(|column| column["column"].as_str()).collect();
        assert_eq!(names, ["passthrough", "stock", "wasm", "native", "grpc"], "{row}");
        let name = row["row"].as_str().unwrap_or_default();
        for column in columns {
            let unable = match column["column"].as_str() {
                Some("passthrough") => name.starts_with("streams_"),
                Some("stock") => name.ends_with("_binary") || name.starts_with("nothing_"),
                Some("grpc") => PASSED_ON.iter().any(|passed_on| name.starts_with(passed_on)),
                Some("native") if name == "least_tiny" || name.starts_with("least_claims_") => true,
                // Without `cargo xtask test`, which builds them.
                Some("native") => {
                    (name.starts_with("nothing_") || name == "least_subset") && column["unable"].is_string()
                }
                _ => false,
            };
            assert_eq!(column["unable"].is_string(), unable, "{column}");
            if unable {
                continue;
            }
            let number = |key: &str| column[key].as_f64().unwrap_or_default();
            if name.starts_with("idle_") {
                assert!(number("peak_bytes_1") > 0.0, "{column}");
                continue;
            }
            if name.starts_with("streams_") {
                assert!(number("cpu_ms") > 0.0 && number("answer_bytes") > 0.0, "{column}");
                assert_eq!(
                    column["first_event_over_grpc_ms"].is_number(),
                    name == "streams_first",
                    "{column}"
                );
                assert_eq!(column["growth_bytes"].is_number(), name == "streams_100000_events", "{column}");
                continue;
            }
            assert!(number("cpu_ms") > 0.0 && number("latency_ms") > 0.0, "{column}");
            assert_eq!(column["extra_cpu_ms_per_mb"].is_number(), name.ends_with("mb"), "{column}");
            assert!(
                number("cpu_to_stock") > 0.0 || name.ends_with("_binary") || name.starts_with("nothing_"),
                "{column}"
            );
            assert!(number("idle_bytes") > 1e6 && number("answer_bytes") > 0.0, "{column}");
        }
    }
}

fn is_ended(envoy: &e2e::Installed) {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
        bench.args(["--quick", "--row", "tiny"]).env("ENVOY", &envoy.path);
        bench.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        #[allow(clippy::disallowed_methods)]
        // It is to be started by something that does not clean up behind it.
        let mut bench = Stray(bench.spawn().expect("the benchmark can be run"));
        let pid = bench.0.id();
        let mut started = Vec::new();
        within("there are not two Envoys", || {
            started = descendants(pid);
            started.iter().filter(|pid| name(**pid) == "envoy").count() >= 2
        });
        let bench_itself = Pid::from_raw(pid.cast_signed()).expect("it has an id");
        kill_process(bench_itself, signal).expect("it lives");
        bench.0.wait().expect("it can be waited for");
        // An Envoy has no other name at any time, and no id is given to another process so soon.
        within("some Envoys live on", || !started.iter().any(|pid| name(*pid) == "envoy"));
    }
}

/// A program's name; empty if it has ended.
fn name(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (name, rest) = stat.rsplit_once(") ").unwrap_or_default();
    let name = name.split_once('(').map_or("", |(_, name)| name);
    if rest.starts_with('Z') { String::new() } else { name.to_owned() }
}

/// A child that is killed when a test fails.
struct Stray(Child);

impl Drop for Stray {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn within(complaint: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{complaint} after {BOUND:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
