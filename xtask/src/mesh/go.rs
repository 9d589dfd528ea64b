//! Programs and files from Go modules, built once under `target/mesh`.
//!
//! Each [`Tree`] is a Go module of its own in `test-harness/mesh/go`: what the programs depend on contradicts each
//! other. Its `go.mod` and `go.sum` are checked in, so that every build is one of the same sources, and its `tools.go`
//! names the packages for `go mod tidy`. For a new version change it here and in `go.mod`, and run
//! `go mod tidy` in that folder; the file names below `target/mesh` have the version in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stop;
use crate::lock;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// The oldest Go that builds every tree: major and minor version, and patch.
const OLDEST_GO: (u32, u32, u32) = (1, 26, 7);
/// The trees, as they are in the repository.
const TREES: &str = "test-harness/mesh/go";

/// A Go module, and what is taken from it.
pub(super) struct Tree {
    /// Its folder in `test-harness/mesh/go`.
    name: &'static str,
    module: &'static str,
    /// Without the leading `v`.
    version: &'static str,
    /// Variables that the linker sets, and their values.
    linked: &'static [(&'static str, &'static str)],
    programs: &'static [Program],
    /// Files and folders of the module.
    files: &'static [&'static str],
}

struct Program {
    package: &'static str,
    name: &'static str,
    /// What names the binary to the mesh.
    variable: &'static str,
}

pub(super) const ETCD: Tree = Tree {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    version: "3.6.16",
    linked: &[],
    programs: &[Program { package: "go.etcd.io/etcd/server/v3", name: "etcd", variable: "ETCD" }],
    files: &[],
};

pub(super) const KUBERNETES: Tree = Tree {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    version: "1.36.3",
    // Without these the server is v0.0.0-master, and features are on or off by its version.
    linked: &[
        ("k8s.io/component-base/version.gitVersion", "v1.36.3"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "36"),
    ],
    programs: &[
        Program {
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
            name: "kube-apiserver",
            variable: "KUBE_APISERVER",
        },
        Program {
            package: "k8s.io/kubernetes/cmd/kube-controller-manager",
            name: "kube-controller-manager",
            variable: "KUBE_CONTROLLER_MANAGER",
        },
    ],
    files: &[],
};

pub(super) const ISTIO: Tree = Tree {
    name: "istio",
    module: "istio.io/istio",
    // 1.31 in development. Istio's releases are not versions of its Go module.
    version: "0.0.0-20260827124520-eed52ebb66ad",
    linked: &[],
    programs: &[
        Program {
            package: "istio.io/istio/pilot/cmd/pilot-discovery",
            name: "pilot-discovery",
            variable: "PILOT_DISCOVERY",
        },
        Program {
            package: "istio.io/istio/pilot/cmd/pilot-agent",
            name: "pilot-agent",
            variable: "PILOT_AGENT",
        },
    ],
    files: &[
        // Istio's own resource definitions, and the Gateway API's.
        "manifests/charts/base/files/crd-all.gen.yaml",
        "tests/integration/pilot/testdata/gateway-api-crd.yaml",
        // From which the agent makes Envoy's bootstrap.
        "tools/packaging/common/envoy_bootstrap.json",
        // From which istiod makes the Deployments of Gateways.
        "manifests/charts/istio-control/istio-discovery/files/injection-template.yaml",
        "manifests/charts/istio-control/istio-discovery/files/gateway-injection-template.yaml",
        "manifests/charts/istio-control/istio-discovery/files/waypoint.yaml",
        "manifests/charts/istio-control/istio-discovery/files/kube-gateway.yaml",
        "manifests/charts/istio-control/istio-discovery/values.yaml",
    ],
};

pub(super) const OAUTH2_PROXY: Tree = Tree {
    name: "oauth2-proxy",
    module: "github.com/oauth2-proxy/oauth2-proxy/v7",
    version: "7.15.6",
    linked: &[],
    programs: &[Program {
        package: "github.com/oauth2-proxy/oauth2-proxy/v7",
        name: "oauth2-proxy",
        variable: "OAUTH2_PROXY",
    }],
    files: &[],
};

/// Helm, which renders and installs `charts/`.
pub(super) const HELM: Tree = Tree {
    name: "helm",
    module: "helm.sh/helm/v4",
    version: "4.3.1",
    linked: &[("helm.sh/helm/v4/internal/version.version", "v4.3.1")],
    programs: &[Program { package: "helm.sh/helm/v4/cmd/helm", name: "helm", variable: "HELM" }],
    files: &[],
};

