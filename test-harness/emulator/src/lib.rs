#![doc = include_str!("../README.md")]

// Each part knows only those above it: `state` is data, `chain` is Envoy's filter manager around a filter of which it
// knows nothing but its callbacks, `vm` runs the module, and `api` is what a test uses.
mod state;

mod chain;

mod vm;

mod api;

pub use api::call::{Call, GrpcHandle};
pub use api::connection::{Connection, ConnectionOptions};
pub use api::message::Message;
pub use api::plugin::Plugin;
pub use api::stream::{Stream, StreamOptions};
pub use api::vm::Vm;
pub use state::abi::{Direction, LogLevel, Status};
pub use state::calls::{HttpCall, HttpResponse};
pub use state::connection::Peer;
pub use state::crossings::Crossings;
pub use state::foreign::{ForeignCall, ForeignFunction};
pub use state::grpc::GrpcCall;
pub use state::headers::HeaderMap;
pub use state::log::LogLine;
pub use state::metadata::{Metadata, MetadataValue};
pub use state::options::{FailPolicy, PluginOptions, VmOptions};
pub use state::properties::Properties;
pub use state::shared::{Metric, SharedState};
pub use state::stream::{Delivered, Route, RouteTable};
pub use state::value::PropertyValue;
pub use state::version::{EnvoyVersion, VERSION_DIFFERENCES, VersionDifference};
pub use vm::engine::Engine;
pub use vm::error::LoadError;
