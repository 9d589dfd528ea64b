//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Stop;

/// The workspace this xtask was built in.
pub(crate) struct Workspace {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self, Stop> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().unwrap_or(here).to_owned();
        let mut command = cargo(&root);
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = command.output().map_err(|e| Stop::new(format!("cannot run cargo: {e}")))?;
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| {
            Stop::new(format!("cargo metadata: {e}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        })?;
        let target = metadata["target_directory"].as_str();
        let target = target.ok_or_else(|| Stop::new("cargo metadata names no target directory"))?.into();
        Ok(Self { root, target, metadata })
    }

    /// A cargo command in the root.
    pub(crate) fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// A program in the root that calls cargo itself, as cargo's subcommands do.
    pub(crate) fn subcommand(&self, program: &Path) -> Command {
        command(&self.root, program)
    }

    /// Members and their versions.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.packages()
            .iter()
            .filter_map(|package| Some((package["name"].as_str()?, package["version"].as_str()?)))
    }

    /// The names of members that depend on `dependency` directly, in any way.
    pub(crate) fn members_with(&self, dependency: &str) -> Vec<&str> {
        self.packages_with(dependency).filter_map(|package| package["name"].as_str()).collect()
    }

    fn packages_with(&self, dependency: &str) -> impl Iterator<Item = &Value> {
        self.packages().iter().filter(move |package| {
            let all = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
            all.iter().any(|d| d["name"] == dependency)
        })
    }

    fn packages(&self) -> &[Value] {
        self.metadata["packages"].as_array().map_or(&[][..], Vec::as_slice)
    }

    /// The version of a package in `Cargo.lock`.
    pub(crate) fn locked_version(&self, package: &str) -> Result<String, Stop> {
        let path = self.root.join("Cargo.lock");
        let lock =
            std::fs::read_to_string(&path).map_err(|e| Stop::new(format!("read {}: {e}", path.display())))?;
        locked_version(&lock, package)
            .ok_or_else(|| Stop::new(format!("{package} is not in {}", path.display())))
    }
}

/// Cargo as this program was started with it.
fn cargo(root: &Path) -> Command {
    command(root, Path::new(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// A command without what `cargo run` sets for this program alone.
fn command(root: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = {package:?}"));
    lines.next()?;
    Some(lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

#[cfg(test)]
impl Workspace {
    /// The folders of members that depend on `dependency` directly, in any way.
    pub(crate) fn folders_of_members_with(&self, dependency: &str) -> Vec<PathBuf> {
        let manifests =
            self.packages_with(dependency).filter_map(|package| package["manifest_path"].as_str());
        manifests.filter_map(|manifest| Path::new(manifest).parent()).map(Path::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_version_is_that_of_the_very_package() {
        let lock = "[[package]]\nname = \"wasm-bindgen-test\"\nversion = \"0.3.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }

    #[test]
    fn the_workspace_knows_its_members_and_their_dependencies() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.members_with("serde_json").contains(&"xtask"));
        assert!(workspace.root.join("xtask/Cargo.toml").exists());
    }
}
