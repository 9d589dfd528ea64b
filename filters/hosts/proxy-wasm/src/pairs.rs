//! A header map as Envoy hands it over: all names and values in one block of memory.
//!
//! The SDK would copy each name and each value into an allocation of its own, which was most of what a small exchange
//! allocated.

#![allow(unsafe_code)]

use proxy_wasm::types::MapType;

/// A header map, fetched.
///
/// The block's form is the ABI's: how many headers there are, the lengths of each one's name and value, and then the names
/// and values themselves, each followed by a NUL; numbers have 32 bits, the lowest byte first.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<u8>);

impl Pairs {
    /// Fetches a map; it is empty where Envoy has none.
    pub(crate) fn fetch(map: MapType) -> Self {
        let (mut start, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: Envoy writes the two results before it returns.
        let status = unsafe { proxy_get_header_map_pairs(map as u32, &mut start, &mut size) };
        if status != OK || start.is_null() {
            return Self::default();
        }
        // SAFETY: Envoy has the SDK's `proxy_on_memory_allocate` allocate the block: a boxed slice of this size, which is
        // ours from here on. Envoy has written all of it.
        Self(unsafe { Vec::from_raw_parts(start, size, size) })
    }

    /// Names and values, in order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        let found = self.0.split_first_chunk().and_then(|(count, rest)| {
            let lengths = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
            rest.split_at_checked(lengths)
        });
        let (lengths, texts) = found.unwrap_or_default();
        Iter { lengths, texts }
    }

    /// The first value of a header. `name` is in lower case, as Envoy has it.
    pub(crate) fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }
}

/// What is left of a map's names and values.
pub(crate) struct Iter<'a> {
    lengths: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Iter<'a> {
    /// A name or a value, and the NUL behind it.
    fn text(&mut self) -> Option<&'a [u8]> {
        let (length, lengths) = self.lengths.split_first_chunk()?;
        let (text, rest) = self.texts.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        (self.lengths, self.texts) = (lengths, rest.get(1..)?);
        Some(text)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.text()?, self.text()?))
    }
}

/// The ABI's status for success.
const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, start: *mut *mut u8, size: *mut usize) -> u32;
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Pairs {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let number = |number: usize| (number as u32).to_le_bytes();
        let lengths = pairs.iter().flat_map(|(name, value)| [number(name.len()), number(value.len())]);
        let texts = pairs.iter().flat_map(|(name, value)| [name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        Self(
            [
                number(N).as_slice(),
                lengths.collect::<Vec<_>>().as_flattened(),
                &texts.collect::<Vec<_>>().concat(),
            ]
            .concat(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_in_order_with_names_that_come_twice_and_empty_values() {
        let pairs = Pairs::from([(":path", "/"), ("accept", "a"), ("te", ""), ("accept", "b")]);
        let read: Vec<_> = pairs.iter().collect();
        let texts: [(&[u8], &[u8]); 4] =
            [(b":path", b"/"), (b"accept", b"a"), (b"te", b""), (b"accept", b"b")];
        assert_eq!(read, texts);
        assert_eq!((pairs.first("accept"), pairs.first("te")), (Some(b"a".as_slice()), Some(b"".as_slice())));
        assert_eq!(pairs.first("accep"), None);
        assert_eq!(Pairs::default().iter().count(), 0);
    }

    #[test]
    fn a_block_that_ends_early_has_the_headers_that_are_whole() {
        let whole = Pairs::from([("a", "1"), ("bc", "23")]);
        for size in 0..whole.0.len() {
            let read = Pairs(whole.0[..size].to_vec()).iter().count();
            assert_eq!(read, if size < 4 + 16 + 4 { 0 } else { 1 }, "{size}");
        }
        assert_eq!(Pairs(vec![255; 64]).iter().count(), 0);
    }
}
