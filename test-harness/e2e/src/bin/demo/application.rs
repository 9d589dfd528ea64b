//! The AI application of `examples/ai-application`: users log in, and their pictures come back in the style of their
//! class.

use crate::checks::{Checks, forgery};
use e2e::agent::Agent;
use e2e::application::{Answered, Application, Form, GROUPS, Parts, WORKLOADS, form, form_to, sample};
use e2e::{Answer, Error, Protocol, Request, send};
use std::time::{Duration, Instant};

const PREMIUM: User = User { name: "premium-user", class: 0 };
const BASIC: User = User { name: "basic-user", class: 1 };

/// What clients send to be taken for premium users.
const FORGERIES: [&[&str]; 4] =
    [&["user_class"], &["User-Class"], &["USER_CLASS", "user-class"], &["user_class", "user_class"]];

/// What a PNG begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[derive(Clone, Copy)]
struct User {
    name: &'static str,
    /// Among [`GROUPS`] and [`WORKLOADS`].
    class: usize,
}

/// The whole application, with its filters in wasm.
pub(crate) struct Demo {
    application: Application,
    picture: Vec<u8>,
    style: Vec<u8>,
}

impl Demo {
    pub(crate) fn start(parts: &Parts) -> Result<Self, Error> {
        println!(
            "\nStarting the AI application: four model servers (two with OpenVINO, two with ONNX Runtime), ai-backend, two \
             workloads\nof style-transfer, an OpenID provider, and Envoy with envoy/ai-application.yaml ..."
        );
        let form = Form { bootstrap: "ai-application.yaml", stand_ins: false, binary: false };
        let application = Application::start(parts, form)?;
        Ok(Self { application, picture: sample("harbour.jpg")?, style: sample("style-mosaic.jpg")? })
    }

    /// Says that this demonstration is left out.
    pub(crate) fn print_skipped() {
        println!("\n=== the AI application: SKIPPED, as its users log in; see single sign-on above.");
    }

    pub(crate) fn run(&mut self, checks: &mut Checks) -> Result<(), Error> {
        println!("\n=== the AI application, {}", self.application.url("/home")?);
        println!(
            "Premium users' pictures go to the workload {} and the group {} (any style), everyone else's\n\
             to {} and {} (one fixed style). Tensors are KServe v2 JSON, the model servers speak gRPC only.",
            WORKLOADS[0], GROUPS[0], WORKLOADS[1], GROUPS[1]
        );
        let mut premium = self.application.log_in(PREMIUM.name)?;
        let mut basic = self.application.log_in(BASIC.name)?;
        let one = self.styles(checks, PREMIUM, &mut premium);
        let other = self.styles(checks, BASIC, &mut basic);
        if one == other {
            checks.count(Err("both users got the same picture".into()));
        }
        for names in FORGERIES {
            let what = format!("basic-user forges {}", forgery(names));
            let forged = names.iter().fold(self.form(), |form, name| form.header(name, "premium"));
            self.check(checks, &what, |demo| {
                demo.by(&demo.application.style(&mut basic, forged)?, BASIC.class)
            });
        }
        self.attacks_on_the_waypoint(checks)?;
        self.refusals(checks, &mut basic);
        for (user, agent) in [(PREMIUM, &mut premium), (BASIC, &mut basic)] {
            self.share(checks, user, agent)?;
        }
        Ok(())
    }

    pub(crate) fn print_what_to_try(&self) -> Result<(), Error> {
        println!("  # the AI application: open this in a browser");
        println!("  {}", self.application.url("/home")?);
        for (User { name, .. }, gets) in [(PREMIUM, "the style of any picture"), (BASIC, "one fixed style")] {
            println!("  #   {name:12} with the password {name:12}  {gets}");
        }
        Ok(())
    }

    /// A user's picture, whole.
    fn styles(&self, checks: &mut Checks, user: User, agent: &mut Agent) -> Vec<u8> {
        let mut styled = Vec::new();
        self.check(checks, &format!("{} sends a picture", user.name), |demo| {
            let answer = demo.application.style(agent, demo.form())?;
            let told = demo.by(&answer, user.class)?;
            if !answer.body.starts_with(PNG) {
                return Err("the answer is not a picture".to_owned().into());
            }
            styled = answer.body;
            Ok(told)
        });
        styled
    }

