//! What a test uses. The inherent functions of a type are where what they return is, so that each module here knows
//! only those before it: vm, call, plugin, message, stream, connection.

pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod message;
pub(crate) mod plugin;
pub(crate) mod stream;
pub(crate) mod vm;
