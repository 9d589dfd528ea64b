//! The way into the mesh from outside its network namespace: two ports of loopback, for the application and for the
//! identity provider.
//!
//! [`Front::open`] is called outside, before the namespaces are entered; [`Front::behind`] inside, once what is to be
//! reached is there. Between the two are sockets in the place's directory, which both can see.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;

use crate::pipe::{End, Pipe};

/// The file that tells the program inside which ports there are outside.
const PORTS: &str = "front";
/// The sites, by the names of their sockets.
const SITES: [&str; 2] = ["application.sock", "provider.sock"];

/// The ports outside. They are closed when this is dropped.
pub struct Front {
    _pipes: Vec<Pipe>,
}

/// The sockets inside, and where they are reached outside.
pub struct Behind {
    ports: Vec<u16>,
    _pipes: Vec<Pipe>,
}

impl Front {
    /// Listens on two free ports of loopback. Connections are closed until something is behind them.
    ///
    /// # Errors
    /// If no port can be bound, or the file cannot be written.
    pub fn open(runtime: &Handle, directory: &Path) -> Result<Self> {
        let mut pipes = Vec::new();
        let mut ports = Vec::new();
        for site in SITES {
            let near = End::Tcp((Ipv4Addr::LOCALHOST, 0).into());
            let pipe = Pipe::open(runtime, near, End::Unix(directory.join(site)))?;
            ports.extend(pipe.address().map(|address| address.port().to_string()));
            pipes.push(pipe);
        }
        let file = directory.join(PORTS);
        std::fs::write(&file, ports.join(" ")).with_context(|| format!("write {}", file.display()))?;
        Ok(Self { _pipes: pipes })
    }

    /// Puts the application and the provider, by TLS as they are, behind the ports.
    ///
    /// # Errors
    /// If no front has been opened in this directory.
    pub fn behind(
        runtime: &Handle,
        directory: &Path,
        application: SocketAddr,
        provider: SocketAddr,
    ) -> Result<Behind> {
        let file = directory.join(PORTS);
        let text = std::fs::read_to_string(&file).context("no front has been opened outside")?;
        let ports = text.split(' ').map(|port| port.parse().context("a port in the front's file"));
        let mut pipes = Vec::new();
        for (site, address) in SITES.iter().zip([application, provider]) {
            let near = End::Unix(directory.join(site));
            pipes.push(Pipe::open(runtime, near, End::Tcp(address))?);
        }
        Ok(Behind { ports: ports.collect::<Result<_>>()?, _pipes: pipes })
    }
}

impl Behind {
    /// The ports outside: the application's and the provider's.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }
}

#[cfg(test)]
mod tests {
    use e2e::{Protocol, Request, Workload, send};

    use super::*;

    #[test]
    fn each_port_leads_to_its_own_site_once_that_is_there() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let sites = ["application", "provider"].map(|name| Workload::start(name).unwrap());
        let _front = Front::open(runtime.handle(), directory.path()).unwrap();
        let ask = |port: u16| {
            let at = (Ipv4Addr::LOCALHOST, port).into();
            send(Protocol::Http1, at, &Request::get("/")).and_then(e2e::Answer::complete)
        };
        let text = std::fs::read_to_string(directory.path().join(PORTS)).unwrap();
        let early: Vec<u16> = text.split(' ').map(|port| port.parse().unwrap()).collect();
        assert!(early.iter().all(|&port| ask(port).is_err()));
        let [application, provider] = sites.each_ref().map(Workload::address);
        let behind = Front::behind(runtime.handle(), directory.path(), application, provider).unwrap();
        assert_eq!(behind.ports(), early);
        let texts: Vec<String> = early.iter().map(|&port| ask(port).unwrap().text()).collect();
        assert_eq!(texts, ["workload application\n", "workload provider\n"]);
    }
}
