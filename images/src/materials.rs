//! What an image or a program was made from: a bill of materials as CycloneDX 1.6 has it, the same for the same source.
//!
//! Its components are the files, and the crates that are linked into them. What only ran while they were built,
//! macros and build scripts, is not among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::image::About;

/// The crates of a package, and what each needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Crates(BTreeMap<Crate, BTreeSet<Crate>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    /// An SPDX expression, if it has one.
    licence: Option<String>,
    /// Whether it comes from this workspace, and not from a registry.
    ours: bool,
}

/// What separates the columns of `cargo tree`.
const COLUMN: char = '|';

impl Crates {
    /// Asks cargo in a workspace for what a package is linked with on some targets, with the features that it is built
    /// with alone.
    ///
    /// # Errors
    /// If cargo cannot tell.
    pub fn of_package(workspace: &Path, package: &str, targets: &[&str]) -> Result<Self> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace).args(["tree", "--locked", "--package", package]);
        cargo.args(targets.iter().flat_map(|target| ["--target", target]));
        cargo.args(["--edges", "normal,no-proc-macro", "--prefix", "depth"]);
        cargo.args(["--format", &format!("{COLUMN}{{p}}{COLUMN}{{l}}{COLUMN}")]);
        let output = cargo.output().context("run cargo tree")?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo tree: {}", why.trim());
        let mut crates = Self::default();
        crates.add(&String::from_utf8_lossy(&output.stdout))?;
        Ok(crates)
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (one, needs) in other.0 {
            self.0.entry(one).or_default().extend(needs);
        }
        self
    }

    /// Reads lines with a depth, a package and its licence. What a crate needs is listed where it comes first.
    fn add(&mut self, tree: &str) -> Result<()> {
        let mut above: Vec<Crate> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let columns: Vec<&str> = line.splitn(4, COLUMN).collect();
            let [depth, package, licence, _] = columns[..] else {
                anyhow::bail!("cargo tree printed {line:?}, which has no package");
            };
            let depth: usize = depth.parse().with_context(|| format!("the depth of {line:?}"))?;
            let mut words = package.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let one = Crate {
                name: name.to_owned(),
                version: version.trim_start_matches('v').to_owned(),
                // The form of old manifests.
                licence: (!licence.is_empty()).then(|| licence.replace('/', " OR ")),
                ours: words.any(|word| word.starts_with("(/")),
            };
            above.truncate(depth);
            if let Some(parent) = above.last() {
                self.0.entry(parent.clone()).or_default().insert(one.clone());
            }
            self.0.entry(one.clone()).or_default();
            above.push(one);
        }
        Ok(())
    }
}

impl Crate {
    /// Its name within a bill of materials. For a crate of a registry it is its package URL.
    fn reference(&self) -> String {
        let Self { name, version, .. } = self;
        if self.ours {
            format!("{name}@{version}")
        } else {
            // The only character of versions that a package URL does not take.
            format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
        }
    }

    fn component(&self, checksums: &Checksums) -> Value {
        let mut component = json!({
            "type": "library",
            "bom-ref": self.reference(),
            "name": self.name,
            "version": self.version,
        });
        if !self.ours {
            component["purl"] = self.reference().into();
        }
        if let Some(licence) = &self.licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if let Some(checksum) = checksums.0.get(&(self.name.clone(), self.version.clone())) {
            component["hashes"] = hashes(checksum);
        }
        component
    }
}

/// The SHA-256 of crates as registries have them.
pub struct Checksums(BTreeMap<(String, String), String>);

impl Checksums {
    /// From the text of a `Cargo.lock`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn of_lock(text: &str) -> Result<Self> {
        let lock: toml::Table = toml::from_str(text).context("read Cargo.lock")?;
        let packages =
            lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
        let checksum = |package: &toml::Value| {
            let text = |key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            Some(((text("name")?, text("version")?), text("checksum")?))
        };
        Ok(Self(packages.iter().filter_map(checksum).collect()))
    }
}

/// What a bill of materials is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An image, by its digest.
    Image,
    /// A program.
    Program,
}

