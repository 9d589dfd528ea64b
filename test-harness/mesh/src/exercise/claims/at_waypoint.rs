//! What is tried at the waypoint, past the gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::classes::{FORGERIES, SUBSETS, USERS, User, badly_signed};
use e2e::{Protocol, Request, send};

use super::{
    BACKEND, CHART_GATEWAY, NAMESPACE, STRANGER, STYLE_TRANSFER, Tried, Way, bearer, home, said, with,
};
use crate::api::Kind;
use crate::control_plane::ROOT_NAMESPACE;
use crate::hbone::{Identity, Tunnel};
use crate::proxy::Proxy;
use crate::setup::Mesh;
use crate::world::has_condition;

/// How long istiod may take to say what it made of a resource.
const SOON: Duration = Duration::from_secs(20);

/// The waypoint in front of style-transfer, and who calls it.
pub(in crate::exercise) struct Waypoint {
    pub(in crate::exercise) proxy: Proxy,
    backend: Tunnel,
    stranger: Tunnel,
    /// The VIP and port of style-transfer.
    authority: String,
    /// Where callers are.
    source: IpAddr,
    roots_pem: String,
}

impl Waypoint {
    pub(in crate::exercise) fn raise(mesh: &Mesh, style_transfer: SocketAddr) -> Result<Self> {
        let world = &mesh.world;
        let proxy = world.waypoint(NAMESPACE, "waypoint")?;
        let (authority, source) = (style_transfer.to_string(), world.place.address()?);
        let at = SocketAddr::new(proxy.address(), 15008);
        let tunnel = |account: &str| {
            let caller = world.identity(NAMESPACE, account)?;
            Tunnel::open(&world.handle, at, &authority, &caller, source)
        };
        let (backend, stranger) = (tunnel(BACKEND)?, tunnel(STRANGER)?);
        let roots_pem = world.plane.root_certificate()?;
        Ok(Self { proxy, backend, stranger, authority, source, roots_pem })
    }

    /// Where the backend calls style-transfer.
    pub(in crate::exercise) fn for_the_backend(&self) -> SocketAddr {
        self.backend.address()
    }

    fn at(&self) -> SocketAddr {
        SocketAddr::new(self.proxy.address(), 15008)
    }
}

