//! A release: one folder from which users install, with nothing to compile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::archive::{File, compress, pack};
use crate::image::json;
use crate::layout::{below, put, sum};
use crate::sources::{Sources, VERSION};

/// Bills of materials are in a folder of this name.
pub const BILLS: &str = "sbom";

/// What a release is put together from. Paths in it are relative, with `/` between their parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Files, by their paths in the release.
    pub files: Vec<(String, PathBuf)>,
    /// Folders that are copied whole, by their paths in the release.
    pub folders: Vec<(String, PathBuf)>,
    /// Folders of Helm charts, which are packaged.
    pub charts: Vec<PathBuf>,
    /// Packages with their architecture (`amd64`) and the program that is linked statically from them. They go to
    /// `bin/linux-ARCHITECTURE/`, each with its bill of materials in [`BILLS`].
    pub programs: Vec<(String, String, PathBuf)>,
}

impl Release {
    /// Puts a release together, in place of what is in the directory, with the checksums of all its files.
    ///
    /// # Errors
    /// If something cannot be read or written, or a chart is of another version.
    pub fn assemble(&self, directory: &Path) -> Result<()> {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
        }
        for (to, from) in &self.files {
            copy(from, &directory.join(to))?;
        }
        for (to, from) in &self.folders {
            for file in below(from)? {
                copy(&file, &directory.join(to).join(file.strip_prefix(from)?))?;
            }
        }
        for folder in &self.charts {
            let (name, package) = chart(folder)?;
            place(&directory.join(name), &package)?;
        }
        if !self.programs.is_empty() {
            let sources = Sources::of_this_workspace()?;
            for (package, architecture, file) in &self.programs {
                let platform = format!("linux-{architecture}");
                copy(file, &directory.join("bin").join(&platform).join(package))?;
                let bill = sources.program(package, architecture, file)?;
                place(&directory.join(BILLS).join(format!("{package}-{platform}.cdx.json")), &json(&bill)?)?;
            }
        }
        sum(directory)
    }
}

/// Packages the chart in a folder as Helm reads it: the name of the file, and what is in it. `helm package` would put
/// the time of each file in it, and the digest of the chart would be another one in every clone.
///
/// # Errors
/// If a file cannot be read, `Chart.yaml` has no name, or another version than [`VERSION`].
pub fn chart(folder: &Path) -> Result<(String, Vec<u8>)> {
    let about = folder.join("Chart.yaml");
    let text = fs::read_to_string(&about).with_context(|| format!("read {}", about.display()))?;
    let value = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let value = value.map(|value| value.trim().trim_matches('"'));
        value.with_context(|| format!("{} has no {key}", about.display()))
    };
    let (name, version) = (value("name")?, value("version")?);
    ensure!(version == VERSION, "the chart {name} is of version {version}, and all else of {VERSION}");
    let mut files = Vec::new();
    for file in below(folder)? {
        let path = file.strip_prefix(folder)?.to_str().context("a file's name is not UTF-8")?;
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        files.push((format!("{name}/{path}"), bytes));
    }
    let files: Vec<File<'_>> =
        files.iter().map(|(path, bytes)| File { path, executable: false, bytes }).collect();
    let package = pack(&files).and_then(|archive| compress(&archive));
    Ok((format!("{name}-{version}.tgz"), package.with_context(|| format!("package the chart {name}"))?))
}

/// Copies a file with its permissions.
fn copy(from: &Path, to: &Path) -> Result<()> {
    above(to)?;
    let copied = fs::copy(from, to);
    copied.with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn place(file: &Path, bytes: &[u8]) -> Result<()> {
    above(file)?;
    put(file, bytes)
}

fn above(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::sha256;

    fn write(file: &Path, text: &str) {
        place(file, text.as_bytes()).unwrap();
    }

    #[test]
    fn a_release_has_what_it_is_made_of_and_the_checksums_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("release"));
        write(&from.join("a.wasm"), "module");
        write(&from.join("envoy/b.yaml"), "b");
        write(&from.join("envoy/deep/c.yaml"), "c");
        write(&to.join("left over"), "from before");
        let release = Release {
            files: vec![("modules/a.wasm".to_owned(), from.join("a.wasm"))],
            folders: vec![("envoy".to_owned(), from.join("envoy"))],
            ..Release::default()
        };
        release.assemble(&to).unwrap();
        let sums = fs::read_to_string(to.join("SHA256SUMS")).unwrap();
        let line = |text: &str, name: &str| format!("{}  {name}\n", sha256(text.as_bytes()));
        let expected =
            [line("b", "envoy/b.yaml"), line("c", "envoy/deep/c.yaml"), line("module", "modules/a.wasm")];
        assert_eq!(sums, expected.concat());
        assert_eq!(below(&to).unwrap().len(), 4);
    }

    #[test]
    fn the_chart_of_this_repository_is_packaged_the_same_whenever_its_files_were_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/inference-filters");
        let (name, package) = chart(&folder).unwrap();
        assert_eq!(name, format!("inference-filters-{VERSION}.tgz"));
        let elsewhere = tempfile::tempdir().unwrap();
        for file in below(&folder).unwrap() {
            copy(&file, &elsewhere.path().join(file.strip_prefix(&folder).unwrap())).unwrap();
        }
        assert_eq!(chart(elsewhere.path()).unwrap(), (name, package));
    }

    #[test]
    fn a_chart_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("Chart.yaml"), "apiVersion: v2\nname: a\nversion: \"0.0.1\"\n");
        let why = format!("{:#}", chart(folder.path()).unwrap_err());
        assert!(why.contains("the chart a is of version 0.0.1") && why.contains(VERSION), "{why}");
    }
}
