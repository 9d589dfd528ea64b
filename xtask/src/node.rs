//! What tests and the demo of single sign-on run besides Envoy: an OpenID provider from npm, and a browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// The files of the provider, as they are in `test-harness/e2e/idp`.
const FILES: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "idp.mjs"];
/// The oldest Node that the provider runs in, by its major version.
const OLDEST_NODE: u32 = 20;
/// What Chromium is called, by distribution.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The OpenID provider, with its packages, under `target/idp`. `None`, and a line that says why, where there is no Node, or
/// npm cannot install; what needs a provider is then left out by name.
pub(crate) fn identity_provider(workspace: &Workspace) -> Result<Option<PathBuf>, Stop> {
    let npm = match npm() {
        Ok(npm) => npm,
        Err(missing) => {
            eprintln!("    no OpenID provider, so no single sign-on: {missing}");
            return Ok(None);
        }
    };
    let (from, to) = (workspace.root.join("test-harness/e2e/idp"), workspace.target.join("idp"));
    fs::create_dir_all(&to).map_err(|e| Stop::new(format!("make {}: {e}", to.display())))?;
    for file in FILES {
        let copied = fs::copy(from.join(file), to.join(file));
        copied.map_err(|e| Stop::new(format!("copy {file} to {}: {e}", to.display())))?;
    }
    let (program, stamp) = (to.join("idp.mjs"), to.join("complete"));
    let read = |path: PathBuf| {
        fs::read_to_string(&path).map_err(|e| Stop::new(format!("read {}: {e}", path.display())))
    };
    let wanted = read(to.join("package-lock.json"))?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(Some(program));
    }
    run::step("OpenID provider target/idp: npm ci (once)", || {
        let mut command = Command::new(npm);
        command.current_dir(&to).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]);
        match command.quietly("npm")? {
            Ok(()) => {
                fs::write(&stamp, &wanted)
                    .map_err(|e| Stop::new(format!("write {}: {e}", stamp.display())))?;
                Ok(Some(program))
            }
            Err(output) => {
                let why = crate::build::last_line(&output);
                eprintln!("    no OpenID provider, so no single sign-on: npm could not install it: {why}");
                Ok(None)
            }
        }
    })
}

/// npm, of a Node that is new enough; else what is missing.
fn npm() -> Result<PathBuf, String> {
    let node = run::on_path("node").ok_or("no node on PATH")?;
    let output = Command::new(&node).arg("--version").output();
    let output = output.map_err(|e| format!("cannot run {}: {e}", node.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match major(&printed) {
        Some(major) if major >= OLDEST_NODE => run::on_path("npm").ok_or_else(|| "no npm on PATH".into()),
        _ => Err(format!("{} is {}, not {OLDEST_NODE} or newer", node.display(), printed.trim())),
    }
}

/// The major version in what `node --version` prints: `v20.20.2`.
fn major(printed: &str) -> Option<u32> {
    printed.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Chromium and its driver, by the variables that name them to the tests; nothing where either is missing.
pub(crate) fn chromium() -> Vec<(&'static str, PathBuf)> {
    let chromium = CHROMIUM.into_iter().find_map(run::on_path);
    let both = chromium.zip(run::on_path("chromedriver"));
    both.map_or(Vec::new(), |(chromium, driver)| vec![("CHROMIUM", chromium), ("CHROMEDRIVER", driver)])
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
