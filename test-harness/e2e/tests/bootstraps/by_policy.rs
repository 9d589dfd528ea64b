//! The bootstrap whose load-balancing policy keeps two groups of model servers apart.

use crate::{BOUND, File, SERVICE, ask, inference, model_server};
use e2e::{Envoy, Installed, Options, Protocol, Request, dist};
use odd_server::OddServer;
use serde_json::json;
use std::net::SocketAddr;

/// Its second server is that of the group `pytorch`.
pub(crate) const FILE: File = File { name: "runtime-group.yaml", ..File::PLAIN };

/// Where 1.38 finds the module of a policy, as the file says.
pub(crate) fn options() -> Options {
    let modules = dist("").display().to_string();
    Options {
        environment: vec![("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".to_owned(), modules)],
        ..Options::default()
    }
}

/// The file with other ports: the listener's, one that it has no use for, and the administration's.
pub(crate) fn on_ports([listener, _, admin]: [u16; 3], servers: &[OddServer; 2]) -> String {
    FILE.on_ports(listener, admin, servers[0].port(), servers[1].port())
}

pub(crate) fn answers_as_it_says(installed: &Installed) {
    let servers = [model_server(), model_server()];
    let text = on_ports([0, 0, 0], &servers);
    let envoy = Envoy::start(&installed.path, &text, &options()).unwrap();
    let address = envoy.address("inference").unwrap();
    crate::management::refused(address);
    assert!(servers.iter().all(|server| server.requests().is_empty()));
    keeps_groups(address, &servers);
}

pub(crate) fn keeps_groups(address: SocketAddr, servers: &[OddServer; 2]) {
    let requests = [
        Request::get("/v2/health/ready"),
        Request::post("/v2/models/affine/infer", inference()),
        Request::grpc(&format!("{SERVICE}/ServerReady"), b""),
    ];
    for (group, server, other) in [("tensorflow", 0, 1), ("pytorch", 1, 0)] {
        for request in requests.iter().cycle().take(30) {
            let before = [server, other].map(|index: usize| ended(&servers[index]));
            let request = request.clone().header("x-model-format", group);
            let protocols =
                if request.path.starts_with(SERVICE) { &[Protocol::Http2][..] } else { &Protocol::BOTH };
            for protocol in protocols {
                assert_eq!(ask(*protocol, address, &request).status(), 200, "{group} {}", request.path);
            }
            servers[server].wait_for(before[0] + protocols.len(), BOUND).unwrap();
            assert_eq!(ended(&servers[other]), before[1], "{group} {}", request.path);
        }
    }
    // A request that names no group may be served by either; an unknown group has no endpoint.
    let anyone = ask(Protocol::Http1, address, &Request::get("/v2/health/ready"));
    assert_eq!(anyone.status(), 200);
    let unknown = Request::get("/v2/health/ready").header("x-model-format", "onnx");
    let answer = ask(Protocol::Http1, address, &unknown);
    assert_eq!((answer.status(), answer.json().unwrap()), (503, json!({"error": "no healthy upstream"})));
}

fn ended(server: &OddServer) -> usize {
    server.requests().iter().filter(|request| request.ended).count()
}
