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
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use images::image::json;
use images::layout;
use images::push::{Access, Registry, push};
use images::release::BILLS;
use images::sources::{Made, Sources, VERSION};

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
        let sources = Sources::of_this_workspace()?;
        let modules = self.modules.iter().map(|(package, file)| sources.wasm(package, file));
        let natives = self.natives.iter().map(|(package, files)| sources.native(package, files));
        let made = modules.chain(natives).collect::<Result<Vec<_>>>()?;

        layout::replace(&self.directory, |directory| {
            let bills = directory.join(BILLS);
            fs::create_dir_all(&bills).with_context(|| format!("make {}", bills.display()))?;
            for Made { name, image, bill } in &made {
                layout::write(&directory.join(name), VERSION, image)?;
                layout::put(&bills.join(format!("{name}.cdx.json")), &json(bill)?)?;
            }
            layout::seal(directory)
        })?;
        for Made { name, image, .. } in &made {
            println!("{name}:{VERSION} {}", image.digest());
            for (platform, manifest) in &image.platforms {
                println!("    {platform} {}", manifest.digest());
            }
        }
        for Made { name, image, .. } in &made {
            if let Some(registry) = &self.registry {
                println!("pushed {}", push(registry, &access, name, VERSION, image)?);
            }
        }
        Ok(())
    }
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
