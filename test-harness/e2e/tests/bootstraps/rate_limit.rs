//! The bootstraps that limit tenants.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::{Answer, Envoy, Installed, Options, Protocol, Request};
use odd_server::wire;
use serde_json::{Value, json};

use crate::identity::{HEADER, ISSUER, Issuer};
use crate::{SERVICE, ask, management, model_server};

pub(crate) const FILES: [&str; 2] = ["rate-limit.yaml", "rate-limit.native.yaml"];

/// More requests than any of the limits allows, with what comes back into the buckets meanwhile.
const FLOOD: usize = 500;

pub(crate) fn answers_as_it_says(installed: &Installed, name: &str) {
    let server = model_server();
    let issuer = Issuer::new(1);
    let ports = [("8080", 0), ("9901", 0), ("8081", server.port())];
    let text = ports.into_iter().fold(crate::identity::text(name), |text, (documented, port)| {
        text.replace(&format!("port_value: {documented} }}"), &format!("port_value: {port} }}"))
    });
    let (before, rest) = text.split_once(r#""jwks": { "keys": ["#).unwrap();
    let (_, after) = rest.split_once("] }").unwrap();
    let text = format!(r#"{before}"jwks": {{ "keys": [{}] }}{after}"#, issuer.key());
    let mut envoy = Envoy::start(&installed.path, &text, &Options::default()).unwrap();
    let address = envoy.address("inference").unwrap();
    let with_claim = |claim: &str| {
        let payload =
            format!(r#"{{"iss":"{ISSUER}","aud":"inference","iat":1700000000,"exp":4102444800{claim}}}"#);
        Client { address, token: Some(issuer.sign(HEADER, &payload)) }
    };
    let client = |tenant: &str| with_claim(&format!(r#","tenant":"{tenant}""#));

    management::refused(address);
    client("direct").grpc_is_refused();
    // Nor does a client without a token have more than one with a token, or another tenant's part.
    let anonymous = Client { address, token: None };
    assert_eq!(anonymous.ready_as("neighbour"), 401, "{name}");
    assert_eq!(anonymous.infer("affine", 6), 401, "{name}");
    anonymous.forges_what_the_log_shows(name);
    assert!(server.requests().is_empty(), "{name}");

    let (flooding, neighbour) = (client("flooding"), client("neighbour"));
    assert_eq!(flooding.infer("other", 6), 200);
    let served = flooding.flood(|client| client.infer("other", 6));
    assert!(served >= 58, "{name}: only {served} of the tenant's 60 requests were served");
    let answer = flooding.inference("other", 6);
    assert_eq!(
        (answer.header("content-type"), answer.text().as_str()),
        (Some(&b"text/plain"[..]), "local_rate_limited"),
        "{name}"
    );
    assert_eq!(neighbour.infer("other", 6), 200, "{name}");
    assert_eq!(neighbour.ready_as("another"), 200, "{name}");

    // A model has a smaller bucket for each tenant, and the tenant's others are not touched by it.
    let (of_model, other) = (client("of-a-model"), client("of-another-model"));
    let served = of_model.flood(|client| client.infer("affine", 6));
    assert!((19..58).contains(&served), "{name}: {served} of 20 requests for the model were served");
    assert_eq!(of_model.infer("other", 6), 200, "{name}");
    assert_eq!(other.infer("affine", 6), 200, "{name}");
    // Tokens that name no tenant, or name it in another type, are limited together.
    let (without, number) = (with_claim(""), with_claim(r#","tenant":5"#));
    let served = without.flood(|client| client.infer("affine", 6));
    assert!((19..58).contains(&served), "{name}: {served} of 20 requests without a tenant were served");
    assert_eq!(number.infer("affine", 6), 429, "{name}");

    // Few requests, of many elements.
    let (large, small) = (client("large"), client("small"));
    let seen = server.requests().len();
    let served = large.flood(|client| client.infer("other", 40_000));
    assert!((2..58).contains(&served), "{name}: {served} inferences of 40,000 elements were served");
    assert_eq!(server.requests().len() - seen, served, "{name}: what was refused reached the server");
    // The transcoder has this one in KServe's shape on its way back.
    let answer = large.inference("other", 40_000);
    assert_eq!(answer.json().unwrap(), json!({"error": "local_rate_limited"}), "{name}");
    // More than the bucket ever has, of a tenant that has not taken anything from it.
    assert_eq!(client("larger").infer("other", 1_000_001), 429, "{name}");
    assert_eq!(client("pictures").infer("other", 3 * 512 * 512), 200, "{name}");
    assert_eq!(small.infer("other", 40_000), 200, "{name}");

    log_lines(&mut envoy, name);
}

/// Each request is in the access log with what it was.
fn log_lines(envoy: &mut Envoy, name: &str) {
    // Written from time to time: that of the last request comes last.
    let _there = envoy.wait_for_log(r#""tenant":"small""#, Duration::from_secs(30)).unwrap();
    let log = envoy.log();
    assert!(!log.contains("Invalid hits_addend"), "{name}: a descriptor was dropped");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = |tenant: &str, status: u16| {
        let of = |line: &&Value| line["tenant"] == tenant && line["status"] == status;
        lines.iter().find(of).unwrap_or_else(|| panic!("{name}: no line of {tenant} with {status}:\n{log}"))
    };
    let text =
        |line: &Value, key: &str| line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned);
    let refused: Vec<_> =
        lines.iter().filter(|line| [401, 403].map(Value::from).contains(&line["status"])).collect();
    for path in FORGED_AT {
        assert!(refused.iter().any(|line| line["path"] == path), "{name}: {path} is not in the log:\n{log}");
    }
    for line in refused {
        assert!(line["path"] != "/forged" && line["tenant"] != "forged", "{name}: {line}");
    }
    for (tenant, status, expected) in [
        ("neighbour", 200, ["other", "UINT8", "2,3", "6", "0"]),
        ("small", 200, ["other", "UINT8", "1,40000", "40000", "0"]),
        // Refused behind the transcoder, by Envoy: 14 is what a gRPC client would take a 429 for.
        ("large", 429, ["other", "UINT8", "1,40000", "40000", "14"]),
        // Refused in front of it.
        ("flooding", 429, ["null", "null", "null", "null", "null"]),
    ] {
        let line = line(tenant, status);
        let found = ["model", "datatype", "shape", "elements", "grpc_status"].map(|key| text(line, key));
        assert_eq!(found, expected, "{name}: {line}");
        assert_eq!(line["path"], "/v2/models/other/infer", "{name}: {line}");
    }
}

/// Refused by a policy, and for the lack of a token.
const FORGED_AT: [&str; 2] = ["/v2/logging", "/v2/health/live"];

struct Client {
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// The status of an inference of this many elements.
    fn infer(&self, model: &str, elements: usize) -> u16 {
        self.inference(model, elements).status()
    }

    fn inference(&self, model: &str, elements: usize) -> Answer {
        let shape = if elements == 6 { json!([2, 3]) } else { json!([1, elements]) };
        let data = vec![7; elements];
        let body = json!({"inputs": [{"name": "x", "datatype": "UINT8", "shape": shape, "data": data}]});
        self.answer(Request::post(&format!("/v2/models/{model}/infer"), body.to_string()))
    }

    /// A gRPC message of its own would pass the limits by model and by elements.
    fn grpc_is_refused(&self) {
        let message = wire::Message::new().bytes(1, "affine").into_bytes();
        for method in ["ModelInfer", "ModelStreamInfer", "ServerReady"] {
            let request = self.with_token(Request::grpc(&format!("{SERVICE}/{method}"), &message));
            let answer = ask(Protocol::Http2, self.address, &request);
            assert_eq!(answer.header("grpc-status"), Some(&b"7"[..]), "{method}");
        }
    }

    /// Sends, with requests that are refused, the headers that the access log reads.
    fn forges_what_the_log_shows(&self, name: &str) {
        for (path, status) in FORGED_AT.into_iter().zip([403, 401]) {
            let request = Request::get(path).header("x-envoy-original-path", "/forged");
            assert_eq!(self.send(request.header("x-tenant", "forged")), status, "{name}: {path}");
        }
    }

    /// The status of a request that says that it is a tenant's.
    fn ready_as(&self, tenant: &str) -> u16 {
        self.send(Request::get("/v2/health/ready").header("x-tenant", tenant))
    }

    fn send(&self, request: Request) -> u16 {
        self.answer(request).status()
    }

    fn answer(&self, request: Request) -> Answer {
        ask(Protocol::Http1, self.address, &self.with_token(request))
    }

    fn with_token(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// How many requests are served before one is refused.
    fn flood(&self, request: impl Fn(&Self) -> u16) -> usize {
        for served in 0..FLOOD {
            match request(self) {
                200 => {}
                429 => return served,
                status => panic!("answered {status} after {served}"),
            }
        }
        panic!("{FLOOD} requests were served")
    }
}
