//! Every golden case in real Envoy: each version, each column, each chunking, over HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::{Body, Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, repository, send};
use odd_server::{OddServer, Recorded, Script, Step};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use testkit::{Case, Chunking, Column, Got, Outcome, Pairs, Seen, load_dir};

/// How long an answer, or the server's record of a request, may take.
const BOUND: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let run = |column| move |envoy: &Installed| run_column(envoy, column);
    Suite::new()
        .each_envoy("golden_cases_hold_in_default_wasm", run(Column::Wasm))
        .each_envoy("golden_cases_hold_in_wasm_with_held_headers", run(Column::WasmHold))
        .each_envoy("golden_cases_hold_natively", run(Column::Native))
        .run()
}

fn run_column(installed: &Installed, column: Column) {
    let cases = load_dir(&repository().join("test-harness/cases")).unwrap();
    let cases: Vec<&Case> = cases.iter().filter(|case| case.columns.contains(&column)).collect();
    let server = OddServer::start().unwrap();
    for case in &cases {
        for chunking in Chunking::ALL {
            server.script(&script_name(case, chunking), script(case, chunking));
        }
    }
    let configured = |case: &Case| (case.filter.clone(), case.config_in(column));
    let configs: Vec<(String, String)> =
        cases.iter().map(|case| configured(case)).collect::<BTreeSet<_>>().into_iter().collect();
    // Everything leads to the odd server, so that only the filter decides.
    let listener = |(index, (filter, config)): (usize, &(String, String))| {
        Listener::new(&format!("config-{index}")).ours(filter, column, config)
    };
    let listeners: Vec<Listener> = configs.iter().enumerate().map(listener).collect();
    let bootstrap = gateway(&listeners, server.address());
    let mut envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();

    let mut failures = Vec::new();
    let mut runs = 0;
    for case in &cases {
        let listener = configs.iter().position(|config| *config == configured(case)).unwrap();
        for (chunking, protocol) in Chunking::ALL.into_iter().flat_map(|c| Protocol::BOTH.map(|p| (c, p))) {
            runs += 1;
            let run = Run { number: runs, chunking, protocol };
            let outcome = exchange(&envoy, listener, &server, case, run);
            if let Err(difference) = case.check(column, &outcome) {
                failures.push(format!("{} ({chunking:?}, {protocol:?}): {difference}", case.name));
            }
        }
    }
    assert!(envoy.process().exited().is_none(), "Envoy died:\n{}", envoy.log());
    assert!(
        failures.is_empty(),
        "{} of {runs} runs failed:
{}",
        failures.len(),
        failures.join(
            "
"
        )
    );
    assert!(runs > 200, "only {runs} runs: were cases lost?");
}

/// One of the ways in which a case is run.
#[derive(Clone, Copy)]
struct Run {
    /// Tells this run's request from those of others: one that was cut off may reach the server late.
    number: usize,
    chunking: Chunking,
    protocol: Protocol,
}

fn exchange(envoy: &Envoy, listener: usize, server: &OddServer, case: &Case, run: Run) -> Outcome {
    let address = envoy.address(&format!("config-{listener}")).unwrap();
    let answer = send(run.protocol, address, &request(case, run)).unwrap();
    let number = run.number.to_string();
    let own = |request: &Recorded| request.header("x-run") == Some(number.as_bytes());
    if case.upstream.is_some() && !case.asked_or_not {
        server
            .wait_until(BOUND, |requests| requests.iter().any(|request| own(request) && request.ended))
            .unwrap();
    }
    let reset = answer.end != e2e::End::Complete || answer.head.is_none();
    let bytes =
        |headers: &e2e::Headers| headers.iter().map(|(n, v)| (n.clone().into_bytes(), v.clone())).collect();
    let seen = server.requests().into_iter().find(own).map(|request| {
        let mut headers: testkit::Headers = vec![
            (b":method".to_vec(), request.method.clone().into_bytes()),
            (b":path".to_vec(), request.path.clone().into_bytes()),
        ];
        headers.extend::<testkit::Headers>(bytes(&request.headers));
        let trailers = request.trailers.as_ref().map(bytes).unwrap_or_default();
        Seen { headers, body: request.body, subset: None, trailers }
    });
    let got = Got {
        status: answer.status(),
        headers: answer.head.as_ref().map(|head| bytes(&head.headers)).unwrap_or_default(),
        body: answer.body.clone(),
        trailers: bytes(&answer.trailers),
        reset,
    };
    Outcome { seen, got }
}

fn request(case: &Case, run: Run) -> Request {
    let body = case.request.body.bytes().unwrap();
    let pieces: Vec<Vec<u8>> = run.chunking.cut(&body).into_iter().map(<[u8]>::to_vec).collect();
    let mut request = Request::new(&case.request.method, &case.request.path)
        .header("x-case", script_name(case, run.chunking))
        .header("x-run", run.number.to_string())
        .patience(BOUND);
    request.headers.extend(pairs(&case.request.headers));
    request.trailers.extend(pairs(&case.request.trailers));
    request.body = match (pieces.is_empty(), case.request.trailers.is_empty()) {
        (true, true) => Body::None,
        (false, true) => Body::Length(pieces),
        (_, false) => Body::Chunked(pieces),
    };
    request
}

fn script_name(case: &Case, chunking: Chunking) -> String {
    format!("{}-{chunking:?}", case.name)
}

/// The case's answer as frames.
fn script(case: &Case, chunking: Chunking) -> Script {
    let mut script = Script::after_request();
    let Some(answer) = &case.answer else { return script.then(Step::Never) };
    let data = case.answer_data().unwrap();
    let chunks = chunking.cut(&data);
    let trailers = answer.trailers();
    let ends_with_data = trailers.is_none() && !answer.reset;
    script = script.then(Step::Headers {
        status: answer.http_status,
        headers: pairs(&answer.headers).collect(),
        end: chunks.is_empty() && ends_with_data,
    });
    for (index, chunk) in chunks.iter().enumerate() {
        let end = index + 1 == chunks.len() && ends_with_data;
        script = script.then(Step::Data { bytes: chunk.to_vec(), end });
    }
    match trailers {
        _ if answer.reset => script.then(Step::Reset(2)),
        Some(trailers) => script.then(Step::Trailers(pairs(&trailers).collect())),
        None => script,
    }
}

fn pairs(pairs: &Pairs) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    pairs.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()))
}
