//! The build products, and where they go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Stop;
use crate::exports;
use crate::platform::Platform;
use crate::reproducible;
use crate::run::{self, Checked};
use crate::toolchain::{self, WASI};
use crate::workspace::Workspace;
use crate::zig;

/// What users load into Envoy: it goes to `dist/`.
const SHIPPED: &[Artefact] = &[
    Artefact {
        unused: AT_THE_END,
        ..Artefact::shipped(Kind::Wasm, "kserve-transcoder-wasm", "kserve_transcoder.wasm")
    },
    Artefact {
        unused: AFTER_THE_REQUEST,
        ..Artefact::shipped(Kind::Wasm, "claim-headers-wasm", "claim_headers.wasm")
    },
    Artefact {
        unused: AFTER_THE_RESPONSES_HEADERS,
        ..Artefact::shipped(Kind::Wasm, "dynamic-subset-wasm", "dynamic_subset.wasm")
    },
    Artefact::shipped(Kind::Native, "inference-filters", "libinference_filters.so"),
];

/// What the image of the native library has beside it: it is linked statically, and runs where nothing else is.
const COPY: Artefact = Artefact::shipped(Kind::Program, "image-copy", "cp");

/// The command that goes with a release.
const COMMAND: Artefact = Artefact::shipped(Kind::Program, "inference-mesh", "inference-mesh");

/// The callbacks in which the host does nothing for any filter. A stream ends with `proxy_on_delete`.
const AT_THE_END: &[&str] = &["proxy_on_done", "proxy_on_log"];

/// The callbacks of a filter that has no business with a response, but must know that one has begun: a request that it
/// reads meanwhile cannot be answered any more.
const AFTER_THE_RESPONSES_HEADERS: &[&str] =
    &["proxy_on_response_body", "proxy_on_response_trailers", "proxy_on_done", "proxy_on_log"];

/// The callbacks of a filter that is through with an exchange when its request has gone on. Those of the request's body
/// and trailers are not among them: while headers wait, they are what keeps Envoy from going on, and trailers are
/// cleaned.
const AFTER_THE_REQUEST: &[&str] = &[
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_done",
    "proxy_on_log",
];

/// What only tests load: it goes to `target/test-modules/`.
const FOR_TESTS: &[Artefact] = &[
    Artefact::for_tests(Kind::Wasm, "verdict_filter", "verdict_filter.wasm"),
    Artefact::for_tests(Kind::Wasm, "sample_filter", "sample_filter.wasm"),
    Artefact::for_tests(Kind::Wasm, "probe_filter", "probe_filter.wasm"),
    Artefact::for_tests(Kind::Native, "test_module", "libtest_module.so"),
    LEAST,
];

/// Filters that do the least, which the benchmark measures beside ours.
const LEAST: Artefact = Artefact::for_tests(Kind::Native, "least_module", "libleast_module.so");

/// The package whose examples are what only tests load.
const TEST_FILTERS: &str = "test-filters";

/// A build product.
struct Artefact {
    package: &'static str,
    kind: Kind,
    /// The example of the package that it is, if it is not the library.
    example: Option<&'static str>,
    /// Callbacks of proxy-wasm that the filter has no use for.
    unused: &'static [&'static str],
    /// What the product is called where it is put.
    name: &'static str,
}

impl Artefact {
    const fn shipped(kind: Kind, package: &'static str, name: &'static str) -> Self {
        Self { package, kind, example: None, unused: &[], name }
    }

    const fn for_tests(kind: Kind, example: &'static str, name: &'static str) -> Self {
        Self { package: TEST_FILTERS, kind, example: Some(example), unused: &[], name }
    }

