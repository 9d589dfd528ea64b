//! What is built for another processor, run here by an emulator of it.

use std::fs;
use std::process::Command;

use crate::Stop;
use crate::build;
use crate::platform::{self, Platform};
use crate::run::{self, Checked};
use crate::tally::Tally;
use crate::tools;
use crate::workspace::Workspace;
use crate::zig;

/// What the workspace's manifest has optimised for tests that run wasm.
const WASM_COMPILER: [&str; 4] =
    ["cranelift-codegen", "regalloc2", "cranelift-frontend", "wasmtime-internal-cranelift"];

/// Tries what the native images of other platforms hold: the library under every golden case, in the player that stands
/// in for Envoy, and the program that copies it. Skipped, by name, without an emulator.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Stop> {
    let here = Platform::here()?;
    let mut tally = Tally::default();
    for platform in platform::ALL.into_iter().filter(|&platform| platform != here) {
        let name = format!("the native library for {platform}, emulated");
        match tools::emulator(workspace, platform)? {
            Ok(emulator) => {
                let directory = build::native(workspace, platform)?;
                let library = directory.join(build::library());
                copies(&emulator.program, &directory)?;
                let mut tests = zig::tests(workspace, platform)?;
                tests.args(["--locked", "-p", "conformance", "--test", "golden_native"]);
                let runner = format!(
                    "target.{}.runner = [{:?}]",
                    zig::with_glibc(platform),
                    emulator.program.display().to_string()
                );
                tests.args(["--config", &runner]);
                // No wasm is compiled there, so its compiler need not be fast.
                for package in WASM_COMPILER {
                    tests.args(["--config", &format!("profile.dev.package.{package}.opt-level = 0")]);
                }
                tests.env("QEMU_LD_PREFIX", &emulator.libraries).env("INFERENCE_FILTERS_SO", &library);
                tally.tests(&name, &mut tests);
            }
            Err(why) => tally.skip(&name, &why),
        }
    }
    tally.close()
}

/// Has the program of the native image copy the library, as in an init container.
fn copies(emulator: &std::path::Path, directory: &std::path::Path) -> Result<(), Stop> {
    run::step("cp of the native image, emulated", || {
        let library = directory.join(build::library());
        let copy = directory.join("copied");
        Command::new(emulator).arg(directory.join(build::copy())).args([&library, &copy]).checked()?;
        let read = |file| fs::read(file).map_err(|e| Stop::new(format!("read what was copied: {e}")));
        if read(&copy)? == read(&library)? { Ok(()) } else { Err(Stop::new("the copy is another file")) }
    })
}
