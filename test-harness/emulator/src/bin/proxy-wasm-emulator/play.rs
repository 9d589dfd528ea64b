//! Plays cases: the client, the upstream, and the clusters that the filter calls.

use proxy_wasm_emulator::{
    Delivered, Engine, HeaderMap, HttpResponse, LogLine, Plugin, PluginOptions, Stream, StreamOptions, Vm,
    VmOptions,
};

use crate::Request;
use crate::case::{self, Answer, Case, Pairs};
use crate::check;

/// Bytes at a time: a filter must not depend on how a body is cut.
const CUTS: [(&str, usize); 3] = [("whole", usize::MAX), ("byte by byte", 1), ("in pieces of 7", 7)];

/// Runs all cases and prints how each went. False: one failed, or there was none to run.
pub(crate) fn all(request: &Request) -> Result<bool, String> {
    let wasm = std::fs::read(&request.module).map_err(|e| format!("{}: {e}", request.module.display()))?;
    let engine = Engine::new();
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    for case in case::load(&request.cases)? {
        let other = request.filter.as_ref().zip(case.filter.as_ref()).is_some_and(|(asked, is)| asked != is);
        let named =
            request.names.is_empty() || request.names.iter().any(|name| case.name.contains(name.as_str()));
        if other || !named || !case.runs(request.hold) {
            continue;
        }
        if case.needs_descriptors() {
            println!("left out  {}: a message in protobuf's text format; give message_hex", case.name);
            left_out += 1;
            continue;
        }
        match play(&engine, &wasm, &case, request) {
            Ok(log) => {
                passed += 1;
                println!("ok        {}", case.name);
                if request.log {
                    print_log(&log);
                }
            }
            Err(Failure { why, log }) => {
                failed += 1;
                println!("FAILED    {}: {}\n  {}", case.name, case.story, why.replace('\n', "\n  "));
                print_log(&log);
            }
        }
    }
    println!("{passed} passed, {failed} failed, {left_out} left out");
    Ok(failed == 0 && passed > 0)
}

fn print_log(log: &[LogLine]) {
    for line in log {
        println!("    {:?}: {}", line.level, line.text);
    }
}

/// Why a case failed, and what the filter logged.
struct Failure {
    why: String,
    log: Vec<LogLine>,
}

fn play(engine: &Engine, wasm: &[u8], case: &Case, request: &Request) -> Result<Vec<LogLine>, Failure> {
    let called = case.calls.iter().map(|call| call.cluster.clone());
    let options = VmOptions {
        clusters: request.clusters.iter().cloned().chain(called).collect(),
        version: request.version,
        ..VmOptions::default()
    };
    let loaded = |error: proxy_wasm_emulator::LoadError| Failure { why: error.reason, log: error.log };
    let vm = Vm::new(engine, wasm, options).map_err(loaded)?;
    let plugin = vm.plugin(PluginOptions {
        name: "filter".to_owned(),
        root_id: case.root_id.clone(),
        configuration: case.config.clone().into_bytes(),
        allow_on_headers_stop_iteration: request.hold,
        ..PluginOptions::default()
    });
    let plugin = plugin.map_err(loaded)?;
    for (how, size) in CUTS {
        let result = exchange(&plugin, case, size, request.hold).and_then(|()| sound(&vm));
        result.map_err(|why| {
            let hints: String = vm.hints().iter().map(|hint| format!("\n{hint}")).collect();
            Failure { why: format!("bodies {how}: {why}{hints}"), log: vm.log() }
        })?;
    }
    Ok(vm.log())
}

/// No trap, and nothing that may crash a real Envoy.
fn sound(vm: &Vm) -> Result<(), String> {
    match (vm.failure(), vm.hazards().first()) {
        (Some(trap), _) => Err(format!("the filter trapped: {trap}")),
        (None, Some(hazard)) => Err(format!("undefined in Envoy: {hazard}")),
        (None, None) => Ok(()),
    }
}

