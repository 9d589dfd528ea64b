//! The bootstraps whose routes go by a claim.

use crate::ask;
use crate::identity::{Gateway, Upstreams, who};
use e2e::{Installed, Protocol, Request};
use std::net::SocketAddr;

pub(crate) use crate::identity::{FILES, text};

/// What it does is tested in `sign_on`, with a provider.
pub(crate) const SIGN_ON: &str = "sso.yaml";

pub(crate) fn answers_as_it_says(installed: &Installed, name: &str) {
    let gateway = Gateway::start(installed, name);
    let token = |user_type| format!("Bearer {}", gateway.upstreams.issuer.token(user_type));
    for (listener, header) in [("gateway", "user_class"), ("builtin", "x-user-class")] {
        let address = gateway.envoy.address(listener).unwrap();
        for protocol in Protocol::BOTH {
            let answered = |request: &Request| who(&ask(protocol, address, request));
            let get = || Request::get("/models/one");
            for (user_type, workload, label) in [
                (r#""premium""#, "premium", "premium"),
                (r#""basic""#, "everyone", "basic"),
                (r#""trial""#, "everyone", "basic"),
                (r#""""#, "everyone", "basic"),
            ] {
                let request = get().header("authorization", token(user_type)).header(header, "premium");
                assert_eq!(answered(&request), workload, "{listener} {protocol:?} {user_type}");
                let server = if workload == "premium" {
                    &gateway.upstreams.premium
                } else {
                    &gateway.upstreams.everyone
                };
                let seen = server.requests().pop().unwrap();
                assert_eq!(seen.all(header), [label]);
                for gone in ["authorization", "x-verified-claims"] {
                    assert_eq!(seen.all(gone), [""; 0], "{listener} {gone}");
                }
            }
            assert_eq!(answered(&get().header(header, "premium")), "everyone", "{listener} {protocol:?}");
            assert_eq!(gateway.upstreams.everyone.requests().pop().unwrap().all(header), [""; 0]);
            let bad = get().header("authorization", "Bearer x.y.z");
            assert_eq!(answered(&bad), if listener == "gateway" { "401" } else { "everyone" });
        }
    }
}

/// The gateway of a bootstrap tells users apart by their tokens, and by nothing that a client says of itself.
pub(crate) fn users_are_told_apart(address: SocketAddr, name: &str, upstreams: &Upstreams) {
    let get = Request { authority: address.to_string(), ..Request::get("/") };
    let forged = || get.clone().header("user_class", "premium");
    let sent = |user_type: &str| {
        forged().header("authorization", format!("Bearer {}", upstreams.issuer.token(user_type)))
    };
    // Where users log in, no one else is let through.
    let unknown = if name == SIGN_ON { "302" } else { "everyone" };
    for (request, workload) in
        [(sent(r#""premium""#), "premium"), (sent(r#""basic""#), "everyone"), (forged(), unknown)]
    {
        assert_eq!(who(&ask(Protocol::Http1, address, &request)), workload, "{name}: {:?}", request.headers);
    }
}
