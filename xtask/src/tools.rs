//! Developer tools from crates.io, the Go module proxy and Debian, made once under `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::platform::Platform;
use crate::run::{self, Checked, Found};
use crate::workspace::Workspace;

/// The func-e that the bootstraps are tried with. PyPI's package of that name is another program.
const FUNC_E: &str = "github.com/tetratelabs/func-e/cmd/func-e@v1.6.0";

/// func-e: `$FUNC_E`, or built with Go; or why it is missing, and what to install.
pub(crate) fn func_e(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    if let Some(path) = std::env::var_os("FUNC_E").filter(|path| !path.is_empty()) {
        return Ok(Ok(path.into()));
    }
    let Some(go) = run::on_path("go") else {
        return Ok(Err(
            "func-e is built with Go, which was not found on PATH; install Go, or set FUNC_E".into()
        ));
    };
    let folder = workspace.target.join("tools/func-e-1.6.0");
    let binary = folder.join("func-e");
    if binary.exists() {
        return Ok(Ok(binary));
    }
    run::step("install func-e 1.6.0 (once)", || {
        let mut command = Command::new(go);
        command.args(["install", FUNC_E]).env("GOBIN", &folder);
        Ok(match command.quietly("go")? {
            Ok(()) => Ok(binary),
            Err(output) => {
                let why = run::last_line(&output);
                Err(format!(
                    "Go cannot install func-e ({why}): give it access to a module proxy, or set FUNC_E"
                ))
            }
        })
    })
}

