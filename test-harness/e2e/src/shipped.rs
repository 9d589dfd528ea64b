//! The bootstraps of `envoy/`, run as they are but for their ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::envoy::{Envoy, Options};
use crate::error::Error;
use crate::repository;

/// Starts `binary` with the bootstrap `envoy/NAME`, its listeners (8080, and 8180 where there is a second one) on
/// ports of the kernel's choice, in front of the caller's gRPC servers in place of those on 8081, 8082 and so on.
/// Everything else is as shipped, so `dist/` must have been filled.
///
/// # Errors
/// If there is no such file, or its ports are not where this function replaces them, or as [`Envoy::start`].
pub fn start_shipped(binary: &Path, name: &str, model_servers: &[SocketAddr]) -> Result<Envoy, Error> {
    let path = repository().join("envoy").join(name);
    let mut text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    text = replaced(&text, 8080, free).ok_or_else(|| not_there(8080, &path))?;
    text = replaced(&text, 8180, free).unwrap_or(text);
    for (port, server) in (8081..).zip(model_servers) {
        text = replaced(&text, port, *server).ok_or_else(|| not_there(port, &path))?;
    }
    Envoy::start(binary, &text, &Options::default())
}

/// The text of the bootstrap `envoy/NAME` with other ports in place of the documented ones, in addresses and in URLs,
/// and with no other change.
///
/// # Errors
/// If there is no such file.
pub fn shipped_on(name: &str, ports: &[(u16, u16)]) -> Result<String, Error> {
    let path = repository().join("envoy").join(name);
    let mut text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    for (documented, port) in ports {
        for (before, after) in [("127.0.0.1:", ""), ("localhost:", ""), ("port_value: ", " }")] {
            let from = format!("{before}{documented}{after}");
            text = text.replace(&from, &format!("{before}{port}{after}"));
        }
    }
    Ok(text)
}

/// `text` with another address wherever it has this port; nothing if it has it nowhere.
fn replaced(text: &str, port: u16, to: SocketAddr) -> Option<String> {
    let from = format!("address: 127.0.0.1, port_value: {port} ");
    let to = format!("address: {}, port_value: {} ", to.ip(), to.port());
    text.contains(&from).then(|| text.replace(&from, &to))
}

fn not_there(port: u16, path: &Path) -> Error {
    Error::Protocol(format!("no address with port {port} is in {}", path.display()))
}
