//! What a workspace has built, as images, and what each was made from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::archive::File;
use crate::image::{About, Image, MODULE, PROGRAMS, sha256};
use crate::materials::{Checksums, Crates, Subject, bill};

/// The program of a native image, and the package that it is.
const COPY: (&str, &str) = ("cp", "image-copy");
/// The version of all that is made.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENCE: &str = env!("CARGO_PKG_LICENSE");
/// Empty unless the workspace says where it is published.
const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");

/// An image, and what its bill of materials says.
pub struct Made {
    /// What it is called in registries.
    pub name: String,
    /// The image.
    pub image: Image,
    /// Its bill of materials.
    pub bill: Value,
}

/// What products are described with.
pub struct Sources {
    workspace: PathBuf,
    checksums: Checksums,
    rust: String,
}

impl Sources {
    /// Those of the workspace that this crate is a member of, and of the compiler in use.
    ///
    /// # Errors
    /// If `Cargo.lock` cannot be read, or the compiler does not run.
    pub fn of_this_workspace() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lock = workspace.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
        Ok(Self { workspace, checksums: Checksums::of_lock(&lock)?, rust: rust()? })
    }

    /// The image of a package's wasm module.
    ///
    /// # Errors
    /// If the file cannot be read or is not a wasm module, or cargo cannot tell what it is made of.
    pub fn wasm(&self, package: &str, file: &Path) -> Result<Made> {
        let name = package.strip_suffix("-wasm").unwrap_or(package);
        let description = format!("The Envoy filter {name} as a proxy-wasm module");
        let about = about(name, &description);
        let module = read(file)?;
        ensure!(module.starts_with(b"\0asm"), "{} is not a wasm module", file.display());
        let image = Image::of_module(&module, &about)?;
        let files = [(MODULE.to_owned(), sha256(&module))];
        let crates = Crates::of_package(&self.workspace, package, &["wasm32-wasip1"])?;
        let subject = (Subject::Image, image.root.sha256.as_str());
        let bill = bill(&about, subject, &files, &crates, &self.checksums, &self.rust);
        Ok(Made { name: name.to_owned(), image, bill })
    }

    /// The image of a package's shared library and of `cp`, by architecture (`amd64`) the directories that have both.
    ///
    /// # Errors
    /// If a file cannot be read or is for another processor, or cargo cannot tell what it is made of.
    pub fn native(&self, package: &str, platforms: &BTreeMap<String, PathBuf>) -> Result<Made> {
        let description = "Envoy filters and load-balancing policies in one native dynamic module";
        let about = about(package, description);
        let library = format!("lib{}.so", package.replace('-', "_"));
        let mut contents = Vec::new();
        for (architecture, files) in platforms {
            let [library, copy] = [&library, COPY.0].map(|name| {
                let file = files.join(name);
                let bytes = read(&file)?;
                ensure!(is_for(architecture, &bytes), "{} is not for {architecture}", file.display());
                Ok(bytes)
            });
            contents.push((architecture, library?, copy?));
        }
        let program = format!("{PROGRAMS}/{}", COPY.0);
        let of_platform = contents.iter().map(|(architecture, bytes, copy)| {
            let library = File { path: &library, executable: true, bytes };
            (architecture.as_str(), vec![library, File { path: &program, executable: true, bytes: copy }])
        });
        let image = Image::of_platforms(&of_platform.collect::<Vec<_>>(), COPY.0, &about)?;
        let files = contents.iter().flat_map(|(architecture, bytes, copy)| {
            let name = |file: &str| format!("linux/{architecture}/{file}");
            [(name(&library), sha256(bytes)), (name(&program), sha256(copy))]
        });
        let targets = |library: &str| platforms.keys().map(|name| triple(name, library)).collect::<Vec<_>>();
        let crates = |package: &str, targets: &[String]| {
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            Crates::of_package(&self.workspace, package, &targets)
        };
        let crates = crates(package, &targets("gnu"))?.and(crates(COPY.1, &targets("musl"))?);
        let files: Vec<_> = files.collect();
        let subject = (Subject::Image, image.root.sha256.as_str());
        let bill = bill(&about, subject, &files, &crates, &self.checksums, &self.rust);
        Ok(Made { name: package.to_owned(), image, bill })
    }

    /// The bill of materials of a program that is linked statically, and runs on an architecture.
    ///
    /// # Errors
    /// If the file cannot be read or is for another processor, or cargo cannot tell what it is made of.
    pub fn program(&self, package: &str, architecture: &str, file: &Path) -> Result<Value> {
        let description = format!("The command {package}");
        let about = about(package, &description);
        let program = read(file)?;
        ensure!(is_for(architecture, &program), "{} is not for {architecture}", file.display());
        let sha256 = sha256(&program);
        let files = [(package.to_owned(), sha256.clone())];
        let crates = Crates::of_package(&self.workspace, package, &[triple(architecture, "musl").as_str()])?;
        Ok(bill(&about, (Subject::Program, &sha256), &files, &crates, &self.checksums, &self.rust))
    }
}

/// Rust's name of a target, by the architecture and the C library.
fn triple(architecture: &str, library: &str) -> String {
    let processor = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    format!("{processor}-unknown-linux-{library}")
}

fn about<'a>(title: &'a str, description: &'a str) -> About<'a> {
    let known = |text: &'static str| (!text.is_empty()).then_some(text);
    About {
        title,
        version: VERSION,
        description: Some(description),
        licences: known(LICENCE),
        source: known(SOURCE),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// Whether a file is an ELF file for a processor (`e_machine` of the ELF header).
fn is_for(architecture: &str, bytes: &[u8]) -> bool {
    let machine: u16 = match architecture {
        "amd64" => 62,
        "arm64" => 183,
        _ => return false,
    };
    bytes.starts_with(b"\x7fELF") && bytes.get(18..20) == Some(&machine.to_le_bytes())
}

/// The version of the compiler, whose standard library is in everything.
fn rust() -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc.arg("--version").output().context("run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split(' ').nth(1).with_context(|| format!("rustc printed {text:?}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_for_the_processor_that_its_header_names() {
        let header = |machine: u8| [&b"\x7fELF\x02\x01\x01"[..], &[0; 11], &[machine, 0]].concat();
        assert!(is_for("amd64", &header(62)) && is_for("arm64", &header(183)));
        assert!(
            !is_for("arm64", &header(62)) && !is_for("amd64", b"\x7fELF") && !is_for("riscv64", &header(243))
        );
    }
}