    /// Where cargo leaves it, below the folder of the profile.
    fn built(&self) -> PathBuf {
        let (folder, crate_name) = match self.example {
            Some(example) => ("examples", example.to_owned()),
            None => ("", self.package.replace('-', "_")),
        };
        Path::new(folder).join(match self.kind {
            Kind::Wasm => format!("{crate_name}.wasm"),
            Kind::Native => format!("lib{crate_name}.so"),
            Kind::Program => self.package.to_owned(),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wasm,
    Native,
    Program,
}

/// How much cargo optimises.
#[derive(Clone, Copy)]
enum Profile {
    Release,
    Dev,
}

/// Fills `dist/`.
pub(crate) fn dist(workspace: &Workspace) -> Result<(), Stop> {
    let dist = workspace.root.join("dist");
    SHIPPED.iter().try_for_each(|artefact| make(workspace, artefact, Profile::Release, &dist))
}

/// Fills a directory of a platform with what its native image holds, and says where it is.
pub(crate) fn native(workspace: &Workspace, platform: Platform) -> Result<PathBuf, Stop> {
    let directory = workspace.target.join("natives").join(platform.architecture());
    let native = SHIPPED.iter().filter(|artefact| artefact.kind == Kind::Native);
    for artefact in native.chain([&COPY]) {
        make_for(workspace, artefact, Profile::Release, platform, &directory)?;
    }
    Ok(directory)
}

/// The command for a platform, linked statically: its package, and where it is.
pub(crate) fn command(workspace: &Workspace, platform: Platform) -> Result<(&'static str, PathBuf), Stop> {
    let directory = workspace.target.join("natives").join(platform.architecture());
    make_for(workspace, &COMMAND, Profile::Release, platform, &directory)?;
    Ok((COMMAND.package, directory.join(COMMAND.name)))
}

/// The native library's file.
pub(crate) fn library() -> &'static str {
    SHIPPED.iter().find(|artefact| artefact.kind == Kind::Native).map_or("", |artefact| artefact.name)
}

/// The program in the native image that copies it.
pub(crate) fn copy() -> &'static str {
    COPY.name
}

/// The wasm modules in `dist/`, by their package and file.
pub(crate) fn wasm_modules() -> impl Iterator<Item = (&'static str, &'static str)> {
    SHIPPED.iter().filter(|a| a.kind == Kind::Wasm).map(|a| (a.package, a.name))
}

/// Fills `dist/`, and [`test_modules`] with what only tests load.
pub(crate) fn dist_and_test_modules(workspace: &Workspace) -> Result<(), Stop> {
    dist(workspace)?;
    let directory = test_modules(workspace);
    FOR_TESTS.iter().try_for_each(|artefact| make(workspace, artefact, Profile::Release, &directory))
}

/// Fills `dist/`, and [`test_modules`] with what only benchmarks load.
pub(crate) fn dist_and_least(workspace: &Workspace) -> Result<(), Stop> {
    dist(workspace)?;
    make(workspace, &LEAST, Profile::Release, &test_modules(workspace))
}

/// Builds what is shipped and what only tests load, unoptimised, and says where it is: a third of the time.
pub(crate) fn quick_modules(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let directory = workspace.target.join("quick-modules");
    let mut all = SHIPPED.iter().chain(FOR_TESTS);
    all.try_for_each(|artefact| make(workspace, artefact, Profile::Dev, &directory))?;
    Ok(directory)
}

/// Where the modules are that only tests load.
pub(crate) fn test_modules(workspace: &Workspace) -> PathBuf {
    workspace.target.join("test-modules")
}

/// The packages that only make sense on [`WASI`].
pub(crate) fn wasm_packages() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().filter(|a| a.kind == Kind::Wasm).map(|a| a.package)
}

/// The packages with something for [`WASI`] in their library or examples.
pub(crate) fn packages_for_wasm() -> impl Iterator<Item = &'static str> {
    wasm_packages().chain([TEST_FILTERS])
}

fn make(workspace: &Workspace, artefact: &Artefact, profile: Profile, directory: &Path) -> Result<(), Stop> {
    make_for(workspace, artefact, profile, Platform::here()?, directory)
}

fn make_for(
    workspace: &Workspace,
    artefact: &Artefact,
    profile: Profile,
    platform: Platform,
    directory: &Path,
) -> Result<(), Stop> {
    let Artefact { package, kind, example, unused, name } = *artefact;
    let (profile_name, folder) = match profile {
        Profile::Release => ("release", "release"),
        Profile::Dev => ("dev", "debug"),
    };
    let plain = || {
        let mut cargo = workspace.cargo();
        cargo.arg("build");
        cargo
    };
    let (mut cargo, products) = match (kind, profile) {
        (Kind::Wasm, _) => {
            toolchain::target(workspace, WASI)?;
            let mut cargo = plain();
            cargo.args(["--target", WASI]);
            (cargo, workspace.target.join(WASI))
        }
        (Kind::Native | Kind::Program, Profile::Dev) => (plain(), workspace.target.clone()),
        (Kind::Native, Profile::Release) => zig::shared(workspace, platform)?,
        (Kind::Program, Profile::Release) => zig::fixed(workspace, platform)?,
    };
    if matches!(profile, Profile::Release) {
        reproducible::flags(workspace, &mut cargo)?;
    }
    let built = products.join(folder).join(artefact.built());
    cargo.args(["--profile", profile_name, "--locked", "-p", package]);
    cargo.args(example.map(|example| ["--example", example]).into_iter().flatten());
    let what = match kind {
        Kind::Wasm => format!("build {name}"),
        Kind::Native | Kind::Program => format!("build {name} for {platform}"),
    };
    run::step(&what, || cargo.checked())?;

    fs::create_dir_all(directory).map_err(|e| Stop::new(format!("make {}: {e}", directory.display())))?;
    let (to, next) = (directory.join(name), directory.join(format!("{name}.new")));
    // An Envoy may have the old file mapped: it must be replaced, never overwritten.
    let copied = fs::copy(&built, &next).and_then(|_| match unused {
        [] => Ok(()),
        unused => {
            let module = exports::without(&fs::read(&next)?, unused).map_err(io::Error::other)?;
            fs::write(&next, module)
        }
    });
    let copied = copied.and_then(|()| fs::metadata(&next)).and_then(|file| {
        fs::rename(&next, &to)?;
        Ok(file.len())
    });
    let bytes =
        copied.map_err(|e| Stop::new(format!("copy {} to {}: {e}", built.display(), to.display())))?;
    eprintln!("    {}: {} KB", to.display(), bytes / 1000);
    Ok(())
}
