//! What a test uses. A function is in the module of the type that it returns, so that each module here knows only those
//! before it: vm, call, plugin, message, stream, connection.

pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod message;
pub(crate) mod plugin;
pub(crate) mod stream;
pub(crate) mod vm;