fn exchange(plugin: &Plugin, case: &Case, size: usize, hold: bool) -> Result<(), String> {
    let mut options = StreamOptions::default();
    for (path, value) in &case.properties {
        options = options.property(path, value.as_str());
    }
    let stream = plugin.open(options);
    send_request(&stream, case, size)?;
    answer_calls(&stream, case)?;
    let asked = stream.upstream();
    if asked.ended
        && !stream.is_over()
        && let Some(answer) = &case.answer
    {
        send_answer(&stream, answer, size)?;
        answer_calls(&stream, case)?;
    }
    if !case.asked_or_not {
        let seen = Some(stream.upstream()).filter(|seen: &Delivered| seen.headers.is_some());
        check::upstream(case.upstream.as_ref(), seen.as_ref())?;
    }
    check::client(case.expect(hold), &stream.downstream())
}

fn send_request(stream: &Stream, case: &Case, size: usize) -> Result<(), String> {
    let request = &case.request;
    let body = request.body.bytes()?;
    let mut headers = HeaderMap::from([
        (":method", request.method.as_str()),
        (":path", &request.path),
        (":scheme", "http"),
        (":authority", "gateway.test"),
    ]);
    add(&mut headers, &request.headers);
    let no_trailers = request.trailers.is_empty();
    if !body.is_empty() && no_trailers {
        headers.add("content-length", body.len().to_string());
    }
    stream.request_headers(headers, body.is_empty() && no_trailers);
    let chunks = body.chunks(size.min(body.len().max(1)));
    let last = chunks.len();
    for (index, chunk) in chunks.enumerate() {
        stream.request_data(chunk, index + 1 == last && no_trailers);
    }
    if !no_trailers && !stream.is_over() {
        stream.request_trailers(map(&request.trailers));
    }
    Ok(())
}

fn send_answer(stream: &Stream, answer: &Answer, size: usize) -> Result<(), String> {
    let data = answer.data()?;
    let mut headers = HeaderMap::from([(":status", answer.http_status.to_string())]);
    add(&mut headers, &answer.headers);
    let no_trailers = answer.trailers.is_empty();
    stream.response_headers(headers, data.is_empty() && no_trailers && !answer.reset);
    let chunks = data.chunks(size.min(data.len().max(1)));
    let last = chunks.len();
    for (index, chunk) in chunks.enumerate() {
        if stream.is_over() {
            return Ok(());
        }
        stream.response_data(chunk, index + 1 == last && no_trailers && !answer.reset);
    }
    if stream.is_over() {
        return Ok(());
    }
    if !no_trailers {
        stream.response_trailers(map(&answer.trailers));
    } else if answer.reset {
        stream.upstream_reset();
    }
    Ok(())
}

/// Answers what the filter asks, in the order of the case's answers, each as often as it is asked for.
fn answer_calls(stream: &Stream, case: &Case) -> Result<(), String> {
    // A filter may call again when it has got an answer.
    for _ in 0..100 {
        let Some(call) = stream.calls().into_iter().next() else { return Ok(()) };
        let path = call.headers.text(":path").unwrap_or_default();
        let asked = |answer: &&case::Answered| {
            answer.cluster == call.cluster && answer.path.as_ref().is_none_or(|wanted| *wanted == path)
        };
        let answer = case.calls.iter().find(asked);
        let answer = answer.ok_or_else(|| {
            format!(
                "the filter called {path} of cluster {:?}, for which [[calls]] has no answer",
                call.cluster
            )
        })?;
        if answer.fails {
            call.fail();
            continue;
        }
        let mut response = HttpResponse::new(answer.http_status, answer.body.bytes()?);
        add(&mut response.headers, &answer.headers);
        response.trailers = (!answer.trailers.is_empty()).then(|| map(&answer.trailers));
        call.answer(response);
    }
    Err("the filter calls again whenever it is answered".to_owned())
}

fn add(headers: &mut HeaderMap, pairs: &Pairs) {
    pairs.iter().for_each(|(name, value)| headers.add(name, value));
}

fn map(pairs: &Pairs) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
