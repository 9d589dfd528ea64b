//! A gRPC server that answers exactly as a test asks, however odd.
//!
//! It speaks HTTP/2 in clear text on loopback. Each request is answered by a [`Script`]: a list of frames to
//! send, with waits between them. Which script answers is decided per request: the one named by the request
//! header `x-case`, else the one registered for the path, else the default one. Everything a request brought
//! is recorded, so a test can assert on what a server *got* as well as on what a client saw.
//!
//! ```
//! use odd_server::{OddServer, Script, infer};
//!
//! let server = OddServer::start().unwrap();
//! server.script("not-found", Script::trailers_only(5, "no such model"));
//! server.default_script(Script::message(&infer::Response::new("iris").encode(infer::Style::default())));
//! println!("{}", server.address()); // 127.0.0.1 and a free port
//! ```
//!
//! [`fast::FastServer`] is the other mode: one constant answer (or an echo), nothing recorded, for benchmarks.
//! [`wire`] writes and reads protobuf by hand, and [`infer`] writes `ModelInfer` messages in every way the
//! wire format allows, which a code generator would not.

pub mod catalogue;
pub mod fast;
mod frames;
pub mod infer;
mod play;
mod record;
mod script;
mod server;
pub mod wire;

pub use record::Recorded;
pub use script::{Gate, Headers, Script, Step, grpc_status, percent_encode};
pub use server::{OddServer, TimedOut};
pub use wire::Grpc;
