//! The AI application's model of any style on Triton, asked by the application's own service.

use std::net::Ipv4Addr;
use std::path::Path;

use e2e::application::{Parts, Service, form_to, style_networks, triton_models};
use e2e::{Installed, Protocol, Triton, free_ports, send, start_shipped};

use crate::pictures::Pictures;

pub(crate) fn on_triton(envoy: &Installed, python: &Path, triton: &Path, models: &Path) {
    let networks = style_networks(models);
    let server = Triton::start_in(triton, &triton_models(), &[("STYLE_NETWORKS", &networks)]).unwrap();
    for bootstrap in ["kserve-transcoder.yaml", "kserve-transcoder.native.yaml"] {
        let envoy = start_shipped(&envoy.path, bootstrap, &[server.grpc()]).unwrap();
        let address = envoy.address("inference").unwrap().to_string();
        let parts = Parts {
            envoy: "".into(),
            provider: "".into(),
            python: python.to_owned(),
            models: models.to_owned(),
        };
        let pictures = Pictures::make(&parts);
        for payload in ["json", "binary"] {
            let settings = [
                ("MODEL_SERVER", address.as_str()),
                ("MODEL_NAME", "tf-style-transfer"),
                ("PAYLOAD", payload),
            ];
            let address = (Ipv4Addr::LOCALHOST, free_ports(1).unwrap()[0]).into();
            let service = Service::start(python, "style_transfer", address, &settings).unwrap();
            let form =
                form_to("/transfer", &pictures.bytes("tensorflow.png"), Some(&pictures.bytes("style.png")));
            let answer = send(Protocol::Http1, service.address(), &form).unwrap();
            assert_eq!(answer.status(), 200, "{bootstrap}, {payload}: {}\n{}", answer.text(), server.log());
            pictures.is_as_the_engines_paint(&parts, "tensorflow", &answer.body);
        }
    }
}
