//! Every golden case in real Envoy: each version, each column, each chunking, over HTTP/1.1 and HTTP/2. `cargo test -p e2e
//! --test golden NAME` runs those whose names have `NAME` in them.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use e2e::{Body, Envoy, Installed, Listener, Options, Protocol, Request, VERSIONS, gateway, send};
use odd_server::{OddServer, Recorded, Script, Step};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use testkit::{
    Case, Chunking, Column, Got, Headers, Outcome, Pairs, Part, Run, Seen, Subject, Trials, golden_cases,
};

/// How long an answer, or the server's record of a request, may take.
const BOUND: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    e2e::stand_in();
    let mut trials = Trials::of(golden_cases().unwrap());
    for column in Column::ALL {
        for version in VERSIONS {
            trials = trials.on(InEnvoy { column, version, installed: e2e::installed(version) }, 70);
        }
    }
    trials.run()
}

/// One Envoy with a listener for each configuration. Everything leads to the odd server, so that only the filter decides.
struct InEnvoy {
    column: Column,
    version: &'static str,
    installed: Result<Installed, String>,
}

struct Live {
    envoy: Envoy,
    server: OddServer,
    /// The filter and the configuration of each listener.
    listeners: Vec<(String, String)>,
    /// Tells an exchange's request from those of others: one that was cut off may reach the server late.
    exchanges: usize,
}

impl Subject for InEnvoy {
    type Live = Live;

    fn columns(&self) -> &[Column] {
        std::slice::from_ref(&self.column)
    }

    fn label(&self) -> String {
        self.version.to_owned()
    }

    fn ways(&self) -> &'static [&'static str] {
        &["http1", "http2"]
    }

    fn missing(&self) -> Option<String> {
        self.installed.as_ref().err().cloned()
    }

    fn start(&self, cases: &[&Case]) -> Result<Live, String> {
        let server = OddServer::start().map_err(|error| error.to_string())?;
        for case in cases {
            for chunking in Chunking::ALL {
                let answer = script(case, chunking)?;
                let Some(first) = case.call.clone() else {
                    server.script(&script_name(case, chunking), answer);
                    continue;
                };
                // The call has the request's own headers.
                let to_call = first.parts()?.into_iter().map(|part| step(part, 200));
                let to_call = to_call.fold(Script::after_request(), Script::then);
                server.compute(&script_name(case, chunking), move |request| {
                    if request.path == first.rpc { to_call.clone() } else { answer.clone() }
                });
            }
        }
        let configured: BTreeSet<_> = cases.iter().map(|case| self.configured(case)).collect();
        let listeners: Vec<_> = configured.into_iter().collect();
        let listener = |(index, (filter, config)): (usize, &(String, String))| {
            Listener::new(&name(index)).ours(filter, self.column, config)
        };
        let bootstrap =
            gateway(&listeners.iter().enumerate().map(listener).collect::<Vec<_>>(), server.address());
        let envoy = Envoy::start(&self.installed.clone()?.path, &bootstrap, &Options::default());
        let envoy = envoy.map_err(|error| error.to_string())?;
        Ok(Live { envoy, server, listeners, exchanges: 0 })
    }

    fn exchange(&self, live: &mut Live, case: &Case, run: Run) -> Result<Outcome, String> {
        live.exchanges += 1;
        let number = live.exchanges.to_string();
        let configured = self.configured(case);
        let listener = live.listeners.iter().position(|listener| *listener == configured);
        let address = live.envoy.address(&name(listener.unwrap())).map_err(|error| error.to_string())?;
        let protocol = if run.way == "http1" { Protocol::Http1 } else { Protocol::Http2 };
        let request = request(case, run.chunking, &number);
        let answer = send(protocol, address, &request).map_err(|error| error.to_string())?;
        let is_call = |request: &Recorded| case.call.as_ref().is_some_and(|call| call.rpc == request.path);
        let own =
            |request: &Recorded| request.header("x-run") == Some(number.as_bytes()) && !is_call(request);
        if case.upstream.is_some() && !case.asked_or_not {
            let asked = |requests: &[Recorded]| requests.iter().any(|request| own(request) && request.ended);
            live.server.wait_until(BOUND, asked).map_err(|error| error.to_string())?;
        }
        let seen = live.server.requests().into_iter().find(own).map(|request| {
            let mut headers: Headers = vec![
                (b":method".to_vec(), request.method.clone().into_bytes()),
                (b":path".to_vec(), request.path.clone().into_bytes()),
            ];
            headers.extend(bytes(&request.headers));
            let trailers = request.trailers.as_ref().map(bytes).unwrap_or_default();
            Seen { headers, body: request.body, subset: None, trailers }
        });
        let got = Got {
            status: answer.status(),
            headers: answer.head.as_ref().map(|head| bytes(&head.headers)).unwrap_or_default(),
            body: answer.body.clone(),
            trailers: bytes(&answer.trailers),
            reset: answer.end != e2e::End::Complete || answer.head.is_none(),
        };
        Ok(Outcome { seen, got })
    }

    fn verdict(&self, live: &mut Live) -> Result<(), String> {
        match live.envoy.process().exited() {
            Some(status) => Err(format!("Envoy died ({status}):\n{}", live.envoy.log())),
            None => Ok(()),
        }
    }
}

impl InEnvoy {
    /// The filter and the configuration that a case needs.
    fn configured(&self, case: &Case) -> (String, String) {
        (case.filter.clone(), case.config_in(self.column))
    }
}

/// The name of a listener.
fn name(index: usize) -> String {
    format!("config-{index}")
}

fn request(case: &Case, chunking: Chunking, number: &str) -> Request {
    let body = case.request.body.bytes().unwrap();
    let pieces: Vec<Vec<u8>> = chunking.cut(&body).into_iter().map(<[u8]>::to_vec).collect();
    let mut request = Request::new(&case.request.method, &case.request.path)
        .header("x-case", script_name(case, chunking))
        .header("x-run", number)
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
fn script(case: &Case, chunking: Chunking) -> Result<Script, String> {
    let parts = case.answer_parts(chunking)?;
    if parts.is_empty() {
        return Ok(Script::after_request().then(Step::Never));
    }
    let status = case.answer.as_ref().unwrap().http_status;
    Ok(parts.into_iter().map(|part| step(part, status)).fold(Script::after_request(), Script::then))
}

fn step(part: Part, status: u16) -> Step {
    match part {
        Part::Headers { headers, end } => {
            let headers = headers.into_iter().filter(|(name, _)| name != b":status").map(text).collect();
            Step::Headers { status, headers, end }
        }
        Part::Data { bytes, end } => Step::Data { bytes, end },
        Part::Trailers(trailers) => Step::Trailers(trailers.into_iter().map(text).collect()),
        Part::Reset => Step::Reset(2),
    }
}

fn text((name, value): (Vec<u8>, Vec<u8>)) -> (String, Vec<u8>) {
    (String::from_utf8(name).unwrap(), value)
}

fn bytes(headers: &e2e::Headers) -> Headers {
    headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect()
}

fn pairs(pairs: &Pairs) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    pairs.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()))
}
