//! What must hold for users of the application, and for callers within the mesh, whatever they say of themselves.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::application::{GROUPS, WORKLOADS, form, form_to, sample};
use e2e::{Answer, Protocol, Request, send};
use istio_lint::Resource;
use serde_json::{Value, json};

use super::{Application, NAMESPACE, SERVING, by_browser};
use crate::api::Kind;
use crate::control_plane::ROOT_NAMESPACE;
use crate::exercise::claims::{HOST, ISSUER, Issuer, Tokens};
use crate::report::Report;
use crate::world::has_condition;

/// The users by [`GROUPS`], as the issuer's tokens are called, and their models.
const USERS: [&str; 2] = ["premium", "basic"];
const MODELS: [&str; 2] = ["tf-style-transfer", "pt-style-transfer"];
const RUNTIMES: [&str; 2] = ["ONNX Runtime", "OpenVINO"];
/// How many pictures each user has painted.
const PICTURES: usize = 6;
/// How long the modules may take to arrive, and the first picture to be painted.
const SETTLED: Duration = Duration::from_secs(60);

pub(super) fn all(
    application: &mut Application<'_>,
    issuer: &Issuer,
    resources: &[Resource],
    report: &mut Report,
) -> Result<()> {
    let users = Users { tokens: issuer.tokens()? };
    report.check("first picture of each user", users.settle(application));
    report.check("accepted by Envoy", accepted(application));
    report.check("style-transfer bound to its waypoint", bound(application));
    let what = format!("{PICTURES} pictures of each user: workload, model, and group of model servers");
    report.check(&what, users.pictures(application));
    report.check("forged headers change nothing", users.forged(application));
    report.check("no picture without a token for this application", users.strangers(application));
    report.check("past the gateway, the token alone decides", users.inside(application));
    report.check(
        "every call to a pod came from an identity that its policies name",
        callers(application, resources),
    );
    report.check("modules pulled from the registry", crate::exercise::pulled(application.mesh, resources));
    let what = "in a browser, both users sign in and have their picture painted";
    match e2e::chromium() {
        Some(chromium) => report.check(what, by_browser::sign_in_and_paint(application, &chromium)),
        None => report.skip(what, "there is no Chromium with a driver"),
    }
    Ok(())
}

/// Waits until both users have got a picture.
pub(super) fn settle(application: &mut Application<'_>, issuer: &Issuer) -> Result<()> {
    Users { tokens: issuer.tokens()? }.settle(application)
}

struct Users {
    tokens: Tokens,
}

