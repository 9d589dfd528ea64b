//! What is tried at the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::Request;
use e2e::classes::{FORGERIES, SUBSETS, USERS, User, badly_signed};

use super::{Issuer, Tried, Way, bearer, chart_gateway, home, issuer, said, with};
use crate::authority::Authority;

/// Someone without a token.
const NOBODY: User = User { name: "no token", subset: SUBSETS[1], class: None };
/// How long the filter may take to ask for keys.
const SOON: Duration = Duration::from_secs(20);
/// The cluster that Istio makes of the provider's ServiceEntry.
const KEYS: &str = "outbound|443||idp.example.com";

impl Tried<'_> {
    pub(super) fn users(&self) -> Result<()> {
        for user in USERS {
            self.arrives(self.user(user.name), user, &[])?;
        }
        self.anyone(&[])
    }

    pub(super) fn forgeries(&self) -> Result<()> {
        for forged in FORGERIES {
            for user in USERS {
                self.arrives(self.user(user.name), user, forged)?;
            }
            self.anyone(forged)?;
        }
        Ok(())
    }

    /// Where users log in, requests without a token are its own matter.
    fn anyone(&self, forged: &[(&str, &str)]) -> Result<()> {
        // jwt_authn leaves preflights alone.
        let preflight = Request { method: "OPTIONS".to_owned(), ..home() };
        let preflight = preflight.header("origin", "https://other.example");
        let preflight = preflight.header("access-control-request-method", "GET");
        for request in [home(), preflight] {
            match self.sign_on {
                None => self.arrives(request, NOBODY, forged)?,
                Some(_) => self.refused(request, 302, forged)?,
            }
        }
        Ok(())
    }

    pub(super) fn bad_tokens(&self) -> Result<()> {
        let badly_signed = badly_signed(self.tokens.of("premium"));
        for (bad, status) in [(&badly_signed, 401), (&self.tokens.for_another_application, 403)] {
            for forged in [&[][..], FORGERIES[0], FORGERIES[4]] {
                match (self.builtin, self.sign_on.is_some()) {
                    // It takes the token off, and the request goes on as one without.
                    (true, _) => self.arrives(bearer(bad), NOBODY, forged)?,
                    // oauth2-proxy has users log in.
                    (_, true) => self.refused(bearer(bad), 302, forged)?,
                    _ => self.refused(bearer(bad), status, forged)?,
                }
            }
        }
        Ok(())
    }

    /// That a request gets through, and with which class.
    pub(super) fn arrives(&self, request: Request, user: User, forged: &[(&str, &str)]) -> Result<()> {
        let has_token = request.headers.iter().any(|(name, _)| name == "authorization");
        let request = with(request, forged);
        self.protocols().iter().try_for_each(|&protocol| {
            let way = self.ask_over(protocol, request.clone())?;
            let said = format!("{protocol:?} {} {}", request.method, said(forged));
            self.arrived(&way, user, has_token, &said)
        })
    }

    fn arrived(&self, way: &Way, user: User, has_token: bool, said: &str) -> Result<()> {
        let name = user.name;
        let (status, text) = (way.answer.status(), way.answer.text());
        ensure!(status == 200, "{name}, {said}: {status} {text}");
        let [backend] = &way.backend[..] else {
            anyhow::bail!("{name}, {said}: the backend got {} requests", way.backend.len());
        };
        let class = user.class.map(str::to_owned).into_iter().collect::<Vec<_>>();
        let expect = |who: &str, header: &str, found: Vec<String>, expected: &[String]| {
            ensure!(found == expected, "{name}, {said}: {who} saw {header}: {found:?}, not {expected:?}");
            Ok(())
        };
        expect("the backend", "user_class", backend.all("user_class"), &class)?;
        expect("the backend", "user-class", backend.all("user-class"), &[])?;
        expect("the backend", "x-other", backend.all("x-other"), &["kept".to_owned()])?;
        let keeps = has_token && self.passes_on == "authorization" && user.name != NOBODY.name;
        let tokens = backend.all("authorization").len();
        ensure!(tokens == usize::from(keeps), "{name}, {said}: the backend saw {tokens} tokens");
        if self.native {
            expect("the backend", "x-jwt-payload", backend.all("x-jwt-payload"), &[])?;
        }
        if self.waypoint.is_none() {
            return Ok(());
        }
        self.answered(way, user, said)
    }

    /// That a request is not let through.
    pub(super) fn refused(&self, request: Request, status: u16, forged: &[(&str, &str)]) -> Result<()> {
        let request = with(request, forged);
        self.protocols().iter().try_for_each(|&protocol| {
            let way = self.ask_over(protocol, request.clone())?;
            let (said, found) = (said(forged), way.answer.status());
            ensure!(found == status, "{protocol:?} {said}: {found} {}, not {status}", way.answer.text());
            ensure!(way.backend.is_empty(), "{protocol:?} {said}: the backend was asked");
            Ok(())
        })
    }

    pub(super) fn fetched_keys(&mut self) -> Result<()> {
        self.wait_for_keys("rq_success")
    }

    /// The gateway anew, for which the provider's name leads to a server that has the provider's answers, and a
    /// certificate for another name or of another authority.
    pub(super) fn impostors(&mut self, issuer: &Issuer) -> Result<()> {
        let mesh = self.mesh;
        let another_name = mesh.authority.server(&["other.example"])?;
        let another_authority = Authority::new()?.server(&[issuer::HOST])?;
        for tls in [another_name, another_authority] {
            self.gateway.process().stop()?;
            issuer.behind(mesh, tls, || {
                self.gateway = chart_gateway(mesh, &[("http", 80)])?;
                self.address = SocketAddr::new(self.gateway.address(), 80);
                self.wait_for_keys("cx_connect_fail")?;
                self.refused(self.user("premium"), 503, &[])?;
                let later = self.ask(self.user("premium"))?.answer.header_text("retry-after");
                ensure!(later.is_some(), "503 without retry-after");
                self.arrives(home(), NOBODY, &[])
            })?;
        }
        Ok(())
    }

    /// Waits until a counter of the provider's cluster has counted.
    fn wait_for_keys(&mut self, counter: &str) -> Result<()> {
        let counter = format!("::{counter}::");
        let counted = |text: &str| {
            let of_keys = text.lines().filter(|line| line.starts_with(KEYS));
            of_keys.filter_map(|line| line.rsplit_once(&counter)).any(|(_, count)| count != "0")
        };
        self.gateway.wait("the provider was not asked for keys", "/clusters", SOON, counted)
    }
}
