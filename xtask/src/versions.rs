//! One version everywhere: the only place where that is checked.

use std::fs;
use std::path::Path;

use crate::Stop;
use crate::build;
use crate::image;
use crate::workspace::Workspace;

/// Folders with what names our images by their tags.
const FOLDERS: [&str; 6] = ["charts", "cli", "docs", "envoy-gateway", "examples", "istio"];
const CHART: &str = "charts/inference-filters/Chart.yaml";
const CHANGELOG: &str = "CHANGELOG.md";
/// The registry in all examples.
const REGISTRY: &str = "registry.example/";

/// The version of the workspace, if all manifests, the chart and the images that resources and documents name have it.
///
/// # Errors
/// What is of another version, a line each.
pub(crate) fn one(workspace: &Workspace) -> Result<String, Stop> {
    let version = env!("CARGO_PKG_VERSION");
    let mut other = Vec::new();
    for (name, found) in workspace.versions() {
        if found != version {
            other.push(format!("the package {name} is {found}"));
        }
    }
    let chart = read(&workspace.root.join(CHART))?;
    for key in ["version", "appVersion"] {
        let found = chart.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let found = found.map_or("missing", |found| found.trim_matches('"'));
        if found != version {
            other.push(format!("{CHART}: {key} is {found}"));
        }
    }
    for folder in FOLDERS {
        below(&workspace.root, &workspace.root.join(folder), version, &mut other)?;
    }
    if other.is_empty() {
        Ok(version.to_owned())
    } else {
        Err(Stop(format!("the workspace is {version}, but\n    {}", other.join("\n    "))))
    }
}

/// Whether the changelog has a section of a version, in front of all others.
///
/// # Errors
/// It has not.
pub(crate) fn told(workspace: &Workspace, version: &str) -> Result<(), Stop> {
    let text = read(&workspace.root.join(CHANGELOG))?;
    match first_section(&text) {
        Some(found) if found == version => Ok(()),
        found => Err(Stop(format!(
            "{CHANGELOG} begins with the section {:?}: one of {version} must be the first",
            found.unwrap_or_default()
        ))),
    }
}

/// The version that the first section is of: `0.2.0` of `## 0.2.0 (2026-11-29)`.
fn first_section(changelog: &str) -> Option<&str> {
    let heading = changelog.lines().find_map(|line| line.strip_prefix("## "))?;
    heading.split_whitespace().next().map(|word| word.trim_matches(|c| c == '[' || c == ']'))
}

/// Looks for tags of our images in a folder's documents and resources.
fn below(root: &Path, folder: &Path, version: &str, other: &mut Vec<String>) -> Result<(), Stop> {
    let cannot = |e: std::io::Error| Stop(format!("list {}: {e}", folder.display()));
    if !folder.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(cannot)?;
    entries.sort();
    for path in entries {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            below(root, &path, version, other)?;
        } else if ["md", "yaml"].contains(&ending) {
            let file = path.strip_prefix(root).unwrap_or(&path).display();
            for (image, tag) in tags(&read(&path)?) {
                if tag != version {
                    other.push(format!("{file}: the image {image} is {tag}"));
                }
            }
        }
    }
    Ok(())
}

/// Our images that a text names with a version as their tag.
fn tags(text: &str) -> Vec<(String, String)> {
    let ours = |image: &str| {
        image == image::NATIVE
            || build::wasm_modules().any(|(package, _)| package.strip_suffix("-wasm") == Some(image))
    };
    let named = |rest: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let (path, rest) = rest.split_at(rest.find(|c| !is_part(c))?);
        let image = path.rsplit('/').next()?;
        let tag = rest.strip_prefix(':')?;
        let tag = &tag[..tag.find(|c| !is_part(c)).unwrap_or(tag.len())];
        let tag = tag.trim_end_matches(['.', '/']);
        let numbers = tag.split('.').filter(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        let is_version = numbers.count() == 3;
        (ours(image) && is_version).then(|| (image.to_owned(), tag.to_owned()))
    };
    text.split(REGISTRY).skip(1).filter_map(named).collect()
}

fn read(file: &Path) -> Result<String, Stop> {
    fs::read_to_string(file).map_err(|e| Stop(format!("read {}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_this_repository_is_of_one_version_and_the_changelog_tells_it_next() {
        let workspace = Workspace::find().unwrap();
        let version = one(&workspace).unwrap();
        // What is not released yet is in a section of that name.
        let changelog = read(&workspace.root.join(CHANGELOG)).unwrap();
        assert!(["Unreleased", &version].contains(&first_section(&changelog).unwrap()));
    }

    #[test]
    fn the_first_section_is_the_one_that_counts() {
        assert_eq!(first_section("# Changelog\n\n## 0.2.0 (2026-11-29)\n\n## 0.1.0\n"), Some("0.2.0"));
        assert_eq!(first_section("# Changelog\n\n## [0.2.0]\n### Added\n"), Some("0.2.0"));
        assert_eq!(first_section("# Changelog\n\n## Unreleased\n\n## 0.2.0\n"), Some("Unreleased"));
        assert_eq!(first_section("# Changelog\n"), None);
    }

    #[test]
    fn a_tag_of_our_images_is_found_wherever_it_stands_and_no_other() {
        let text = "uri: oci://registry.example/kserve-transcoder:0.1.0\nimage: registry.example/team/inference-filters:1.2.3.\n\
                    registry.example/ai-application:0.1.0 registry.example/claim-headers@sha256:00\n\
                    registry.example/claim-headers:next `registry.example/dynamic-subset:0.2.0`, registry.example/claim-headers";
        let tag = |image: &str, tag: &str| (image.to_owned(), tag.to_owned());
        assert_eq!(
            tags(text),
            [
                tag("kserve-transcoder", "0.1.0"),
                tag("inference-filters", "1.2.3"),
                tag("dynamic-subset", "0.2.0")
            ]
        );
    }
}
