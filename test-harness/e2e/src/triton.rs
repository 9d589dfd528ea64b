//! Triton from PyPI's nvidia-pytriton with the models of `models/triton`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::client::{Protocol, send};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::request::Request;

/// The server is large, and each model has a Python interpreter of its own.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The Python of the environment that has Triton, named by `TRITON_PYTHON`, which `cargo xtask interop` sets.
pub fn triton_python() -> Option<PathBuf> {
    std::env::var_os("TRITON_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A running Triton. It is ended when dropped.
///
/// Its model `echo` returns what it gets: inputs of two dimensions, named for their datatypes.
pub struct Triton {
    process: Process,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Triton {
    /// Starts the server in the environment of the interpreter `python`, and waits until its models are ready.
    ///
    /// # Errors
    /// If the environment has no Triton, or it ends, or it is not ready in time.
    pub fn start(python: &Path) -> Result<Self, Error> {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/triton");
        Self::start_in(python, &models, &[])
    }

    /// As [`start`](Self::start), with the models of a folder anywhere, which find paths in their environment.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(python: &Path, models: &Path, environment: &[(&str, &Path)]) -> Result<Self, Error> {
        let [http, grpc] = free_ports(2)?[..] else {
            return Err(Error::Protocol("no ports".into()));
        };
        let directory = process::directory("triton")?;
        let site = site_packages(python)?;
        let server = site.join("pytriton/tritonserver");
        let backends = directory.path().join("backends");
        make_python_backend(&site, &server, &backends.join("python"))?;
        let mut command = Command::new(server.join("bin/tritonserver"));
        command.arg(option("--model-repository", models)).arg(option("--backend-directory", &backends));
        command.args([
            "--http-address=127.0.0.1".to_owned(),
            format!("--http-port={http}"),
            "--grpc-address=127.0.0.1".to_owned(),
            format!("--grpc-port={grpc}"),
            "--allow-metrics=false".to_owned(),
            // Models can be loaded and unloaded, and all are loaded to begin with.
            "--model-control-mode=explicit".to_owned(),
            "--load-model=*".to_owned(),
        ]);
        command.env("LD_LIBRARY_PATH", site.join("nvidia_pytriton.libs"));
        // The backend embeds the system's libpython: another Python's standard library would break it.
        command.env("PATH", "/usr/bin:/bin").env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(environment.iter().copied());
        let mut process = Process::start("triton", command, directory)?;
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

    /// Its own HTTP endpoint, which no filter uses: what it answers is how the filter must answer.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The environment's packages: `lib/python3.X/site-packages` beside `bin/python`.
fn site_packages(python: &Path) -> Result<PathBuf, Error> {
    let environment = python.parent().and_then(Path::parent).unwrap_or(python);
    let library = environment.join("lib");
    let entries = fs::read_dir(&library).map_err(Error::io(format!("read {}", library.display())))?;
    let sites = entries.filter_map(|entry| Some(entry.ok()?.path().join("site-packages")));
    let mut with_triton = sites.filter(|site| site.join("pytriton/tritonserver").is_dir());
    let missing = || Error::Protocol(format!("no pytriton in {}", library.display()));
    with_triton.next().ok_or_else(missing)
}

/// Puts together what the wheel has in several places: the backend, its interpreter for this version of Python, and
/// what this interpreter imports for the models: NumPy and ONNX Runtime.
fn make_python_backend(site: &Path, server: &Path, backend: &Path) -> Result<(), Error> {
    fs::create_dir_all(backend).map_err(Error::io(format!("make {}", backend.display())))?;
    let version = site.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let version = version.trim_start_matches("python");
    let parts = server.join("backends/python");
    let entries = fs::read_dir(&parts).map_err(Error::io(format!("read {}", parts.display())))?;
    let mut linked: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    linked.push(server.join("python_backend_stubs").join(version).join("triton_python_backend_stub"));
    linked.extend(["numpy", "numpy.libs", "onnxruntime"].map(|package| site.join(package)));
    for target in linked {
        let link = backend.join(target.file_name().unwrap_or_default());
        symlink(&target, &link).map_err(Error::io(format!("link {}", link.display())))?;
    }
    Ok(())
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push("=");
    option.push(path);
    option
}
