//! `dynamic-subset`: two groups of two model servers behind one service.

use crate::checks::{Check, Checks, Got, is_error, json, same};
use crate::{address, affine};
use e2e::{Answer, Envoy, Error, MlServer, Request, start_shipped};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The endpoints in the order of the bootstraps, by the group and version that these give them; which models each
/// serves is its group's folder.
const ENDPOINTS: [Endpoint; 4] = [
    Endpoint { group: "tensorflow", version: "v1" },
    Endpoint { group: "tensorflow", version: "v2" },
    Endpoint { group: "pytorch", version: "v1" },
    Endpoint { group: "pytorch", version: "v2" },
];

/// How long the endpoints' first health checks may take.
const HEALTHY_WITHIN: Duration = Duration::from_secs(20);

const ROWS: [[f64; 4]; 1] = [[1.0, 2.0, 3.0, 4.0]];

struct Endpoint {
    group: &'static str,
    version: &'static str,
}

/// Four model servers behind two Envoys.
pub(crate) struct Demo {
    servers: Vec<MlServer>,
    wasm: Envoy,
    native: Envoy,
}

impl Demo {
    pub(crate) fn start(binary: &Path, python: &Path) -> Result<Self, Error> {
        println!("\nStarting four MLServers: two for TensorFlow models, two for PyTorch models ...");
        let servers = thread::scope(|scope| {
            let started = ENDPOINTS.map(|endpoint| {
                scope.spawn(move || MlServer::start_with(python, &format!("groups/{}", endpoint.group)))
            });
            let lost = || Error::Protocol("the thread that started MLServer is gone".into());
            started.into_iter().map(|one| one.join().map_err(|_| lost())?).collect::<Result<Vec<_>, _>>()
        })?;
        println!("Starting Envoy with envoy/dynamic-subset.yaml and envoy/dynamic-subset.native.yaml ...");
        let addresses: Vec<_> = servers.iter().map(MlServer::grpc).collect();
        let start = |name: &str| {
            let mut envoy = start_shipped(binary, name, &addresses)?;
            let all = |count| count == addresses.len() as u64;
            envoy.wait_for_stat("cluster.model-server.membership_healthy", HEALTHY_WITHIN, all)?;
            Ok::<_, Error>(envoy)
        };
        let (wasm, native) = (start("dynamic-subset.yaml")?, start("dynamic-subset.native.yaml")?);
        Ok(Self { servers, wasm, native })
    }

    pub(crate) fn run(&self, checks: &mut Checks) -> Result<(), Error> {
        for (host, envoy) in [("the wasm filters", &self.wasm), ("the native module", &self.native)] {
            println!("\n=== the right group of model servers through {host}, http://{}", address(envoy)?);
            self.run_on(envoy, checks)?;
        }
        Ok(())
    }

    pub(crate) fn print_what_to_try(&self) -> Result<(), Error> {
        for (host, envoy) in [("wasm", &self.wasm), ("native", &self.native)] {
            let (address, body) = (address(envoy)?, affine::body(&ROWS));
            println!("  # the right group of model servers, {host}");
            println!("  curl -s http://{address}/v2/models/tf-affine/infer -d '{body}'");
            println!(
                "  curl -s http://{address}/v2/models/affine/infer -H 'x-model-format-pytorch: true' -d '{body}'"
            );
        }
        Ok(())
    }

    fn run_on(&self, envoy: &Envoy, checks: &mut Checks) -> Result<(), Error> {
        let y = affine::answer(&ROWS)?;
        // Answered as the model must, by one endpoint, and that of the right group and version.
        let by = |answer: &Answer, got: &[Got], group: &str, version: &str| {
            same(&json(answer, 200)?["outputs"][0]["data"], &y)?;
            let [Got { server, .. }] = got else {
                return Err(format!("{} servers got an inference, not 1", got.len()));
            };
            let endpoint = &ENDPOINTS[*server];
            match endpoint.group.starts_with(group) && endpoint.version.starts_with(version) {
                true => Ok(()),
                false => Err(format!("it was for {group} {version}, and went to {}", self.name(*server))),
            }
        };
        let infer = |model: &str| affine::infer(model, &ROWS);
        let forged = infer("pt-affine").header("x-subset-model.format", "tensorflow");
        let cases = [
            ("a model whose name maps to TensorFlow", infer("tf-affine"), "tensorflow", ""),
            ("again: another endpoint of the group may answer", infer("tf-affine"), "tensorflow", ""),
            ("a model whose name maps to PyTorch", infer("pt-affine"), "pytorch", ""),
            (
                "a header that names the format",
                infer("affine").header("x-model-format-tensorflow", "true"),
                "tensorflow",
                "",
            ),
            (
                "the same model, another header",
                infer("affine").header("x-model-format-pytorch", "true"),
                "pytorch",
                "",
            ),
            ("format and version", infer("tf-affine").header("x-version", "v2"), "tensorflow", "v2"),
            ("nothing is named: any endpoint", infer("affine"), "", ""),
            ("a client that sends the filter's own header", forged, "pytorch", ""),
        ];
        for (what, request, group, version) in &cases {
            self.show(checks, envoy, what, request, &|answer, got| by(answer, got, group, version))?;
        }
        let nobody = infer("affine").header("x-model-format-onnx", "true");
        self.show(checks, envoy, "a format that no endpoint serves", &nobody, &|answer, _| {
            is_error(answer, 503)
        })
    }

    fn show(
        &self,
        checks: &mut Checks,
        envoy: &Envoy,
        what: &str,
        request: &Request,
        check: Check<'_>,
    ) -> Result<(), Error> {
        let servers: Vec<&MlServer> = self.servers.iter().collect();
        let name = |index| format!("to {}, ", self.name(index));
        checks.show(what, address(envoy)?, request, &servers, name, check);
        Ok(())
    }

    fn name(&self, server: usize) -> String {
        let Endpoint { group, version } = ENDPOINTS[server];
        format!("{} ({group} {version})", self.servers[server].grpc())
    }
}
