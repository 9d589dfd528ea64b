//! One Envoy Gateway as its own program, standalone: resources from files, Envoy as its child.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::{Process, Protocol, Request, send};

use super::wasm;
use crate::place::Place;

/// The folder that the configuration in the repository names.
const FOLDER: &str = "/tmp/envoy-gateway";
/// The port of the Gateway in the resources.
const PORT: u16 = 8080;
/// How long Envoy Gateway and its Envoy may take to serve, on a loaded machine.
const READY: Duration = Duration::from_secs(90);

/// An Envoy, and the version under whose name Envoy Gateway looks for it.
pub(super) struct Proxy {
    pub(super) binary: PathBuf,
    pub(super) version: &'static str,
}

/// A running Envoy Gateway.
pub(super) struct Server {
    process: Process,
}

impl Server {
    /// Starts it with the configuration of `envoy-gateway/standalone`, and these texts as its files of resources; for
    /// wasm also with what [`wasm::trust`] says.
    pub(super) fn start(
        place: &Place,
        proxy: &Proxy,
        resources: &[(String, String)],
        for_wasm: bool,
    ) -> Result<Self> {
        let program = std::env::var_os("ENVOY_GATEWAY").filter(|path| !path.is_empty());
        let program = program.ok_or_else(|| {
            anyhow!("ENVOY_GATEWAY is missing: run this through `cargo xtask envoy-gateway`")
        })?;
        let directory = tempfile::Builder::new().prefix("envoy-gateway-").tempdir_in(place.directory());
        let directory = directory.context("make a directory for Envoy Gateway")?;
        let here = directory.path();
        let configuration = super::folder().join("standalone/envoy-gateway.yaml");
        let text = fs::read_to_string(&configuration);
        let text = text.with_context(|| format!("read {}", configuration.display()))?;
        write(&here.join("envoy-gateway.yaml"), &text.replace(FOLDER, &here.to_string_lossy()))?;
        for (name, text) in resources {
            write(&here.join("resources").join(name), text)?;
        }
        let envoy = here.join("data/envoy-versions").join(proxy.version).join("bin/envoy");
        fs::create_dir_all(envoy.parent().unwrap_or(here)).context("make the folder of Envoy's versions")?;
        std::os::unix::fs::symlink(&proxy.binary, &envoy)
            .context("put Envoy where Envoy Gateway finds it")?;

        let mut certificates = Command::new(&program);
        certificates.args(["certgen", "--local", "--config-home"]).arg(here.join("config"));
        certificates.env("HOME", here);
        let output = keeper::output(&mut certificates).context("run envoy-gateway certgen")?;
        ensure!(
            output.status.success(),
            "envoy-gateway certgen: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let mut command = Command::new(&program);
        command.args(["server", "--config-path"]).arg(here.join("envoy-gateway.yaml"));
        command.env("HOME", here).env("GOMEMLIMIT", "500MiB").current_dir(here);
        if for_wasm {
            write(&here.join("resources/trust.yaml"), &wasm::trust(&here.join("config/certs"))?)?;
            command.env("SSL_CERT_FILE", place.directory().join(wasm::AUTHORITIES));
        }
        Ok(Self { process: Process::start("envoy-gateway", command, directory)? })
    }

    /// Where the Gateway listens.
    pub(super) fn address() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, PORT).into()
    }

    /// Waits until a request is answered with 200.
    pub(super) fn wait(&mut self, what: &str, request: &Request) -> Result<()> {
        let answered = self.process.wait(what, READY, |process| {
            // No answer will come.
            if let Some(refused) = refused(&process.log()).pop() {
                return Some(Err(anyhow!("{refused}")));
            }
            let answer = send(Protocol::Http1, Self::address(), request).ok()?;
            (answer.status() == 200).then_some(Ok(()))
        });
        answered?
    }

    /// What Envoy refused, and what Envoy Gateway could not translate or read.
    pub(super) fn refused(&self) -> Vec<String> {
        refused(&self.process.log())
    }
}

fn refused(log: &str) -> Vec<String> {
    const SIGNS: [&str; 6] = [
        "rejected:",
        "Error adding/updating listener",
        "validation error",
        "failed to translate",
        "failed to reload resources",
        "failed to run envoy",
    ];
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let said = lines.iter().filter(|line| SIGNS.iter().any(|sign| line.contains(sign)));
    // Conditions of resources, as a cluster has them in their status. A machine has no address to give a Gateway.
    let conditions = lines.windows(2).filter(|two| two[1] == r#"status: "False""#).map(|two| &two[0]);
    let conditions = conditions.filter(|reason| **reason != "reason: AddressNotAssigned");
    said.chain(conditions).map(|&line| line.to_owned()).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))
        .with_context(|| format!("make the folder of {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
