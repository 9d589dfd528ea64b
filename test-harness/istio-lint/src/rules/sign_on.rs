//! Signing on by Envoy's `ext_authz` and oauth2-proxy: a policy, a provider in the mesh's configuration, and options
//! that have to fit together.

use serde_json::{Map, Value};

use super::instance::{self, Instance};
use super::{NETWORKING, Overlay};
use crate::Problem;
use crate::resource::{Resource, items, text};

/// The variables of the options that must have one value, and what is wrong with any other.
const OPTIONS: [(&str, &str, &str); 10] = [
    ("PROVIDER", "oidc", "RequestAuthentication verifies OpenID Connect tokens only"),
    ("UPSTREAMS", "static://200", "Envoy takes only 200 for a yes"),
    ("SET_AUTHORIZATION_HEADER", "true", "otherwise no token comes back"),
    (
        "SKIP_PROVIDER_BUTTON",
        "true",
        "the page with the button comes with status 200, which Envoy takes for a yes",
    ),
    ("REVERSE_PROXY", "false", "otherwise it believes the x-forwarded-* headers that clients send"),
    ("CODE_CHALLENGE_METHOD", "S256", "otherwise an intercepted code can be used"),
    ("INSECURE_OIDC_SKIP_NONCE", "false", "otherwise an ID token of another login is accepted"),
    ("COOKIE_SECURE", "true", "otherwise the session is sent over plain HTTP"),
    ("COOKIE_HTTPONLY", "true", "otherwise scripts can read the session"),
    ("COOKIE_SAMESITE", "lax", "otherwise requests from other sites carry the session"),
];
/// Options that let requests past the login, or users to other sites.
const NEVER: [&str; 6] = [
    "SKIP_AUTH_ROUTES",
    "SKIP_AUTH_REGEX",
    "SKIP_AUTH_PREFLIGHT",
    "WHITELIST_DOMAINS",
    "PING_USER_AGENT",
    "GCP_HEALTHCHECKS",
];
const SECRETS: [&str; 3] = ["CLIENT_ID", "CLIENT_SECRET", "COOKIE_SECRET"];

/// What is wrong with the policies of action CUSTOM in an overlay, given the mesh's configuration
/// (`istio.mesh.v1alpha1.MeshConfig`); nothing if there are none.
#[must_use]
pub fn sign_on(resources: &[Resource], mesh: &Value) -> Vec<Problem> {
    let overlay = Overlay::of(resources);
    let custom = resources.iter().filter(|r| r.text("/spec/action") == "CUSTOM");
    custom.flat_map(|policy| Recipe { overlay: &overlay, policy }.check(mesh)).collect()
}

struct Recipe<'a> {
    overlay: &'a Overlay<'a>,
    policy: &'a Resource,
}

