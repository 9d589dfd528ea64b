//! What the vendor's sign-on does with a claim, which its console configures and no resource says: the filter
//! `claim-headers`, and a `RequestAuthentication` that verifies the token.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::account::{Account, Action};
use super::spot::{self, ROOT_NAMESPACE, Spot};
use super::subsets::route::find;
use super::tree::{at, item, map, text};
use super::{Settings, module, wrong};
use crate::Error;
use crate::arguments::{Migrate, Shape};
use crate::input::{Item, Located};

/// What the command line says of it.
pub(super) struct SignOn {
    issuer: String,
    jwks: String,
    audience: String,
    /// Claims, as paths, and headers.
    claims: Vec<(Vec<String>, String)>,
    gateway: Option<String>,
}

/// Reads the options; `None` if there are none.
pub(super) fn read(options: &Migrate) -> Result<Option<SignOn>, Error> {
    let (Some(issuer), Some(jwks), Some(audience)) = (&options.sign_on, &options.jwks, &options.audience)
    else {
        return Ok(None);
    };
    let address = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    };
    // OpenID Connect's issuers are URLs.
    if !address(issuer) {
        return Err(wrong(
            "--sign-on",
            format!("{issuer:?} is not an issuer, such as https://idp.example.com"),
        ));
    }
    if !address(jwks) {
        return Err(wrong("--jwks", format!("{jwks:?} is not a URL, such as https://idp.example.com/jwks")));
    }
    if audience.trim().is_empty() {
        return Err(wrong("--audience", "it is empty: name the application that the tokens are for".into()));
    }
    let mut claims = Vec::new();
    for one in &options.claims {
        let (claim, header) =
            one.split_once('=').ok_or_else(|| wrong("--claim", format!("{one:?} is not CLAIM=HEADER")))?;
        claims.push((claim.split('.').map(str::to_owned).collect(), header.to_owned()));
    }
    if claims.is_empty() {
        claims.push((vec!["user_type".to_owned()], "user_class".to_owned()));
    }
    Ok(Some(SignOn {
        issuer: issuer.clone(),
        jwks: jwks.clone(),
        audience: audience.clone(),
        claims,
        gateway: options.gateway.clone(),
    }))
}

impl SignOn {
    /// Whether it sets a header.
    pub(super) fn sets(&self, header: &str) -> bool {
        self.claims.iter().any(|(_, known)| known.eq_ignore_ascii_case(header))
    }

    /// The header that it sets and that a match of a route asks for.
    pub(super) fn matched(&self, one: &Value) -> Option<&str> {
        let headers = one.get("headers").and_then(Value::as_object)?;
        let own = self.claims.iter().map(|(_, header)| header.as_str());
        own.into_iter().find(|header| headers.keys().any(|name| name.eq_ignore_ascii_case(header)))
    }

