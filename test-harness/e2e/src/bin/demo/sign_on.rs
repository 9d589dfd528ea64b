//! Single sign-on: users log in once, and what the OpenID provider says of them decides where their requests go.

use crate::checks::{Checks, forgery, shown};
use e2e::agent::{Agent, Page, Step, asks_to_log_in};
use e2e::{Answer, Error, Request, Seen, SignOn, Workload};
use std::path::Path;

/// The test users, whose passwords are their names. The claim `user_type` is the class.
const PREMIUM: User = User { name: "premium-user", class: "premium", workload: "premium" };
const BASIC: User = User { name: "basic-user", class: "basic", workload: "everyone" };

/// What clients send to be taken for premium users.
const FORGERIES: [&[&str]; 4] =
    [&["user_class"], &["user-class"], &["User_Class"], &["user_class", "user_class"]];

/// The longest part of a path that is shown, in bytes: longer ones are random.
const LONGEST_PART: usize = 20;

#[derive(Clone, Copy)]
struct User {
    name: &'static str,
    class: &'static str,
    workload: &'static str,
}

/// What must become of a request.
#[derive(Clone, Copy)]
enum Outcome {
    /// The workload of this user, which is told the user's class and gets no token.
    Reaches(User),
    /// Login at the provider: a redirect to it, or its form where redirects are followed. No workload is reached.
    Login,
    /// 401, and no workload is reached.
    Refused,
}