    /// Anything in the mesh can send the waypoint a header. What counts is the user's token.
    fn attacks_on_the_waypoint(&self, checks: &mut Checks) -> Result<(), Error> {
        let waypoint = self.application.waypoint()?;
        let token = |user: User| Ok::<_, Error>(self.application.provider.tokens(user.name)?.id);
        let forged =
            || form_to("/transfer", &self.picture, Some(&self.style)).header("user_class", "premium");
        for (what, form, class) in [
            ("past the gateway to the waypoint, with user_class: premium and no token", forged(), 1),
            ("the same with a basic user's token", forged().header("x-id-token", token(BASIC)?), 1),
            ("with a premium user's token", forged().header("x-id-token", token(PREMIUM)?), 0),
        ] {
            self.check(checks, what, |demo| {
                demo.by(&send(Protocol::Http1, waypoint, &form)?.complete()?, class)
            });
        }
        Ok(())
    }

    fn refusals(&self, checks: &mut Checks, basic: &mut Agent) {
        let text = form(b"just a text, for all that it is called picture.jpg", None);
        for (what, agent, form, status) in [
            ("a text in place of a picture", basic, text, 415),
            ("a picture of a user who has not logged in", &mut Agent::default(), self.form(), 401),
        ] {
            self.check(checks, what, |demo| {
                let answer = demo.application.style(agent, form)?;
                let told = format!("{} {}", answer.status(), answer.text().trim_end());
                if answer.status() == status { Ok(told) } else { Err(told.into()) }
            });
        }
    }

    /// What of a picture's time goes to the proxies. By the clock it is the time between what a caller and what it
    /// called have measured, for all three: with the network and both HTTP libraries in it, so it is at most that.
    fn share(&mut self, checks: &mut Checks, user: User, agent: &mut Agent) -> Result<(), Error> {
        let cpu = |demo: &mut Self| demo.application.envoy.process().cpu_time();
        let (before, began) = (cpu(self)?, Instant::now());
        let answer = self.application.style(agent, self.form())?;
        let (whole, cpu) = (began.elapsed(), cpu(self)?.saturating_sub(before));
        println!("\nwhat of {}'s next picture is the proxies' time", user.name);
        let timing = answer.header_text("server-timing").unwrap_or_default();
        let part = |name: &str| took(&timing, name).ok_or_else(|| format!("no {name} in {timing:?}"));
        let measured = || {
            let backend = whole.saturating_sub(part("backend")?);
            let waypoint = part("call")?.saturating_sub(part("style-transfer")?);
            Ok::<_, String>(backend + waypoint + part("model")?.saturating_sub(part("server")?))
        };
        let of = |time: Duration| {
            let percent = 100.0 * time.as_secs_f64() / whole.as_secs_f64();
            format!("{} ms ({percent:.1} %)", time.as_millis())
        };
        checks.count(measured().map(|proxies| {
            println!(
                "  the picture {} ms; between the services, proxies included, {}; Envoy's CPU {}",
                whole.as_millis(),
                of(proxies),
                of(cpu)
            );
        }));
        Ok(())
    }

    fn form(&self) -> Request {
        form(&self.picture, Some(&self.style))
    }

    /// Who answered, if it was the right one.
    fn by(&self, answer: &Answer, class: usize) -> Result<String, Problem> {
        if answer.status() != 200 {
            return Err(format!("{} {}", answer.status(), answer.text()).into());
        }
        let answered = self.application.answered(answer);
        let Answered { workload, group, endpoint, runtime } = &answered;
        let told = format!("{workload}, {group} at {endpoint} ({runtime}), {} bytes", answer.body.len());
        match (workload.as_str(), *group) == (WORKLOADS[class], GROUPS[class]) {
            true => Ok(told),
            false => Err(format!("the wrong one answered: {told}").into()),
        }
    }

    fn check(&self, checks: &mut Checks, what: &str, attempt: impl FnOnce(&Self) -> Result<String, Problem>) {
        println!("\n{what}");
        checks.count(attempt(self).map(|told| println!("  out  {told}")).map_err(|problem| problem.0));
    }
}

/// What is wrong.
struct Problem(String);

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A part of `Server-Timing`.
fn took(timing: &str, name: &str) -> Option<Duration> {
    let part = timing.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix(";dur="))?;
    Some(Duration::from_secs_f64(part.parse::<f64>().ok()? / 1000.0))
}
