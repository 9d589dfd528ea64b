//! Runs the odd server by hand, with every script of the catalogue.
//!
//! ```text
//! odd-server [ADDRESS]        (127.0.0.1:0 unless given)
//! ```
//! It prints where it listens and the names that the request header `x-case` may have; requests without one
//! are echoed. It ends when its standard input does.

use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;

use odd_server::{OddServer, Recorded, Script, catalogue, infer};

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:0")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("odd-server: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let server = OddServer::start_on(address.parse::<SocketAddr>()?)?;
    println!("listening on {}; ends with its standard input", server.address());
    println!("without x-case: the request's inputs come back as outputs; x-case: NAME gives");
    for (name, script) in catalogue::all() {
        println!("  {name}");
        server.script(name, script);
    }
    server.compute_default(echo);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn echo(request: &Recorded) -> Script {
    let message = request.messages().ok().and_then(|messages| messages.into_iter().next());
    match message.map(|m| infer::echo(&m.bytes)) {
        Some(Ok(answer)) => Script::message(&answer),
        _ => Script::trailers_only(3, "not a ModelInferRequest"),
    }
}