/// The bill of something with a SHA-256 of its own: its files by path and SHA-256, its crates, and Rust's standard library
/// of `rust`'s version.
pub fn bill(
    about: &About<'_>,
    (subject, sha256): (Subject, &str),
    files: &[(String, String)],
    crates: &Crates,
    checksums: &Checksums,
    rust: &str,
) -> Value {
    let name = format!("{}@sha256:{sha256}", about.title);
    let standard = format!("rust-std@{rust}");
    let file = |(path, sha256): &(String, String)| json!({"type": "file", "bom-ref": format!("file:{path}"), "name": path, "hashes": hashes(sha256)});
    let mut components: Vec<Value> = files.iter().map(file).collect();
    components.extend(crates.0.keys().map(|one| one.component(checksums)));
    components.push(json!({
        "type": "library",
        "bom-ref": standard,
        "name": "rust-std",
        "version": rust,
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }));

    let needed: BTreeSet<&Crate> = crates.0.values().flatten().collect();
    let roots = crates.0.keys().filter(|one| !needed.contains(one)).map(Crate::reference);
    let mut dependencies =
        vec![json!({"ref": name, "dependsOn": roots.chain([standard.clone()]).collect::<Vec<_>>()})];
    dependencies.extend(crates.0.iter().map(|(one, needs)| {
        json!({"ref": one.reference(), "dependsOn": needs.iter().map(Crate::reference).collect::<Vec<_>>()})
    }));
    let mut subject = json!({
        "type": match subject {
            Subject::Image => "container",
            Subject::Program => "application",
        },
        "bom-ref": name,
        "name": about.title,
        "version": about.version,
        "hashes": hashes(sha256),
    });
    if let Some(licences) = about.licences {
        subject["licenses"] = json!([{ "expression": licences }]);
    }
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
        "dependencies": dependencies,
    })
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    const TREE: &str = "\
0|filter-wasm v0.1.0 (/a place/filter/wasm)|Apache-2.0|
1|filter v0.1.0 (/a place/filter)|Apache-2.0|
2|memchr v2.8.3|Unlicense OR MIT|
2|spec v1.0.0+1.1|MIT/Apache-2.0|
3|memchr v2.8.3|Unlicense OR MIT|
1|host v0.1.0 (/a place/host)|Apache-2.0|
2|filter v0.1.0 (/a place/filter)|Apache-2.0| (*)
1|odd v3.0.0|||
";

    fn crates() -> Crates {
        let mut crates = Crates::default();
        crates.add(TREE).unwrap();
        crates
    }

    #[test]
    fn a_bill_names_files_crates_and_what_each_needs() {
        let about =
            About { title: "filter", version: "0.1.0", licences: Some("Apache-2.0"), ..About::default() };
        let image = Image::of_module(b"module", &about).unwrap();
        let checksums = Checksums::of_lock(
            "version = 4\n[[package]]\nname = \"memchr\"\nversion = \"2.8.3\"\nchecksum = \"abcd\"\n\
             [[package]]\nname = \"filter\"\nversion = \"0.1.0\"\n",
        );
        let files = [("plugin.wasm".to_owned(), "1234".to_owned())];
        let subject = (Subject::Image, image.root.sha256.as_str());
        let bill = bill(&about, subject, &files, &crates(), &checksums.unwrap(), "1.95.0");
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], image.root.sha256);
        let names: Vec<_> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["bom-ref"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "file:plugin.wasm",
                "filter@0.1.0",
                "filter-wasm@0.1.0",
                "host@0.1.0",
                "pkg:cargo/memchr@2.8.3",
                "pkg:cargo/odd@3.0.0",
                "pkg:cargo/spec@1.0.0%2B1.1",
                "rust-std@1.95.0",
            ]
        );
        assert_eq!(
            bill["components"][4],
            json!({
                "type": "library",
                "bom-ref": "pkg:cargo/memchr@2.8.3",
                "name": "memchr",
                "version": "2.8.3",
                "purl": "pkg:cargo/memchr@2.8.3",
                "licenses": [{"expression": "Unlicense OR MIT"}],
                "hashes": [{"alg": "SHA-256", "content": "abcd"}],
            })
        );
        assert_eq!(bill["components"][6]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["components"][5].get("licenses"), None);
        let needs = |reference: &str| {
            let all = bill["dependencies"].as_array().unwrap();
            all.iter().find(|one| one["ref"] == reference).unwrap()["dependsOn"].clone()
        };
        assert_eq!(
            needs(&format!("filter@{}", image.digest())),
            json!(["filter-wasm@0.1.0", "rust-std@1.95.0"])
        );
        assert_eq!(needs("filter-wasm@0.1.0"), json!(["filter@0.1.0", "host@0.1.0", "pkg:cargo/odd@3.0.0"]));
        assert_eq!(needs("host@0.1.0"), json!(["filter@0.1.0"]));
        assert_eq!(needs("filter@0.1.0"), json!(["pkg:cargo/memchr@2.8.3", "pkg:cargo/spec@1.0.0%2B1.1"]));
    }

    #[test]
    fn this_workspace_says_what_it_links_and_not_what_ran_while_it_was_built() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = Crates::of_package(here, "images", &["x86_64-unknown-linux-gnu"]).unwrap();
        let named = |name: &str| crates.0.keys().find(|one| one.name == name);
        assert!(named("images").unwrap().ours);
        assert!(!named("serde_json").unwrap().ours);
        // A macro, and what only tests have.
        assert_eq!((named("serde_derive"), named("tempfile")), (None, None));
        let checksums = std::fs::read_to_string(here.join("../Cargo.lock")).unwrap();
        let checksums = Checksums::of_lock(&checksums).unwrap();
        for one in crates.0.keys().filter(|one| !one.ours) {
            assert!(one.component(&checksums)["hashes"][0]["content"].is_string(), "{}", one.name);
        }
    }
}
