//! A case in a real Envoy, between a client and an upstream whose every frame is decided here.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::h2c::{Connection, Event};
use e2e::{End, Envoy, Options, Request};
use odd_server::{OddServer, Script, Step};
use proxy_wasm_emulator::{FailPolicy, PluginOptions};

use crate::cases::{Case, Message};
use crate::seen::{Got, LIMIT, Run, Seen, call_answer, comparable, request_headers, trace_line};

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often something is looked at that has to come.
const POLL: Duration = Duration::from_millis(2);
/// Streams per connection, well under the number of resets at which Envoy gives up on a client.
const STREAMS: usize = 50;

pub(crate) struct Real {
    envoy: Envoy,
    upstream: OddServer,
}

/// An exchange with what can go wrong in it.
pub(crate) type Outcome = Result<Seen, String>;

impl Real {
    /// Starts Envoy with the probe in each of the given forms, behind a listener of its own.
    pub(crate) fn start(binary: &Path, probe: &Path, forms: &[Form]) -> Result<Self, String> {
        let upstream = OddServer::start().map_err(|e| e.to_string())?;
        let (headers, body, trailers) = call_answer();
        upstream.script_for_path(
            "/call",
            Script::after_request()
                .then(Step::Headers { status: 200, headers: owned(&headers), end: false })
                .data(body)
                .then(Step::Trailers(owned(&trailers))),
        );
        let bootstrap = bootstrap(probe, upstream.port(), forms);
        let envoy = Envoy::start(binary, &bootstrap, &Options::default()).map_err(|e| e.to_string())?;
        Ok(Self { envoy, upstream })
    }

    /// Runs every case, one after the other. The emulator's run says when a stuck exchange has gone as far as
    /// it goes.
    pub(crate) fn run(&mut self, form: &Form, cases: &[(Case, String, Run)]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for part in cases.chunks(STREAMS) {
            let connection = self
                .envoy
                .address(&form.listener)
                .and_then(|address| Connection::open(address, PATIENCE))
                .map_err(|e| e.to_string());
            for (case, id, expected) in part {
                outcomes.push(match &connection {
                    Ok(connection) => self.exchange(connection, case, id, expected),
                    Err(error) => Err(error.clone()),
                });
            }
        }
        outcomes
    }

