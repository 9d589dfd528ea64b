//! The KServe SDK's own model server from PyPI.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::client::{Protocol, send};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::request::Request;

/// Importing the SDK takes seconds on a cold or loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The Python of the environment that has the KServe SDK, named by `KSERVE_PYTHON`, which `cargo xtask interop` sets.
pub fn kserve_python() -> Option<PathBuf> {
    std::env::var_os("KSERVE_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A running `kserve.ModelServer`. It is ended when dropped.
pub struct KserveServer {
    process: Process,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl KserveServer {
    /// Runs `script`, which starts a `ModelServer` with models of its own, with the interpreter `python`, and waits until it is
    /// ready. The SDK's server has no option for its address, so this one listens on all of this machine's.
    ///
    /// # Errors
    /// If it ends (the SDK missing in that environment, for example) or is not ready in time.
    pub fn start(python: &Path, script: &Path) -> Result<Self, Error> {
        let [http, grpc] = free_ports(2)?[..] else {
            return Err(Error::Protocol("no ports".into()));
        };
        let directory = process::directory("kserve")?;
        let mut command = Command::new(python);
        command.arg(script).current_dir(directory.path());
        command.args(["--http_port", &http.to_string(), "--grpc_port", &grpc.to_string()]);
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start("kserve", command, directory)?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, grpc) = (loopback(http), loopback(grpc));
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

    /// Its own REST endpoint, which no filter uses.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
