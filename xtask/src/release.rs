//! The folder from which users install, with nothing to compile.

use std::process::Command;

use crate::Stop;
use crate::build;
use crate::image;
use crate::mesh;
use crate::platform::{self, Platform};
use crate::run::{self, Checked};
use crate::versions;
use crate::workspace::Workspace;

/// How many files that were changed are named.
const NAMED: usize = 20;
/// Folders and files of the repository that go with a release as they are.
const FOLDERS: [&str; 4] = ["envoy", "envoy-gateway", "istio", "observability"];
const FILES: [&str; 8] = [
    "CHANGELOG.md",
    "LICENSE",
    "SECURITY.md",
    "docs/install.md",
    "docs/upgrade.md",
    // One by one: where the model has been run, Python has left files beside it.
    "examples/affine/affine.py",
    "examples/affine/model-settings.json",
    "examples/affine/settings.json",
];
const CHART: &str = "charts/inference-filters";

/// Fills `dist/release/`. What can be wrong in a minute is looked at before anything is built.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Stop> {
    clean(workspace)?;
    let version = versions::one(workspace)?;
    versions::told(workspace, &version)?;
    let images = image::all(workspace, &platform::ALL, None)?;
    let (command, program) = build::command(workspace, Platform::Amd64)?;

    let root = &workspace.root;
    let dist = root.join("dist");
    let directory = dist.join("release");
    let mut release = workspace.subcommand(&workspace.target.join("debug/release"));
    release.arg(&directory);
    let mut add = |flag: &str, value: String| {
        release.args([flag, &value]);
    };
    add("--folder", format!("images={}", dist.join("images").display()));
    for (_, module) in build::wasm_modules() {
        add("--file", format!("modules/{module}={}", dist.join(module).display()));
    }
    for (platform, files) in platform::ALL.into_iter().zip(&images.natives) {
        let library = build::library();
        let to = format!("native/linux-{}/{library}", platform.architecture());
        add("--file", format!("{to}={}", files.join(library).display()));
    }
    for folder in FOLDERS {
        add("--folder", format!("{folder}={}", root.join(folder).display()));
    }
    for file in FILES {
        add("--file", format!("{file}={}", root.join(file).display()));
    }
    add("--chart", root.join(CHART).display().to_string());
    add("--program", format!("{command}={}={}", Platform::Amd64.architecture(), program.display()));
    run::step("release: dist/release", || release.checked())?;

    if Platform::here()? == Platform::Amd64 {
        let command = directory.join("bin/linux-amd64").join(command);
        run::step("release: the command runs", || Command::new(command).arg("--version").checked())?;
    }
    let chart = directory.join(format!("inference-filters-{version}.tgz"));
    match mesh::helm(workspace) {
        Ok(helm) => run::step("release: helm lint", || {
            Command::new(helm).args(["lint", "--strict"]).arg(&chart).checked()
        })?,
        Err(why) => eprintln!("==> skipped: helm lint of the packaged chart: {why}"),
    }
    println!("dist/release is version {version}, from {}", commit(workspace)?);
    Ok(())
}

/// Refuses a tree with changes, which no commit names.
fn clean(workspace: &Workspace) -> Result<(), Stop> {
    let changed = git(workspace, &["status", "--porcelain"])?;
    if changed.is_empty() { Ok(()) } else { Err(dirty(&changed)) }
}

fn dirty(changed: &str) -> Stop {
    let lines: Vec<&str> = changed.lines().collect();
    let shown = lines[..lines.len().min(NAMED)].join("\n    ");
    let more = match lines.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("\n    and {more} others"),
    };
    Stop(format!(
        "a release is made from a commit, and these files have changes: commit or stash them\n    {shown}{more}"
    ))
}

fn commit(workspace: &Workspace) -> Result<String, Stop> {
    git(workspace, &["rev-parse", "HEAD"])
}

fn git(workspace: &Workspace, arguments: &[&str]) -> Result<String, Stop> {
    let output = Command::new("git").current_dir(&workspace.root).args(arguments).output();
    let output = output.map_err(|e| Stop(format!("cannot run git: {e}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Stop(format!("git {}: {}", arguments.join(" "), text(&output.stderr))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_named_and_a_long_list_is_cut() {
        let one = dirty(" M a.rs\n?? b.rs").0;
        assert!(one.ends_with("stash them\n     M a.rs\n    ?? b.rs"), "{one}");
        let many = dirty(&"?? file\n".repeat(25)).0;
        assert!(many.ends_with("?? file\n    and 5 others"), "{many}");
    }

    #[test]
    fn what_goes_with_a_release_as_it_is_exists() {
        let workspace = Workspace::find().unwrap();
        for path in FOLDERS.iter().chain(&FILES).chain(&[CHART]) {
            assert!(workspace.root.join(path).exists(), "{path}");
        }
    }
}
