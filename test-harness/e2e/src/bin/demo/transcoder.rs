//! `kserve-transcoder`: REST clients, a model server that gets gRPC.

use crate::checks::{Checks, is_error, json, same};
use crate::{address, affine};
use e2e::{Answer, Envoy, Error, MlServer, Request, start_shipped};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

/// One model server behind two Envoys.
pub(crate) struct Demo {
    server: MlServer,
    wasm: Envoy,
    native: Envoy,
}

impl Demo {
    pub(crate) fn start(binary: &Path, python: &Path) -> Result<Self, Error> {
        println!("Starting MLServer with three models that speak gRPC ...");
        let server = MlServer::start(python)?;
        println!(
            "Starting Envoy with envoy/kserve-transcoder.yaml and envoy/kserve-transcoder.native.yaml ..."
        );
        let wasm = start_shipped(binary, "kserve-transcoder.yaml", &[server.grpc()])?;
        let native = start_shipped(binary, "kserve-transcoder.native.yaml", &[server.grpc()])?;
        Ok(Self { server, wasm, native })
    }

    pub(crate) fn run(&self, checks: &mut Checks) -> Result<(), Error> {
        for (host, envoy) in [("the wasm filter", &self.wasm), ("the native module", &self.native)] {
            let address = address(envoy)?;
            println!("\n=== REST to gRPC through {host}, http://{address}");
            self.run_on(address, checks)?;
        }
        Ok(())
    }

    pub(crate) fn print_what_to_try(&self) -> Result<(), Error> {
        for (host, envoy) in [("wasm", &self.wasm), ("native", &self.native)] {
            let address = address(envoy)?;
            let body = affine::body(&[[1.0, 2.0, 3.0, 4.0]]);
            println!("  # REST to gRPC, {host}");
            println!("  curl -s http://{address}/v2/models/affine");
            println!("  curl -s http://{address}/v2/models/affine/infer -d '{body}'");
        }
        Ok(())
    }

    fn run_on(&self, address: SocketAddr, checks: &mut Checks) -> Result<(), Error> {
        let mut show = |what: &str, request: &Request, check: &dyn Fn(&Answer) -> Result<(), String>| {
            let unnamed = |_| String::new();
            checks.show(what, address, request, &[&self.server], unnamed, &|answer, _| check(answer));
        };
        show("the server is ready", &Request::get("/v2/health/ready"), &|answer| {
            same(&json(answer, 200)?, &json!({"ready": true}))
        });
        show("what the model takes and gives", &Request::get("/v2/models/affine"), &|answer| {
            same(&json(answer, 200)?["inputs"], &json!([{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]))
        });
        let rows = [[1.0, 2.0, 3.0, 4.0], [0.5, -1.5, 0.0, 1e3]];
        let y = affine::answer(&rows)?;
        show("an inference", &affine::infer("affine", &rows), &|answer| {
            same(&json(answer, 200)?["outputs"][0]["data"], &y)
        });
        let words = json!({"inputs": [
            {"name": "a", "shape": [2], "datatype": "BYTES", "data": ["gr", "h\u{e9}"]},
            {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["pc", "llo \u{1f600}"]},
        ]});
        show("an inference on strings", &affine::post("concat", &words), &|answer| {
            same(&json(answer, 200)?["outputs"][0]["data"], &json!(["grpc", "h\u{e9}llo \u{1f600}"]))
        });
        let wrong =
            json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3]}]});
        show("a request that does not add up", &affine::post("affine", &wrong), &|answer| {
            is_error(answer, 400)
        });
        show("an unknown model", &affine::infer("nobody", &rows), &|answer| is_error(answer, 404));
        Ok(())
    }
}
