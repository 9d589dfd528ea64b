//! Numbers: from a JSON token to bits, and back to their shortest text.

pub(super) mod decimal;
pub(super) mod float16;
pub(super) mod float32;
pub(super) mod slot;