/// crane, which copies images to registries, and has a registry in it.
pub(super) const CRANE: Tree = Tree {
    name: "crane",
    module: "github.com/google/go-containerregistry",
    version: "0.22.1",
    linked: &[("github.com/google/go-containerregistry/cmd/crane/cmd.Version", "v0.22.1")],
    programs: &[Program {
        package: "github.com/google/go-containerregistry/cmd/crane",
        name: "crane",
        variable: "CRANE",
    }],
    files: &[],
};

/// Envoy Gateway, which runs without a cluster and has nothing to do with the mesh.
pub(super) const ENVOY_GATEWAY: Tree = Tree {
    name: "envoy-gateway",
    module: "github.com/envoyproxy/gateway",
    version: "1.9.1",
    linked: &[],
    programs: &[Program {
        package: "github.com/envoyproxy/gateway/cmd/envoy-gateway",
        name: "envoy-gateway",
        variable: "ENVOY_GATEWAY",
    }],
    files: &[],
};

/// ModelMesh's controller, which is not needed to try an overlay, and its resource definitions, which are.
pub(super) const MODELMESH: Tree = Tree {
    name: "modelmesh",
    module: "github.com/kserve/modelmesh-serving",
    version: "0.12.0",
    linked: &[],
    programs: &[Program {
        package: "github.com/kserve/modelmesh-serving",
        name: "modelmesh-controller",
        variable: "MODELMESH_CONTROLLER",
    }],
    files: &["config"],
};

/// KServe's resource definitions. Its controller is not run.
pub(super) const KSERVE: Tree = Tree {
    name: "kserve",
    module: "github.com/kserve/kserve",
    version: "0.20.0",
    linked: &[],
    programs: &[],
    files: &[
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        "config/crd/full/serving.kserve.io_servingruntimes.yaml",
    ],
};

/// What is missing to build a tree, `what` it is of, and how to get it.
pub(super) fn missing(what: &str) -> Option<String> {
    let (major, minor, patch) = OLDEST_GO;
    let install = format!("install Go {major}.{minor}.{patch} or newer (https://go.dev/dl)");
    let Some(go) = run::on_path("go") else {
        return Some(format!("{what} is built with Go, which was not found on PATH: {install}"));
    };
    let output = match Command::new(&go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output() {
        Ok(output) => output,
        Err(why) => return Some(format!("cannot run {}: {why}", go.display())),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    match version(&printed) {
        Some(version) if version >= OLDEST_GO => None,
        _ => Some(format!("{} is {}: {install}", go.display(), printed.trim())),
    }
}

/// The version in what `go env GOVERSION` prints: `go1.26.8`. A release candidate counts as the release without a patch.
fn version(printed: &str) -> Option<(u32, u32, u32)> {
    let mut parts = printed.trim().strip_prefix("go")?.splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let patch = parts.next().unwrap_or_default();
    let patch = patch.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major, minor, if patch.is_empty() { 0 } else { patch.parse().ok()? }))
}

/// The folder with every tree's programs.
pub(super) fn programs(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("mesh")
}

fn lock(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("lock")
}

