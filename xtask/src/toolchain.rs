//! What the Rust toolchain in use can compile for.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked, last_line};
use crate::workspace::Workspace;

/// The target of the filters' wasm modules.
pub(crate) const WASI: &str = "wasm32-wasip1";
/// The target on which the pure crates' tests run under Node.
pub(crate) const WEB: &str = "wasm32-unknown-unknown";

/// Makes sure that the toolchain in use can compile for `target`.
pub(crate) fn target(workspace: &Workspace, target: &str) -> Result<(), Stop> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(&workspace.root).args(["--print", "sysroot"]);
    let output = rustc.output().map_err(|e| Stop::new(format!("cannot run rustc: {e}")))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    let missing = |why: &str| {
        Stop::new(format!(
            "Rust's target {target} is missing ({why}): install it, `rustup target add {target}`"
        ))
    };
    if run::on_path("rustup").is_none() {
        return Err(missing("and rustup is not on PATH"));
    }
    run::step(&format!("rustup target add {target}"), || {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(&workspace.root).args(["target", "add", target]);
        rustup.quietly(target)?.map_err(|output| missing(last_line(&output)))
    })
}