impl Users {
    /// The first requests after the agents are ready may meet a module that is still being fetched, or an endpoint that
    /// is not there yet.
    fn settle(&self, application: &mut Application<'_>) -> Result<()> {
        let deadline = Instant::now() + SETTLED;
        for user in USERS {
            loop {
                let answer = send_to_gateway(application, self.signed(picture()?, user));
                match answer {
                    Ok(answer) if answer.status() == 200 => break,
                    _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(200)),
                    Ok(answer) => {
                        let logs = application.last_lines();
                        bail!("{user}: {} {}\n{logs}", answer.status(), answer.text())
                    }
                    Err(error) => return Err(error).context(user),
                }
            }
        }
        Ok(())
    }

    fn pictures(&self, application: &Application<'_>) -> Result<()> {
        let style = sample("style-mosaic.jpg")?;
        let picture = sample("harbour.jpg")?;
        for number in 0..PICTURES {
            for (class, user) in USERS.into_iter().enumerate() {
                // Every other premium picture has a style of the user's own.
                let style = (class == 0 && number % 2 == 1).then_some(&*style);
                let answer = self.painted(application, self.signed(form(&picture, style), user), class)?;
                ensure!(answer.body.starts_with(b"\x89PNG"), "{user}: the answer is not a picture");
                let me = send_to_gateway(application, self.signed(Request::get("/api/me"), user))?.json()?;
                let expected = json!({"user": format!("{user}-user@example.com"), "class": user});
                ensure!(me == expected, "{user} is told {me}");
            }
        }
        Ok(())
    }

    fn forged(&self, application: &Application<'_>) -> Result<()> {
        for names in [
            &["user_class"][..],
            &["User-Class"],
            &["x-user-class"],
            &["user_class", "user_class"],
            &["USER_CLASS", "user-class"],
            &["x-user", "user_class"],
            &["x-model-format-tensorflow"],
            &["x-id-token"],
        ] {
            let request = names.iter().fold(picture()?, |form, name| form.header(name, "premium"));
            self.painted(application, self.signed(request, "basic"), 1)
                .with_context(|| format!("{names:?}"))?;
        }
        let request = picture()?.header("x-id-token", self.tokens.of("premium"));
        self.painted(application, self.signed(request, "basic"), 1).context("a premium x-id-token").map(drop)
    }

    fn strangers(&self, application: &Application<'_>) -> Result<()> {
        let asked = application.asked();
        let another = format!("Bearer {}", self.tokens.for_another_application);
        let forged = format!("Bearer {}x", self.tokens.of("premium"));
        for (what, token) in [
            ("no token", None),
            ("another application's token", Some(&*another)),
            ("a broken signature", Some(&*forged)),
            ("no such scheme", Some("Basic cHJlbWl1bQ==")),
        ] {
            let request =
                token.into_iter().fold(picture()?, |form, token| form.header("authorization", token));
            let request = request.header("user_class", "premium");
            let as_json = send_to_gateway(application, request.clone().header("accept", "application/json"))?;
            ensure!(as_json.status() == 401, "{what}: {} {}", as_json.status(), as_json.text());
            let page = send_to_gateway(application, request.header("accept", "text/html"))?;
            let location = page.header_text("location").unwrap_or_default();
            let to_login = page.status() == 302 && location.starts_with(&format!("{ISSUER}/auth?"));
            ensure!(to_login, "{what}: {} to {location:?}", page.status());
        }
        ensure!(application.asked() == asked, "a model server was asked");
        Ok(())
    }

    /// Another workload of the mesh, which the waypoint's policies do not keep away, asks `style-transfer` itself.
    fn inside(&self, application: &Application<'_>) -> Result<()> {
        let picture = sample("harbour.jpg")?;
        let inside = || form_to("/transfer", &picture, None).header("user_class", "premium");
        for (what, user, class) in
            [("no token", "", 1), ("a basic user's", "basic", 1), ("a premium user's", "premium", 0)]
        {
            let request = if user.is_empty() { inside() } else { self.signed(inside(), user) };
            let answer = send(Protocol::Http1, application.other.address(), &request)?.complete()?;
            ensure!(answer.status() == 200, "{what}: {} {}", answer.status(), answer.text());
            let workload = answer.header_text("x-workload").unwrap_or_default();
            ensure!(workload == WORKLOADS[class], "{what}: {workload}");
        }
        let another =
            inside().header("authorization", format!("Bearer {}", self.tokens.for_another_application));
        let answer = send(Protocol::Http1, application.other.address(), &another)?.complete()?;
        ensure!(answer.status() == 403, "another application's: {}", answer.status());
        let expected = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/waypoint");
        let peer = application.other.peer().unwrap_or_default();
        ensure!(peer == expected, "the waypoint's certificate is for {peer}");
        Ok(())
    }

    /// One picture, and that the class's workload, model and group have painted it.
    fn painted(&self, application: &Application<'_>, request: Request, class: usize) -> Result<Answer> {
        let mut expected = application.asked();
        expected[class] += 1;
        let answer = send_to_gateway(application, request)?;
        ensure!(answer.status() == 200, "{}: {} {}", USERS[class], answer.status(), answer.text());
        let told = |name| answer.header_text(name).unwrap_or_default();
        let (workload, model, runtime) = (told("x-workload"), told("x-model-name"), told("x-model-runtime"));
        ensure!(workload == WORKLOADS[class], "{}: painted by {workload}", USERS[class]);
        ensure!(model == MODELS[class], "{}: by the model {model}", USERS[class]);
        ensure!(runtime.starts_with(RUNTIMES[class]), "{}: in {runtime}", USERS[class]);
        let asked = application.asked();
        ensure!(asked == expected, "{}: {GROUPS:?} were asked {asked:?} times in all", USERS[class]);
        Ok(answer)
    }

    fn signed(&self, request: Request, user: &str) -> Request {
        request.header("authorization", format!("Bearer {}", self.tokens.of(user)))
    }
}