impl Tree {
    /// Builds its programs unless they have been; where they are, by the variable that names each to the mesh.
    pub(super) fn build(&self, workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>, Stop> {
        let folder = programs(workspace);
        let binary = |program: &Program| folder.join(format!("{}-{}", program.name, self.version));
        if !self.programs.iter().all(|program| binary(program).exists()) {
            let names: Vec<_> = self.programs.iter().map(|program| program.name).collect();
            run::step(&format!("build {} {} (once)", names.join(" and "), self.version), || {
                // One after the other: the linker takes 3 GB of memory, and the second finds most compiled.
                self.programs.iter().try_for_each(|program| {
                    once(&lock(workspace), &binary(program), |next| self.build_one(workspace, program, next))
                })
            })?;
        }
        Ok(self.programs.iter().map(|program| (program.variable, binary(program))).collect())
    }

    fn build_one(&self, workspace: &Workspace, program: &Program, to: &Path) -> Result<(), Stop> {
        let linked = self.linked.iter().map(|(variable, value)| format!(" -X {variable}={value}"));
        let mut go = self.go(workspace);
        go.args(["build", "-trimpath", "-ldflags"]).arg(format!("-s -w{}", linked.collect::<String>()));
        go.arg("-o").arg(to).arg(program.package);
        go.quietly(program.name)?.map_err(|output| self.cannot(&format!("build {}", program.name), &output))
    }

    /// The folder with copies of its files, at the paths that they have in the module.
    pub(super) fn files(&self, workspace: &Workspace) -> Result<PathBuf, Stop> {
        let folder = folder(workspace).join(format!("{}-{}", self.name, self.version));
        if self.files.iter().all(|file| folder.join(file).exists()) {
            return Ok(folder);
        }
        run::step(&format!("files of {} {} (once)", self.name, self.version), || {
            let module = self.download(workspace)?;
            for file in self.files {
                once(&lock(workspace), &folder.join(file), |next| copy(&module.join(file), next))?;
            }
            Ok(folder)
        })
    }

    /// The module's folder in Go's cache.
    fn download(&self, workspace: &Workspace) -> Result<PathBuf, Stop> {
        let mut go = self.go(workspace);
        go.args(["mod", "download", "-json", self.module]);
        let output = go.output().map_err(|e| Stop::new(format!("cannot run go: {e}")))?;
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        printed["Dir"].as_str().map(PathBuf::from).ok_or_else(|| {
            let why = String::from_utf8_lossy(&output.stderr);
            self.cannot("download it", printed["Error"].as_str().unwrap_or(&why))
        })
    }

    /// Go in the tree's folder, where only the tree says how to build it: not the user's settings, nor a workspace
    /// around it, nor whether there is a C compiler.
    fn go(&self, workspace: &Workspace) -> Command {
        let mut go = Command::new("go");
        go.current_dir(workspace.root.join(TREES).join(self.name));
        go.env("GOFLAGS", "-mod=readonly").env("GOWORK", "off").env("GOTOOLCHAIN", "local");
        go.env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
        go
    }

    fn cannot(&self, what: &str, output: &str) -> Stop {
        let (module, version, why) = (self.module, self.version, run::last_line(output));
        Stop::new(format!(
            "{module} v{version}: Go cannot {what} ({why}); it needs access to a module proxy, 3 GB of memory and 8 GB \
             of disk space"
        ))
    }
}

/// Makes `to` unless it exists. What was interrupted is not taken for finished, and of two commands one waits for the
/// other.
fn once(lock: &Path, to: &Path, make: impl FnOnce(&Path) -> Result<(), Stop>) -> Result<(), Stop> {
    let cannot = |what: &str, path: &Path, e: io::Error| Stop::new(format!("{what} {}: {e}", path.display()));
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(|e| cannot("make", folder, e))?;
    // Held until this function returns.
    let _held = lock::hold(lock, "building")?;
    if to.exists() {
        return Ok(());
    }
    let mut next = to.as_os_str().to_owned();
    next.push(".new");
    let next = Path::new(&next);
    if next.is_dir() {
        fs::remove_dir_all(next).map_err(|e| cannot("remove", next, e))?;
    }
    make(next)?;
    fs::rename(next, to).map_err(|e| cannot("rename to", to, e))
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Stop> {
    let cannot = |e| Stop::new(format!("copy {} to {}: {e}", from.display(), to.display()));
    if !from.is_dir() {
        // Go's cache is read-only, and so would be a copy with the same permissions.
        return fs::read(from).and_then(|bytes| fs::write(to, bytes)).map_err(cannot);
    }
    fs::create_dir_all(to).map_err(cannot)?;
    for entry in fs::read_dir(from).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const ALL: [&Tree; 9] =
        [&ETCD, &KUBERNETES, &ISTIO, &OAUTH2_PROXY, &HELM, &CRANE, &ENVOY_GATEWAY, &MODELMESH, &KSERVE];

    fn file(tree: &Tree, name: &str) -> String {
        let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TREES);
        fs::read_to_string(trees.join(tree.name).join(name)).unwrap()
    }

    #[test]
    fn each_tree_requires_its_version_and_has_the_hash_of_it() {
        for tree in ALL {
            let (module, version) = (tree.module, tree.version);
            let required = format!("require {module} v{version}");
            assert!(file(tree, "go.mod").lines().any(|line| line == required), "{}: {required}", tree.name);
            for hashed in [format!("{module} v{version} h1:"), format!("{module} v{version}/go.mod h1:")] {
                let found = file(tree, "go.sum").lines().any(|line| line.starts_with(&hashed));
                assert!(found, "{}: {hashed}", tree.name);
            }
        }
    }

    #[test]
    fn each_tree_is_tidied_for_the_programs_that_are_built() {
        for tree in ALL {
            let tools = file(tree, "tools.go");
            let imported =
                tools.lines().filter_map(|line| line.trim().strip_prefix("_ \"")?.strip_suffix('"'));
            let mut imported: Vec<_> = imported.collect();
            let mut built: Vec<_> = tree.programs.iter().map(|program| program.package).collect();
            imported.sort_unstable();
            built.sort_unstable();
            assert_eq!(imported, built, "{}", tree.name);
        }
    }

    #[test]
    fn the_oldest_go_that_is_asked_for_builds_each_tree() {
        for tree in ALL {
            let module = file(tree, "go.mod");
            let wanted = module.lines().find_map(|line| line.strip_prefix("go ")).unwrap();
            assert!(version(&format!("go{wanted}")).unwrap() <= OLDEST_GO, "{}: {wanted}", tree.name);
            assert!(!module.lines().any(|line| line.starts_with("toolchain ")), "{}", tree.name);
        }
    }

    #[test]
    fn kubernetes_says_the_version_that_it_is_and_its_parts_are_of_the_same() {
        let Tree { version, linked, .. } = KUBERNETES;
        let (major, rest) = version.split_once('.').unwrap();
        let values: Vec<_> = linked.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [&format!("v{version}"), major, rest.split('.').next().unwrap()]);
        let module = file(&KUBERNETES, "go.mod");
        let replaced: Vec<_> = module.lines().filter(|line| line.contains(" => ")).collect();
        assert_eq!(replaced.len(), 33);
        assert!(replaced.iter().all(|line| line.ends_with(&format!(" v0.{rest}"))), "{replaced:?}");
    }

