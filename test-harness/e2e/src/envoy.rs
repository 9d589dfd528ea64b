//! One stock Envoy with a bootstrap of the caller's.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::answer::Answer;
use crate::error::Error;
use crate::process::{self, Process};
use crate::request::Request;
use crate::{h1, repository};

/// How long a read of the admin endpoint may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long `--mode validate` may take.
const VALIDATE_BOUND: Duration = Duration::from_secs(60);
/// Laid over every bootstrap: an admin endpoint on a port of the kernel's choice.
const ADMIN: &str =
    r#"{"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}"#;

/// The versions of the matrix, oldest first.
pub const VERSIONS: [&str; 3] = ["1.38", "1.39", "1.40"];

/// An Envoy binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its version as `major.minor`, such as `1.40`.
    pub version: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// The Envoys of the matrix that are here, oldest first: those named by `ENVOY_138`, `ENVOY_139` and
/// `ENVOY_140`, which `cargo xtask` sets.
pub fn envoys() -> Vec<Installed> {
    let named = |version: &'static str| {
        let path = std::env::var_os(variable(version)).filter(|value| !value.is_empty())?;
        Some(Installed { version, path: path.into() })
    };
    VERSIONS.into_iter().filter_map(named).collect()
}

/// The Envoy of a version of the matrix.
///
/// # Errors
/// It is not here: the variable that would name it.
pub fn installed(version: &str) -> Result<Installed, String> {
    let found = envoys().into_iter().find(|envoy| envoy.version == version);
    found.ok_or_else(|| variable(version))
}

/// The variable that names the Envoy of a version: `ENVOY_140` of `1.40`.
fn variable(version: &str) -> String {
    format!("ENVOY_{}", version.replace('.', ""))
}

/// How an Envoy is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub concurrency: u32,
    /// `--log-level`.
    pub log_level: String,
    /// `--component-log-level`, if not empty: `wasm:debug,http:trace`.
    pub component_log_level: String,
    /// Environment variables. Of the caller's own environment only `PATH` is passed on.
    pub environment: Vec<(String, String)>,
    /// Where it runs: what relative paths in the bootstrap are relative to.
    pub working_directory: PathBuf,
    /// Further command line arguments.
    pub arguments: Vec<String>,
    /// How long it may take to be ready.
    pub ready_within: Duration,
}

impl Default for Options {
    /// One worker, level `info`, in the repository's root, ready within 60 s.
    fn default() -> Self {
        Self {
            concurrency: 1,
            log_level: "info".into(),
            component_log_level: String::new(),
            environment: Vec::new(),
            working_directory: repository(),
            arguments: Vec::new(),
            ready_within: Duration::from_secs(60),
        }
    }
}

/// A running Envoy. It is ended when dropped.
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

/// A bootstrap that Envoy refuses.
#[derive(Debug)]
pub struct Rejected {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it said.
    pub log: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bootstrap is refused ({}):\n{}", self.status, self.log)
    }
}

impl std::error::Error for Rejected {}

impl Envoy {
    /// Starts `binary` with `bootstrap` (YAML) and waits until it is ready. Its listeners may use port 0:
    /// [`Envoy::address`] knows what became of that. The bootstrap's admin section, if it has one, is
    /// overridden.
    ///
    /// # Errors
    /// If it ends (the error has its last log lines: a filter that refuses its configuration shows here) or is
    /// not ready in time.
    pub fn start(binary: &Path, bootstrap: &str, options: &Options) -> Result<Self, Error> {
        let directory = process::directory("envoy")?;
        let config = directory.path().join("bootstrap.yaml");
        fs::write(&config, bootstrap).map_err(Error::io(format!("write {}", config.display())))?;
        let admin_path = directory.path().join("admin");
        let mut command = command(binary, &config, options, directory.path());
        command.arg("--admin-address-path").arg(&admin_path).args(["--config-yaml", ADMIN]);
        command.args(["--concurrency", &options.concurrency.to_string()]);
        let mut process = Process::start("envoy", command, directory)?;

        let admin = process.wait("no admin address", options.ready_within, |_| {
            fs::read_to_string(&admin_path).ok()?.trim().parse::<SocketAddr>().ok()
        })?;
        process.wait("not ready", options.ready_within, |_| {
            let answer = ask_admin(admin, &Request::get("/ready")).ok()?;
            (answer.status() == 200).then_some(())
        })?;
        let mut envoy = Self { process, admin, listeners: BTreeMap::new() };
        envoy.listeners = envoy.read_listeners()?;
        Ok(envoy)
    }

