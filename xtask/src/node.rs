//! What tests and the demo of single sign-on run besides Envoy: an OpenID provider and a compiler from npm, and a
//! browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked, Found};
use crate::workspace::Workspace;

/// The files of the provider, as they are in `test-harness/e2e/idp`.
const FILES: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "idp.mjs"];
/// The oldest Node that the provider runs in, by its major version.
const OLDEST_NODE: u32 = 20;
/// What Chromium is called, by distribution.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The OpenID provider, with its packages, under `target/idp`; or why it is missing, and what to install.
pub(crate) fn identity_provider(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    let (from, to) = (workspace.root.join("test-harness/e2e/idp"), workspace.target.join("idp"));
    let installed = packages("OpenID provider", &from, &to, &FILES)?;
    Ok(installed.map(|()| to.join("idp.mjs")))
}

/// The files of the filter in AssemblyScript, as they are in the emulator's tests.
const FILTER: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "assembly/index.ts"];

/// The filter with the AssemblyScript SDK, compiled with its compiler from npm; or why it is missing.
pub(crate) fn assemblyscript_filter(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    const WHAT: &str = "filter in AssemblyScript";
    let from = workspace.root.join("test-harness/emulator/tests/filters/assemblyscript");
    let to = workspace.target.join("other-filters/assemblyscript");
    fs::create_dir_all(to.join("assembly")).map_err(|e| Stop::new(format!("make {}: {e}", to.display())))?;
    if let Err(missing) = packages(WHAT, &from, &to, &FILTER)? {
        return Ok(Err(missing));
    }
    let module = to.join("filter.wasm");
    run::step("filter in AssemblyScript", || {
        let mut compiler = Command::new("node");
        compiler.current_dir(&to).args(["node_modules/assemblyscript/bin/asc", "assembly/index.ts", "-b"]);
        compiler.arg(&module).args(["--use", "abort=abort_proc_exit", "--optimize"]);
        Ok(match compiler.quietly("asc")? {
            Ok(()) => Ok(module),
            Err(output) => Err(format!("no {WHAT}: asc: {}", run::last_line(&output))),
        })
    })
}

/// Copies files, and installs the packages that they name unless they are there.
pub(crate) fn packages(what: &str, from: &Path, to: &Path, files: &[&str]) -> Result<Found<()>, Stop> {
    let npm = match npm() {
        Ok(npm) => npm,
        Err(missing) => return Ok(Err(format!("no {what}: {missing}"))),
    };
    fs::create_dir_all(to).map_err(|e| Stop::new(format!("make {}: {e}", to.display())))?;
    for file in files {
        let copied = fs::copy(from.join(file), to.join(file));
        copied.map_err(|e| Stop::new(format!("copy {file} to {}: {e}", to.display())))?;
    }
    let stamp = to.join("complete");
    let read = |path: PathBuf| {
        fs::read_to_string(&path).map_err(|e| Stop::new(format!("read {}: {e}", path.display())))
    };
    let wanted = read(to.join("package-lock.json"))?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(Ok(()));
    }
    run::step(&format!("packages of the {what}: npm ci (once)"), || {
        let mut command = Command::new(npm);
        command.current_dir(to).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]);
        match command.quietly("npm")? {
            Ok(()) => {
                fs::write(&stamp, &wanted)
                    .map_err(|e| Stop::new(format!("write {}: {e}", stamp.display())))?;
                Ok(Ok(()))
            }
            Err(output) => {
                let why = run::last_line(&output);
                Ok(Err(format!(
                    "no {what}: npm cannot install it ({why}): give it access to a package registry"
                )))
            }
        }
    })
}

/// npm, of a Node that is new enough; else what is missing.
fn npm() -> Found<PathBuf> {
    let install = || format!("install Node {OLDEST_NODE} or newer with npm");
    let node = run::on_path("node").ok_or_else(|| format!("there is no node on PATH; {}", install()))?;
    let output = Command::new(&node).arg("--version").output();
    let output = output.map_err(|e| format!("cannot run {}: {e}", node.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match major(&printed) {
        Some(major) if major >= OLDEST_NODE => run::on_path("npm")
            .ok_or_else(|| "there is no npm on PATH; on Debian: apt-get install npm".into()),
        _ => Err(format!("{} is {}; {}", node.display(), printed.trim(), install())),
    }
}

/// The major version in what `node --version` prints: `v20.20.2`.
fn major(printed: &str) -> Option<u32> {
    printed.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Chromium and its driver; else which of them is missing, and what to install.
pub(crate) fn chromium() -> Found<(PathBuf, PathBuf)> {
    let browser = CHROMIUM.into_iter().find_map(run::on_path).ok_or("chromium");
    let both = browser.and_then(|browser| Ok((browser, run::on_path("chromedriver").ok_or("chromedriver")?)));
    both.map_err(|missing| {
        format!("{missing} was not found on PATH; on Debian: apt-get install chromium chromium-driver")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_own_version_line_is_understood() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v8.10.0\n"), Some(8));
        assert_eq!(major("node: not found"), None);
    }
}
