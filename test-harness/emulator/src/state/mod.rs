//! What is kept, and nothing that happens to it: no module here knows the chain, the VM or the API.

pub(crate) mod abi;
pub(crate) mod attributes;
pub(crate) mod calls;
pub(crate) mod connection;
pub(crate) mod crossings;
pub(crate) mod foreign;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod log;
pub(crate) mod metadata;
pub(crate) mod options;
pub(crate) mod properties;
pub(crate) mod protobuf;
pub(crate) mod shared;
pub(crate) mod single_entry;
pub(crate) mod stream;
pub(crate) mod value;
pub(crate) mod version;
