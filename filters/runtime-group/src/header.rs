//! What a request says in the header that names its group.

use filter_api::LbRequest;

/// What a request says in a header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Header<'a> {
    /// Nothing, or only empty values.
    None,
    /// One value, once or more often.
    One(&'a [u8]),
    /// Values that differ.
    Several,
}

/// Reads a header.
pub(crate) fn header<'a>(request: &'a dyn LbRequest, name: &str) -> Header<'a> {
    let copies = (0..).map_while(|index| request.header(name, index));
    let mut found = Header::None;
    for value in copies.filter(|value| !value.is_empty()) {
        match found {
            Header::None => found = Header::One(value),
            Header::One(first) if first == value => {}
            Header::One(_) | Header::Several => return Header::Several,
        }
    }
    found
}
