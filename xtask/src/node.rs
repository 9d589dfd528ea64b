//! What tests of single sign-on run besides Envoy: an OpenID provider from npm, and a browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// The files of the provider, as they are in `test-harness/e2e/idp`.
const FILES: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "idp.mjs"];
/// What Chromium is called, by distribution.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The OpenID provider, with its packages, under `target/idp`. `None` where there is no Node, or npm cannot install; what
/// needs a provider is then reported as ignored.
pub(crate) fn identity_provider(workspace: &Workspace) -> Result<Option<PathBuf>, Stop> {
    if run::on_path("node").is_none() {
        return Ok(None);
    }
    let Some(npm) = run::on_path("npm") else { return Ok(None) };
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
                eprintln!("    not installed, so not tested with: {}", crate::build::last_line(&output));
                Ok(None)
            }
        }
    })
}

/// Chromium and its driver, by the variables that name them to the tests; nothing where either is missing.
pub(crate) fn chromium() -> Vec<(&'static str, PathBuf)> {
    let chromium = CHROMIUM.into_iter().find_map(run::on_path);
    let both = chromium.zip(run::on_path("chromedriver"));
    both.map_or(Vec::new(), |(chromium, driver)| vec![("CHROMIUM", chromium), ("CHROMEDRIVER", driver)])
}
