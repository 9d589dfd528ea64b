//! The files under `envoy/` are valid as they are and do what they say. Tests are ignored, by name, where an Envoy,
//! func-e or `dist/` is missing.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Trial` runs them.

#[path = "bootstraps/application.rs"]
mod application;
#[path = "bootstraps/by_claims.rs"]
mod by_claims;
#[path = "bootstraps/by_policy.rs"]
mod by_policy;
mod identity;
#[path = "bootstraps/management.rs"]
mod management;
#[path = "bootstraps/rate_limit.rs"]
mod rate_limit;
#[path = "bootstraps/two_groups.rs"]
mod two_groups;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use e2e::{
    Answer, End, Envoy, Error, Installed, Options, Process, Protocol, Request, dist, envoys, free_ports,
    groups, repository, send, unless_missing,
};
use libtest_mimic::{Arguments, Trial};
use odd_server::{OddServer, Recorded, Script, infer, wire};
use serde_json::json;

const BOUND: Duration = Duration::from_secs(20);
const SERVICE: &str = "/inference.GRPCInferenceService";

/// Every bootstrap, with what is particular to it.
const FILES: [File; 6] = [
    File { name: "kserve-transcoder.yaml", ..File::PLAIN },
    File { name: "kserve-transcoder.hold.yaml", late_errors: true, ..File::PLAIN },
    File { name: "kserve-transcoder.lua-get.yaml", get_by_route: true, ..File::PLAIN },
    File { name: "kserve-transcoder.native.yaml", late_errors: true, get_by_route: true, ..File::PLAIN },
    File { name: "kserve-transcoder.openai.yaml", ..File::PLAIN },
    File { name: "kserve-transcoder.per-model-routes.yaml", model_routes: true, ..File::PLAIN },
];

#[derive(Clone, Copy)]
struct File {
    name: &'static str,
    /// An error after the answer's headers has its own status.
    late_errors: bool,
    /// A GET takes the route instead of a call of the filter's own.
    get_by_route: bool,
    /// The model `affine` has a cluster of its own.
    model_routes: bool,
}

impl File {
    const PLAIN: Self = Self { name: "", late_errors: false, get_by_route: false, model_routes: false };

    fn text(self) -> String {
        std::fs::read_to_string(repository().join("envoy").join(self.name)).unwrap()
    }

    /// The file with other ports and no other change.
    fn on_ports(self, listener: u16, admin: u16, models: u16, affine: u16) -> String {
        let ports = [("8080", listener), ("9901", admin), ("8081", models), ("8091", affine)];
        ports.into_iter().fold(self.text(), |text, (documented, port)| {
            text.replace(&format!("port_value: {documented} }}"), &format!("port_value: {port} }}"))
        })
    }
}

