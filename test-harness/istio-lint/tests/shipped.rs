//! What is shipped under `istio/` and for the examples is right, as far as that can be seen without a cluster.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use istio_lint::{Resource, Schemas, applications, embedded, examples, kustomize, overlays, rules};

fn built() -> Vec<(String, Vec<Resource>)> {
    let name = |path: &Path| {
        let within = path.strip_prefix(istio_lint::directory()).or_else(|_| path.strip_prefix(examples()));
        within.unwrap().display().to_string()
    };
    let build = |path: PathBuf| (name(&path), kustomize::build(&path).unwrap());
    overlays().unwrap().into_iter().chain(applications().unwrap()).map(build).collect()
}

fn files(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(path.canonicalize().unwrap());
        }
    }
}

#[test]
fn there_is_an_overlay_for_every_place_and_host() {
    let names: Vec<_> = built().into_iter().map(|(name, _)| name).collect();
    for place in ["gateway", "waypoint"] {
        for form in ["wasm", "wasm-hold", "wasm-model-routes", "native"] {
            let overlay = format!("kserve-transcoder/overlays/{place}-{form}");
            assert!(names.contains(&overlay), "{overlay} is missing in {names:?}");
        }
        for form in ["routes", "subset-lb", "subset-lb-hold", "native"] {
            let overlay = format!("dynamic-subset/overlays/{place}-{form}");
            assert!(names.contains(&overlay), "{overlay} is missing in {names:?}");
        }
    }
    let claims =
        ["gateway-wasm", "gateway-wasm-builtin", "gateway-native", "sign-on", "sign-on-forwarded-token"];
    let shapes = ["forwarded-header", "forwarded-header-native", "forwarded-token", "forwarded-token-native"];
    for form in claims.into_iter().chain(shapes) {
        let overlay = format!("claim-headers/overlays/{form}");
        assert!(names.contains(&overlay), "{overlay} is missing in {names:?}");
    }
    for models in ["kserve", "modelmesh"] {
        let overlay = format!("ai-application/k8s/overlays/{models}");
        assert!(names.contains(&overlay), "{overlay} is missing in {names:?}");
    }
}

#[test]
fn every_resource_is_valid_for_every_release() {
    let schemas = Schemas::load().unwrap();
    for (overlay, resources) in built() {
        assert!(!resources.is_empty(), "{overlay} is empty");
        let problems: Vec<_> = resources.iter().flat_map(|r| schemas.check(r)).collect();
        assert!(problems.is_empty(), "{overlay}: {problems:#?}");
    }
}

#[test]
fn no_overlay_falls_into_a_known_trap() {
    for (overlay, resources) in built() {
        let problems = rules::check(&resources);
        assert!(problems.is_empty(), "{overlay}: {problems:#?}");
    }
}

/// `dynamic-subset` is shown in one chain with the transcoder, and natively with the policy that reads what it sets;
/// `claim-headers` at a gateway, and where the token is forwarded at a waypoint as well. The application has all of it.
fn configured(overlay: &str) -> Vec<&str> {
    let native = overlay.ends_with("-native");
    match overlay.split_once('/').unwrap() {
        ("ai-application", _) => {
            vec!["claim-headers", "claim-headers", "dynamic-subset", "kserve-transcoder"]
        }
        ("dynamic-subset", _) if native => vec!["dynamic-subset", "kserve-transcoder", "runtime-group"],
        ("dynamic-subset", _) => vec!["dynamic-subset", "kserve-transcoder"],
        // Natively each has a guard in front of jwt_authn.
        ("claim-headers", name) if native && name.contains("forwarded-token") => vec!["claim-headers"; 4],
        ("claim-headers", _) if native => vec!["claim-headers"; 2],
        (filter, name) if name.contains("forwarded-token") => vec![filter; 2],
        (filter, _) => vec![filter],
    }
}

#[test]
fn every_overlay_configures_its_filters_in_a_way_that_they_accept() {
    for (overlay, resources) in built() {
        let found: Vec<_> = resources.iter().flat_map(|r| embedded::configurations(r).unwrap()).collect();
        let mut names: Vec<_> = found.iter().map(|c| c.filter.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, configured(&overlay), "{overlay}");
        for configuration in found {
            let native = overlay.ends_with("-native");
            assert_eq!(configuration.host == embedded::Host::Native, native, "{overlay}");
            let filter = &configuration.filter;
            embedded::read(&configuration).unwrap_or_else(|error| panic!("{overlay}: {filter}: {error}"));
        }
    }
}

