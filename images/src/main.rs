//! Makes images of what a workspace has built, and pushes them: `cargo xtask image` calls it.
//!
//! ```text
//! images DIRECTORY [--wasm PACKAGE=FILE]... [--native PACKAGE=ARCHITECTURE=FILES]... [--push REGISTRY]
//! ```
//!
//! The image of a wasm module is called after its package, without `-wasm` at the end. That of native files has those
//! of the directory FILES: `cp`, and the library.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use images::image::{PROGRAMS, json, sha256};
use images::layout;
use images::materials::{Checksums, Crates, bill};
use images::push::{Access, Registry, push};
use images::{About, File, Image};

/// The program of a native image, and the package that it is.
const COPY: (&str, &str) = ("cp", "image-copy");
/// Bills of materials are here, one for each image.
const BILLS: &str = "sbom";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENCE: &str = env!("CARGO_PKG_LICENSE");
/// Empty unless the workspace says where it is published.
const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");

fn main() -> ExitCode {
    match Plan::of_arguments(std::env::args().skip(1)).and_then(|plan| plan.carry_out()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("images: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    directory: PathBuf,
    /// Packages and their modules.
    modules: Vec<(String, PathBuf)>,
    /// Packages, and by architecture the directories with their files.
    natives: BTreeMap<String, BTreeMap<String, PathBuf>>,
    registry: Option<Registry>,
}

/// An image, and what its bill of materials says.
struct Made {
    name: String,
    image: Image,
    bill: serde_json::Value,
}

impl Plan {
    fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan =
            Self { directory: arguments.next().context("which directory?")?.into(), ..Self::default() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} has no value"))?;
            let parts: Vec<&str> = value.split('=').collect();
            match (flag.as_str(), &parts[..]) {
                ("--wasm", [package, file]) => plan.modules.push(((*package).to_owned(), file.into())),
                ("--native", [package, architecture, files]) => {
                    let of_package = plan.natives.entry((*package).to_owned()).or_default();
                    of_package.insert((*architecture).to_owned(), files.into());
                }
                ("--push", _) => plan.registry = Some(value.parse()?),
                _ => bail!("{flag} {value} is not understood"),
            }
        }
        Ok(plan)
    }

    fn carry_out(&self) -> Result<()> {
        // Before anything else, because a wrong login would be told at the end.
        let access = Access::from_environment()?;
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lock = workspace.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
        let sources = Sources { workspace, checksums: Checksums::of_lock(&lock)?, rust: rust()? };
        let modules = self.modules.iter().map(|(package, file)| sources.wasm(package, file));
        let natives = self.natives.iter().map(|(package, files)| sources.native(package, files));
        let made = modules.chain(natives).collect::<Result<Vec<_>>>()?;

        if self.directory.exists() {
            let removed = fs::remove_dir_all(&self.directory);
            removed.with_context(|| format!("remove {}", self.directory.display()))?;
        }
        let bills = self.directory.join(BILLS);
        fs::create_dir_all(&bills).with_context(|| format!("make {}", bills.display()))?;
        for Made { name, image, bill } in &made {
            layout::write(&self.directory.join(name), VERSION, image)?;
            layout::put(&bills.join(format!("{name}.cdx.json")), &json(bill)?)?;
            println!("{name}:{VERSION} {}", image.digest());
            for (platform, manifest) in &image.platforms {
                println!("    {platform} {}", manifest.digest());
            }
        }
        layout::seal(&self.directory)?;
        for Made { name, image, .. } in &made {
            if let Some(registry) = &self.registry {
                println!("pushed {}", push(registry, &access, name, VERSION, image)?);
            }
        }
        Ok(())
    }
}

/// What images are described with.
struct Sources {
    workspace: PathBuf,
    checksums: Checksums,
    rust: String,
}

impl Sources {
    fn wasm(&self, package: &str, file: &Path) -> Result<Made> {
        let name = package.strip_suffix("-wasm").unwrap_or(package);
        let description = format!("The Envoy filter {name} as a proxy-wasm module");
        let about = about(name, &description);
        let module = read(file)?;
        ensure!(module.starts_with(b"\0asm"), "{} is not a wasm module", file.display());
        let image = Image::of_module(&module, &about)?;
        let files = [(images::image::MODULE.to_owned(), sha256(&module))];
        let crates = Crates::of_package(&self.workspace, package, &["wasm32-wasip1"])?;
        let bill = bill(&about, &image, &files, &crates, &self.checksums, &self.rust);
        Ok(Made { name: name.to_owned(), image, bill })
    }

    fn native(&self, package: &str, platforms: &BTreeMap<String, PathBuf>) -> Result<Made> {
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
        let target = |architecture: &String, library: &str| {
            let processor = match architecture.as_str() {
                "amd64" => "x86_64",
                "arm64" => "aarch64",
                other => other,
            };
            format!("{processor}-unknown-linux-{library}")
        };
        let targets = |library: &str| platforms.keys().map(|name| target(name, library)).collect::<Vec<_>>();
        let crates = |package: &str, targets: &[String]| {
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            Crates::of_package(&self.workspace, package, &targets)
        };
        let crates = crates(package, &targets("gnu"))?.and(crates(COPY.1, &targets("musl"))?);
        let files: Vec<_> = files.collect();
        let bill = bill(&about, &image, &files, &crates, &self.checksums, &self.rust);
        Ok(Made { name: package.to_owned(), image, bill })
    }
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

    fn plan(line: &str) -> Result<Plan> {
        Plan::of_arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_plan_has_modules_and_natives_by_architecture() {
        let line = "out --wasm a-wasm=a.wasm --native l=arm64=d/arm64 --native l=amd64=d/amd64 --push host/p";
        let plan = plan(line).unwrap();
        assert_eq!(plan.modules, [("a-wasm".to_owned(), PathBuf::from("a.wasm"))]);
        let architectures: Vec<_> =
            plan.natives["l"].iter().map(|(name, path)| (name.as_str(), path.clone())).collect();
        assert_eq!(architectures, [("amd64", "d/amd64".into()), ("arm64", "d/arm64".into())]);
        assert_eq!(plan.registry, Some("host/p".parse().unwrap()));
    }

    #[test]
    fn a_library_is_for_the_processor_that_its_header_names() {
        let header = |machine: u8| [&b"\x7fELF\x02\x01\x01"[..], &[0; 11], &[machine, 0]].concat();
        assert!(is_for("amd64", &header(62)) && is_for("arm64", &header(183)));
        assert!(
            !is_for("arm64", &header(62)) && !is_for("amd64", b"\x7fELF") && !is_for("riscv64", &header(243))
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("", "which directory?"),
            ("out --wasm", "--wasm has no value"),
            ("out --wasm a", "--wasm a is not understood"),
            ("out --native a=b", "--native a=b is not understood"),
            ("out --date now", "--date now is not understood"),
            ("out --push ftp://a", "not \"ftp\""),
        ] {
            let why = format!("{:#}", plan(line).unwrap_err());
            assert!(why.contains(named), "{line}: {why}");
        }
    }
}
