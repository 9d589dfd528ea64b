//! Header and trailer maps as Envoy keeps them: bytes, in order, several values under one name.

use std::fmt;

use super::single_entry::MapKind;

/// An ordered map from lower-case names to values, both bytes; one name may occur several times.
///
/// Pseudo-headers (`:path`, `:status`, ...) are ordinary entries that stay in front, as in Envoy.
#[derive(Clone, Default)]
pub struct HeaderMap {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    kind: MapKind,
}

impl PartialEq for HeaderMap {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for HeaderMap {}

impl HeaderMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value under `name`.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = canonical(name.as_ref());
        self.entries.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_slice())
    }

    /// The first value under `name` as text, with invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<String> {
        self.get(name).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    /// Every value under `name`, in order.
    pub fn all(&self, name: impl AsRef<[u8]>) -> impl Iterator<Item = &[u8]> {
        let name = canonical(name.as_ref());
        self.entries.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_slice())
    }

    /// The map as it is once it is of this kind in Envoy.
    pub(crate) fn into_kind(self, kind: MapKind) -> Self {
        let mut map = Self { entries: Vec::with_capacity(self.entries.len()), kind };
        for (name, value) in self.entries {
            map.add(name, value);
        }
        map
    }

    /// What the map is in Envoy.
    pub(crate) fn kind(&self) -> MapKind {
        self.kind
    }

    /// Adds a value. Headers of which Envoy keeps one entry get it appended after a comma; which ones these are depends
    /// on whether the map is a request's, a response's or the trailers of either.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = canonical(name.as_ref());
        if self.kind.is_single(&name)
            && let Some((_, present)) = self.entries.iter_mut().find(|(n, _)| *n == name)
        {
            if !present.is_empty() && !value.as_ref().is_empty() {
                present.push(b',');
            }
            present.extend_from_slice(value.as_ref());
            return;
        }
        let at = if name.first() == Some(&b':') {
            self.entries.iter().take_while(|(n, _)| n.first() == Some(&b':')).count()
        } else {
            self.entries.len()
        };
        self.entries.insert(at, (name, value.as_ref().to_vec()));
    }

    /// Removes every value under `name` and adds `value`.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.add(name, value);
    }

    /// Removes every value under `name`.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let name = canonical(name.as_ref());
        self.entries.retain(|(n, _)| *n != name);
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sum of the lengths of all names and values, in bytes.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|(n, v)| n.len() + v.len()).sum()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))
    }

    /// The form in which the ABI passes maps: a count, then the lengths of every name and value, then the
    /// bytes of each with a zero after it; numbers are 32-bit little-endian (proxy-wasm ABI, "Serialized map").
    #[must_use]
    pub fn to_pairs(&self) -> Vec<u8> {
        pairs(self.entries.clone())
    }

    /// Reads the form that [`to_pairs`](Self::to_pairs) writes. Anything malformed gives an empty map, as in
    /// Envoy.
    #[must_use]
    pub fn from_pairs(bytes: &[u8]) -> Self {
        parse_pairs(bytes).unwrap_or_default()
    }
}

/// The ABI's form of pairs, which [`HeaderMap::to_pairs`] describes.
pub(crate) fn pairs(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let mut out = (entries.len() as u32).to_le_bytes().to_vec();
    for (name, value) in &entries {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in entries {
        out.extend([&name[..], b"\0", &value, b"\0"].concat());
    }
    out
}

fn parse_pairs(bytes: &[u8]) -> Option<HeaderMap> {
    let number = |at: usize| -> Option<usize> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    let count = number(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut map = HeaderMap::new();
    for i in 0..count {
        let (name_len, value_len) = (number(4 + i * 8)?, number(8 + i * 8)?);
        let name = bytes.get(at..at.checked_add(name_len)?)?;
        at += name_len + 1;
        let value = bytes.get(at..at.checked_add(value_len)?)?;
        at += value_len + 1;
        map.entries.push((canonical(name), value.to_vec()));
    }
    Some(map)
}

/// Lower case, and `host` under the name by which Envoy keeps it.
fn canonical(name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    if name == b"host" { b":authority".to_vec() } else { name }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (name, value) in entries {
            map.add(name, value);
        }
        map
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const C: usize> From<[(N, V); C]> for HeaderMap {
    fn from(entries: [(N, V); C]) -> Self {
        entries.into_iter().collect()
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.entries.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v))),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_survives_the_abi_form_with_order_and_repeated_names() {
        let map = HeaderMap::from([
            (":path", "/a"),
            ("x-a", "1"),
            ("x-b", ""),
            ("x-a", "2"),
            ("x-\u{ff}", "\u{fe}"),
        ]);
        assert_eq!(HeaderMap::from_pairs(&map.to_pairs()), map);
        assert_eq!(map.all("X-A").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn a_truncated_abi_form_gives_an_empty_map() {
        let whole = HeaderMap::from([("x-a", "1"), ("x-b", "2")]).to_pairs();
        for len in 0..whole.len() - 1 {
            assert!(HeaderMap::from_pairs(&whole[..len]).is_empty(), "{len} of {} bytes", whole.len());
        }
        assert!(HeaderMap::from_pairs(&u32::MAX.to_le_bytes()).is_empty());
    }

    #[test]
    fn setting_moves_to_the_end_but_pseudo_headers_stay_in_front() {
        let mut map = HeaderMap::from([(":method", "GET"), (":path", "/"), ("x-a", "1"), ("x-b", "2")]);
        map.set("x-a", "3");
        map.set(":method", "POST");
        let names: Vec<_> = map.iter().map(|(n, _)| n.to_vec()).collect();
        assert_eq!(names, [b":path".to_vec(), b":method".to_vec(), b"x-b".to_vec(), b"x-a".to_vec()]);
    }

    #[test]
    fn a_second_content_type_is_appended_to_the_first() {
        let mut map = HeaderMap::from([("content-type", "a/b")]);
        map.add("Content-Type", "c/d");
        assert_eq!(map.get("content-type"), Some(b"a/b,c/d".as_slice()));
        map.add("host", "x");
        assert_eq!(map.get(":authority"), Some(b"x".as_slice()));
    }

    #[test]
    fn which_values_are_joined_depends_on_the_kind_of_map() {
        let twice = HeaderMap::from([("accept", "1"), ("accept", "2"), ("vary", "1"), ("vary", "2")]);
        let joined = |kind| {
            let map = twice.clone().into_kind(kind);
            ["accept", "vary"].map(|name| map.text(name).unwrap_or_default())
        };
        assert_eq!(joined(MapKind::Request), ["1,2", "1"]);
        assert_eq!(joined(MapKind::Response), ["1", "1,2"]);
        assert_eq!(joined(MapKind::RequestTrailers), ["1", "1"]);
        assert_eq!(joined(MapKind::ResponseTrailers), ["1", "1"]);
    }
}
