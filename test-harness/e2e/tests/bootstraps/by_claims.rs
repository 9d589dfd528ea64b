//! The bootstraps whose routes go by a claim.

use crate::ask;
use crate::identity::{Gateway, who};
use e2e::{Installed, Protocol, Request};

pub(crate) use crate::identity::{FILES, text};

/// What it does is tested in `sign_on`, with a provider.
pub(crate) const SIGN_ON: &str = "sso.yaml";

pub(crate) fn answers_as_it_says(installed: &Installed, name: &str) {
    let gateway = Gateway::start(installed, name);
    let token = |user_type| format!("Bearer {}", gateway.issuer.token(user_type));
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
                let server = if workload == "premium" { &gateway.premium } else { &gateway.everyone };
                let seen = server.requests().pop().unwrap();
                assert_eq!(seen.all(header), [label]);
                for gone in ["authorization", "x-verified-claims"] {
                    assert_eq!(seen.all(gone), [""; 0], "{listener} {gone}");
                }
            }
            assert_eq!(answered(&get().header(header, "premium")), "everyone", "{listener} {protocol:?}");
            assert_eq!(gateway.everyone.requests().pop().unwrap().all(header), [""; 0]);
            let bad = get().header("authorization", "Bearer x.y.z");
            assert_eq!(answered(&bad), if listener == "gateway" { "401" } else { "everyone" });
        }
    }
}
