//! A release of what is in `dist/`, as `cargo xtask release` lays one out: without the libraries of other processors and the
//! command, which no block of the page that is run here needs.

use std::fs;
use std::path::Path;

use e2e::{dist, repository};
use images::release::Release;
use images::sources::VERSION;
use images::{About, File, Image, layout};

pub(crate) const MODULES: [&str; 3] = ["kserve_transcoder.wasm", "dynamic_subset.wasm", "claim_headers.wasm"];
pub(crate) const LIBRARY: &str = "libinference_filters.so";

/// Fills a folder.
pub(crate) fn lay_out(folder: &Path) {
    let made = tempfile::TempDir::new().unwrap();
    images(made.path());
    let file = |to: &str, name: &str| (format!("{to}/{name}"), dist(name));
    let modules = MODULES.iter().map(|name| file("modules", name));
    let folder_of = |name: &str| (name.to_owned(), repository().join(name));
    let release = Release {
        // The name that the page has for the processor that most are of.
        files: modules.chain([file("native/linux-amd64", LIBRARY)]).collect(),
        folders: vec![
            ("images".to_owned(), made.path().to_owned()),
            folder_of("envoy"),
            folder_of("observability"),
        ],
        charts: vec![repository().join("charts/inference-filters")],
        programs: Vec::new(),
    };
    release.assemble(folder).unwrap();
}

fn images(folder: &Path) {
    for module in MODULES {
        let name = module.trim_end_matches(".wasm").replace('_', "-");
        let image = Image::of_module(&fs::read(dist(module)).unwrap(), &about(&name)).unwrap();
        layout::write(&folder.join(&name), VERSION, &image).unwrap();
    }
    let library = fs::read(dist(LIBRARY)).unwrap();
    let files = vec![
        File { path: LIBRARY, executable: true, bytes: &library },
        File { path: "bin/cp", executable: true, bytes: b"not needed here" },
    ];
    let name = "inference-filters";
    let image = Image::of_platforms(&[("amd64", files)], "cp", &about(name)).unwrap();
    layout::write(&folder.join(name), VERSION, &image).unwrap();
    layout::seal(folder).unwrap();
}

fn about(title: &str) -> About<'_> {
    About { title, version: VERSION, ..About::default() }
}
