//! Every golden case and every capture in the dynamic module that ships, played by `conformance::native`, under every
//! chunking.
//!
//! The module is `$INFERENCE_FILTERS_SO`, or `dist/libinference_filters.so`; without it the test is ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::native::{Module, Plugin, Stream, StreamOptions};
use libtest_mimic::{Arguments, Trial};
use proxy_wasm_emulator::{Delivered, HeaderMap};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use testkit::{Case, Chunking, Column, Got, Headers, Outcome, Pairs, Seen, captures, load_dir};

type Run = fn(&Path) -> Result<(), String>;

fn main() -> ExitCode {
    let module = std::env::var_os("INFERENCE_FILTERS_SO").map(PathBuf::from);
    let module = module.unwrap_or_else(|| repository().join("dist/libinference_filters.so"));
    let ignored = !module.exists();
    let runs: [(&str, Run); 2] = [
        ("golden_cases_hold_in_the_dynamic_module", run_cases),
        ("captures_hold_in_the_dynamic_module", run_captures),
    ];
    let trials = runs.map(|(name, run)| {
        let module = module.clone();
        Trial::test(name, move || run(&module).map_err(Into::into)).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn run_cases(module: &Path) -> Result<(), String> {
    let mut cases = load_dir(&repository().join("test-harness/cases")).map_err(|error| error.to_string())?;
    cases.retain(|case| case.columns.contains(&Column::Native));
    run(module, &cases, |index, outcome| cases[index].check(Column::Native, outcome))
}

fn run_captures(module: &Path) -> Result<(), String> {
    let captures = captures::all()?;
    let cases = captures.iter().map(captures::Capture::case).collect::<Result<Vec<_>, _>>()?;
    run(module, &cases, |index, outcome| captures[index].check(Column::Native, outcome))
}

/// Runs cases, and has the outcome of each, by its index, checked.
fn run(
    module: &Path,
    cases: &[Case],
    check: impl Fn(usize, &Outcome) -> Result<(), String>,
) -> Result<(), String> {
    let module = Module::load(module).map_err(|error| error.log.join("\n"))?;
    let endless =
        module.plugin("dynamic_subset", ENDLESS.as_bytes()).map_err(|error| error.log.join("\n"))?;
    let other = endless_request(&endless);
    let mut plugins = BTreeMap::new();
    let (mut runs, mut failures) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        let config = case.config_in(Column::Native);
        let key = (case.filter.clone(), config);
        if !plugins.contains_key(&key) {
            let plugin = module.plugin(&key.0, key.1.as_bytes());
            plugins.insert(key.clone(), plugin.map_err(|error| error.log.join("\n"))?);
        }
        for chunking in Chunking::ALL {
            runs += 1;
            let outcome = exchange(&plugins[&key], case, chunking);
            if let Err(difference) = check(index, &outcome) {
                failures.push(format!("{} ({chunking:?}): {difference}", case.name));
            }
        }
    }
    if other.is_over() || other.upstream().headers.is_some() {
        failures.push("the request that holds memory beside the cases does not hold it".into());
    }
    match (failures.is_empty(), runs) {
        (true, 100..) => Ok(()),
        (true, _) => Err(format!("only {runs} runs: were cases lost?")),
        (false, _) => Err(format!("{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"))),
    }
}

const ENDLESS: &str = r#"{"rules": [{"model": ["*"], "key": "model"}], "max_held_bytes": 65536}"#;

/// A request that never ends, beside which the cases run.
fn endless_request(plugin: &Plugin) -> Stream<'_> {
    let stream = plugin.open(StreamOptions::default());
    let (head, body) = conformance::endless_request();
    stream.request_headers(head, false);
    stream.request_data(&body, false);
    stream
}

fn exchange(plugin: &Plugin, case: &Case, chunking: Chunking) -> Outcome {
    let cluster = ("xds.cluster_name".to_owned(), b"model-server".to_vec());
    let stream = plugin.open(StreamOptions { properties: [cluster].into(), ..StreamOptions::default() });
    send_request(&stream, case, chunking);
    // A server that is asked in full answers; one that is cut off in the middle does not.
    if stream.upstream().ended && !stream.is_over() {
        send_answer(&stream, case, chunking);
    }
    let upstream = stream.upstream();
    let subset = Some(stream.lb_metadata().into_iter().collect());
    let trailers = upstream.trailers.as_ref().map(headers).unwrap_or_default();
    let seen = upstream.headers.as_ref().map(|map| Seen {
        headers: headers(map),
        body: upstream.body(),
        subset,
        trailers,
    });
    Outcome { seen, got: got(&stream.downstream()) }
}

fn send_request(stream: &Stream<'_>, case: &Case, chunking: Chunking) {
    let request = &case.request;
    let body = request.body.bytes().unwrap();
    let mut map = HeaderMap::from([
        (":method", request.method.as_str()),
        (":path", &request.path),
        (":scheme", "http"),
        (":authority", "gateway.test"),
    ]);
    add(&mut map, &request.headers);
    if !body.is_empty() && request.trailers.is_empty() {
        map.add("content-length", body.len().to_string());
    }
    let chunks = chunking.cut(&body);
    stream.request_headers(map, chunks.is_empty() && request.trailers.is_empty());
    for (index, chunk) in chunks.iter().enumerate() {
        stream.request_data(chunk, index + 1 == chunks.len() && request.trailers.is_empty());
    }
    if !request.trailers.is_empty() {
        stream.request_trailers(trailers(&request.trailers));
    }
}

fn send_answer(stream: &Stream<'_>, case: &Case, chunking: Chunking) {
    let Some(answer) = &case.answer else { return };
    let data = case.answer_data().unwrap();
    let mut map = HeaderMap::from([(":status", answer.http_status.to_string())]);
    add(&mut map, &answer.headers);
    let chunks = chunking.cut(&data);
    let ending = answer.trailers();
    let end = ending.is_none() && !answer.reset;
    stream.response_headers(map, chunks.is_empty() && end);
    for (index, chunk) in chunks.iter().enumerate() {
        stream.response_data(chunk, index + 1 == chunks.len() && end);
    }
    match ending {
        _ if answer.reset => stream.upstream_reset(),
        Some(pairs) => stream.response_trailers(trailers(&pairs)),
        None => {}
    }
}

fn got(delivered: &Delivered) -> Got {
    Got {
        status: delivered.status().unwrap_or_default(),
        headers: delivered.headers.as_ref().map(headers).unwrap_or_default(),
        body: delivered.body(),
        trailers: delivered.trailers.as_ref().map(headers).unwrap_or_default(),
        reset: delivered.reset || !delivered.ended,
    }
}

fn headers(map: &HeaderMap) -> Headers {
    map.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn trailers(pairs: &Pairs) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name, value)).collect()
}

fn add(map: &mut HeaderMap, pairs: &Pairs) {
    for (name, value) in pairs {
        map.add(name, value);
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}
