//! The bootstraps of the AI application, without the application: who is let in, and whom the waypoint believes.

use crate::ask;
use crate::identity::{HEADER, ISSUER, Issuer, who};
use e2e::{Envoy, Installed, Options, Protocol, Request, Workload, repository};
use std::net::SocketAddr;

pub(crate) const FILES: [&str; 2] = ["ai-application.yaml", "ai-application.native.yaml"];

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(repository().join("envoy").join(name)).unwrap()
}

/// Both workloads of `style-transfer`, and the provider's keys at any path.
pub(crate) struct Upstreams {
    issuer: Issuer,
    keys: Workload,
    tensorflow: Workload,
    pytorch: Workload,
}

impl Upstreams {
    pub(crate) fn start() -> Self {
        let issuer = Issuer::new(1);
        let keys = issuer.key_set();
        let keys = Workload::serving("application/json", &keys).unwrap();
        let (tensorflow, pytorch) =
            (Workload::start("tensorflow").unwrap(), Workload::start("pytorch").unwrap());
        Self { issuer, keys, tensorflow, pytorch }
    }

    /// A bootstrap with other ports, of the gateway, the waypoint and the administration among others, and no other
    /// change.
    pub(crate) fn bootstrap(&self, name: &str, [gateway, waypoint, admin]: [u16; 3]) -> String {
        let ports = [
            ("8080", gateway),
            ("8010", waypoint),
            ("8008", 0),
            ("9901", admin),
            ("8001", self.tensorflow.port()),
            ("8002", self.pytorch.port()),
            ("8090", self.keys.port()),
        ];
        ports.into_iter().fold(text(name), |text, (documented, port)| {
            text.replace(&format!("port_value: {documented} }}"), &format!("port_value: {port} }}"))
        })
    }

    fn token(&self, audience: &str, user_type: &str) -> String {
        let payload = format!(
            r#"{{"iss":"{ISSUER}","aud":"{audience}","sub":"u","iat":1700000000,"exp":4102444800,"user_type":"{user_type}"}}"#
        );
        self.issuer.sign(HEADER, &payload)
    }
}

pub(crate) fn answers_as_it_says(installed: &Installed, name: &str) {
    let upstreams = Upstreams::start();
    let envoy =
        Envoy::start(&installed.path, &upstreams.bootstrap(name, [0; 3]), &Options::default()).unwrap();
    asks_to_log_in(envoy.address("api-ingressgateway").unwrap());
    let ingress = envoy.address("ingressgateway").unwrap();
    let infer = Request::post("/v2/models/tf-style-transfer/infer", "{}");
    assert_eq!(
        ask(Protocol::Http1, ingress, &infer).status(),
        503,
        "a request without a group has no server"
    );
    crate::management::refused(ingress);

    let waypoint = envoy.address("waypoint").unwrap();
    let forged = || Request::post("/transfer", "").header("user_class", "premium");
    let with = |token: String| forged().header("x-id-token", token);
    let premium = upstreams.token("gateway", "premium");
    for (what, request, group) in [
        ("a premium user's token", with(premium.clone()), "tensorflow"),
        ("a basic user's token", with(upstreams.token("gateway", "basic")), "pytorch"),
        ("another class", with(upstreams.token("gateway", "premium ")), "pytorch"),
        ("a token for somebody else", with(upstreams.token("inference", "premium")), "pytorch"),
        ("a changed token", with(format!("{}AA", &premium[..premium.len() - 2])), "pytorch"),
        (
            "two tokens",
            with(premium.clone()).header("x-id-token", upstreams.token("gateway", "basic")),
            "pytorch",
        ),
        ("no token", forged(), "pytorch"),
        ("no token, twice", forged().header("user_class", "premium"), "pytorch"),
        (
            "no token, another spelling",
            Request::post("/transfer", "").header("user-class", "premium"),
            "pytorch",
        ),
    ] {
        for protocol in Protocol::BOTH {
            assert_eq!(who(&ask(protocol, waypoint, &request)), group, "{what}, {protocol:?}");
            let server = if group == "pytorch" { &upstreams.pytorch } else { &upstreams.tensorflow };
            let seen = server.requests().pop().unwrap();
            let classes = seen.headers.iter().filter(|(name, _)| name.replace('_', "-") == "user-class");
            let classes: Vec<_> =
                classes.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
            assert!(
                classes.len() < 2 && !(group == "pytorch" && classes == ["premium"]),
                "{what}: {classes:?}"
            );
            assert_eq!(seen.all("x-id-token"), [""; 0], "{what}: the token goes no further");
        }
    }
}

/// A browser that comes in is sent to the provider.
pub(crate) fn asks_to_log_in(gateway: SocketAddr) {
    let forged = Request::get("/home").header("user_class", "premium").header("x-id-token", "x.y.z");
    for request in [Request::get("/home"), forged] {
        let request = Request { authority: format!("localhost:{}", gateway.port()), ..request };
        let answer = ask(Protocol::Http1, gateway, &request);
        assert_eq!(answer.status(), 302, "{}", answer.text());
        assert!(answer.header_text("location").unwrap().starts_with(&format!("{ISSUER}/auth?")));
    }
}
