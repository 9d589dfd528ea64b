//! Native modules that load wherever Envoy does, and programs that run anywhere, for both of its processors.
//!
//! A module that is linked as cargo links it needs `libgcc_s.so.1`, which Envoy's own images need not have, and a C
//! library as new as that of the machine that built it. zig links an unwinder into it, and for the C library that it is
//! told.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::platform::Platform;
use crate::python;
use crate::toolchain;
use crate::workspace::Workspace;

/// The oldest glibc that a module loads with. Envoy itself needs 2.30.
const GLIBC: &str = "2.28";
/// zig, and the command that makes it cargo's linker.
const WHEELS: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.17.1"];

/// A `cargo build` of shared libraries for a platform and [`GLIBC`], and the directory that has one of products for each
/// profile.
pub(crate) fn shared(workspace: &Workspace, platform: Platform) -> Result<(Command, PathBuf), Stop> {
    cargo(workspace, "zigbuild", &with_glibc(platform), Some(GLIBC))
}

/// A `cargo test` for a platform and [`GLIBC`], which needs something that runs the tests.
pub(crate) fn tests(workspace: &Workspace, platform: Platform) -> Result<Command, Stop> {
    cargo(workspace, "test", &with_glibc(platform), Some(GLIBC)).map(|(tests, _)| tests)
}

/// Rust's name of a platform with GNU's C library.
pub(crate) fn with_glibc(platform: Platform) -> String {
    format!("{}-unknown-linux-gnu", platform.processor())
}

/// The same of programs that need no library at all.
pub(crate) fn fixed(workspace: &Workspace, platform: Platform) -> Result<(Command, PathBuf), Stop> {
    cargo(workspace, "zigbuild", &format!("{}-unknown-linux-musl", platform.processor()), None)
}

fn cargo(
    workspace: &Workspace,
    command: &str,
    target: &str,
    glibc: Option<&str>,
) -> Result<(Command, PathBuf), Stop> {
    toolchain::target(workspace, target)?;
    let python = python::environment(workspace, "venv-zig", &WHEELS.map(str::to_owned), python::ANY, "")?;
    let mut cargo = workspace.subcommand(&python.with_file_name("cargo-zigbuild"));
    let version = glibc.map(|version| format!(".{version}")).unwrap_or_default();
    cargo.args([command, "--target", &format!("{target}{version}")]);
    // This zig and no other, and nothing outside of the target directory.
    let cache = workspace.target.join("tools/zig-cache");
    cargo.env("CARGO_ZIGBUILD_PYTHON_PATH", &python).env("CARGO_ZIGBUILD_CACHE_DIR", &cache);
    cargo.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    Ok((cargo, workspace.target.join(target)))
}
