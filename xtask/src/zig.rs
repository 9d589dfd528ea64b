//! Native modules that load wherever Envoy does.
//!
//! A module that is linked as cargo links it needs `libgcc_s.so.1`, which Envoy's own images need not have, and a C
//! library as new as that of the machine that built it. zig links an unwinder into it, and for the C library that it is
//! told.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::python;
use crate::toolchain;
use crate::workspace::Workspace;

/// The oldest glibc that a module loads with. Envoy itself needs 2.30.
const GLIBC: &str = "2.28";
/// zig, and the command that makes it cargo's linker.
const WHEELS: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.17.1"];

/// A `cargo build` for this processor and [`GLIBC`], and the directory that has one of products for each profile.
pub(crate) fn cargo_build(workspace: &Workspace) -> Result<(Command, PathBuf), Stop> {
    let target = target(std::env::consts::ARCH)?;
    toolchain::target(workspace, target)?;
    let python = python::environment(workspace, "venv-zig", &WHEELS.map(str::to_owned), python::ANY, "")?;
    let mut command = workspace.subcommand(&python.with_file_name("cargo-zigbuild"));
    command.args(["zigbuild", "--target", &format!("{target}.{GLIBC}")]);
    // This zig and no other, and nothing outside of the target directory.
    let cache = workspace.target.join("tools/zig-cache");
    command.env("CARGO_ZIGBUILD_PYTHON_PATH", &python).env("CARGO_ZIGBUILD_CACHE_DIR", &cache);
    command.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    Ok((command, workspace.target.join(target)))
}

/// Envoy's platforms.
fn target(processor: &str) -> Result<&'static str, Stop> {
    match processor {
        "x86_64" => Ok("x86_64-unknown-linux-gnu"),
        "aarch64" => Ok("aarch64-unknown-linux-gnu"),
        other => Err(Stop::new(format!("there is no Envoy for {other}, so no native module either"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_built_for_a_processor_that_envoy_runs_on() {
        assert_eq!(target("aarch64").unwrap(), "aarch64-unknown-linux-gnu");
        assert!(target("riscv64").unwrap_err().0.contains("riscv64"));
    }
}
