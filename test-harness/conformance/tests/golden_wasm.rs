//! Every golden case and every capture in wasm on the emulator: both wasm columns, every chunking, the modules that
//! ship.
//!
//! A filter's module is `$KSERVE_TRANSCODER_WASM` and so on, or `dist/kserve_transcoder.wasm`; without it the filter's
//! tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use libtest_mimic::{Arguments, Trial};
use proxy_wasm_emulator::{
    Delivered, Engine, HeaderMap, HttpResponse, Plugin, PluginOptions, Stream, StreamOptions, Vm, VmOptions,
};
use scenario::{Case, Chunking, Column, Got, Headers, Outcome, Pairs, Seen, load_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const CLUSTER: &str = "model-server";

/// As small as buffer limits sensibly are: what a filter holds must fit.
const BUFFER_LIMIT: usize = 32 * 1024;

/// The filters that have cases, and how many runs of them there are at least in a column.
const FILTERS: [(&str, usize); 3] =
    [("kserve_transcoder", 100), ("dynamic_subset", 30), ("claim_headers", 20)];

/// The filter that the captures are for.
const CAPTURED: &str = "kserve_transcoder";

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (filter, least) in FILTERS {
        let module = std::env::var_os(format!("{}_WASM", filter.to_ascii_uppercase())).map(PathBuf::from);
        let module = module.unwrap_or_else(|| repository().join(format!("dist/{filter}.wasm")));
        let ignored = !module.exists();
        for column in [Column::Wasm, Column::WasmHold] {
            let module = module.clone();
            let name = format!("golden_cases_hold_on_the_emulator::{filter}::{}", column.name());
            let cases_module = module.clone();
            let run = move || run_cases(filter, &cases_module, column, least).map_err(Into::into);
            trials.push(Trial::test(name, run).with_ignored_flag(ignored));
            if filter == CAPTURED {
                let name = format!("captures_hold_on_the_emulator::{filter}::{}", column.name());
                let run = move || run_captures(&module, column).map_err(Into::into);
                trials.push(Trial::test(name, run).with_ignored_flag(ignored));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run_cases(filter: &str, module: &Path, column: Column, least: usize) -> Result<(), String> {
    let mut cases = load_dir(&repository().join("test-harness/cases")).map_err(|error| error.to_string())?;
    if let Some(case) = cases.iter().find(|case| FILTERS.iter().all(|(known, _)| *known != case.filter)) {
        return Err(format!("{}: nothing runs the cases of {}", case.name, case.filter));
    }
    cases.retain(|case| case.filter == filter && case.columns.contains(&column));
    run(module, column, least, &cases, |index, outcome| cases[index].check(column, outcome))
}

fn run_captures(module: &Path, column: Column) -> Result<(), String> {
    let captures = captures::all()?;
    let cases = captures.iter().map(captures::Capture::case).collect::<Result<Vec<_>, _>>()?;
    run(module, column, 300, &cases, |index, outcome| captures[index].check(column, outcome))
}

/// Runs cases, of which there must be at least so many runs, and has the outcome of each, by its index, checked.
fn run(
    module: &Path,
    column: Column,
    least: usize,
    cases: &[Case],
    check: impl Fn(usize, &Outcome) -> Result<(), String>,
) -> Result<(), String> {
    let options = VmOptions { clusters: [CLUSTER.to_owned()].into(), ..VmOptions::default() };
    let wasm = std::fs::read(module).map_err(|error| error.to_string())?;
    let vm = Vm::new(&Engine::new(), &wasm, options).map_err(|error| error.to_string())?;
    let other = cases.iter().all(|case| case.filter == HOLDING).then(|| endless_request(&vm)).transpose()?;
    let mut plugins = BTreeMap::new();
    let (mut runs, mut failures) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        let config = case.config_in(column);
        let plugin = match plugins.get(&config) {
            Some(plugin) => plugin,
            None => {
                let options = PluginOptions {
                    name: format!("golden-{}", plugins.len()),
                    root_id: format!("golden-{}", plugins.len()),
                    configuration: config.clone().into_bytes(),
                    allow_on_headers_stop_iteration: column == Column::WasmHold,
                    ..PluginOptions::default()
                };
                let plugin = vm.plugin(options).map_err(|error| error.to_string())?;
                plugins.entry(config.clone()).or_insert(plugin)
            }
        };
        for chunking in Chunking::ALL {
            runs += 1;
            if let Err(difference) = check(index, &exchange(&vm, plugin, case, chunking)) {
                failures.push(format!("{} ({chunking:?}): {difference}", case.name));
            }
        }
    }
    if other.is_some_and(|(_, stream)| stream.is_over() || stream.upstream().headers.is_some()) {
        failures.push("the request that holds memory beside the cases does not hold it".into());
    }
    if let Some(failure) = vm.failure() {
        failures.push(format!("the VM died: {failure}"));
    }
    failures.extend(vm.hazards().iter().map(|hazard| format!("hazard: {hazard}")));
    match (failures.is_empty(), runs) {
        (true, runs) if runs >= least => Ok(()),
        (true, _) => Err(format!("only {runs} runs: were cases lost?")),
        (false, _) => Err(format!("{} of {runs} runs failed:\n{}", failures.len(), failures.join("\n"))),
    }
}

/// The filter that keeps requests back while it reads them.
const HOLDING: &str = "dynamic_subset";

/// A request that never ends, beside which the cases run.
fn endless_request(vm: &Vm) -> Result<(Plugin, Stream), String> {
    let config = r#"{"rules": [{"model": ["*"], "key": "model"}], "max_held_bytes": 65536, "hold_request_headers": true}"#;
    let options = PluginOptions {
        name: "beside".into(),
        root_id: "beside".into(),
        configuration: config.into(),
        allow_on_headers_stop_iteration: true,
        ..PluginOptions::default()
    };
    let plugin = vm.plugin(options).map_err(|error| error.to_string())?;
    let stream = plugin.open(StreamOptions::default().buffer_limits(BUFFER_LIMIT));
    let (head, body) = conformance::endless_request();
    stream.request_headers(head, false);
    stream.request_data(&body, false);
    Ok((plugin, stream))
}

fn exchange(vm: &Vm, plugin: &Plugin, case: &Case, chunking: Chunking) -> Outcome {
    let options = StreamOptions::default().property("xds.cluster_name", CLUSTER).buffer_limits(BUFFER_LIMIT);
    let stream = plugin.open(options);
    send_request(&stream, case, chunking);
    let mut seen = None;
    if let Some(call) = stream.calls().into_iter().next() {
        seen = Some(Seen { headers: headers(&call.headers), body: call.body.clone(), ..Seen::default() });
        vm.answer_call(call.token, answer_to_call(case));
    } else if stream.upstream().headers.is_some() {
        // A server that is asked in full answers; one that is cut off in the middle does not.
        if stream.upstream().ended {
            send_answer(&stream, case, chunking);
        }
        let upstream = stream.upstream();
        let subset =
            Some(stream.filter_state("dynamic_subset").map_or_else(Vec::new, |text| Seen::pairs(&text)));
        seen = upstream.headers.as_ref().map(|map| Seen {
            headers: headers(map),
            body: upstream.body(),
            subset,
            trailers: upstream.trailers.as_ref().map(headers).unwrap_or_default(),
        });
    }
    Outcome { seen, got: got(&stream.downstream()) }
}

fn send_request(stream: &Stream, case: &Case, chunking: Chunking) {
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
    if !request.trailers.is_empty() && !stream.is_over() {
        stream.request_trailers(trailers(&request.trailers));
    }
}

fn send_answer(stream: &Stream, case: &Case, chunking: Chunking) {
    let Some(answer) = &case.answer else { return };
    let data = case.answer_data().unwrap();
    let mut map = HeaderMap::from([(":status", answer.http_status.to_string())]);
    add(&mut map, &answer.headers);
    let chunks = chunking.cut(&data);
    let ending = answer.trailers();
    stream.response_headers(map, chunks.is_empty() && ending.is_none());
    for (index, chunk) in chunks.iter().enumerate() {
        if stream.is_over() {
            return;
        }
        stream.response_data(chunk, index + 1 == chunks.len() && ending.is_none());
    }
    if let Some(pairs) = ending.filter(|_| !stream.is_over()) {
        stream.response_trailers(trailers(&pairs));
    }
}

fn answer_to_call(case: &Case) -> HttpResponse {
    let Some(answer) = &case.answer else { return HttpResponse::new(500, "the case has no answer") };
    let mut response = HttpResponse::new(answer.http_status, case.answer_data().unwrap());
    add(&mut response.headers, &answer.headers);
    response.trailers = answer.trailers().map(|pairs| trailers(&pairs));
    response
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
