//! Images of what is shipped.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::build;
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

/// The same; where the native files of each platform are.
pub(crate) fn all(
    workspace: &Workspace,
    platforms: &[Platform],
    registry: Option<&str>,
) -> Result<Vec<PathBuf>, Stop> {
    build::dist(workspace)?;
    let natives = platforms.iter().map(|&platform| build::native(workspace, platform));
    let natives = natives.collect::<Result<Vec<_>, _>>()?;
    make(workspace, |images| {
        for (platform, files) in platforms.iter().zip(&natives) {
            images.arg("--native");
            images.arg(format!("{NATIVE}={}={}", platform.architecture(), files.display()));
        }
        if let Some(registry) = registry {
            images.args(["--push", registry]);
        }
    })?;
    Ok(natives)
}

/// Fills `dist/`, and `dist/images/` with the images of the wasm modules alone.
pub(crate) fn wasm(workspace: &Workspace) -> Result<(), Stop> {
    build::dist(workspace)?;
    make(workspace, |_| {})
}

fn make(workspace: &Workspace, more: impl FnOnce(&mut Command)) -> Result<(), Stop> {
    run::step("images: build", || {
        workspace.cargo().args(["build", "--locked", "-p", "images", "--bins"]).checked()
    })?;
    let dist = workspace.root.join("dist");
    let mut images = workspace.subcommand(&workspace.target.join("debug/images"));
    images.arg(dist.join("images"));
    for (package, file) in build::wasm_modules() {
        images.arg("--wasm").arg(format!("{package}={}", dist.join(file).display()));
    }
    more(&mut images);
    run::step("images: dist/images", || images.checked())
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
