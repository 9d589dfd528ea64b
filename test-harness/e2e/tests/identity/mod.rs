//! An issuer of tokens, and the shipped bootstraps of `claim-headers` between it and two workloads.

use std::ops::Deref;

use e2e::{Answer, Envoy, Installed, Options, TokenKey, Workload, repository};

/// What the bootstraps call the issuer, and whom its tokens must be for.
pub(crate) const ISSUER: &str = "http://127.0.0.1:8090";
/// A header that is right.
pub(crate) const HEADER: &str = TokenKey::HEADER;

/// A key, and the tokens of the issuer that the bootstraps trust.
pub(crate) struct Issuer(TokenKey);

impl Deref for Issuer {
    type Target = TokenKey;

    fn deref(&self) -> &TokenKey {
        &self.0
    }
}

impl Issuer {
    /// The same key for the same seed, from 1.
    pub(crate) fn new(seed: u8) -> Self {
        Self(TokenKey::new(seed).unwrap())
    }

    /// A token that is right, of a user whose `user_type` is this JSON.
    pub(crate) fn token(&self, user_type: &str) -> String {
        self.sign(HEADER, &payload(user_type))
    }
}

/// A payload that is right.
pub(crate) fn payload(user_type: &str) -> String {
    format!(
        r#"{{"iss":"{ISSUER}","aud":"inference","sub":"u","iat":1700000000,"exp":4102444800,"user_type":{user_type}}}"#
    )
}

/// Each bootstrap with bearer tokens.
pub(crate) const FILES: [&str; 2] = ["claim-headers.yaml", "claim-headers.native.yaml"];

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(repository().join("envoy").join(name)).unwrap()
}

/// What stands behind Envoy: both workloads, and the issuer's keys at any path.
pub(crate) struct Upstreams {
    pub(crate) issuer: Issuer,
    pub(crate) premium: Workload,
    pub(crate) everyone: Workload,
    keys: Workload,
}

impl Upstreams {
    pub(crate) fn start() -> Self {
        let issuer = Issuer::new(1);
        let keys = Workload::serving("application/json", &issuer.key_set()).unwrap();
        let (premium, everyone) = (Workload::start("premium").unwrap(), Workload::start("everyone").unwrap());
        Self { issuer, premium, everyone, keys }
    }

    /// A shipped bootstrap with other ports, of its two listeners and the administration, and with the issuer's key
    /// where it has one; with no other change.
    pub(crate) fn bootstrap(&self, name: &str, [gateway, builtin, admin]: [u16; 3]) -> String {
        let ports = [
            ("8080", gateway),
            ("8180", builtin),
            ("9901", admin),
            ("8081", self.premium.port()),
            ("8082", self.everyone.port()),
            ("8090", self.keys.port()),
        ];
        let text = ports.into_iter().fold(text(name), |text, (documented, port)| {
            text.replace(&format!("port_value: {documented} }}"), &format!("port_value: {port} }}"))
        });
        let example = text.split(r#""jwks": { "keys": ["#).nth(1).and_then(|rest| rest.split("] }").next());
        example.map_or_else(|| text.clone(), |example| text.replace(example, &self.issuer.key()))
    }
}

/// One Envoy with a shipped bootstrap, and what stands behind it.
pub(crate) struct Gateway {
    pub(crate) envoy: Envoy,
    pub(crate) upstreams: Upstreams,
}

impl Gateway {
    pub(crate) fn start(installed: &Installed, name: &str) -> Self {
        let upstreams = Upstreams::start();
        let text = upstreams.bootstrap(name, [0; 3]);
        let envoy = Envoy::start(&installed.path, &text, &Options::default()).unwrap();
        Self { envoy, upstreams }
    }
}

/// Who answered: `premium`, `everyone`, or the status.
pub(crate) fn who(answer: &Answer) -> String {
    let text = answer.text();
    let name = text.strip_prefix("workload ").map(str::trim_end).filter(|_| answer.status() == 200);
    name.map_or_else(|| answer.status().to_string(), str::to_owned)
}
