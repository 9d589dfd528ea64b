//! A test suite whose tests need what may not be here: they are then reported as ignored, by name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::browser::chromium;
use crate::dist;
use crate::envoy::{Installed, envoys};
use crate::mlserver::models_python;
use crate::sign_on::identity_provider;
use crate::triton::triton_python;

/// The versions of the matrix, oldest first.
pub const VERSIONS: [&str; 3] = ["1.38", "1.39", "1.40"];

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
    /// No tests yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the tests run one after the other, for those that need the machine's memory or its time to themselves.
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
        let here = envoys();
        let body = Arc::new(body);
        for &version in versions {
            let envoy = here.iter().find(|envoy| envoy.version == version).cloned();
            let (body, ignored) = (body.clone(), envoy.is_none());
            let run = move || envoy.as_ref().map_or(Ok(()), |envoy| passed(|| body(envoy)));
            self.trials.push(Trial::test(format!("{name}::{version}"), run).with_ignored_flag(ignored));
        }
        self
    }

    /// A test on the newest Envoy with the Python environment of the model servers.
    #[must_use]
    pub fn model_server(
        mut self,
        name: &str,
        body: impl FnOnce(&Installed, PathBuf) + Send + 'static,
    ) -> Self {
        let here = newest().zip(models_python());
        let ignored = here.is_none();
        let run = move || here.map_or(Ok(()), |(envoy, python)| passed(|| body(&envoy, python)));
        self.trials.push(Trial::test(name, run).with_ignored_flag(ignored));
        self
    }

    /// A test on the newest Envoy with the Python environments of the model servers and of Triton.
    #[must_use]
    pub fn triton(
        mut self,
        name: &str,
        body: impl FnOnce(&Installed, PathBuf, PathBuf) + Send + 'static,
    ) -> Self {
        let here = newest().zip(models_python()).zip(triton_python());
        let ignored = here.is_none();
        let run =
            move || here.map_or(Ok(()), |((envoy, python), triton)| passed(|| body(&envoy, python, triton)));
        self.trials.push(Trial::test(name, run).with_ignored_flag(ignored));
        self
    }

    /// A test on the newest Envoy with the OpenID provider and the wasm module of `envoy/sso.yaml`.
    #[must_use]
    pub fn sign_on(mut self, name: &str, body: impl FnOnce(&Installed, &Path) + Send + 'static) -> Self {
        let here = signing_on();
        let ignored = here.is_none();
        let run = move || here.map_or(Ok(()), |(envoy, provider)| passed(|| body(&envoy, &provider)));
        self.trials.push(Trial::test(name, run).with_ignored_flag(ignored));
        self
    }

    /// The same with a browser: Chromium and its driver.
    #[must_use]
    pub fn browser(
        mut self,
        name: &str,
        body: impl FnOnce(&Installed, &Path, &(PathBuf, PathBuf)) + Send + 'static,
    ) -> Self {
        let here = signing_on().zip(chromium());
        let ignored = here.is_none();
        let run = move || {
            here.map_or(Ok(()), |((envoy, provider), chromium)| passed(|| body(&envoy, &provider, &chromium)))
        };
        self.trials.push(Trial::test(name, run).with_ignored_flag(ignored));
        self
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

/// What `envoy/sso.yaml` needs.
fn signing_on() -> Option<(Installed, PathBuf)> {
    newest().zip(identity_provider()).filter(|_| dist("claim_headers.wasm").is_file())
}

/// The newest Envoy of the matrix.
fn newest() -> Option<Installed> {
    envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1])
}

fn passed(body: impl FnOnce()) -> Result<(), Failed> {
    body();
    Ok(())
}
