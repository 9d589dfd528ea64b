//! The nine rules of the contract between a core and any host (the crate page of `host-driver`), as exchanges of the
//! filter that returns every verdict (`test-filters`): each runs in the host in memory, on the emulator, in the native
//! player and in stock Envoy.

use crate::case::{Body, Case};
use crate::outcome::{Outcome, Seen};

/// One rule, and an exchange that shows it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The rule in a sentence.
    pub name: &'static str,
    /// The request header `x-plan`. Calls go to the clusters [`KNOWN_CLUSTER`] and
    /// [`UNKNOWN_CLUSTER`](crate::UNKNOWN_CLUSTER).
    pub plan: &'static str,
    /// Whether the configuration has events.
    pub events: bool,
    /// The body of the request.
    pub body: &'static str,
    /// What must be seen.
    pub expected: Observed,
    /// How many operations are dropped.
    pub dropped: usize,
}

/// The cluster that every subject has for calls.
pub const KNOWN_CLUSTER: &str = "upstream";

/// What is seen of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The client's status.
    pub status: u16,
    /// The header `x-called` as the server saw it, if it saw one.
    pub called: Option<&'static str>,
    /// The header `x-marked` likewise.
    pub marked: Option<&'static str>,
    /// Whether the server saw any of the headers that must not be sent.
    pub forbidden: bool,
}

const OK: Observed = Observed { status: 200, called: None, marked: None, forbidden: false };
const FAILED: Observed = Observed { status: 500, ..OK };

const fn rule(name: &'static str, plan: &'static str, expected: Observed) -> Rule {
    Rule { name, plan, events: false, body: "hello", expected, dropped: 0 }
}

/// The rules, in the order of `host-driver`'s page.
pub const RULES: [Rule; 10] = [
    rule(
        "refused calls are told in the order in which they were made",
        "call=no-such-cluster,no-such-cluster qh=wait c1=more c2=continue",
        Observed { called: Some("7: refused, 8: refused"), ..OK },
    ),
    rule("a filter that repeats refused calls is stopped", "call=no-such-cluster qh=wait c=wait", FAILED),
    rule(
        "the calls of headers that went on are forgotten",
        "call=upstream,no-such-cluster qh=wait c=continue ph=more",
        Observed { called: Some("8: refused"), ..FAILED },
    ),
    Rule {
        events: true,
        ..rule(
            "after a refused call headers wait for an event where there are events",
            "call=no-such-cluster qh=wait c=more w=mark",
            Observed { called: Some("7: refused"), marked: Some("w"), ..OK },
        )
    },
    rule("and where there are none it is an error", "call=no-such-cluster qh=wait c=more w=mark", FAILED),
    Rule { body: "", ..rule("headers that end the message cannot be held", "qh=hold", FAILED) },
    Rule { dropped: 1, ..rule("a body beside headers is dropped", "qh=body", OK) },
    Rule { dropped: 1, ..rule("calls without a wait are dropped", "call=upstream qh=call", OK) },
    Rule { dropped: 1, ..rule("headers that have gone on are not written", "q1=late", OK) },
    Rule {
        dropped: 4,
        ..rule("everything that is dropped is counted", "call=upstream qh=body+call+broken q1=late", OK)
    },
];

impl Rule {
    /// The filter's configuration.
    #[must_use]
    pub fn config(&self) -> String {
        format!(r#"{{"events": {}}}"#, self.events)
    }

    /// The exchange as a case for the host in memory.
    #[must_use]
    pub fn case(&self) -> Case {
        let text = format!(
            "story = 'a rule'\nfilter = 'verdict_filter'\n[request]\nmethod = 'POST'\npath = '/'\nheaders = [['x-plan', '{}']]\n\
             [answer]\n[expect]\nstatus = {}\n",
            self.plan, self.expected.status
        );
        let mut case = Case::parse(self.name, &text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        case.request.body = Body { bytes: self.body.as_bytes().to_vec(), ..Body::default() };
        case
    }

    /// Compares what was seen with what must be.
    ///
    /// # Errors
    /// What is different, for a person to read.
    pub fn check(&self, seen: &Observed, dropped: usize) -> Result<(), String> {
        match *seen == self.expected && dropped == self.dropped {
            true => Ok(()),
            false => Err(format!(
                "{} ({}): expected {:?} and {} dropped, saw {seen:?} and {dropped} dropped",
                self.name, self.plan, self.expected, self.dropped
            )),
        }
    }
}

impl Observed {
    /// What was seen, from the client's status and a look at the headers that the server saw.
    #[must_use]
    pub fn new(status: u16, header: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let known = |name: &str, mut values: Box<dyn Iterator<Item = Option<&'static str>>>| {
            let seen = header(name)?;
            values
                .find(|value| value.is_some_and(|value| value.as_bytes() == seen))
                .flatten()
                .or(Some("another value"))
        };
        Self {
            status,
            called: known("x-called", Box::new(RULES.iter().map(|rule| rule.expected.called))),
            marked: known("x-marked", Box::new(RULES.iter().map(|rule| rule.expected.marked))),
            forbidden: ["x-late", "x-broken", "x-two"].into_iter().any(|name| header(name).is_some()),
        }
    }
}

impl From<Outcome> for Observed {
    fn from(outcome: Outcome) -> Self {
        let headers = outcome.seen.map(|Seen { headers, .. }| headers).unwrap_or_default();
        Self::new(outcome.got.status, |name| {
            let found = headers.iter().find(|(known, _)| known == name.as_bytes());
            found.map(|(_, value)| value.clone())
        })
    }
}