impl Recipe<'_> {
    fn check(&self, mesh: &Value) -> Vec<Problem> {
        let mut wrong: Vec<String> = self.behind().into_iter().collect();
        let name = self.policy.text("/spec/provider/name");
        let provider = items(mesh, "/extensionProviders").iter().find(|p| text(p, "/name") == name);
        let Some(provider) = provider.and_then(|provider| provider.get("envoyExtAuthzHttp")) else {
            wrong.push(format!("names the provider {name:?}, and the mesh has no such ext_authz provider: every request is refused"));
            return self.problems(wrong);
        };
        wrong.extend(asked(provider));
        match self.options(provider) {
            Ok(options) => {
                wrong.extend(fixed(&options));
                wrong.extend(self.tokens(&options));
                wrong.extend(self.session(&options));
            }
            Err(reason) => wrong.push(reason),
        }
        self.problems(wrong)
    }

    fn problems(&self, wrong: Vec<String>) -> Vec<Problem> {
        wrong.into_iter().map(|reason| Problem::new(self.policy, reason)).collect()
    }

    fn here(&self, kind: &str) -> impl Iterator<Item = &Resource> {
        let proxy = self.overlay.proxy(self.policy);
        self.overlay.resources.iter().filter(move |r| r.kind() == kind && self.overlay.proxy(r) == proxy)
    }

    /// A policy must follow: oauth2-proxy lets some paths through without a session.
    fn behind(&self) -> Option<String> {
        let to = |rule: &Value| rule.get("to").cloned();
        let about: Vec<_> = self.policy.list("/spec/rules").iter().map(to).collect();
        let mut denials = self.here("AuthorizationPolicy").filter(|p| p.text("/spec/action") == "DENY");
        let needs = |policy: &Resource| {
            let all = Value::from(vec!["*"]);
            let no_token = |rule: &&Value| {
                rule.pointer("/from/0/source/notRequestPrincipals") == Some(&all)
                    && rule.get("when").is_none()
            };
            let refused: Vec<_> = policy.list("/spec/rules").iter().filter(no_token).map(to).collect();
            !refused.is_empty() && refused == about
        };
        let reason =
            "no DENY policy requires a verified token of what oauth2-proxy lets through without a session";
        (!denials.any(needs)).then(|| reason.to_owned())
    }

    /// The options of the Deployment that the provider's Service leads to.
    fn options(&self, provider: &Value) -> Result<Map<String, Value>, String> {
        let host = text(provider, "/service");
        let (name, namespace) =
            host.strip_suffix(".svc.cluster.local").and_then(|host| host.split_once('.')).ok_or_else(
                || format!("{host:?} is not the full name of a Service (NAME.NAMESPACE.svc.cluster.local)"),
            )?;
        let service = self.overlay.find("", "Service", namespace, name);
        let service = service.ok_or_else(|| format!("the Service {host} is not among these resources"))?;
        if !service.list("/spec/ports").iter().any(|port| port.get("port") == provider.get("port")) {
            return Err(format!("{host} does not have the provider's port"));
        }
        let selected = |r: &&Resource| {
            r.is("apps", "Deployment")
                && r.namespace() == namespace
                && r.at("/spec/template/metadata/labels") == service.at("/spec/selector")
                && r.at("/spec/selector/matchLabels") == service.at("/spec/selector")
        };
        let deployment = self.overlay.resources.iter().find(selected);
        let deployment = deployment.ok_or_else(|| format!("{host} selects no Deployment's pods"))?;
        let container = "/spec/template/spec/containers/0";
        for secret in SECRETS {
            let variable = format!("OAUTH2_PROXY_{secret}");
            let variables = deployment.list(&format!("{container}/env"));
            if !variables.iter().any(|v| text(v, "/name") == variable) {
                return Err(format!("oauth2-proxy has no variable {variable}"));
            }
        }
        let map = deployment.text(&format!("{container}/envFrom/0/configMapRef/name"));
        let map = self.overlay.find("", "ConfigMap", namespace, map);
        let data = map.and_then(|map| map.at("/data")).and_then(Value::as_object);
        data.cloned().ok_or_else(|| "oauth2-proxy has no ConfigMap among these resources".to_owned())
    }

    /// The token that comes back is one that is verified here.
    fn tokens(&self, options: &Map<String, Value>) -> Option<String> {
        let issuer = option(options, "OIDC_ISSUER_URL");
        let mut rules = self.here("RequestAuthentication").flat_map(|r| r.list("/spec/jwtRules"));
        let reason = format!("no RequestAuthentication at this gateway verifies tokens of {issuer:?}");
        (!rules.any(|rule| text(rule, "/issuer") == issuer)).then_some(reason)
    }

    /// The session's cookie: only over TLS, only for this host, and never sent to what is behind the gateway.
    fn session(&self, options: &Map<String, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        let cookie = option(options, "COOKIE_NAME");
        if !cookie.starts_with("__Host-") || options.contains_key("OAUTH2_PROXY_COOKIE_DOMAINS") {
            wrong.push(format!("the cookie {cookie:?} is not limited to one host: start its name with __Host- and set no domain"));
        }
        let proxy = self.overlay.proxy(self.policy);
        let instances = instance::all(self.overlay);
        let strips = |instance: &Instance<'_>, cookie: &str| {
            items(&instance.config, "/strip_cookies").iter().any(|name| name == cookie)
        };
        for cookie in [cookie.to_owned(), format!("{cookie}_csrf")] {
            if !instances.iter().any(|instance| instance.proxy == proxy && strips(instance, &cookie)) {
                wrong.push(format!(
                    "the cookie {cookie:?} is sent upstream: add it to the filter's strip_cookies"
                ));
            }
        }
        // The gateway that users sign in at; another gateway of the overlay may serve plain HTTP.
        let selector = self.policy.at("/spec/selector/matchLabels");
        let here = |r: &&Resource| r.is(NETWORKING, "Gateway") && r.at("/spec/selector") == selector;
        let gateways = self.overlay.resources.iter().filter(here);
        for server in gateways.flat_map(|gateway| gateway.list("/spec/servers")) {
            let tls = text(server, "/port/protocol") == "HTTPS";
            if !tls && server.pointer("/tls/httpsRedirect") != Some(&Value::Bool(true)) {
                wrong.push(
                    "the gateway serves plain HTTP, over which a browser does not send the session cookie"
                        .into(),
                );
            }
        }
        wrong
    }
}

/// What Envoy asks, and what of the answer it passes on.
fn asked(provider: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if provider.get("failOpen") == Some(&Value::Bool(true)) {
        wrong.push("failOpen lets every request in while oauth2-proxy does not answer".to_owned());
    }
    let needed = [
        ("includeRequestHeadersInCheck", "authorization"),
        ("includeRequestHeadersInCheck", "cookie"),
        ("headersToUpstreamOnAllow", "authorization"),
        ("headersToDownstreamOnAllow", "set-cookie"),
        ("headersToDownstreamOnDeny", "location"),
        ("headersToDownstreamOnDeny", "set-cookie"),
    ];
    for (list, header) in needed {
        if !items(provider, &format!("/{list}")).iter().any(|name| name == header) {
            wrong.push(format!("{list} must contain {header}"));
        }
    }
    wrong
}

fn fixed(options: &Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, value, otherwise) in OPTIONS {
        if option(options, name) != value {
            wrong.push(format!("OAUTH2_PROXY_{name} must be {value}: {otherwise}"));
        }
    }
    for name in NEVER.into_iter().filter(|name| !option(options, name).is_empty()) {
        wrong.push(format!("OAUTH2_PROXY_{name} lets requests past the login, or users to other sites"));
    }
    for name in SECRETS.into_iter().filter(|name| !option(options, name).is_empty()) {
        wrong.push(format!("OAUTH2_PROXY_{name} is in the ConfigMap: move it to a Secret"));
    }
    wrong
}

fn option<'a>(options: &'a Map<String, Value>, name: &str) -> &'a str {
    options.get(&format!("OAUTH2_PROXY_{name}")).and_then(Value::as_str).unwrap_or_default()
}