    /// The Gateway at which users sign on.
    pub(super) fn gateway<'a>(
        &self,
        all: &'a [Located],
        account: &mut Account,
    ) -> Result<&'a Located, Error> {
        if let Some(name) = &self.gateway {
            let found = find(all, "default", name);
            return found
                .ok_or_else(|| wrong("--gateway", format!("the input has no Gateway {name} of Istio's")));
        }
        let by_header = |l: &&Located| {
            let text = l.resource.value.to_string();
            l.resource.kind() == "VirtualService"
                && self.claims.iter().any(|(_, header)| text.contains(&format!("\"{header}\"")))
        };
        let namespaces: BTreeSet<&str> =
            all.iter().filter(by_header).map(|l| l.resource.namespace()).collect();
        let beside: Vec<&Located> = all
            .iter()
            .filter(|l| {
                l.resource.is("networking.istio.io", "Gateway") && namespaces.contains(l.resource.namespace())
            })
            .collect();
        let [gateway] = beside[..] else {
            let why = format!(
                "{} Gateways of Istio's are beside the routes on the header: name the one with --gateway NAMESPACE/NAME",
                beside.len()
            );
            return Err(wrong("--sign-on", why));
        };
        let what = "users sign on here, as it is the only Gateway beside the routes on the header; --gateway names another";
        account.add(Action::Assumed, gateway, "", what);
        Ok(gateway)
    }

    /// The resources, which stand behind the Gateway.
    pub(super) fn resources(
        &self,
        gateway: &Located,
        all: &[Located],
        settings: &Settings,
        account: &mut Account,
    ) -> Vec<Item> {
        let Some(labels) = at(&gateway.item, &["spec", "selector"]) else {
            account.refuse(
                gateway,
                "/spec",
                "has no selector, so it is not known at which pods users sign on",
            );
            return Vec::new();
        };
        let servers = gateway.resource.list("/spec/servers").iter();
        let ports: BTreeSet<u64> =
            servers.filter_map(|server| server.pointer("/port/number").and_then(Value::as_u64)).collect();
        let spot = Spot::Gateway { labels: labels.clone(), ports: ports.into_iter().collect() };
        let native = settings.form == Shape::Native;
        let filter = if native {
            account.add(Action::Todo, gateway, "", spot::MODULE);
            self.native(&spot)
        } else {
            self.plugin(gateway, labels, settings, account)
        };
        let made = vec![self.authentication(labels, native), filter];
        let made: Vec<Item> =
            made.into_iter().filter(|made| !is_there(made, gateway, all, account)).collect();
        if !made.is_empty() {
            let headers: Vec<&str> = self.claims.iter().map(|(_, header)| header.as_str()).collect();
            let what = format!(
                "the sign-on's {} is set by claim-headers behind this Gateway; both resources are in istio-system, from where they are \
                 for the pods in any namespace",
                headers.join(", ")
            );
            account.add(Action::Mapped, gateway, "/spec/selector", what);
            let what = "verifies tokens; to have browsers log in, add oauth2-proxy (istio/claim-headers/overlays/sign-on)";
            account.add(Action::Todo, gateway, "", what);
        }
        made
    }

    fn map(&self) -> Value {
        let rule = |(claim, header): &(Vec<String>, String)| json!({"header": header, "claim": claim, "type": "string"});
        self.claims.iter().map(rule).collect()
    }

    /// Who verifies tokens. The header has one writer, which is the filter: no `outputClaimToHeaders`.
    fn authentication(&self, labels: &Item, native: bool) -> Item {
        let mut rule = json!({
            "issuer": self.issuer, "jwksUri": self.jwks, "audiences": [self.audience], "forwardOriginalToken": true,
        });
        if native {
            rule["outputPayloadToHeader"] = PAYLOAD.into();
        }
        let spec = map(vec![
            ("selector", map(vec![("matchLabels", labels.clone())])),
            ("jwtRules", item(&json!([rule]))),
        ]);
        resource("security.istio.io/v1", "RequestAuthentication", "sign-on", spec)
    }

    /// After `RequestAuthentication` and before `AuthorizationPolicy`.
    fn plugin(&self, gateway: &Located, labels: &Item, settings: &Settings, account: &mut Account) -> Item {
        let url = module(gateway, "", FILTER, &settings.registry, account);
        let spec = map(vec![
            ("selector", map(vec![("matchLabels", labels.clone())])),
            ("url", text(url)),
            ("failStrategy", text("FAIL_RELOAD")),
            ("phase", text("AUTHZ")),
            ("priority", item(&json!(30))),
            ("pluginConfig", item(&json!({"map": self.map()}))),
        ]);
        resource("extensions.istio.io/v1alpha1", "WasmPlugin", FILTER, spec)
    }

    /// As a dynamic module: verified claims come in a header, which a guard in front takes off a client's request.
    fn native(&self, spot: &Spot) -> Item {
        let metadata = json!({"payload_header": PAYLOAD});
        let config = json!({"metadata": metadata, "map": self.map()});
        let guard = json!({"source": "guard", "metadata": metadata});
        let mut patches = spot.filters(&spot::native(FILTER, "claim_headers", &config.to_string()));
        patches.extend(spot.first(&spot::native("claim-headers-guard", "claim_headers", &guard.to_string())));
        resource("networking.istio.io/v1alpha3", "EnvoyFilter", FILTER, spot.spec(PRIORITY, patches))
    }
}

const FILTER: &str = "claim-headers";
/// The header in which `jwt_authn` hands on what it has verified.
const PAYLOAD: &str = "x-jwt-payload";
/// Before what goes by headers: what chooses groups has 5.
const PRIORITY: i64 = 1;

/// Whether the input has a resource already, as a second run's has; another one of its name is not to be lost.
fn is_there(made: &Item, gateway: &Located, all: &[Located], account: &mut Account) -> bool {
    let (kind, name) =
        (made.text("kind"), at(made, &["metadata"]).map_or("", |metadata| metadata.text("name")));
    let same = |l: &&Located| {
        l.resource.kind() == kind && l.resource.name() == name && l.resource.namespace() == ROOT_NAMESPACE
    };
    let Some(found) = all.iter().find(same) else { return false };
    if found.resource.at("/spec") != made.get("spec").map(Item::value).as_ref() {
        let why = format!(
            "{} is in the input already, and says something else: rename it, or leave --sign-on out",
            found.resource.id()
        );
        account.refuse(gateway, "/spec/selector", why);
    }
    true
}

fn resource(api: &str, kind: &str, name: &str, spec: Item) -> Item {
    let metadata = map(vec![("name", text(name)), ("namespace", text(ROOT_NAMESPACE))]);
    map(vec![("apiVersion", text(api)), ("kind", text(kind)), ("metadata", metadata), ("spec", spec)])
}
