//! The bootstraps of `envoy/`, run as they are but for their ports.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::envoy::{Envoy, Options};
use crate::error::Error;
use crate::repository;

/// What the shipped bootstraps listen on, and what is put there instead: a port of the kernel's choice.
const LISTENER: (&str, &str) =
    ("address: 127.0.0.1, port_value: 8080 ", "address: 127.0.0.1, port_value: 0 ");
/// Where they expect the model server.
const MODEL_SERVER: &str = "address: 127.0.0.1, port_value: 8081 ";

/// Starts `binary` with the bootstrap `envoy/NAME` in front of a gRPC server of the caller's. Everything else is
/// as shipped, so `dist/` must have been filled.
///
/// # Errors
/// If there is no such file, or its ports are not where this function replaces them, or as [`Envoy::start`].
pub fn start_shipped(binary: &Path, name: &str, model_server: SocketAddr) -> Result<Envoy, Error> {
    let path = repository().join("envoy").join(name);
    let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let replaced = |text: String, from: &str, to: &str| match text.contains(from) {
        true => Ok(text.replace(from, to)),
        false => Err(Error::Protocol(format!("{from:?} is not in {}", path.display()))),
    };
    let text = replaced(text, LISTENER.0, LISTENER.1)?;
    let server = format!("address: {}, port_value: {} ", model_server.ip(), model_server.port());
    let text = replaced(text, MODEL_SERVER, &server)?;
    Envoy::start(binary, &text, &Options::default())
}
