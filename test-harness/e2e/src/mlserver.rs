//! MLServer from PyPI with the models of `models/mlserver`.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::client::{Protocol, send};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::request::Request;

/// Importing MLServer takes seconds on a cold or loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// MLServer has no `__main__`; its script beside the interpreter would be found by path only.
const MAIN: &str = "from mlserver.cli import main; main()";
/// gRPC's default of 4 MiB is less than an image.
const MESSAGE_LIMIT: u32 = 256 << 20;

/// The Python of the environment that has the model servers, named by `MODELS_PYTHON`, which `cargo xtask`
/// sets.
pub fn models_python() -> Option<PathBuf> {
    std::env::var_os("MODELS_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A running MLServer. It is ended when dropped.
///
/// Its models, unless others are asked for: `affine` (FP32 `x` of shape `[n, 4]` to `y` of `[n, 3]`, `y = W x + b` with
/// the numbers of `models/mlserver/affine/weights.json`), `concat` (BYTES `a` and `b` to `ab`), and `identity` (any
/// inputs, returned as outputs). Each prints what it got, one JSON object a line, which [`MlServer::seen`] reads.
pub struct MlServer {
    process: Process,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl MlServer {
    /// Starts it with the interpreter `python` and waits until all models are ready.
    ///
    /// # Errors
    /// If it ends (MLServer missing in that environment, for example) or is not ready in time.
    pub fn start(python: &Path) -> Result<Self, Error> {
        Self::start_with(python, "mlserver")
    }

    /// As [`start`](Self::start), with the models of the folder `models/FOLDER`; their code is that of
    /// `models/mlserver/runtimes.py`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(python: &Path, folder: &str) -> Result<Self, Error> {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        Self::start_in(python, &all.join(folder), &all.join("mlserver"))
    }

    /// As [`start`](Self::start), with the models of a folder anywhere, whose code is in the folder `code`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(python: &Path, models: &Path, code: &Path) -> Result<Self, Error> {
        let grpc = free_ports(1)?.pop().unwrap_or_default();
        Self::start_on(python, models, code, (Ipv4Addr::LOCALHOST, grpc).into())
    }

    /// As [`start_in`](Self::start_in), with its gRPC endpoint at an address of this machine's.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(python: &Path, models: &Path, code: &Path, grpc: SocketAddr) -> Result<Self, Error> {
        let [http, metrics] = free_ports(2)?[..] else {
            return Err(Error::Protocol("no ports".into()));
        };
        let directory = process::directory("mlserver")?;
        let mut command = Command::new(python);
        command.args(["-c", MAIN, "start"]).arg(models).current_dir(directory.path());
        for (name, value) in [
            ("MLSERVER_HOST", grpc.ip().to_string()),
            ("MLSERVER_HTTP_PORT", http.to_string()),
            ("MLSERVER_GRPC_PORT", grpc.port().to_string()),
            ("MLSERVER_METRICS_PORT", metrics.to_string()),
            ("MLSERVER_GRPC_MAX_MESSAGE_LENGTH", MESSAGE_LIMIT.to_string()),
            // Workers of its own would each need a second to start, and answer no better.
            ("MLSERVER_PARALLEL_WORKERS", "0".to_owned()),
            ("MLSERVER_DEBUG", "false".to_owned()),
            ("PYTHONPATH", code.display().to_string()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ] {
            command.env(name, value);
        }
        let mut process = Process::start("mlserver", command, directory)?;
        let http = SocketAddr::new(grpc.ip(), http);
        let ready = Request::get("/v2/health/ready");
        process.wait("not ready", READY_WITHIN, |_| {
            let answer = send(Protocol::Http1, http, &ready).ok()?;
            (answer.status() == 200 && TcpStream::connect(grpc).is_ok()).then_some(())
        })?;
        Ok(Self { process, grpc, http })
    }

    /// Its gRPC endpoint.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Its own REST endpoint, which no filter uses: a control to compare answers with.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What the models got so far: one object per request, with `model`, `id`, `headers` and `inputs`
    /// (`name`, `datatype`, `shape`, and the first values as `data`).
    pub fn seen(&self) -> Vec<serde_json::Value> {
        let log = self.process.log();
        log.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("got ")?).ok()).collect()
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process: CPU time, memory, pid.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