#[test]
fn no_example_serves_without_its_filter() {
    let mut examples = BTreeSet::new();
    files(&istio_lint::directory().parent().unwrap().join("envoy"), &mut examples);
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let mut found = 0;
        for document in istio_lint::yaml::<serde_json::Value>(&example).unwrap() {
            let mut problems = rules::loading(&document, &mut found);
            problems.extend(rules::verified_claims(&document));
            assert!(problems.is_empty(), "{}: {problems:#?}", example.display());
        }
        assert!(found > 0, "{} has no filter", example.display());
    }
    // An overlay has the filter in an EnvoyFilter, or in a WasmPlugin, whose failStrategy has a rule of its own.
    for (overlay, resources) in built() {
        let mut found = 0;
        for resource in resources {
            let problems = rules::loading(&resource.value, &mut found);
            assert!(problems.is_empty(), "{overlay}: {problems:#?}");
            found += usize::from(resource.kind() == "WasmPlugin");
        }
        assert_eq!(found, configured(&overlay).len(), "{overlay}");
    }
}

/// Calls that change the server, or that say what its repository has, by the paths of the transcoder.
const MANAGEMENT: [&str; 18] = [
    "/v2/models",
    "/v2/repository/index",
    "/v2/repository/r/index",
    "/v2/repository/models/m/load",
    "/v2/repository/r/models/m/load",
    "/v2/repository/models/m/unload",
    "/v2/repository/r/models/m/unload",
    "/v2/trace/setting",
    "/v2/models/m/trace/setting",
    "/v2/logging",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/status",
    "/v2/systemsharedmemory/region/r/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/status",
    "/v2/cudasharedmemory/region/r/register",
    "/v2/cudasharedmemory/region/r/unregister",
    "/v2/cudasharedmemory/unregister",
];

#[test]
fn models_are_managed_elsewhere_whatever_stands_in_front_of_the_path() {
    let mut found = 0;
    for (overlay, resources) in built() {
        for policy in resources.iter().filter(|r| r.name() == "models-are-managed-elsewhere") {
            found += 1;
            for prefix in ["", "/serving/ns/isvc", "/a", "/a/b/c/d/e/f/g"] {
                for path in MANAGEMENT {
                    assert!(rules::denies(policy, &format!("{prefix}{path}")), "{overlay}: {prefix}{path}");
                }
                for path in
                    ["/v2", "/v2/health/ready", "/v2/models/m", "/v2/models/m/infer", "/v2/models/m/config"]
                {
                    assert!(!rules::denies(policy, &format!("{prefix}{path}")), "{overlay}: {prefix}{path}");
                }
            }
        }
    }
    // The overlays of the transcoder, of dynamic-subset in front of it, and of the AI application.
    assert_eq!(found, 18);
}

/// Values for the chart of istiod, and so in no overlay.
fn mesh_configuration() -> PathBuf {
    istio_lint::directory().join("claim-headers/sign-on.meshconfig.yaml")
}

#[test]
fn signing_on_fits_together() {
    let values = istio_lint::yaml::<serde_json::Value>(&mesh_configuration()).unwrap().remove(0);
    let mut found = 0;
    for (overlay, resources) in built() {
        let problems = rules::sign_on(&resources, &values["meshConfig"]);
        assert!(problems.is_empty(), "{overlay}: {problems:#?}");
        found += resources.iter().filter(|r| r.text("/spec/action") == "CUSTOM").count();
    }
    assert_eq!(found, 2 + applications().unwrap().len());
}

#[test]
fn no_file_is_left_out_of_the_overlays() {
    let mut left = BTreeSet::new();
    files(&istio_lint::directory(), &mut left);
    assert!(left.remove(&mesh_configuration().canonicalize().unwrap()));
    files(&examples().join("ai-application/k8s"), &mut left);
    let mut directories: Vec<PathBuf> = overlays().unwrap();
    directories.extend(applications().unwrap());
    // Is applied together with an overlay, and with a patch of one's own.
    directories.push(istio_lint::directory().join("kserve-transcoder/limits"));
    while let Some(directory) = directories.pop() {
        let file = directory.join("kustomization.yaml");
        left.remove(&file.canonicalize().unwrap());
        let [kustomization] = &istio_lint::yaml::<serde_json::Value>(&file).unwrap()[..] else {
            panic!("{file:?}")
        };
        for resource in kustomization["resources"].as_array().unwrap() {
            let path = directory.join(resource.as_str().unwrap()).canonicalize().unwrap();
            if path.is_dir() {
                directories.push(path);
            } else {
                left.remove(&path);
            }
        }
    }
    assert!(left.is_empty(), "no overlay has {left:?}");
}
