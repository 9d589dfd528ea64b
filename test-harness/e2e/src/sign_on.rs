//! The OpenID provider of `idp/`, for a gateway that users log in at.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::agent::{Agent, Page, between, form};
use crate::answer::Answer;
use crate::envoy::{Envoy, Options};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::shipped::shipped_on;

/// The client as which [`SignOn`]'s gateway is registered at the provider.
const GATEWAY: Client<'static> =
    Client { issuer: None, id: "gateway", callback: "/callback", scope: "openid+class" };
/// The secret of every client.
pub const CLIENT_SECRET: &str = "a-secret-for-trials";

/// Node reads forty packages before it listens.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A verifier and its challenge: the example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// `idp.mjs` in a folder with its packages, named by `IDENTITY_PROVIDER`, which `cargo xtask` sets.
pub fn identity_provider() -> Option<PathBuf> {
    std::env::var_os("IDENTITY_PROVIDER").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A running OpenID provider. Its users' passwords are their names: `premium-user`, `basic-user`, `hostile-user` (whose
/// claim wants to be a header) and `large-user` (whose ID token does not fit into one cookie). It is ended when
/// dropped.
pub struct Provider {
    process: Process,
    address: SocketAddr,
    gateway: String,
    client: Client<'static>,
}

/// The client that users log in for at a [`Provider`], and the provider's name.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The provider's own URL, if that is not its address. With `https`, TLS ends in front of the provider.
    pub issuer: Option<&'a str>,
    /// The client's identifier, which is the audience of its ID tokens.
    pub id: &'a str,
    /// The path that users come back to.
    pub callback: &'a str,
    /// What is asked for, with a `+` between scopes. For `class`, access tokens are JWTs for another audience,
    /// `inference`.
    pub scope: &'a str,
}

/// `envoy/sso.yaml` and a running [`Provider`], on ports of their own.
pub struct SignOn {
    /// The gateway.
    pub envoy: Envoy,
    /// The provider.
    pub provider: Provider,
    gateway: SocketAddr,
}

/// What the provider gives a client for a user who has logged in.
pub struct Tokens {
    /// For the API behind the gateway.
    pub access: String,
    /// For the client itself.
    pub id: String,
}

impl SignOn {
    /// Starts both, with the two workloads behind the gateway.
    ///
    /// # Errors
    /// If either ends or is not ready in time.
    pub fn start(
        binary: &Path,
        provider: &Path,
        premium: SocketAddr,
        everyone: SocketAddr,
    ) -> Result<Self, Error> {
        let [gateway, idp] = free_ports(2)?[..] else { return Err(Error::Protocol("no ports".into())) };
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway));
        let provider = Provider::start(provider, idp, &format!("http://{gateway}"))?;
        let ports = [(8080, gateway.port()), (8081, premium.port()), (8082, everyone.port()), (8090, idp)];
        let envoy = Envoy::start(binary, &shipped_on("sso.yaml", &ports)?, &Options::default())?;
        Ok(Self { envoy, provider, gateway })
    }

    /// Where users open the gateway.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Where the provider is.
    pub fn issuer(&self) -> SocketAddr {
        self.provider.issuer()
    }

    /// A URL of the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }

    /// As [`Provider::tokens`].
    ///
    /// # Errors
    /// If the provider gives no tokens.
    pub fn tokens(&self, user: &str) -> Result<Tokens, Error> {
        self.provider.tokens(user)
    }

    /// As [`Provider::confirm_logout`].
    ///
    /// # Errors
    /// If the page is another.
    pub fn confirm_logout(&self, agent: &mut Agent, page: &Page) -> Result<Answer, Error> {
        self.provider.confirm_logout(agent, page)
    }
}

impl Provider {
    /// Starts `program` on a port of loopback, for the gateway whose URL begins so: `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// If it ends or is not ready in time.
    pub fn start(program: &Path, port: u16, gateway: &str) -> Result<Self, Error> {
        Self::start_for(program, port, gateway, GATEWAY)
    }

    /// [`start`](Self::start) for another client than `envoy/sso.yaml` is.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_for(
        program: &Path,
        port: u16,
        gateway: &str,
        client: Client<'static>,
    ) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let issuer = client.issuer.map_or_else(|| format!("http://{address}"), str::to_owned);
        let mut command = Command::new("node");
        command.arg(program).arg(port.to_string()).args([gateway, &issuer, client.id, client.callback]);
        let mut process = Process::start("OpenID provider", command, process::directory("idp")?)?;
        process.wait_for_log("ready http", READY_WITHIN)?;
        Ok(Self { process, address, gateway: gateway.to_owned(), client })
    }

    /// Where it is.
    pub fn issuer(&self) -> SocketAddr {
        self.address
    }

    /// What an API client gets at the provider when a user logs in there for it, past the gateway.
    ///
    /// # Errors
    /// If the provider gives no tokens.
    pub fn tokens(&self, user: &str) -> Result<Tokens, Error> {
        let Client { issuer, id, callback, scope } = self.client;
        let (issuer, callback) = (
            issuer.map_or_else(|| format!("http://{}", self.address), str::to_owned),
            format!("{}{callback}", self.gateway),
        );
        let mut agent = Agent::knowing(&[(&issuer, self.address)]);
        let authorize = format!(
            "{issuer}/auth?client_id={id}&response_type=code&scope={scope}&state=s&redirect_uri={callback}&code_challenge_method=S256&code_challenge={CHALLENGE}"
        );
        let back = agent.visit(&authorize, Some(user), Some(&callback))?.url;
        let body = format!(
            "grant_type=authorization_code&client_id={id}&client_secret={CLIENT_SECRET}&code={}&code_verifier={VERIFIER}&redirect_uri={callback}",
            between(&back, "code=", "&")?
        );
        let answer = agent.send(self.address, form("/token", &body))?.json()?;
        let token = |name: &str| {
            let token = answer[name].as_str().map(str::to_owned);
            token.ok_or_else(|| Error::Protocol(format!("no {name} for {user}: {answer}")))
        };
        Ok(Tokens { access: token("access_token")?, id: token("id_token")? })
    }

    /// Confirms the provider's question whether to log out, which `/signout` of the gateway leads to.
    ///
    /// # Errors
    /// If the page is another.
    pub fn confirm_logout(&self, agent: &mut Agent, page: &Page) -> Result<Answer, Error> {
        let text = page.answer.text();
        let token = between(&text, r#"name="xsrf" value=""#, "\"")?;
        agent.send(self.address, form("/session/end/confirm", &format!("xsrf={token}&logout=yes")))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