fn main() -> ExitCode {
    e2e::stand_in();
    let products =
        ["kserve_transcoder.wasm", "dynamic_subset.wasm", "claim_headers.wasm", "libinference_filters.so"];
    let built = products.iter().all(|name| dist(name).is_file());
    let here = envoys();
    let mut trials = vec![Trial::test("every_bootstrap_is_tested", || {
        every_bootstrap_is_tested();
        Ok(())
    })];
    trials.push(Trial::test("no_client_of_a_bootstrap_manages_model_servers", || {
        management::every_chain_refuses_it();
        Ok(())
    }));
    let mut add = |needed: &str, name: String, run: Option<Box<dyn FnOnce() + Send>>| {
        let missing = run.is_none().then_some(if built { needed } else { "dist/" });
        let body = move || {
            if let Some(run) = run {
                run();
            }
            Ok(())
        };
        trials.push(unless_missing(Trial::test(name, body), missing));
    };
    for (version, needed) in [("1.38", "ENVOY_138"), ("1.40", "ENVOY_140")] {
        let envoy = here.iter().find(|envoy| envoy.version == version && built);
        for file in FILES {
            let (valid, answers) = (envoy.cloned(), envoy.cloned());
            add(
                needed,
                format!("{}_is_valid::{version}", file.name),
                valid.map(|envoy| Box::new(move || is_valid(&envoy, file.name, &file.text())) as _),
            );
            add(
                needed,
                format!("{}_answers::{version}", file.name),
                answers.map(|envoy| Box::new(move || answers_as_it_says(&envoy, file)) as _),
            );
        }
        for (name, native) in two_groups::FILES {
            let (valid, answers) = (envoy.cloned(), envoy.cloned());
            add(
                needed,
                format!("{name}_is_valid::{version}"),
                valid.map(|envoy| Box::new(move || is_valid(&envoy, name, &two_groups::text(name))) as _),
            );
            add(
                needed,
                format!("{name}_answers::{version}"),
                answers
                    .map(|envoy| Box::new(move || two_groups::answers_as_it_says(&envoy, name, native)) as _),
            );
        }
        for name in by_claims::FILES {
            let (valid, answers) = (envoy.cloned(), envoy.cloned());
            add(
                needed,
                format!("{name}_is_valid::{version}"),
                valid.map(|envoy| Box::new(move || is_valid(&envoy, name, &by_claims::text(name))) as _),
            );
            add(
                needed,
                format!("{name}_answers::{version}"),
                answers.map(|envoy| Box::new(move || by_claims::answers_as_it_says(&envoy, name)) as _),
            );
        }
        for name in rate_limit::FILES {
            let (valid, answers) = (envoy.cloned(), envoy.cloned());
            add(
                needed,
                format!("{name}_is_valid::{version}"),
                valid.map(|envoy| Box::new(move || is_valid(&envoy, name, &identity::text(name))) as _),
            );
            add(
                needed,
                format!("{name}_answers::{version}"),
                answers.map(|envoy| Box::new(move || rate_limit::answers_as_it_says(&envoy, name)) as _),
            );
        }
        let (valid, answers) = (envoy.cloned(), envoy.cloned());
        let file = by_policy::FILE;
        add(
            needed,
            format!("{}_is_valid::{version}", file.name),
            valid.map(|envoy| Box::new(move || is_valid(&envoy, file.name, &file.text())) as _),
        );
        add(
            needed,
            format!("{}_answers::{version}", file.name),
            answers.map(|envoy| Box::new(move || by_policy::answers_as_it_says(&envoy)) as _),
        );
    }
    let func_e: Option<PathBuf> =
        std::env::var_os("FUNC_E").filter(|path| !path.is_empty()).map(PathBuf::from);
    let newest = here.iter().find(|envoy| envoy.version == "1.40" && built);
    let needed = if newest.is_some() { "FUNC_E" } else { "ENVOY_140" };
    let under_func_e = || func_e.clone().zip(newest.cloned());
    for file in [FILES[0], FILES[3]] {
        add(
            needed,
            format!("{}_runs_under_func_e::1.40", file.name),
            under_func_e().map(|(func_e, envoy)| {
                Box::new(move || {
                    let server = model_server();
                    let config =
                        |ports: [u16; 3]| file.on_ports(ports[0], ports[2], server.port(), server.port());
                    runs_under_func_e(func_e, &envoy, file.name, config, |address| {
                        infers(Protocol::Http1, address, "concat", &server);
                    });
                }) as _
            }),
        );
    }
    add(
        needed,
        format!("{}_runs_under_func_e::1.40", by_policy::FILE.name),
        under_func_e().map(|(func_e, envoy)| {
            Box::new(move || {
                let servers = [model_server(), model_server()];
                let config = |ports| by_policy::on_ports(ports, &servers);
                runs_under_func_e(func_e, &envoy, by_policy::FILE.name, config, |address| {
                    by_policy::keeps_groups(address, &servers);
                });
            }) as _
        }),
    );
    for (name, native) in two_groups::FILES {
        add(
            needed,
            format!("{name}_runs_under_func_e::1.40"),
            under_func_e().map(|(func_e, envoy)| {
                Box::new(move || {
                    let servers = groups::start().unwrap();
                    let config = |ports| two_groups::on_ports(name, ports, &servers);
                    runs_under_func_e(func_e, &envoy, name, config, |address| {
                        two_groups::groups_are_told_apart(address, native);
                    });
                }) as _
            }),
        );
    }
    for name in by_claims::FILES.into_iter().chain([by_claims::SIGN_ON]) {
        add(
            needed,
            format!("{name}_runs_under_func_e::1.40"),
            under_func_e().map(|(func_e, envoy)| {
                Box::new(move || {
                    let upstreams = identity::Upstreams::start();
                    let config = |ports| upstreams.bootstrap(name, ports);
                    runs_under_func_e(func_e, &envoy, name, config, |address| {
                        by_claims::users_are_told_apart(address, name, &upstreams);
                    });
                }) as _
            }),
        );
    }
    add(
        needed,
        format!("{}_is_valid::1.40", by_claims::SIGN_ON),
        newest.cloned().map(|envoy| {
            Box::new(move || is_valid(&envoy, by_claims::SIGN_ON, &by_claims::text(by_claims::SIGN_ON))) as _
        }),
    );
    for name in application::FILES {
        add(
            needed,
            format!("{name}_is_valid::1.40"),
            newest
                .cloned()
                .map(|envoy| Box::new(move || is_valid(&envoy, name, &application::text(name))) as _),
        );
        add(
            needed,
            format!("{name}_answers::1.40"),
            newest.cloned().map(|envoy| Box::new(move || application::answers_as_it_says(&envoy, name)) as _),
        );
        add(
            needed,
            format!("{name}_runs_under_func_e::1.40"),
            under_func_e().map(|(func_e, envoy)| {
                Box::new(move || {
                    let upstreams = application::Upstreams::start();
                    let config = |ports| upstreams.bootstrap(name, ports);
                    runs_under_func_e(func_e, &envoy, name, config, application::asks_to_log_in);
                }) as _
            }),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn every_bootstrap_is_tested() {
    let directory = std::fs::read_dir(repository().join("envoy")).unwrap();
    let names = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = names.collect();
    let tested = FILES.iter().chain([&by_policy::FILE]).map(|file| file.name);
    let tested = tested
        .chain(two_groups::FILES.map(|(name, _)| name))
        .chain(by_claims::FILES)
        .chain(rate_limit::FILES)
        .chain([by_claims::SIGN_ON])
        .chain(application::FILES);
    assert_eq!(there, tested.map(str::to_owned).collect());
}

fn is_valid(envoy: &Installed, name: &str, text: &str) {
    let said = Envoy::validate(&envoy.path, text, &by_policy::options()).unwrap();
    said.unwrap_or_else(|rejected| panic!("{name}: {rejected}"));
}

fn answers_as_it_says(installed: &Installed, file: File) {
    let (models, affine) = (model_server(), model_server());
    let text = file.on_ports(0, 0, models.port(), affine.port());
    let envoy = Envoy::start(&installed.path, &text, &Options::default()).unwrap();
    let address = envoy.address("inference").unwrap();

    for protocol in Protocol::BOTH {
        let calls = envoy.stat("http.async-client.rq_total").unwrap();
        let ready = ask(protocol, address, &Request::get("/v2/health/ready"));
        assert_eq!((ready.status(), ready.json().unwrap()), (200, json!({"ready": true})), "{protocol:?}");
        let seen = last(&models);
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/inference.GRPCInferenceService/ServerReady")
        );
        assert_eq!(seen.body, wire::frame(b""));
        let called = envoy.stat("http.async-client.rq_total").unwrap() > calls;
        assert_eq!(called, !file.get_by_route, "{protocol:?}: whether the filter called by itself");

        infers(protocol, address, "concat", &models);
        infers(protocol, address, "affine", if file.model_routes { &affine } else { &models });
        late_error(protocol, address, file);
        refused_requests_reach_no_server(protocol, address, [&models, &affine]);
    }
    let before = [&models, &affine].map(|server| server.requests().len());
    management::refused(address);
    assert_eq!([&models, &affine].map(|server| server.requests().len()), before);
    grpc_passes(address, &models);
}

/// Answers that it is ready, and gives every inference its inputs back.
fn model_server() -> OddServer {
    let server = OddServer::start().unwrap();
    let ready = wire::Message::new().varint(1, 1);
    server.script_for_path(&format!("{SERVICE}/ServerReady"), Script::message(ready.as_bytes()));
    server.script("late-error", Script::error_after_headers(5, "gone"));
    server.compute_default(|request| {
        let message = request.messages().ok().and_then(|messages| messages.into_iter().next());
        match message.map(|message| infer::echo(&message.bytes)) {
            Some(Ok(answer)) => Script::message(&answer),
            _ => Script::trailers_only(3, "no inference"),
        }
    });
    server
}

fn infers(protocol: Protocol, address: SocketAddr, model: &str, server: &OddServer) {
    let path = format!("/v2/models/{model}/infer");
    let answer = ask(protocol, address, &Request::post(&path, inference()));
    assert_eq!(answer.status(), 200, "{protocol:?} {model}: {}", answer.text());
    let body = answer.json().unwrap();
    assert_eq!(body["model_name"], model);
    assert_eq!(body["outputs"][0]["data"], json!([1.5, -2.0]), "{body}");
    let seen = last(server);
    assert_eq!(seen.path, format!("{SERVICE}/ModelInfer"));
    assert_eq!(seen.header("x-envoy-original-path"), Some(path.as_bytes()));
    assert_eq!(seen.header("content-type"), Some(&b"application/grpc"[..]));
}

fn inference() -> String {
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2.0]}]}).to_string()
}

