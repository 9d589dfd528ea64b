//! The identity provider that the overlays name: a real one, `https://idp.example.com`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use e2e::{Client, Provider, free_ports, identity_provider};
use rustls::ServerConfig;

use crate::setup::Mesh;
use crate::tls_relay::TlsRelay;

/// Its host, in the overlays.
pub(super) const HOST: &str = "idp.example.com";
/// Its URL.
pub(in crate::exercise) const ISSUER: &str = "https://idp.example.com";
/// The application's URL.
pub(super) const APPLICATION: &str = "https://ai.example.com";
/// The application, as the overlays and their README register it.
const CLIENT: Client<'static> =
    Client { issuer: Some(ISSUER), id: "ai-app", callback: "/oauth2/callback", scope: "openid+email+class" };
/// The provider's users, by what [`e2e::classes::USERS`] calls them.
const USERS: [(&str, &str); 3] =
    [("premium", "premium-user"), ("basic", "basic-user"), ("unknown_type", "hostile-user")];

/// The provider, with TLS in front of it.
pub(crate) struct Issuer {
    tls: TlsRelay,
    provider: Provider,
}

/// What users send.
pub(in crate::exercise) struct Tokens {
    by_user: HashMap<&'static str, String>,
    /// A premium user's, from the same issuer for another audience.
    pub(in crate::exercise) for_another_application: String,
}

impl Issuer {
    /// Starts it on an address of its own, where every program of the mesh finds it by its name.
    pub(in crate::exercise) fn start(mesh: &Mesh) -> Result<Self> {
        let program = identity_provider().context(
            "IDENTITY_PROVIDER is missing: run this through `cargo xtask mesh`, with Node and npm",
        )?;
        let port = free_ports(1)?.first().copied().context("no free port")?;
        let provider = Provider::start_for(&program, port, APPLICATION, CLIENT)?;
        let world = &mesh.world;
        let address = world.place.address()?;
        let at = SocketAddr::new(address, 443);
        let tls =
            TlsRelay::in_front_of(&world.handle, at, mesh.authority.server(&[HOST])?, provider.issuer())
                .context("end TLS in front of the identity provider")?;
        is_at(mesh, at)?;
        Ok(Self { tls, provider })
    }

    /// Where it speaks TLS.
    pub(in crate::exercise) fn address(&self) -> SocketAddr {
        self.tls.address()
    }

    /// Lets everyone find another server under the provider's name, which has the provider behind it and `tls` in
    /// front, for as long as `tried` runs.
    pub(super) fn behind<T>(
        &self,
        mesh: &Mesh,
        tls: Arc<ServerConfig>,
        tried: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let at = SocketAddr::new(mesh.world.place.address()?, 443);
        let _impostor = TlsRelay::in_front_of(&mesh.world.handle, at, tls, self.provider.issuer())?;
        is_at(mesh, at)?;
        let result = tried();
        is_at(mesh, self.address())?;
        result
    }

    /// Tokens of every user, as an API client gets them.
    pub(in crate::exercise) fn tokens(&self) -> Result<Tokens> {
        let mut by_user = HashMap::new();
        let mut for_another_application = String::new();
        for (user, account) in USERS {
            let tokens = self.provider.tokens(account)?;
            by_user.insert(user, tokens.id);
            if user == "premium" {
                for_another_application = tokens.access;
            }
        }
        Ok(Tokens { by_user, for_another_application })
    }
}

/// Where the provider's name leads.
fn is_at(mesh: &Mesh, address: SocketAddr) -> Result<()> {
    mesh.world.place.name(HOST, address.ip())?;
    Ok(())
}

impl Tokens {
    /// A user's, for this application.
    pub(in crate::exercise) fn of(&self, user: &str) -> &str {
        self.by_user.get(user).map_or("", String::as_str)
    }
}

/// The provider's account for what [`e2e::classes::USERS`] calls a user.
pub(super) fn account(user: &str) -> &'static str {
    USERS.iter().find(|(name, _)| *name == user).map_or("", |(_, account)| account)
}