    /// Has `binary` check a bootstrap without serving it; what it said, if it accepts.
    ///
    /// # Errors
    /// [`Rejected`] inside `Ok(Err(_))` if the bootstrap is refused; [`Error`] if the check could not be run.
    pub fn validate(
        binary: &Path,
        bootstrap: &str,
        options: &Options,
    ) -> Result<Result<String, Rejected>, Error> {
        let directory = process::directory("envoy-validate")?;
        let config = directory.path().join("bootstrap.yaml");
        fs::write(&config, bootstrap).map_err(Error::io(format!("write {}", config.display())))?;
        let mut command = command(binary, &config, options, directory.path());
        command.args(["--mode", "validate"]);
        let mut process = Process::start("envoy --mode validate", command, directory)?;
        match process.wait::<()>("still validating", VALIDATE_BOUND, |_| None) {
            Err(Error::Exited { status, .. }) if status.success() => Ok(Ok(process.log())),
            Err(Error::Exited { status, .. }) => Ok(Err(Rejected { status, log: process.log() })),
            Err(other) => Err(other),
            Ok(()) => Ok(Ok(process.log())),
        }
    }

    /// Where the listener of that name listens.
    ///
    /// # Errors
    /// If there is none.
    pub fn address(&self, listener: &str) -> Result<SocketAddr, Error> {
        let names = || self.listeners.keys().cloned().collect::<Vec<_>>().join(", ");
        let found = self.listeners.get(listener).copied();
        found.ok_or_else(|| Error::Protocol(format!("no listener {listener:?}; there are: {}", names())))
    }

    /// Every listener's name and address.
    pub fn listeners(&self) -> &BTreeMap<String, SocketAddr> {
        &self.listeners
    }

    /// The admin endpoint.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The body of a GET of the admin endpoint.
    ///
    /// # Errors
    /// If the answer is not a whole 200.
    pub fn get(&self, path: &str) -> Result<String, Error> {
        let answer = ask_admin(self.admin, &Request::get(path))?;
        if answer.status() == 200 {
            return Ok(answer.text());
        }
        Err(Error::Protocol(format!("admin GET {path}: {} {}", answer.status(), answer.text())))
    }

    /// Counters and gauges whose names contain `pattern` (a regular expression).
    ///
    /// # Errors
    /// If the admin endpoint does not answer.
    pub fn stats(&self, pattern: &str) -> Result<BTreeMap<String, u64>, Error> {
        let text = self.get(&format!("/stats?filter={pattern}"))?;
        let pairs = text.lines().filter_map(|line| line.rsplit_once(": "));
        Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect())
    }

    /// A counter's or gauge's value; 0 if Envoy has not made it yet.
    ///
    /// # Errors
    /// If the admin endpoint does not answer.
    pub fn stat(&self, name: &str) -> Result<u64, Error> {
        Ok(self.stats(name)?.get(name).copied().unwrap_or(0))
    }

    /// Waits until a counter or gauge is as `enough` wants it.
    ///
    /// # Errors
    /// If it is not within `bound`, or Envoy ends first.
    pub fn wait_for_stat(
        &mut self,
        name: &str,
        bound: Duration,
        enough: impl Fn(u64) -> bool,
    ) -> Result<u64, Error> {
        let request = Request::get(&format!("/stats?filter={name}"));
        let admin = self.admin;
        self.process.wait(&format!("{name} is not as awaited"), bound, |_| {
            let text = ask_admin(admin, &request).ok()?.text();
            let value =
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
            Some(value.unwrap_or(0)).filter(|&value| enough(value))
        })
    }

    /// Everything Envoy has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until Envoy has logged `text`, and returns the whole log.
    ///
    /// # Errors
    /// If it does not within `bound`, or ends first.
    pub fn wait_for_log(&mut self, text: &str, bound: Duration) -> Result<String, Error> {
        self.process.wait_for_log(text, bound)
    }

    /// The process: CPU time, memory, pid.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn read_listeners(&self) -> Result<BTreeMap<String, SocketAddr>, Error> {
        let text = self.get("/listeners?format=json")?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|e| Error::Protocol(format!("admin /listeners: {e}: {text}")))?;
        let statuses = json["listener_statuses"].as_array().cloned().unwrap_or_default();
        let of = |status: &Value| {
            let address = &status["local_address"]["socket_address"];
            let ip = address["address"].as_str()?.parse().ok()?;
            let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
            Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
        };
        // Listeners on pipes or UDP have no such address, and no test asks for one.
        Ok(statuses.iter().filter_map(of).collect())
    }
}

fn command(binary: &Path, config: &Path, options: &Options, directory: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name != "PATH") {
        command.env_remove(name);
    }
    command.env("TMPDIR", directory);
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(&options.working_directory);
    // Hot restart takes a name shared by all Envoys of a machine; tests run several at once.
    command.arg("--disable-hot-restart").arg("-c").arg(config).args(["--log-level", &options.log_level]);
    if !options.component_log_level.is_empty() {
        command.args(["--component-log-level", &options.component_log_level]);
    }
    command.args(&options.arguments);
    command
}

fn ask_admin(admin: SocketAddr, request: &Request) -> Result<Answer, Error> {
    h1::Connection::open(admin, ADMIN_PATIENCE)?.send(request)?.complete()
}