fn late_error(protocol: Protocol, address: SocketAddr, file: File) {
    let request = Request::post("/v2/models/concat/infer", inference()).header("x-case", "late-error");
    let answer = send(protocol, address, &request).unwrap();
    if file.late_errors {
        assert_eq!((answer.status(), &answer.end), (404, &End::Complete), "{protocol:?}: {}", answer.text());
        assert_eq!(answer.json().unwrap(), json!({"error": "gone"}));
    } else {
        // Cut off at once: neither an answer that looks whole nor one that never ends.
        let cut = matches!(answer.end, End::Closed | End::Reset(_));
        assert!(cut, "{protocol:?}: {:?} {}", answer.end, answer.text());
    }
}

fn refused_requests_reach_no_server(protocol: Protocol, address: SocketAddr, servers: [&OddServer; 2]) {
    let before = servers.map(|server| server.requests().len());
    for request in [
        Request::post("/v2/repository/models/affine/load", "{}"),
        Request::post("/v2//repository/index", "{}"),
        Request::get("/v2/health/../repository/index"),
        Request::post("/serving/ns/isvc/v2/repository/index?x=1", "{}"),
        Request::get("/v2/models?x=1"),
    ] {
        let answer = ask(protocol, address, &request);
        assert_eq!(answer.status(), 403, "{protocol:?} {}: {}", request.path, answer.text());
    }
    assert_eq!(servers.map(|server| server.requests().len()), before);
}

