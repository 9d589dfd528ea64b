//! Only the holder of a premium user's token is routed or labelled as a premium user: `claim-headers` in stock Envoy,
//! wasm and native, as the shipped bootstraps have it, with `jwt_authn` in front of it and by itself, and with keys
//! that it fetches; with what attackers send.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod attempts;
mod fetched_keys;
mod guard;
mod handover;
#[path = "../identity/mod.rs"]
mod identity;
mod pressure;
mod providers;

use std::process::ExitCode;

use attempts::{Attempt, Listener};
use e2e::{Installed, Protocol, Request, Suite, dist, h1, send};
use identity::{FILES, Gateway, text, who};
use std::time::Duration;

const VERSIONS: [&str; 2] = ["1.38", "1.40"];
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let built = ["claim_headers.wasm", "libinference_filters.so"].iter().all(|name| dist(name).is_file());
    let versions = if built { &VERSIONS[..] } else { &[] };
    let all = if built { &e2e::VERSIONS[..] } else { &[] };
    suite = suite
        .on(all, "attackers_get_no_header_and_no_route_with_keys_that_are_fetched", fetched_keys::attacks)
        .on(all, "tokens_of_every_provider_become_headers", providers::tokens)
        .on(all, "claims_in_metadata_are_read_with_their_types", providers::metadata)
        .on(
            all,
            "a_request_waits_for_the_first_keys_and_is_answered_when_there_are_none",
            fetched_keys::that_never_come,
        )
        .on(
            versions,
            "discovered_keys_are_fetched_again_for_a_new_one_and_outlive_a_failure",
            fetched_keys::rotate,
        )
        .on(all, "a_clients_payload_header_is_believed_for_no_provider", guard::hold)
        .on(versions, "no_valid_token_passes_as_none_while_sixteen_workers_start", pressure::cold_start)
        .on(versions, "keys_are_fetched_by_another_listener_when_the_first_one_goes", handover::hold)
        .on(versions, "a_fetch_whose_listener_goes_is_made_again_by_another_one", handover::made_again)
        .on(all, "filter_chains_with_one_configuration_fetch_and_remember_once", pressure::one_instance)
        .on(all, "trailers_are_cleaned_also_of_a_request_that_waits", pressure::trailers)
        .on(versions, "a_flood_of_forged_tokens_costs_no_new_user_the_claim", pressure::flood);
    for file in FILES {
        for listener in Listener::ALL {
            let name = |story: &str| format!("{story}::{file}::{}", listener.name());
            suite = suite
                .on(all, &name("headers_of_clients_neither_label_nor_route_a_request"), move |envoy| {
                    hold(envoy, file, listener, attempts::forged_headers);
                })
                .on(versions, &name("tokens_that_are_not_right_are_as_good_as_none"), move |envoy| {
                    hold(envoy, file, listener, attempts::bad_tokens);
                })
                .on(versions, &name("claims_that_are_not_a_class_make_no_user_premium"), move |envoy| {
                    hold(envoy, file, listener, attempts::odd_claims);
                })
                .on(versions, &name("a_second_token_makes_no_user_premium"), move |envoy| {
                    hold(envoy, file, listener, attempts::two_tokens);
                })
                .on(versions, &name("requests_on_one_connection_do_not_share_a_class"), move |envoy| {
                    one_connection(envoy, file, listener);
                });
        }
    }
    suite.test("the_bootstraps_are_there", || assert!(FILES.iter().all(|file| !text(file).is_empty()))).run()
}

/// Every attempt over both protocols, and a premium user's request at the end: nothing has broken the filter.
fn hold(
    installed: &Installed,
    file: &str,
    listener: Listener,
    attempts: fn(&identity::Issuer, Listener) -> Vec<Attempt>,
) {
    let gateway = Gateway::start(installed, file);
    let address = gateway.envoy.address(listener.name()).unwrap();
    for attempt in attempts(&gateway.upstreams.issuer, listener) {
        for protocol in Protocol::BOTH {
            let before = gateway.upstreams.everyone.requests().len();
            let request = attempt.over(protocol);
            let answer = send(protocol, address, &request).unwrap().complete().unwrap();
            let context = format!("{protocol:?} {}", attempt.name);
            assert_eq!(who(&answer), attempt.expected(listener), "{context}: {}", answer.text());
            for seen in &gateway.upstreams.everyone.requests()[before..] {
                assert_eq!(labels(listener, &seen.headers), attempt.label(), "{context}: {seen:?}");
                assert_eq!(seen.all("authorization"), [""; 0], "{context}");
                if file.contains("native") && listener == Listener::Gateway {
                    assert_eq!(seen.all("x-verified-claims"), [""; 0], "{context}");
                }
            }
        }
    }
    assert_eq!(gateway.upstreams.premium.requests(), [], "no attempt has reached the premium workload");

    let token = gateway.upstreams.issuer.token(r#""premium""#);
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let forged = |request: Request, spelling: &&str| request.header(spelling, "root");
    let request = listener.spellings().iter().fold(request, forged);
    let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
    assert_eq!(who(&answer), "premium");
    let seen = gateway.upstreams.premium.requests().pop().unwrap();
    assert_eq!(seen.all("authorization"), [""; 0]);
    assert_eq!(labels(listener, &seen.headers), [(listener.header().to_owned(), "premium".to_owned())]);
    assert!(!gateway.envoy.log().contains("eyJ"), "a token is in the log");
}

/// The headers that a server may take for the class, in any spelling.
fn labels(listener: Listener, headers: &e2e::Headers) -> Vec<(String, String)> {
    let fold = |name: &str| name.replace('_', "-");
    let found = headers.iter().filter(|(name, _)| fold(name) == fold(listener.header()));
    found.map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned())).collect()
}

fn one_connection(installed: &Installed, file: &str, listener: Listener) {
    let gateway = Gateway::start(installed, file);
    let address = gateway.envoy.address(listener.name()).unwrap();
    let mut connection = h1::Connection::open(address, PATIENCE).unwrap();
    let with = |user_type: &str| {
        Request::get("/")
            .header("authorization", format!("Bearer {}", gateway.upstreams.issuer.token(user_type)))
    };
    let requests = [
        (with(r#""premium""#), "premium"),
        (with(r#""basic""#), "everyone"),
        (Request::get("/").header(listener.header(), "premium"), "everyone"),
        (with(r#""premium""#).header(listener.header(), "basic"), "premium"),
        (Request::get("/"), "everyone"),
    ];
    for round in 0..20 {
        for (index, (request, expected)) in requests.iter().enumerate() {
            let answer = connection.send(request).unwrap().complete().unwrap();
            assert_eq!(who(&answer), *expected, "round {round}, request {index}");
        }
    }
    assert_eq!(
        (gateway.upstreams.premium.requests().len(), gateway.upstreams.everyone.requests().len()),
        (40, 60)
    );
}
