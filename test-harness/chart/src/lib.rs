//! `charts/inference-filters` as Helm renders and installs it.
//!
//! Helm is built from its Go module by xtask, which names it in [`HELM`]. It runs with folders of its own, so that no
//! repository, plugin or cluster of the user's has a part in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use istio_lint::Resource;
use tempfile::TempDir;

/// What names Helm's binary.
pub const HELM: &str = "HELM";
/// The release that tests install. Nothing that is rendered depends on it but labels.
pub const RELEASE: &str = "filters";

/// The chart's folder.
#[must_use]
pub fn folder() -> PathBuf {
    istio_lint::directory().with_file_name("charts").join("inference-filters")
}

/// Every example of values, by the name of the overlay that describes the same: `kserve-transcoder/gateway-wasm`.
///
/// # Errors
/// If a folder cannot be read.
pub fn examples() -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for filter in entries(&folder().join("examples"))? {
        for file in entries(&filter)? {
            let name = [&filter, &file].map(|path| path.file_stem().unwrap_or_default().to_string_lossy());
            found.push((name.join("/"), file));
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = found.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Helm, with folders of its own.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    folder: TempDir,
}

impl Helm {
    /// The Helm that the environment names, if it does.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let program = std::env::var_os(HELM).filter(|path| !path.is_empty())?;
        Some(Self { program: program.into(), folder: TempDir::new().ok()? })
    }

    /// What Helm makes of the chart and a file of values, without a cluster.
    ///
    /// # Errors
    /// What Helm says against it, or what is wrong with what it has rendered.
    pub fn template(&self, values: &Path) -> Result<Vec<Resource>> {
        let rendered = self.run("template", values, &[])?;
        let file = self.folder.path().join("rendered.yaml");
        fs::write(&file, rendered).context("write what Helm has rendered")?;
        Ok(istio_lint::read(&file)?)
    }

    /// What the chart tells those who have installed it.
    ///
    /// # Errors
    /// What Helm says against the values.
    pub fn notes(&self, values: &Path) -> Result<String> {
        let printed = self.run("install", values, &["--dry-run=client"])?;
        let notes = printed.split_once("\nNOTES:\n").map(|(_, notes)| notes.to_owned());
        notes.with_context(|| format!("no notes in {printed}"))
    }

    /// Whether `helm lint --strict` has nothing to say.
    ///
    /// # Errors
    /// What it says.
    pub fn lint(&self, values: Option<&Path>) -> Result<()> {
        let mut helm = self.command();
        helm.args(["lint", "--strict"]).arg(folder());
        if let Some(values) = values {
            helm.arg("--values").arg(values);
        }
        output(helm).map(|_| ())
    }

    /// Installs the chart in a cluster, or has its API server try it; what Helm prints, with the chart's notes.
    ///
    /// # Errors
    /// What Helm or the API server says against it.
    pub fn install(
        &self,
        values: &Path,
        kubeconfig: &Path,
        namespace: &str,
        dry_run: bool,
    ) -> Result<String> {
        let kubeconfig = kubeconfig.to_string_lossy();
        let mut options = vec!["--kubeconfig", &kubeconfig, "--namespace", namespace];
        if dry_run {
            options.push("--dry-run=server");
        }
        self.run("install", values, &options)
    }

    /// Takes away what [`install`](Self::install) has installed.
    ///
    /// # Errors
    /// What Helm or the API server says against it.
    pub fn uninstall(&self, kubeconfig: &Path, namespace: &str) -> Result<()> {
        let mut helm = self.command();
        helm.args(["uninstall", RELEASE, "--namespace", namespace, "--kubeconfig"]).arg(kubeconfig);
        output(helm).map(|_| ())
    }

    fn run(&self, verb: &str, values: &Path, options: &[&str]) -> Result<String> {
        let mut helm = self.command();
        helm.args([verb, RELEASE]).arg(folder()).arg("--values").arg(values).args(options);
        output(helm)
    }

    fn command(&self) -> Command {
        let mut helm = Command::new(&self.program);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            helm.env(variable, self.folder.path().join(folder));
        }
        // No cluster but one that is named.
        helm.env("KUBECONFIG", self.folder.path().join("no-kubeconfig"));
        helm
    }
}

/// What a program prints, or, if it fails, what it says.
fn output(mut command: Command) -> Result<String> {
    let output = keeper::output(&mut command).context("run Helm")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{}{}", text(&output.stderr), text(&output.stdout));
    }
    Ok(text(&output.stdout))
}