/// The folder with `prometheus` and `promtool`: `$PROMETHEUS`, or from Debian's package, which is unpacked and never installed;
/// or why it is missing, and what to install.
pub(crate) fn prometheus(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    if let Some(path) = std::env::var_os("PROMETHEUS").filter(|path| !path.is_empty()) {
        return Ok(Ok(path.into()));
    }
    let folder = workspace.target.join("tools/prometheus");
    let programs = folder.join("usr/bin");
    if ["prometheus", "promtool"].iter().all(|program| programs.join(program).exists()) {
        return Ok(Ok(programs));
    }
    const ELSE: &str = "set PROMETHEUS to a folder with prometheus and promtool";
    if let Some(missing) = ["apt-get", "dpkg-deb"].into_iter().find(|program| run::on_path(program).is_none())
    {
        return Ok(Err(format!(
            "Prometheus is taken from Debian's package, and {missing} was not found on PATH; {ELSE}"
        )));
    }
    run::step("unpack Prometheus (once)", || {
        let cannot = |e: std::io::Error| Stop::new(format!("make {}: {e}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        // The shell finds the package's file, whose name has its version.
        let mut command = Command::new("sh");
        command.args(["-ec", "apt-get --quiet download prometheus; dpkg-deb --extract prometheus_*.deb ."]);
        Ok(match command.current_dir(&folder).quietly("apt-get")? {
            Ok(()) => Ok(programs),
            Err(output) => {
                let why = run::last_line(&output);
                Err(format!("apt-get cannot download the package prometheus ({why}); {ELSE}"))
            }
        })
    })
}

/// What runs programs of another processor here.
pub(crate) struct Emulator {
    /// `qemu-aarch64`, or another processor's.
    pub(crate) program: PathBuf,
    /// The folder with that processor's C library.
    pub(crate) libraries: PathBuf,
}

/// qemu's emulator of user programs for a platform, from Debian's packages, which are unpacked and never installed; or why it is
/// missing, and what to install.
pub(crate) fn emulator(workspace: &Workspace, platform: Platform) -> Result<Found<Emulator>, Stop> {
    let processor = platform.processor();
    let folder = workspace.target.join("tools").join(format!("qemu-{processor}"));
    let program = folder.join(format!("usr/bin/qemu-{processor}-static"));
    let libraries = folder.join(format!("usr/{processor}-linux-gnu"));
    if program.exists() && libraries.exists() {
        return Ok(Ok(Emulator { program, libraries }));
    }
    if let Some(missing) =
        ["apt-get", "dpkg-deb", "tar"].into_iter().find(|program| run::on_path(program).is_none())
    {
        return Ok(Err(format!("qemu is taken from Debian's packages, and {missing} was not found on PATH")));
    }
    run::step(&format!("unpack qemu for {platform} (once)"), || {
        let cannot = |e: std::io::Error| Stop::new(format!("make {}: {e}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        // One program of qemu's package, whose others take 400 MB. The shell finds files whose names have versions.
        let library = format!("libc6-{}-cross", platform.architecture());
        let script = format!(
            "apt-get --quiet download qemu-user-static {library}; dpkg-deb --extract {library}_*.deb .; \
             dpkg-deb --fsys-tarfile qemu-user-static_*.deb | tar -x ./usr/bin/qemu-{processor}-static; rm ./*.deb"
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &script]);
        Ok(match command.current_dir(&folder).quietly("apt-get")? {
            Ok(()) => Ok(Emulator { program, libraries }),
            Err(output) => {
                let why = run::last_line(&output);
                Err(format!("apt-get cannot download qemu-user-static and {library} ({why})"))
            }
        })
    })
}

/// The filter with the Go SDK, of the version in its `go.mod`; or why it is missing, and what to install.
pub(crate) fn go_filter(workspace: &Workspace) -> Result<Found<PathBuf>, Stop> {
    let Some(go) = run::on_path("go") else {
        return Ok(Err(
            "the filter in Go is built with Go, which was not found on PATH; install Go 1.24".into()
        ));
    };
    let folder = workspace.target.join("other-filters");
    std::fs::create_dir_all(&folder).map_err(|e| Stop::new(format!("make {}: {e}", folder.display())))?;
    let module = folder.join("go.wasm");
    run::step("filter in Go", || {
        let mut command = Command::new(go);
        command.current_dir(workspace.root.join("test-harness/emulator/tests/filters/go"));
        command.args(["build", "-buildmode=c-shared", "-trimpath", "-o"]).arg(&module).arg(".");
        command.env("GOOS", "wasip1").env("GOARCH", "wasm");
        Ok(match command.quietly("go")? {
            Ok(()) => Ok(module),
            Err(output) => {
                let why = run::last_line(&output);
                Err(format!("Go cannot build the filter ({why}): give it access to a module proxy"))
            }
        })
    })
}

/// The runner of wasm-bindgen tests, of the version that the tests are linked with.
pub(crate) fn wasm_bindgen_test_runner(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let version = workspace.locked_version("wasm-bindgen")?;
    install(workspace, "wasm-bindgen-cli", &version, "wasm-bindgen-test-runner")
}

/// The binary `program` of a crate, installed unless that version is. An unoptimised build takes a fraction of
/// the time, and these tools have little to do.
pub(crate) fn install(
    workspace: &Workspace,
    package: &str,
    version: &str,
    program: &str,
) -> Result<PathBuf, Stop> {
    let root = workspace.target.join("tools").join(format!("{package}-{version}"));
    let binary = root.join("bin").join(program);
    if binary.exists() {
        return Ok(binary);
    }
    run::step(&format!("install {package} {version} (once)"), || {
        let cargo_install = |locked: &[&str]| {
            let mut cargo = workspace.cargo();
            cargo.args(["install", package, "--version", version, "--bin", program]).args(locked);
            // Without its default features the runner has no TLS, which it needs for browsers alone.
            cargo.args(["--debug", "--no-default-features"]).env("CARGO_PROFILE_DEV_DEBUG", "false");
            cargo.arg("--root").arg(&root).arg("--target-dir").arg(workspace.target.join("tools/build"));
            cargo.quietly(package)
        };
        // A mirror of crates.io may lack a version that the lock file names.
        let installed = match cargo_install(&["--locked"])? {
            Ok(()) => Ok(()),
            Err(_) => cargo_install(&[])?,
        };
        installed.map_err(|output| {
            let why = run::last_line(&output);
            Stop::new(format!(
                "cargo cannot install {package} {version} ({why}): give it access to crates.io"
            ))
        })
    })?;
    Ok(binary)
}