    /// Sends bare requests until one is answered with 200: until a dead VM has been made anew.
    pub(crate) fn wait_until_it_serves(&self, form: &Form) -> Result<(), String> {
        let address = self.envoy.address(&form.listener).map_err(|e| e.to_string())?;
        let connection = Connection::open(address, PATIENCE).map_err(|e| e.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = connection.send(&Request::new("POST", "/call")).map_err(|e| e.to_string())?;
            match answer.head.map(|head| head.status) {
                Some(200) => return Ok(()),
                other if Instant::now() > deadline => return Err(format!("still answered with {other:?}")),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn exchange(&mut self, connection: &Connection, case: &Case, id: &str, expected: &Run) -> Outcome {
        self.upstream.script(id, script(&case.response));
        let mut request = Request::new("POST", "/probe?q=1");
        for (name, value) in request_headers(case, id) {
            request = request.header(&name, value);
        }
        let mut stream = connection.begin(&request, case.request.headers_end()).map_err(|e| e.to_string())?;
        let last = case.request.pieces.len();
        for (i, piece) in case.request.pieces.iter().enumerate() {
            if stream.data(piece, i + 1 == last && case.request.trailers.is_none()).is_err() {
                break;
            }
        }
        if let Some(trailers) = &case.request.trailers {
            // An early answer may have closed the stream: what came of it is read below.
            let _ = stream.trailers(&owned(trailers));
        }
        let mut seen = Seen::default();
        match expected.stuck_after {
            Some(lines) => {
                self.wait_for_trace(id, |trace| trace.len() >= lines);
                if expected.seen.upstream.is_some() {
                    seen.upstream = self.upstream_got(id);
                }
                stream.reset(8);
            }
            None => seen.client = Some(client_got(&mut stream)),
        }
        // A module that traps says nothing further.
        let lines = expected.seen.trace.len();
        let deleted = |line: &String| line.starts_with("del(");
        let traps = !expected.seen.trace.last().is_some_and(deleted);
        seen.trace = self
            .wait_for_trace(id, |trace| trace.len() >= lines && (traps || trace.last().is_some_and(deleted)));
        if expected.stuck_after.is_none() && expected.seen.upstream.is_some() {
            seen.upstream = self.upstream_got(id);
        }
        Ok(seen)
    }

    /// The trace, as soon as it is as wanted, or when patience ends.
    fn wait_for_trace(&self, id: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.envoy.log();
            let trace: Vec<String> = log.lines().filter_map(|line| trace_line(line, id)).collect();
            if enough(&trace) || Instant::now() > deadline {
                return trace;
            }
            std::thread::sleep(POLL);
        }
    }

    fn upstream_got(&self, id: &str) -> Option<Got> {
        let is_this = |r: &odd_server::Recorded| r.header("x-case") == Some(id.as_bytes());
        let all = self.upstream.wait_until(PATIENCE, |all| all.iter().any(|r| is_this(r) && r.ended)).ok()?;
        let request = all.into_iter().find(is_this)?;
        Some(Got {
            status: None,
            headers: comparable(text(&request.headers)),
            body: request.body,
            trailers: text(&request.trailers.unwrap_or_default()),
            reset: false,
        })
    }
}

fn client_got(stream: &mut e2e::h2c::Stream<'_>) -> Got {
    let mut got = Got::default();
    match stream.head() {
        Ok(head) => {
            got.status = Some(head.status);
            got.headers = comparable(text(&head.headers));
        }
        Err(end) => {
            got.reset = matches!(end, End::Reset(_));
            return got;
        }
    }
    loop {
        match stream.event() {
            Event::Data(bytes) => got.body.extend_from_slice(&bytes),
            Event::End(trailers) => {
                got.trailers = text(&trailers);
                return got;
            }
            Event::Broken(_) => {
                got.reset = true;
                return got;
            }
        }
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
}

fn text(headers: &[(String, Vec<u8>)]) -> Vec<(String, String)> {
    headers.iter().map(|(n, v)| (n.clone(), String::from_utf8_lossy(v).into_owned())).collect()
}

fn script(response: &Message) -> Script {
    let mut script = Script::after_request().then(Step::Headers {
        status: 200,
        headers: owned(&response.headers),
        end: response.headers_end(),
    });
    let last = response.pieces.len();
    for (i, piece) in response.pieces.iter().enumerate() {
        let end = i + 1 == last && response.trailers.is_none();
        script = script.then(Step::Data { bytes: piece.clone(), end });
    }
    match &response.trailers {
        Some(trailers) => script.then(Step::Trailers(owned(trailers))),
        None => script,
    }
}

/// A plugin and the listener it is behind.
#[derive(Clone)]
pub(crate) struct Form {
    /// Names the listener, and what it shares a VM with if `vm_id` is the same.
    pub(crate) listener: String,
    pub(crate) vm_id: &'static str,
    pub(crate) options: PluginOptions,
}

impl Form {
    fn yaml(&self, probe: &Path) -> String {
        let PluginOptions { name, root_id, allow_on_headers_stop_iteration: flag, fail_policy, .. } =
            &self.options;
        let policy = match fail_policy {
            FailPolicy::Closed => "FAIL_CLOSED".to_owned(),
            FailPolicy::Open => "FAIL_OPEN".to_owned(),
            FailPolicy::Reload { backoff } => format!(
                "FAIL_RELOAD, reload_config: {{backoff: {{base_interval: {}s}}}}",
                backoff.as_secs_f32()
            ),
        };
        format!(
            r#"
  - name: {listener}
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: probe
          codec_type: HTTP2
          generate_request_id: false
          http2_protocol_options: {{initial_stream_window_size: {LIMIT}}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: upstream, timeout: 0s}}}}]
          http_filters:
          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config: {{name: "{name}", root_id: "{root_id}", allow_on_headers_stop_iteration: {flag},
                vm_config: {{vm_id: "{vm_id}", runtime: envoy.wasm.runtime.v8, code: {{local: {{filename: "{probe}"}}}}}},
                failure_policy: {policy}}}
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true"#,
            listener = self.listener,
            vm_id = self.vm_id,
            probe = probe.display(),
        )
    }
}

fn bootstrap(probe: &Path, upstream: u16, forms: &[Form]) -> String {
    let listeners: String = forms.iter().map(|form| form.yaml(probe)).collect();
    format!(
        r#"
static_resources:
  listeners:{listeners}
  clusters:
  - name: upstream
    type: STATIC
    typed_extension_protocol_options: &h2
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: &at
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
  - name: calls
    type: STATIC
    typed_extension_protocol_options: *h2
    load_assignment: *at
"#
    )
}