/// A gateway in front of two workloads, and the provider.
pub(crate) struct Demo {
    workloads: [(&'static str, Workload); 2],
    sign_on: SignOn,
}

impl Demo {
    pub(crate) fn start(binary: &Path, provider: &Path) -> Result<Self, Error> {
        println!("\nStarting two workloads and an OpenID provider (oidc-provider from npm) ...");
        let [premium, everyone] = [PREMIUM, BASIC].map(|user| user.workload);
        let (one, other) = (Workload::start(premium)?, Workload::start(everyone)?);
        println!("Starting Envoy with envoy/sso.yaml ...");
        let sign_on = SignOn::start(binary, provider, one.address(), other.address())?;
        Ok(Self { workloads: [(premium, one), (everyone, other)], sign_on })
    }

    /// Says that there is no such demonstration here.
    pub(crate) fn print_skipped() {
        println!(
            "\n=== single sign-on: SKIPPED. It needs Envoy 1.40, and for the OpenID provider Node.js 20 with npm;\n\
             what is missing here is said at the beginning."
        );
    }

    pub(crate) fn run(&self, checks: &mut Checks) {
        let Self { sign_on, .. } = self;
        println!("\n=== single sign-on through the wasm filter, http://{}", sign_on.gateway());
        println!(
            "Envoy's oauth2 filter has users log in at the provider, jwt_authn verifies what it says of them,\n\
             claim-headers turns its claim user_type into the header user_class, and routes go by that header."
        );
        println!("The OpenID provider is http://{}. Test users, with their passwords:", sign_on.issuer());
        for User { name, class, workload } in [PREMIUM, BASIC] {
            println!(
                "  {name:12} / {name:12}  has the claim user_type: {class}, belongs to the workload {workload}"
            );
        }
        self.alone(checks, "a browser that has not logged in", &mut Agent::default(), page(), Outcome::Login);
        let mut premium = self.log_in(checks, PREMIUM);
        let mut basic = self.log_in(checks, BASIC);
        for names in FORGERIES {
            let what = format!("basic-user, logged in, forges {}", forgery(names));
            self.alone(checks, &what, &mut basic, forged(page(), names), Outcome::Reaches(BASIC));
        }
        self.alone(
            checks,
            "a browser that has not logged in forges user_class",
            &mut Agent::default(),
            forged(page(), FORGERIES[0]),
            Outcome::Login,
        );
        self.by_token(checks);
        self.log_out(checks, &mut premium);
    }

    pub(crate) fn print_what_to_try(&self) -> Result<(), Error> {
        let (gateway, sign_out) = (self.sign_on.url("/"), self.sign_on.url("/signout"));
        let token = |user: User| Ok::<_, Error>(self.sign_on.tokens(user.name)?.access);
        println!("  # single sign-on: open {gateway} in a browser, and log in as");
        for User { name, workload, .. } in [PREMIUM, BASIC] {
            println!("  #   {name:12} with the password {name:12}  answered by the workload {workload}");
        }
        println!("  # to log in as the other one, open {sign_out} first");
        println!("  # API clients need no login; their tokens are valid for an hour");
        println!("  PREMIUM={}\n  BASIC={}", token(PREMIUM)?, token(BASIC)?);
        println!("  curl -s {gateway} -H \"authorization: Bearer $PREMIUM\"");
        println!("  curl -s {gateway} -H \"authorization: Bearer $BASIC\" -H 'user_class: premium'");
        Ok(())
    }

    /// An agent in which this user has logged in.
    fn log_in(&self, checks: &mut Checks, user: User) -> Agent {
        let mut agent = Agent::default();
        let what = format!("{0} opens the gateway, logs in with the password {0}, and comes back", user.name);
        self.walk(checks, &what, Outcome::Reaches(user), || {
            agent.visit(&self.sign_on.url("/models/one"), Some(user.name), None)
        });
        self.alone(
            checks,
            "a second page: no login again",
            &mut agent,
            Request::get("/models/two"),
            Outcome::Reaches(user),
        );
        agent
    }

    /// The same without a login: clients that bring a token.
    fn by_token(&self, checks: &mut Checks) {
        for user in [PREMIUM, BASIC] {
            let token = match self.sign_on.tokens(user.name) {
                Ok(tokens) => tokens.access,
                Err(error) => return checks.count(Err(error.to_string())),
            };
            let request = page().header("authorization", format!("Bearer {token}"));
            let what = format!("an API client with a token of {}", user.name);
            self.alone(checks, &what, &mut Agent::default(), request.clone(), Outcome::Reaches(user));
            if user.class != PREMIUM.class {
                for names in FORGERIES {
                    let request = forged(request.clone(), names);
                    let what = format!("the same client forges {}", forgery(names));
                    self.alone(checks, &what, &mut Agent::default(), request, Outcome::Reaches(user));
                }
            }
        }
        let invented = page().header("authorization", "Bearer e30.e30.e30");
        let what = "an API client with an invented token";
        self.alone(checks, what, &mut Agent::default(), invented, Outcome::Refused);
    }

    fn log_out(&self, checks: &mut Checks, agent: &mut Agent) {
        self.walk(checks, "premium-user logs out, and is asked to log in again", Outcome::Login, || {
            let mut asked = agent.visit(&self.sign_on.url("/signout"), None, None)?;
            let answer = self.sign_on.confirm_logout(agent, &asked)?;
            let url = format!("http://{}/session/end/confirm", self.sign_on.issuer());
            asked.steps.push(Step { method: "POST".into(), url, status: answer.status() });
            let back = answer.header_text("location").unwrap_or_default();
            let page = agent.visit(&back, None, None)?;
            asked.steps.extend(page.steps);
            Ok(Page { steps: asked.steps, ..page })
        });
        let what = "premium-user's browser afterwards";
        self.alone(checks, what, agent, page(), Outcome::Login);
    }

    /// One request to the gateway.
    fn alone(&self, checks: &mut Checks, what: &str, agent: &mut Agent, request: Request, outcome: Outcome) {
        let headers: String = request.headers.iter().map(shown).collect();
        let line = format!("{} {}  {headers}", request.method, request.path);
        println!("\n{what}\n  in   {}", line.trim_end());
        self.check(checks, outcome, || agent.send(self.sign_on.gateway(), request));
    }

    /// Requests to gateway and provider, by the redirects of either.
    fn walk(
        &self,
        checks: &mut Checks,
        what: &str,
        outcome: Outcome,
        walk: impl FnOnce() -> Result<Page, Error>,
    ) {
        println!("\n{what}");
        let gateway = self.sign_on.url("");
        self.check(checks, outcome, || {
            let page = walk()?;
            for (number, step) in page.steps.iter().enumerate() {
                let server = if step.url.starts_with(&gateway) { "gateway" } else { "provider" };
                let before = if number == 0 { "in" } else { "" };
                println!("  {before:4} {server:8} {:4} {} -> {}", step.method, path(&step.url), step.status);
            }
            Ok(page.answer)
        });
    }

    /// Prints what reached a workload and what came out, and checks both.
    fn check(&self, checks: &mut Checks, outcome: Outcome, attempt: impl FnOnce() -> Result<Answer, Error>) {
        let count = |(_, workload): &(&str, Workload)| workload.requests().len();
        let before: Vec<usize> = self.workloads.iter().map(count).collect();
        let answer = match attempt() {
            Ok(answer) => answer,
            Err(error) => return checks.count(Err(error.to_string())),
        };
        let mut reached = Vec::new();
        for ((name, workload), before) in self.workloads.iter().zip(before) {
            reached.extend(workload.requests().into_iter().skip(before).map(|seen| (*name, seen)));
        }
        for (name, seen) in &reached {
            let classes: String = class_headers(seen).map(shown).collect();
            println!("  got  workload {name}: {}  {}", seen.target, classes.trim_end());
        }
        println!("  out  {}", told(&answer).trim_end());
        checks.count(self.judge(&answer, &reached, outcome));
    }

    fn judge(&self, answer: &Answer, reached: &[(&str, Seen)], outcome: Outcome) -> Result<(), String> {
        let status = answer.status();
        match outcome {
            Outcome::Reaches(User { class, workload, .. }) => {
                let [(name, seen)] = reached else {
                    return Err(format!("{} requests reached a workload, not 1", reached.len()));
                };
                let by = (status, answer.text());
                if *name != workload || by != (200, format!("workload {workload}\n")) {
                    return Err(format!("expected an answer of the workload {workload}, got {by:?}"));
                }
                let headers: Vec<_> = class_headers(seen).collect();
                if headers != [&("user_class".to_owned(), class.as_bytes().to_vec())] {
                    return Err(format!("expected user_class: {class} and nothing like it, got {headers:?}"));
                }
                // However they might be called: a JSON object in base64url begins so.
                let token = |(_, value): &&(String, Vec<u8>)| value.windows(3).any(|part| part == b"eyJ");
                match seen.headers.iter().find(token) {
                    Some((name, _)) => Err(format!("a token went to the workload, in {name}")),
                    None => Ok(()),
                }
            }
            Outcome::Login | Outcome::Refused if !reached.is_empty() => {
                Err(format!("{} requests reached a workload, not 0", reached.len()))
            }
            Outcome::Login => {
                let to = answer.header_text("location").unwrap_or_default();
                let sent =
                    status == 302 && to.starts_with(&format!("http://{}/auth?", self.sign_on.issuer()));
                let asked = status == 200 && asks_to_log_in(answer);
                if sent || asked { Ok(()) } else { Err("not asked to log in".into()) }
            }
            Outcome::Refused if status == 401 => Ok(()),
            Outcome::Refused => Err(format!("expected status 401, got {status}")),
        }
    }
}

fn page() -> Request {
    Request::get("/models/one")
}

/// With the class of premium users, under each of these names.
fn forged(request: Request, names: &[&str]) -> Request {
    names.iter().fold(request, |request, name| request.header(name, PREMIUM.class))
}

/// The headers that a server may take for the user's class.
fn class_headers(seen: &Seen) -> impl Iterator<Item = &(String, Vec<u8>)> {
    seen.headers.iter().filter(|(name, _)| name.replace('_', "-") == "user-class")
}

/// An answer in a line.
fn told(answer: &Answer) -> String {
    let status = answer.status();
    match answer.header_text("location") {
        Some(location) => format!("{status} to {}", without_query(&location)),
        None if asks_to_log_in(answer) => format!("{status} the provider's form: user and password"),
        None => format!("{status} {}", answer.text().trim_end()),
    }
}

fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(path, _)| format!("{path}?..."))
}

/// The path of a URL, without what is another one at each login.
fn path(url: &str) -> String {
    let path = without_query(url).split('/').skip(3).fold(String::new(), |path, part| path + "/" + part);
    match path.rsplit_once('/') {
        Some((folder, part)) if part.len() > LONGEST_PART => format!("{folder}/..."),
        _ => path,
    }
}
