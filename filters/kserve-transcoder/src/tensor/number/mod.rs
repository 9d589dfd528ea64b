//! Numbers: from a JSON token to bits, and back to their shortest text.

pub(crate) mod decimal;
pub(crate) mod float16;
pub(crate) mod float32;
pub(crate) mod slot;
