//! Stock Envoy, real servers and real clients, started on loopback.
//!
//! - [`Envoy`] runs one Envoy with a bootstrap of the caller's, on ports the kernel chose.
//! - [`h1`] and [`h2c`] are clients that show an answer as it came: cut off, reset, with trailers, with bytes
//!   that are not text. [`send`] does the common case over either.
//! - [`uploads`] makes large requests, [`hostile`] ill-meant ones.
//! - [`MlServer`], [`Triton`] and [`KserveServer`] run MLServer, Triton and the KServe SDK's server with the models under `models/`.
//! - [`SignOn`] is the shipped single sign-on with a real OpenID provider, [`agent`] a user agent that logs in there,
//!   [`Browser`] headless Chromium.
//! - [`application::Application`] is the AI application of `examples/ai-application`, whole.
//! - [`Workload`] is an HTTP server that says its name, [`TokenKey`] signs tokens.
//! - [`Suite`] is a test target's `main`: tests whose Envoy or Python is not here are ignored, by name.
//!
//! Binaries and Python environments come from `cargo xtask`, through the environment variables that
//! [`envoys`], [`models_python`], [`triton_python`], [`kserve_python`], [`identity_provider`] and [`chromium`] read; nothing is
//! downloaded here. Every wait has a bound, and every process ends when its value is dropped, or when the process that started it
//! ends, whatever ends that: a `main` without a [`Suite`] calls [`stand_in`] first.

pub mod agent;
mod answer;
pub mod application;
mod browser;
pub mod classes;
mod client;
mod envoy;
mod error;
mod gateway;
pub mod groups;
pub mod h1;
pub mod h2c;
pub mod hostile;
mod kserve;
mod mlserver;
mod ports;
mod process;
mod request;
mod shipped;
mod sign_on;
mod suite;
mod tokens;
mod triton;
pub mod uploads;
mod workload;

use std::path::{Path, PathBuf};

pub use answer::{Answer, End, Head, Headers};
pub use browser::{Browser, chromium};
pub use client::{Protocol, send};
pub use envoy::{Envoy, Installed, Options, Rejected, VERSIONS, envoys, installed};
pub use error::Error;
pub use gateway::{Listener, gateway, gateway_to};
pub use keeper::{descendants, output, stand_in};
pub use kserve::{KserveServer, kserve_python};
pub use mlserver::{MlServer, models_python};
pub use ports::free_ports;
pub use process::{Memory, Process};
pub use request::{Body, Request};
pub use shipped::{shipped_on, start_shipped};
pub use sign_on::{CLIENT_SECRET, Client, Provider, SignOn, Tokens, identity_provider};
pub use suite::Suite;
pub use testkit::unless_missing;
pub use tokens::{TokenKey, base64url};
pub use triton::{Triton, triton_python};
pub use workload::{Seen, Workload};

/// The repository's root, where shipped bootstraps expect to be run.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A build product in `dist/`, made by `cargo xtask build`.
pub fn dist(name: &str) -> PathBuf {
    repository().join("dist").join(name)
}
