//! Images of what is shipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::build;
use crate::lock;
use crate::platform::{self, Platform};
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// The package of the native library, whose name is the image's.
pub(crate) const NATIVE: &str = "inference-filters";

/// Fills `dist/images/` with all images, the native one for the platforms that are asked for, and pushes them.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Stop> {
    let Asked { platforms, registry } = asked(arguments)?;
    all(workspace, &platforms, registry).map(|_| ())
}

/// What [`all`] has made: no other command replaces the images until this is dropped.
pub(crate) struct Made {
    /// Where the native files of each platform are.
    pub(crate) natives: Vec<PathBuf>,
    _held: File,
}

/// The same.
pub(crate) fn all(
    workspace: &Workspace,
    platforms: &[Platform],
    registry: Option<&str>,
) -> Result<Made, Stop> {
    build::dist(workspace)?;
    let natives = platforms.iter().map(|&platform| build::native(workspace, platform));
    let natives = natives.collect::<Result<Vec<_>, _>>()?;
    let _held = make(workspace, &workspace.root.join("dist/images"), |images| {
        for (platform, files) in platforms.iter().zip(&natives) {
            images.arg("--native");
            images.arg(format!("{NATIVE}={}={}", platform.architecture(), files.display()));
        }
        if let Some(registry) = registry {
            images.args(["--push", registry]);
        }
    })?;
    Ok(Made { natives, _held })
}

/// Fills `dist/`, and a folder under `target/` with the images of the wasm modules alone; the folder, by the variable that
/// names it to the mesh. `dist/images/` is left as it is: it may have more in it.
pub(crate) fn wasm(workspace: &Workspace) -> Result<(&'static str, PathBuf), Stop> {
    build::dist(workspace)?;
    let directory = workspace.target.join("mesh/images");
    make(workspace, &directory, |_| {})?;
    Ok(("IMAGES", directory))
}

/// Fills a folder with images. Of two commands one waits for the other: while what is returned is held, the folder stays as
/// it is.
fn make(workspace: &Workspace, directory: &Path, more: impl FnOnce(&mut Command)) -> Result<File, Stop> {
    let shown = directory.strip_prefix(&workspace.root).unwrap_or(directory).display();
    let held = lock::hold(&workspace.target.join("images.lock"), "its images")?;
    run::step("images: build", || {
        workspace.cargo().args(["build", "--locked", "-p", "images", "--bins"]).checked()
    })?;
    let dist = workspace.root.join("dist");
    let mut images = workspace.subcommand(&workspace.target.join("debug/images"));
    images.arg(directory);
    for (package, file) in build::wasm_modules() {
        images.arg("--wasm").arg(format!("{package}={}", dist.join(file).display()));
    }
    more(&mut images);
    run::step(&format!("images: {shown}"), || images.checked())?;
    Ok(held)
}

/// What `image` is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    platforms: Vec<Platform>,
    registry: Option<&'a str>,
}

fn asked<'a>(arguments: &[&'a str]) -> Result<Asked<'a>, Stop> {
    let mut asked = Asked { platforms: platform::ALL.to_vec(), registry: None };
    let mut rest = arguments;
    while let [flag, after @ ..] = rest {
        match (*flag, after) {
            ("--platform", [names, after @ ..]) => {
                asked.platforms = Platform::list(names)?;
                rest = after;
            }
            ("--push", [registry, after @ ..]) => {
                asked.registry = Some(registry);
                rest = after;
            }
            ("--platform" | "--push", []) => return Err(Stop::new(format!("image {flag} needs a value"))),
            _ => {
                return Err(Stop::new(format!(
                    "image takes --push REGISTRY and --platform linux/amd64,linux/arm64, not {flag}"
                )));
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_for_both_platforms_unless_one_is_named() {
        assert_eq!(asked(&[]), Ok(Asked { platforms: platform::ALL.to_vec(), registry: None }));
        assert_eq!(
            asked(&["--push", "registry.example/a", "--platform", "linux/arm64"]),
            Ok(Asked { platforms: vec![Platform::Arm64], registry: Some("registry.example/a") })
        );
    }

    #[test]
    fn what_image_does_not_take_is_named_before_anything_is_built() {
        for (arguments, named) in [
            (&["--platfrom", "linux/arm64"][..], "not --platfrom"),
            (&["--push"], "--push needs a value"),
            (&["--platform", "linux/riscv64"], "unknown platform \"linux/riscv64\""),
        ] {
            let stop = asked(arguments).unwrap_err();
            assert!(stop.0.contains(named), "{stop}");
        }
    }
}
