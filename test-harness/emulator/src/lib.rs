#![doc = include_str!("../README.md")]

mod abi;
mod calls;
mod chain;
mod filter;
mod headers;
mod host;
mod hostcalls;
mod local_reply;
mod metadata;
mod plugin;
mod property;
mod shared;
mod stream;
mod stream_state;
mod version;
mod vm;

pub use abi::{Direction, LogLevel, Status};
pub use calls::{HttpCall, HttpResponse};
pub use headers::HeaderMap;
pub use host::{ForeignFunction, LogLine};
pub use metadata::{Metadata, MetadataValue};
pub use plugin::{FailPolicy, LoadError, Plugin, PluginOptions};
pub use shared::SharedState;
pub use stream::{Stream, StreamOptions};
pub use stream_state::{Delivered, Route, RouteTable};
pub use version::{EnvoyVersion, VERSION_DIFFERENCES, VersionDifference};
pub use vm::{Engine, Vm, VmOptions};
