//! Which encoding of an answer a client accepts (RFC 9110 section 12.5.3).

use super::{Coding, Plan};
use filter_api::{Map, View};

/// How an answer may be encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is, whatever the client accepts.
    #[default]
    Fixed,
    /// As it is, because of what the client accepts.
    Plain,
    /// Compressed, if that pays.
    Compressed(Plan),
}

impl Encoding {
    /// What the client of a request gets where answers are compressed from `from_bytes` on.
    pub(crate) fn of_request(from_bytes: usize, level: u32, view: &dyn View) -> Self {
        let mut wishes = Wishes::default();
        view.each_header(Map::RequestHeaders, &mut |name, value| {
            if name == b"accept-encoding" {
                wishes.add(value);
            }
        });
        match wishes.coding() {
            None => Self::Plain,
            Some(coding) => {
                // A client that does not take an answer as it is gets a short one compressed, too.
                let from_bytes = if wishes.refuses_identity() { 0 } else { from_bytes };
                Self::Compressed(Plan { coding, from_bytes, level })
            }
        }
    }
}

/// What `accept-encoding` says, as weights of up to a thousand.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    gzip: Option<u16>,
    deflate: Option<u16>,
    identity: Option<u16>,
    /// Of all that are not named.
    others: Option<u16>,
}

impl Wishes {
    /// Adds what a copy of the header says. Of a coding that is there twice, the first counts; what cannot be read, or names
    /// another coding, says nothing.
    fn add(&mut self, list: &[u8]) {
        for item in list.split(|byte| *byte == b',') {
            let (name, parameters) = match item.iter().position(|byte| *byte == b';') {
                Some(at) => (&item[..at], Some(&item[at + 1..])),
                None => (item, None),
            };
            let Some(weight) = parameters.map_or(Some(1000), weight) else { continue };
            let name = name.trim_ascii();
            let wish = match Coding::by_name(name) {
                Some(Coding::Gzip) => &mut self.gzip,
                Some(Coding::Deflate) => &mut self.deflate,
                None if name == b"*" => &mut self.others,
                None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
                None => continue,
            };
            wish.get_or_insert(weight);
        }
    }

    /// The coding that the client likes best, and better than none; of two that it likes as much, gzip.
    fn coding(&self) -> Option<Coding> {
        let of = |wish: Option<u16>| wish.or(self.others).unwrap_or_default();
        let (gzip, deflate) = (of(self.gzip), of(self.deflate));
        let (weight, coding) =
            if gzip >= deflate { (gzip, Coding::Gzip) } else { (deflate, Coding::Deflate) };
        (weight > 0 && weight >= self.identity.unwrap_or_default()).then_some(coding)
    }

    /// An answer as it is would not do: it is refused by its name, or with all that are not named.
    fn refuses_identity(&self) -> bool {
        self.identity.or(self.others) == Some(0)
    }
}

/// Reads a weight (RFC 9110 section 12.4.2) in thousandths: `q=0.5`.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.trim_ascii().split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, decimals) = value.split_first()?;
    let decimals = match decimals {
        [] => decimals,
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    let digits = decimals.iter().chain(b"000").take(3);
    let mut weight = 0;
    for digit in [whole].into_iter().chain(digits) {
        weight = 10 * weight + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn wishes(lists: &[&str]) -> Wishes {
        let mut wishes = Wishes::default();
        lists.iter().for_each(|list| wishes.add(list.as_bytes()));
        wishes
    }

    #[test]
    fn the_coding_that_a_client_likes_best_is_the_one() {
        let (gzip, deflate) = (Some(Coding::Gzip), Some(Coding::Deflate));
        for (list, expected) in [
            ("gzip", gzip),
            ("GZip", gzip),
            ("x-gzip", gzip),
            ("deflate", deflate),
            ("gzip, deflate, br", gzip),
            ("deflate, gzip", gzip),
            ("deflate;q=1.0, gzip;q=0.5", deflate),
            ("deflate;q=0.123,gzip;q=0.124", gzip),
            ("gzip;q=0.001", gzip),
            ("gzip ; q=0.5 ,deflate ; Q=0.6", deflate),
            ("*", gzip),
            ("*;q=0.1", gzip),
            ("gzip;q=0, *", deflate),
            ("gzip;q=0, deflate;q=0, *", None),
            ("identity, gzip", gzip),
            ("identity;q=0.5, gzip;q=0.5", gzip),
            ("identity;q=1, gzip;q=0.5", None),
            ("identity;q=0.4, *;q=0.5", gzip),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("*;q=0, deflate", deflate),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("", None),
            (",, ,", None),
            ("br, zstd", None),
            ("identity", None),
            ("gzip;q=1, gzip;q=0", gzip),
            // What is not a weight.
            ("gzip;q=", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=-1", None),
            ("gzip;q=.5", None),
            ("gzip;q=0,5", None),
            ("gzip;level=9", None),
            ("gzip;q=1;x", None),
            ("gzip gzip", None),
            ("gzip;q=1.", gzip),
        ] {
            assert_eq!(wishes(&[list]).coding(), expected, "{list:?}");
        }
        assert_eq!(wishes(&["deflate", "gzip;q=0.5"]).coding(), deflate);
        assert_eq!(wishes(&[]).coding(), None);
    }

    #[test]
    fn an_answer_as_it_is_is_refused_by_its_name_or_with_all_others() {
        for list in ["identity;q=0", "*;q=0", "gzip, *;q=0", "gzip, identity;q=0.0", "identity;q=0, *"] {
            assert!(wishes(&[list]).refuses_identity(), "{list:?}");
        }
        for list in ["", "gzip", "*", "identity;q=0.1, *;q=0", "identity", "*;q=0.5"] {
            assert!(!wishes(&[list]).refuses_identity(), "{list:?}");
        }
    }
}
