//! The same bytes of a build product on any machine, in any directory.
//!
//! A panic's message holds the path of its source file. rustc writes another one in place of the directories that are
//! this machine's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::workspace::Workspace;

/// Has `cargo build --target ...` leave this machine's directories out of its products. Flags that the developer's
/// environment has for rustc are replaced: what is shipped does not depend on them.
pub(crate) fn flags(workspace: &Workspace, cargo: &mut Command) -> Result<(), Stop> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::home_dir()?;
        Some(home.join(".cargo"))
    });
    let home = home.ok_or_else(|| Stop::new("neither CARGO_HOME nor HOME says where cargo keeps sources"))?;
    cargo.env("CARGO_ENCODED_RUSTFLAGS", encoded(&renamed(&workspace.root, &workspace.target, &home)));
    // They would be the second choice, but cargo-zigbuild reads them too.
    cargo.env_remove("RUSTFLAGS");
    Ok(())
}

/// Directories and what they are called in products. Of those that a path begins with, rustc takes the last.
fn renamed(root: &Path, target: &Path, home: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut all = vec![(root.to_owned(), "/source"), (target.to_owned(), "/target")];
    all.push((home.to_owned(), "/cargo"));
    // The folder of a registry is named after its address, which a mirror's differs in.
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
    let mut registries: Vec<PathBuf> = registries.map(|entry| entry.path()).collect();
    registries.sort();
    all.extend(registries.into_iter().map(|registry| (registry, "/cargo/registry")));
    all
}

/// As `CARGO_ENCODED_RUSTFLAGS` has flags: between unit separators, so that paths may contain spaces.
fn encoded(renamed: &[(PathBuf, &str)]) -> OsString {
    let mut flags = OsString::new();
    for (from, to) in renamed {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_of_the_machine_has_a_name_of_its_own_in_products() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("registry/src/mirror-1234")).unwrap();
        let all = renamed(Path::new("/a b"), Path::new("/a b/target"), home.path());
        let flags = encoded(&all).into_string().unwrap();
        let flags: Vec<&str> = flags.split('\x1f').collect();
        let home = home.path().display();
        assert_eq!(
            flags,
            [
                "--remap-path-prefix=/a b=/source",
                "--remap-path-prefix=/a b/target=/target",
                &format!("--remap-path-prefix={home}=/cargo"),
                &format!("--remap-path-prefix={home}/registry/src/mirror-1234=/cargo/registry"),
            ]
        );
    }
}
