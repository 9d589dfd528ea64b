//! The bootstraps with two groups of model servers.

use crate::{BOUND, management};
use e2e::groups::{self, NAMES, who};
use e2e::{Envoy, Installed, Options, Protocol, Request, repository, send};
use odd_server::{OddServer, wire};
use std::net::SocketAddr;

/// Each of them; whether it is the native one.
pub(crate) const FILES: [(&str, bool); 2] =
    [("dynamic-subset.yaml", false), ("dynamic-subset.native.yaml", true)];

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(repository().join("envoy").join(name)).unwrap()
}

/// The file with other ports and no other change: both listeners', the administration's and the servers'.
pub(crate) fn on_ports(name: &str, [main, vendor, admin]: [u16; 3], servers: &[OddServer]) -> String {
    let documented =
        [("8080", main), ("8180", vendor), ("9901", admin)].map(|(port, other)| (port.to_owned(), other));
    let of_servers = (8081..).map(|port: u16| port.to_string()).zip(servers.iter().map(OddServer::port));
    documented.into_iter().chain(of_servers).fold(text(name), |text, (port, other)| {
        text.replace(&format!("port_value: {port} }}"), &format!("port_value: {other} }}"))
    })
}

pub(crate) fn answers_as_it_says(installed: &Installed, name: &str, native: bool) {
    let servers = groups::start().unwrap();
    let text = on_ports(name, [0, 0, 0], &servers);
    let mut envoy = Envoy::start(&installed.path, &text, &Options::default()).unwrap();
    envoy.wait_for_stat("cluster.model-server.membership_healthy", BOUND, |count| count == 4).unwrap();
    groups_are_told_apart(envoy.address("inference").unwrap(), native);
    if !native {
        the_vendors_list_works(envoy.address("vendor").unwrap());
    }
    let seen = || servers.iter().map(|server| server.requests().len()).collect::<Vec<_>>();
    let before = seen();
    management::refused(envoy.address("inference").unwrap());
    if !native {
        management::refused(envoy.address("vendor").unwrap());
    }
    assert_eq!(seen(), before);
    for server in &servers {
        for request in server.requests() {
            assert!(request.headers.iter().all(|(name, _)| !name.starts_with("x-subset-")), "{request:?}");
        }
    }
}

/// What each request must be answered by: the beginning of a name, or a status.
pub(crate) fn groups_are_told_apart(address: SocketAddr, native: bool) {
    let ready = |model: &str| Request::get(&format!("/v2/models/{model}/ready"));
    let infer = |model: &str| {
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.5]}]}"#;
        Request::post(&format!("/v2/models/{model}/infer"), body)
    };
    let grpc = |model: &str| {
        let message = wire::Message::new().bytes(1, model);
        Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes())
    };
    let mut cases = vec![
        (ready("tf-1"), "tensorflow-"),
        (ready("tf-1").header("x-version", "v2"), "tensorflow-v2"),
        (ready("any").header("x-model-format-pytorch", "true"), "pytorch-"),
        (infer("pt-1"), "pytorch-"),
        (infer("tf-1").header("x-model-format-pytorch", "true"), "pytorch-"),
        (infer("any"), ""),
        (infer("any").header("x-model-format-onnx", "true"), "503"),
        (infer("tf-1").header("x-version", "v9"), "pytorch-v1"),
        (infer("any").header("x-version", "v2"), ""),
        (infer("pt-1").header("x-subset-model.format", "tensorflow"), "pytorch-"),
        (grpc("any").header("mm-model-id", "tf-1"), "tensorflow-"),
    ];
    if native {
        cases.push((grpc("tf-1"), "tensorflow-"));
        cases.push((grpc("pt-1").header("x-version", "v2"), "pytorch-v2"));
    }
    for (request, expected) in &cases {
        let grpc = request.path.starts_with("/inference");
        let protocols = if grpc { &[Protocol::Http2][..] } else { &Protocol::BOTH };
        for round in 0..6 {
            let answer =
                send(protocols[round % protocols.len()], address, request).unwrap().complete().unwrap();
            let name = who(&answer);
            let known = *expected == "503" || NAMES.contains(&name.as_str());
            assert!(name.starts_with(expected) && known, "{request:?}: {name}, not {expected:?}");
        }
    }
}

fn the_vendors_list_works(address: SocketAddr) {
    let message = wire::Message::new().bytes(1, "any");
    let request = || Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes());
    for round in 0..6 {
        for format in ["tensorflow", "pytorch"] {
            let request = request().header(&format!("x-model-format-{format}"), "true");
            let answer = send(Protocol::Http2, address, &request).unwrap().complete().unwrap();
            assert!(who(&answer).starts_with(format), "{round}: {format} was answered by {}", who(&answer));
        }
        // A value that no endpoint has: the cluster's fallback policy.
        let other = request().header("x-model-format-tensorflow", "false");
        let answer = send(Protocol::Http2, address, &other).unwrap().complete().unwrap();
        assert!(NAMES.contains(&who(&answer).as_str()), "{}", who(&answer));
    }
}
