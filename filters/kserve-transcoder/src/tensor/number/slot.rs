//! Where one number is printed.

/// The most bytes that a number and the comma behind it take.
pub(crate) const SLOT: usize = 32;

/// Writes text to the front of a slot; says how long it is.
pub(crate) fn put(slot: &mut [u8; SLOT], text: &[u8]) -> usize {
    slot[..text.len()].copy_from_slice(text);
    text.len()
}