impl Tried<'_> {
    fn the_waypoint(&self) -> Result<&Waypoint> {
        self.waypoint.as_ref().context("the overlay has no waypoint")
    }

    /// Sends a request to style-transfer by a tunnel.
    fn call(&self, caller: &Tunnel, request: &Request) -> Result<Way> {
        self.way(|| Ok(send(Protocol::Http1, caller.address(), request)?.complete()?))
    }

    /// That the right workload answered, which saw the class and no token.
    pub(super) fn answered(&self, way: &Way, user: User, said: &str) -> Result<()> {
        let (name, status, text) = (user.name, way.answer.status(), way.answer.text());
        let expected = format!("workload {}\n", user.subset);
        ensure!(
            (status, &text) == (200, &expected),
            "{name}, {said}: {status} {text:?} instead of 200 {expected:?}"
        );
        let [(subset, seen)] = &way.workloads[..] else {
            anyhow::bail!("{name}, {said}: the workloads got {} requests", way.workloads.len());
        };
        ensure!(*subset == user.subset, "{name}, {said}: {subset} answered");
        let class: Vec<String> = user.class.map(str::to_owned).into_iter().collect();
        let found = seen.all("user_class");
        ensure!(found == class, "{name}, {said}: {subset} saw user_class {found:?}, not {class:?}");
        for header in ["user-class", "authorization"] {
            ensure!(seen.all(header).is_empty(), "{name}, {said}: {subset} saw {header}");
        }
        if self.native && self.passes_on == "authorization" {
            ensure!(seen.all("x-jwt-payload").is_empty(), "{name}, {said}: {subset} saw x-jwt-payload");
        }
        Ok(())
    }

    pub(super) fn bound(&self) -> Result<()> {
        let cluster = &self.mesh.world.plane.cluster;
        let bound = |of: &serde_json::Value| {
            let bound = has_condition(of, "istio.io/WaypointBound") || has_condition(of, "WaypointBound");
            bound.then_some(())
        };
        cluster.wait(Kind("v1", "Service"), NAMESPACE, STYLE_TRANSFER, SOON, bound)?;
        if self.passes_on == "user_class" {
            let kind = Kind("security.istio.io/v1", "AuthorizationPolicy");
            let accepted = |of: &serde_json::Value| has_condition(of, "WaypointAccepted").then_some(());
            cluster.wait(kind, NAMESPACE, "user-class-from-the-backend-only", SOON, accepted)?;
        }
        Ok(())
    }

    pub(super) fn without_certificate(&self) -> Result<()> {
        let waypoint = self.the_waypoint()?;
        let anonymous = Identity::none(&waypoint.roots_pem);
        let handle = &self.mesh.world.handle;
        let opened = Tunnel::open(handle, waypoint.at(), &waypoint.authority, &anonymous, waypoint.source);
        let Err(why) = opened else { bail!("the waypoint took a connection without a certificate") };
        // By TLS 1.3 the alert comes after the handshake, and may be lost with the connection that it ends.
        let why = format!("{why:#}");
        let refused =
            ["CertificateRequired", "the peer ended the connection"].iter().any(|by| why.contains(by));
        ensure!(refused, "{why}");
        Ok(())
    }

    pub(super) fn trusted_callers(&self) -> Result<()> {
        let waypoint = self.the_waypoint()?;
        let world = &self.mesh.world;
        let (namespace, account) = match self.gateway.namespace() {
            NAMESPACE => (NAMESPACE, "ai-app-gateway-istio"),
            _ => (ROOT_NAMESPACE, CHART_GATEWAY),
        };
        let gateway = world.identity(namespace, account)?;
        let gateway =
            Tunnel::open(&world.handle, waypoint.at(), &waypoint.authority, &gateway, waypoint.source)?;
        for caller in [&waypoint.backend, &gateway] {
            for user in USERS {
                let class: Vec<_> = user.class.map(|class| ("user_class", class)).into_iter().collect();
                self.answered(&self.call(caller, &with(home(), &class))?, user, &said(&class))?;
            }
        }
        Ok(())
    }

    pub(super) fn untrusted_callers(&self) -> Result<()> {
        let stranger = &self.the_waypoint()?.stranger;
        let without = self.call(stranger, &home())?;
        self.answered(&without, EVERYONE_ELSE, "a stranger without a class")?;
        for forged in FORGERIES {
            let way = self.call(stranger, &with(home(), forged))?;
            let (status, said) = (way.answer.status(), said(forged));
            ensure!(status == 403, "{said}: {status} {}", way.answer.text());
            ensure!(way.workloads.is_empty(), "{said}: a workload was asked");
        }
        Ok(())
    }

    pub(super) fn tokens_at_the_waypoint(&self) -> Result<()> {
        let waypoint = self.the_waypoint()?;
        for caller in [&waypoint.backend, &waypoint.stranger] {
            for forged in [&[][..]].into_iter().chain(FORGERIES) {
                for user in USERS {
                    let way = self.call(caller, &with(self.user(user.name), forged))?;
                    self.answered(&way, user, &said(forged))?;
                }
                self.answered(&self.call(caller, &with(home(), forged))?, EVERYONE_ELSE, &said(forged))?;
            }
        }
        Ok(())
    }

    pub(super) fn bad_tokens_at_the_waypoint(&self) -> Result<()> {
        let waypoint = self.the_waypoint()?;
        let badly_signed = badly_signed(self.tokens.of("premium"));
        for (bad, expected) in [(&badly_signed, 401), (&self.tokens.for_another_application, 403)] {
            let way = self.call(&waypoint.backend, &with(bearer(bad), FORGERIES[0]))?;
            let status = way.answer.status();
            ensure!(status == expected, "{status} {}, not {expected}", way.answer.text());
            ensure!(way.workloads.is_empty(), "a workload was asked");
        }
        Ok(())
    }
}

/// A caller who says nothing of a user.
const EVERYONE_ELSE: User = User { name: "no user", subset: SUBSETS[1], class: None };
