//! The dynamic module in stock Envoy and in the player of `conformance::native`: the same exchanges must leave the
//! same trace in all of them.
//!
//! The module is the one with the probe filter (`cargo build -p test-filters --example test_module`), found as
//! `$TEST_MODULES/libtest_module.so`; Envoys are found by `ENVOY_138` and so on. What needs something
//! that is not here is reported as ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

#[path = "native_host/exchanges.rs"]
mod exchanges;
#[path = "native_host/in_envoy.rs"]
mod in_envoy;
#[path = "native_host/in_player.rs"]
mod in_player;

use exchanges::{EXCHANGES, Trace};
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::stand_in();
    let module = probe_module();
    let mut trials = in_player::trials(module.as_deref());
    for version in e2e::VERSIONS {
        let envoy = e2e::envoys().into_iter().find(|envoy| envoy.version == version);
        let needed = format!("ENVOY_{}", version.replace('.', ""));
        let missing =
            if module.is_none() { Some("TEST_MODULES") } else { envoy.is_none().then_some(&*needed) };
        let here = envoy.zip(module.clone());
        for (name, test) in in_envoy::TESTS {
            let here = here.clone();
            let run = move || {
                if let Some((envoy, module)) = here {
                    test(&envoy, &module);
                }
                Ok(())
            };
            trials.push(e2e::unless_missing(Trial::test(format!("{name}::{version}"), run), missing));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The module with the probe, if it has been built.
fn probe_module() -> Option<PathBuf> {
    let directory = std::env::var_os("TEST_MODULES")?;
    let module = Path::new(&directory).join("libtest_module.so");
    module.exists().then_some(module)
}

/// Says where two traces of the same exchanges differ.
fn assert_same(expected: &[Trace], found: &[Trace]) {
    let mut different = Vec::new();
    for ((exchange, expected), found) in EXCHANGES.iter().zip(expected).zip(found) {
        if expected != found {
            different.push(format!("{}\n  expected: {expected:?}\n  found:    {found:?}", exchange.name));
        }
    }
    assert!(different.is_empty(), "{} exchanges differ:\n{}", different.len(), different.join("\n"));
    assert_eq!((expected.len(), found.len()), (EXCHANGES.len(), EXCHANGES.len()));
}