/// As users do, by TLS under the application's name.
fn send_to_gateway(application: &Application<'_>, request: Request) -> Result<Answer> {
    let request = Request { authority: HOST.to_owned(), ..request };
    let answer = send(Protocol::Http1, application.users.address(), &request)?;
    answer.complete().with_context(|| format!("{} {}", request.method, request.path))
}

fn picture() -> Result<Request> {
    Ok(form(&sample("harbour.jpg")?, None))
}

fn accepted(application: &Application<'_>) -> Result<()> {
    let proxies = &application.proxies;
    let proxies = [&proxies.api_gateway, &proxies.waypoint, &proxies.inference_gateway];
    proxies.into_iter().try_for_each(crate::exercise::accepted)
}

fn bound(application: &Application<'_>) -> Result<()> {
    let service = Kind("v1", "Service");
    application.mesh.world.plane.cluster.wait(service, NAMESPACE, "style-transfer", super::SOON, |service| {
        has_condition(service, "istio.io/WaypointBound").then_some(())
    })
}

/// ztunnel, which enforces policies by selector, does not run here. So whom it would refuse is looked for in what was
/// called: for each such policy, all calls to its pods came from the principals that it names. The model servers are
/// called by their gateway alone.
fn callers(application: &Application<'_>, resources: &[Resource]) -> Result<()> {
    let calls = application.mesh.world.redirect.calls()?;
    let cluster = &application.mesh.world.plane.cluster;
    let check = |pod: &Value, allowed: &[String], policy: &str| -> Result<usize> {
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        let ours: Vec<_> = calls.iter().filter(|call| call.pod.to_string() == address).collect();
        let stranger = ours.iter().find(|call| !allowed.contains(&call.peer));
        match stranger {
            Some(call) => bail!("{policy}: {address} was called by {}", call.peer),
            None => Ok(ours.len()),
        }
    };
    let policies = resources.iter().filter(|resource| {
        resource.kind() == "AuthorizationPolicy"
            && resource.namespace() == NAMESPACE
            && resource.text("/spec/action") == "ALLOW"
            && resource.at("/spec/selector").is_some()
    });
    let mut checked = 0;
    for policy in policies {
        let allowed: Vec<String> = policy
            .list("/spec/rules/0/from/0/source/principals")
            .iter()
            .filter_map(|principal| Some(format!("spiffe://{}", principal.as_str()?)))
            .collect();
        let mut seen = 0;
        for pod in cluster.list(Kind("v1", "Pod"), NAMESPACE)? {
            if selects(policy.at("/spec/selector/matchLabels"), &pod["metadata"]["labels"]) {
                seen += check(&pod, &allowed, policy.name())?;
            }
        }
        ensure!(seen > 0, "no call to a pod of {}", policy.name());
        checked += 1;
    }
    ensure!(checked > 0, "no policy by selector");
    let gateway = [format!("spiffe://cluster.local/ns/{ROOT_NAMESPACE}/sa/istio-ingressgateway")];
    for pod in cluster.list(Kind("v1", "Pod"), SERVING)? {
        check(&pod, &gateway, "a model server")?;
    }
    Ok(())
}

fn selects(selector: Option<&Value>, labels: &Value) -> bool {
    let selector = selector.and_then(Value::as_object);
    selector.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}
