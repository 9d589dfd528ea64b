//! The AI application of `examples/ai-application`, whole, in front of real engines: in headless Chromium, and by
//! agents that keep cookies. Tests are ignored, by name, where Envoy, Node, Python or Chromium is missing.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod by_browser;
mod pictures;
mod routing;

use std::process::ExitCode;

use e2e::application::{Form, Parts, application_models};
use e2e::{Suite, VERSIONS, chromium, dist, envoys, identity_provider, models_python};

/// The two forms, in which everything must hold.
const HOSTS: [(&str, &str); 2] = [("wasm", "ai-application.yaml"), ("native", "ai-application.native.yaml")];

fn main() -> ExitCode {
    // One after the other: each has four model servers, and a machine of continuous integration has two cores.
    let mut suite = Suite::new().in_turn();
    for (host, bootstrap) in HOSTS {
        let name = |story: &str| format!("{story}::{host}");
        let real = Form { bootstrap, stand_ins: false, binary: false };
        let quick = Form { stand_ins: true, ..real };
        suite = suite
            .given(&name("nothing_that_a_client_says_of_itself_changes_its_style"), parts(), move |parts| {
                routing::forgeries_change_nothing(&parts, quick);
            })
            .given(
                &name("of_two_hundred_pictures_none_goes_astray_when_endpoints_are_killed"),
                parts(),
                // Natively with tensors as bytes, which is the other form of the protocol.
                move |parts| {
                    routing::killed_endpoints_lose_no_picture(
                        &parts,
                        Form { binary: host == "native", ..quick },
                    );
                },
            )
            .given(
                &name("in_a_browser_both_users_get_their_picture_as_the_engines_paint_it"),
                parts().and_then(|parts| Ok((parts, chromium().ok_or("CHROMEDRIVER")?))),
                move |(parts, chromium)| by_browser::pictures_are_painted(&parts, real, &chromium),
            );
    }
    let quick = Form { bootstrap: HOSTS[0].1, stand_ins: true, binary: false };
    suite
        .given("uploads_that_cannot_be_used_are_refused_in_words", parts(), move |parts| {
            routing::refusals(&parts, quick);
        })
        .run()
}

/// What an application is made of, or what of it is missing.
fn parts() -> Result<Parts, &'static str> {
    let newest = envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1]);
    let products =
        ["claim_headers.wasm", "dynamic_subset.wasm", "kserve_transcoder.wasm", "libinference_filters.so"];
    let built = products.iter().all(|name| dist(name).is_file());
    Ok(Parts {
        envoy: newest.filter(|_| built).ok_or(if built { "ENVOY_140" } else { "dist/" })?.path,
        provider: identity_provider().ok_or("IDENTITY_PROVIDER")?,
        python: models_python().ok_or("MODELS_PYTHON")?,
        models: application_models().ok_or("APPLICATION_MODELS")?,
    })
}
