//! The OpenID provider of `idp/`, for a gateway that users log in at.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::envoy::{Envoy, Options};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::repository;

/// Node reads forty packages before it listens.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// `idp.mjs` in a folder with its packages, named by `IDENTITY_PROVIDER`, which `cargo xtask` sets.
pub fn identity_provider() -> Option<PathBuf> {
    std::env::var_os("IDENTITY_PROVIDER").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// `envoy/sso.yaml` and a running OpenID provider, on ports of their own. Its users' passwords are their names:
/// `premium-user`, `basic-user`, `hostile-user` (whose claim wants to be a header) and `large-user` (whose ID token does
/// not fit into one cookie).
pub struct SignOn {
    /// The gateway.
    pub envoy: Envoy,
    provider: Process,
    gateway: SocketAddr,
    issuer: SocketAddr,
}

impl SignOn {
    /// Starts both, with the two workloads behind the gateway.
    ///
    /// # Errors
    /// If either ends or is not ready in time.
    pub fn start(
        binary: &Path,
        provider: &Path,
        premium: SocketAddr,
        everyone: SocketAddr,
    ) -> Result<Self, Error> {
        let [gateway, idp] = free_ports(2)?[..] else { return Err(Error::Protocol("no ports".into())) };
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (gateway, issuer) = (loopback(gateway), loopback(idp));

        let mut command = Command::new("node");
        command.arg(provider).arg(issuer.port().to_string()).arg(format!("http://{gateway}"));
        let mut provider = Process::start("OpenID provider", command, process::directory("idp")?)?;
        provider.wait_for_log("ready http", READY_WITHIN)?;

        let path = repository().join("envoy/sso.yaml");
        let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        let ports = [
            ("8080", gateway.port()),
            ("8081", premium.port()),
            ("8082", everyone.port()),
            ("8090", issuer.port()),
        ];
        let text = ports.into_iter().fold(text, |text, (documented, port)| {
            let text = text.replace(&format!("127.0.0.1:{documented}"), &format!("127.0.0.1:{port}"));
            text.replace(&format!("port_value: {documented} }}"), &format!("port_value: {port} }}"))
        });
        let envoy = Envoy::start(binary, &text, &Options::default())?;
        Ok(Self { envoy, provider, gateway, issuer })
    }

    /// Where users open the gateway.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Where the provider is.
    pub fn issuer(&self) -> SocketAddr {
        self.issuer
    }

    /// What the provider has printed.
    pub fn provider_log(&self) -> String {
        self.provider.log()
    }
}
