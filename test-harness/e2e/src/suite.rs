//! A test suite whose tests need programs that may be missing: they are then reported as ignored, by name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use testkit::unless_missing;

use crate::browser::chromium;
use crate::dist;
use crate::envoy::{Installed, VERSIONS, installed};
use crate::mlserver::models_python;
use crate::sign_on::identity_provider;
use crate::triton::triton_python;

/// A list of tests, run by [`Suite::run`] as the `main` of a test target with `harness = false`.
///
/// A test fails by panicking. `cargo xtask test` sets the environment in which all of them run.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     e2e::Suite::new()
///         .each_envoy("a_bootstrap_without_listeners_starts", |envoy| {
///             e2e::Envoy::start(&envoy.path, "{}", &e2e::Options::default()).unwrap();
///         })
///         .run()
/// }
/// ```
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
    in_turn: bool,
}

impl Suite {
    /// No tests yet. It is the first thing in `main`, because it also calls [`keeper::stand_in`].
    pub fn new() -> Self {
        keeper::stand_in();
        Self::default()
    }

    /// Runs the tests one after the other, for those that need the machine's memory or CPU to themselves.
    #[must_use]
    pub fn in_turn(mut self) -> Self {
        self.in_turn = true;
        self
    }

    /// A test that needs nothing.
    #[must_use]
    pub fn test(mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Self {
        self.trials.push(Trial::test(name, move || passed(body)));
        self
    }

    /// A test on every version of the matrix, named `NAME::1.40` and so on.
    #[must_use]
    pub fn each_envoy(self, name: &str, body: impl Fn(&Installed) + Send + Sync + 'static) -> Self {
        self.on(&VERSIONS, name, body)
    }

    /// A test on the newest version only.
    #[must_use]
    pub fn newest_envoy(self, name: &str, body: impl Fn(&Installed) + Send + Sync + 'static) -> Self {
        self.on(&VERSIONS[VERSIONS.len() - 1..], name, body)
    }

    /// A test on the given versions of the matrix.
    #[must_use]
    pub fn on(
        mut self,
        versions: &[&'static str],
        name: &str,
        body: impl Fn(&Installed) + Send + Sync + 'static,
    ) -> Self {
        let body = Arc::new(body);
        for &version in versions {
            let (body, envoy) = (body.clone(), installed(version));
            let run = move |envoy| body(&envoy);
            self = self.with(format!("{name}::{version}"), envoy, run);
        }
        self
    }

    /// A test on the newest Envoy with the Python environment of the model servers.
    #[must_use]
    pub fn model_server(self, name: &str, body: impl FnOnce(&Installed, PathBuf) + Send + 'static) -> Self {
        self.with(name, modelling(), |(envoy, python)| body(&envoy, python))
    }

    /// A test on the newest Envoy with the Python environments of the model servers and of Triton.
    #[must_use]
    pub fn triton(
        self,
        name: &str,
        body: impl FnOnce(&Installed, PathBuf, PathBuf) + Send + 'static,
    ) -> Self {
        let here = modelling().and_then(|here| Ok((here, triton_python().ok_or("TRITON_PYTHON")?)));
        self.with(name, here, |((envoy, python), triton)| body(&envoy, python, triton))
    }

    /// A test on the newest Envoy with the OpenID provider and the wasm module of `envoy/sso.yaml`.
    #[must_use]
    pub fn sign_on(self, name: &str, body: impl FnOnce(&Installed, &Path) + Send + 'static) -> Self {
        self.with(name, signing_on(), |(envoy, provider)| body(&envoy, &provider))
    }

    /// The same with a browser: Chromium and its driver.
    #[must_use]
    pub fn browser(
        self,
        name: &str,
        body: impl FnOnce(&Installed, &Path, &(PathBuf, PathBuf)) + Send + 'static,
    ) -> Self {
        let here = signing_on().and_then(|here| Ok((here, chromium().ok_or("CHROMEDRIVER")?)));
        self.with(name, here, |((envoy, provider), chromium)| body(&envoy, &provider, &chromium))
    }

    /// A test with what it needs, or an ignored one if that is missing.
    fn with<T: Send + 'static>(
        mut self,
        name: impl Into<String>,
        here: Result<T, String>,
        body: impl FnOnce(T) + Send + 'static,
    ) -> Self {
        let missing = here.as_ref().err().cloned();
        let run = move || here.map_or(Ok(()), |here| passed(|| body(here)));
        self.trials.push(unless_missing(Trial::test(name, run), missing.as_deref()));
        self
    }

    /// A test that needs something that may be missing: an error names it, as for [`unless_missing`].
    #[must_use]
    pub fn given<T: Send + 'static>(
        self,
        name: &str,
        here: Result<T, &'static str>,
        body: impl FnOnce(T) + Send + 'static,
    ) -> Self {
        self.with(name, here.map_err(str::to_owned), body)
    }

    /// Runs the tests that the command line asks for.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        if self.in_turn {
            arguments.test_threads.get_or_insert(1);
        }
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}

/// The newest Envoy and the model servers' Python.
fn modelling() -> Result<(Installed, PathBuf), String> {
    Ok((newest()?, models_python().ok_or("MODELS_PYTHON")?))
}

/// What `envoy/sso.yaml` needs.
fn signing_on() -> Result<(Installed, PathBuf), String> {
    let (envoy, provider) = (newest()?, identity_provider().ok_or("IDENTITY_PROVIDER")?);
    if dist("claim_headers.wasm").is_file() { Ok((envoy, provider)) } else { Err("dist/".into()) }
}

/// The newest Envoy of the matrix.
fn newest() -> Result<Installed, String> {
    installed(VERSIONS[VERSIONS.len() - 1])
}

fn passed(body: impl FnOnce()) -> Result<(), Failed> {
    body();
    Ok(())
}
