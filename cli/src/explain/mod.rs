//! `explain`: what the filters of a configuration do with a request, step by step, and where it goes.
//!
//! The filters are the very cores, run here; routes and subsets are read as Istio and Envoy read them.

mod answer;
mod chain;
mod claims;
mod exchange;
mod filter;
mod metadata;
mod request;
mod routes;

use std::io::Write;

use serde_json::{Value, json};

use crate::arguments::{Explain, Form};
use crate::{Error, Outcome, input};
use routes::End;

/// One step of a request's way.
#[derive(Debug)]
pub(crate) struct Step {
    /// Who acts: a filter with its resource, or a route.
    pub(crate) title: String,
    /// What is done, in order.
    pub(crate) lines: Vec<String>,
}

/// Explains a request and writes the steps.
pub(crate) fn run(options: &Explain, out: &mut dyn Write) -> Result<Outcome, Error> {
    let request = request::read(options)?;
    let claims = claims::read(options.claims.as_deref())?;
    let mut places = Vec::new();
    let mut outcome = Outcome::Right;
    for chain in chain::read(options)? {
        let mut way = exchange::Way::new(&request, claims.clone());
        let (mut steps, mut backs) = (Vec::new(), Vec::new());
        for link in &chain.links {
            let (step, back) = filter::run(link, &mut way)?;
            steps.push(step);
            backs.push((link, back));
            if way.over {
                break;
            }
        }
        if way.over {
            outcome = Outcome::Wrong;
        } else if !way.aside {
            steps.extend(metadata::step(&chain, &mut way));
            let (of_routes, end) = routes::steps(&chain, &way, options.port);
            steps.extend(of_routes);
            let answer =
                options.answer.map(|status| answer::of_the_server(status, &options.answer_headers, &mut way));
            let why = match end {
                End::Server => None,
                End::Answer => Some("the route answers by itself: --answer has nothing to follow"),
                End::Nowhere => {
                    Some("no route takes the request to a server: --answer has nothing to follow")
                }
            };
            if let (Some(answer), Some(why)) = (&answer, why)
                && answer.is_ok()
            {
                steps.push(Step { title: "the server's answer".into(), lines: vec![why.into()] });
            } else if let Some(answer) = answer {
                steps.push(answer?);
                // An answer passes the filters from the last to the first.
                steps.extend(
                    backs.iter_mut().rev().map(|(link, back)| filter::answered(link, back, &mut way)),
                );
            }
        }
        places.push((chain.name, steps, way));
    }
    match options.output {
        Form::Text => {
            writeln!(out, "{} {}", request.method, request.path)?;
            for (place, steps, _) in &places {
                writeln!(out, "\n{place}")?;
                for (index, Step { title, lines }) in steps.iter().enumerate() {
                    writeln!(out, "{:>3}. {title}", index + 1)?;
                    for line in lines {
                        writeln!(out, "     {line}")?;
                    }
                }
            }
        }
        Form::Json => {
            let place = |(name, steps, way): &(String, Vec<Step>, exchange::Way)| {
                let steps: Vec<_> =
                    steps.iter().map(|s| json!({"title": s.title, "lines": s.lines})).collect();
                let headers: Vec<Value> = way
                    .headers
                    .iter()
                    .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
                    .collect();
                json!({"place": name, "steps": steps, "headers": headers, "subset": way.subset, "answered": way.over})
            };
            let all: Vec<Value> = places.iter().map(place).collect();
            writeln!(out, "{:#}", json!({"places": all}))?;
        }
    }
    Ok(outcome)
}

/// An error about an argument.
fn refused(what: &str, reason: impl std::fmt::Display) -> Error {
    Error::Input(input::Error::Content { file: what.to_owned(), line: 1, reason: reason.to_string() })
}
