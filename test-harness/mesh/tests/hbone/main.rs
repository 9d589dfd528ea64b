//! Identities, tunnels and the pods' end of HBONE, with a certificate authority and a waypoint of the tests' own, and
//! with stock Envoy at the pods.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod identities;
mod istiod;
mod pods;
mod tunnels;
mod waypoint;

use std::process::ExitCode;
use std::time::Duration;

use e2e::Suite;
use tokio::runtime::Runtime;

/// How long anything may take that does not have to wait.
const BOUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    Suite::new()
        .test("istiod_signs_the_name_that_was_asked_for", identities::signed)
        .test("what_istiod_refuses_says_its_status_and_message", identities::refused)
        .test("a_certificate_of_another_account_is_an_error", identities::another_account)
        .test("an_istiod_of_another_name_or_root_gets_no_token", identities::another_istiod)
        .test("bytes_and_both_ends_go_through_a_tunnel", tunnels::echoed)
        .test("clients_share_a_connection_from_the_callers_address", tunnels::shared)
        .test("a_connection_that_went_away_is_replaced", tunnels::replaced)
        .test("a_connection_that_says_go_away_keeps_its_streams", tunnels::going_away)
        .test("a_refused_client_is_closed_and_its_status_recorded", tunnels::refused)
        .test("a_stream_that_is_cut_off_resets_the_client", tunnels::cut_off)
        .test("a_reset_after_the_end_ends_the_client_and_loses_nothing", tunnels::wants_no_more)
        .test("a_slow_waypoint_slows_its_client_and_no_other", tunnels::slow_waypoint)
        .test("a_slow_client_slows_the_waypoint", tunnels::slow_client)
        .test("callers_and_waypoints_without_a_certificate_of_the_root_are_refused", tunnels::strangers)
        .test("a_dropped_tunnel_has_ended", tunnels::dropped)
        .newest_envoy("five_megabytes_reach_a_pod_and_come_back", pods::five_megabytes)
        .newest_envoy("a_pod_that_ends_first_is_heard_to_its_end", pods::ends_first)
        .newest_envoy("a_pod_shares_its_port_with_a_waypoint_of_this_machine", pods::beside_a_waypoint)
        .newest_envoy("a_pod_knows_who_called", pods::who_called)
        .newest_envoy("a_caller_without_a_certificate_reaches_no_pod", pods::without_certificate)
        .newest_envoy("a_removed_pod_refuses_and_can_come_back", pods::removed)
        .newest_envoy("other_pods_serve_while_one_comes_and_goes", pods::coming_and_going)
        .newest_envoy("a_pod_that_cannot_be_added_leaves_all_as_it_was", pods::impossible)
        .run()
}

/// Asserts that the other end refused a caller in the handshake. With TLS 1.3 the caller has finished its own part by then
/// (RFC 8446, section 4.4.2.4), so what it sends next may meet the closed connection before it has read the alert.
fn assert_refused(error: &anyhow::Error, alert: &str) {
    let error = format!("{error:#}");
    let ends = [format!("received fatal alert: {alert}"), "broken pipe".into(), "connection reset".into()];
    let refused = error.split_once("the peer ended the connection: ");
    assert!(
        refused
            .is_some_and(|(_, why)| ends.iter().any(|end| why.to_lowercase().contains(&end.to_lowercase()))),
        "{error}"
    );
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
