//! Taking headers off a request.

use filter_api::{Map, Ops, View, is_same_header};

/// Removes every header of a map that has one of these names, however it is spelt, and says how many there were.
pub(crate) fn all<'n>(
    map: Map,
    view: &dyn View,
    ops: &mut Ops,
    names: impl Iterator<Item = &'n str> + Clone,
) -> u64 {
    let mut found: Vec<String> = Vec::new();
    let mut count = 0;
    view.each_header(map, &mut |name, _| {
        if names.clone().any(|wanted| is_same_header(wanted.as_bytes(), name)) {
            count += 1;
            // A name that equals an ASCII one but for its case and its dashes is ASCII.
            let name = std::str::from_utf8(name).unwrap_or_default();
            if !found.iter().any(|other| other == name) {
                found.push(name.to_owned());
            }
        }
    });
    for name in found {
        ops.remove_header(map, &name);
    }
    count
}