    #[test]
    fn helm_and_crane_say_the_version_that_they_are() {
        for tree in [HELM, CRANE] {
            assert_eq!(tree.linked[0].1, format!("v{}", tree.version));
        }
    }

    #[test]
    fn gos_own_version_is_understood() {
        assert_eq!(version("go1.26.8\n"), Some((1, 26, 8)));
        assert_eq!(version("go1.26.8 X:rangefunc"), Some((1, 26, 8)));
        assert_eq!(version("go1.27rc1"), Some((1, 27, 0)));
        assert_eq!(version("go1.27"), Some((1, 27, 0)));
        assert!(version("go1.9").unwrap() < OLDEST_GO);
        assert_eq!(version("devel go1.27-abc"), None);
    }

    #[test]
    fn what_is_interrupted_is_made_again_and_what_is_finished_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, program) = (folder.path().join("lock"), folder.path().join("bin/etcd-3.6.16"));
        let half = |next: &Path| {
            fs::write(next, "half").unwrap();
            Err(Stop::new("interrupted"))
        };
        assert_eq!(once(&lock, &program, half), Err(Stop::new("interrupted")));
        assert!(!program.exists());
        let whole = |next: &Path| {
            fs::write(next, "whole").unwrap();
            Ok(())
        };
        once(&lock, &program, whole).unwrap();
        once(&lock, &program, |_| Err(Stop::new("made again"))).unwrap();
        assert_eq!(fs::read_to_string(&program).unwrap(), "whole");
    }

    #[test]
    fn two_commands_make_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, program) = (folder.path().join("lock"), folder.path().join("etcd"));
        let made = AtomicU32::new(0);
        let make = |next: &Path| {
            made.fetch_add(1, Ordering::Relaxed);
            fs::write(next, "whole").map_err(|e| Stop::new(e.to_string()))
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| once(&lock, &program, make).unwrap());
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_folder_of_gos_cache_is_copied_whole_and_can_be_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, copied) = (folder.path().join("cache"), folder.path().join("copied"));
        fs::create_dir_all(cache.join("crd/bases")).unwrap();
        fs::write(cache.join("crd/bases/a.yaml"), "a").unwrap();
        let file = cache.join("crd/bases/a.yaml");
        let mut permissions = fs::metadata(&file).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&file, permissions).unwrap();
        copy(&cache, &copied).unwrap();
        let copy = copied.join("crd/bases/a.yaml");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "a");
        assert!(!fs::metadata(&copy).unwrap().permissions().readonly());
    }
}