fn grpc_passes(address: SocketAddr, server: &OddServer) {
    let message = wire::Message::new().bytes(1, "concat").into_bytes();
    let answer = ask(Protocol::Http2, address, &Request::grpc(&format!("{SERVICE}/ModelInfer"), &message));
    assert_eq!((answer.status(), answer.trailer("grpc-status")), (200, Some(&b"0"[..])));
    assert_eq!(answer.header("content-type"), Some(&b"application/grpc"[..]));
    let seen = last(server);
    assert_eq!(seen.body, wire::frame(&message));
    assert_eq!(seen.header("x-envoy-original-path"), None);
}

/// Runs a bootstrap, made for two listeners' ports and the administration's, and tries it once it answers.
fn runs_under_func_e(
    func_e: PathBuf,
    installed: &Installed,
    name: &str,
    config: impl Fn([u16; 3]) -> String,
    try_it: impl Fn(SocketAddr),
) {
    let ports: [u16; 3] = free_ports(3).unwrap().try_into().unwrap();
    let text = config(ports);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join(name);
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(func_e);
    command.arg("--home-dir").arg(directory.path()).args(["run", "-c"]).arg(&config);
    command.args(["--disable-hot-restart", "--concurrency", "1"]);
    command.env("ENVOY_PATH", &installed.path).current_dir(repository());
    let mut process = Process::start("func-e", command, directory).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    let request = Request { authority: address.to_string(), ..Request::get("/v2/health/ready") };
    // 302 and 401: who has not logged in is sent to do so, or refused where the request is for another name of the
    // host.
    let ready = |answer: &Answer| matches!(answer.status(), 200 | 302 | 401);
    let answers = |_: &Process| send(Protocol::Http1, address, &request).ok().filter(ready);
    process.wait("no answer", Duration::from_secs(60), answers).unwrap();
    try_it(address);

    process.stop().unwrap();
    let gone = matches!(send(Protocol::Http1, address, &request), Err(Error::Io { .. }));
    assert!(gone, "Envoy outlived func-e");
}

fn ask(protocol: Protocol, address: SocketAddr, request: &Request) -> Answer {
    let answer = send(protocol, address, request).unwrap();
    answer.complete().unwrap_or_else(|error| panic!("{protocol:?} {}: {error}", request.path))
}

/// The newest request, once it has ended.
fn last(server: &OddServer) -> Recorded {
    let all = server.wait_until(BOUND, |all| all.last().is_some_and(|request| request.ended)).unwrap();
    all.into_iter().next_back().unwrap()
}
