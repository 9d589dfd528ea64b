//! Cookies of a request (RFC 6265, section 4.2), also those that were too large for one and came in numbered pieces.

use crate::header::is_blank;
use crate::token::Refusal;

/// Cookies as pairs, from the values of all `cookie` headers.
pub(crate) fn pairs(headers: &[Vec<u8>]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let crumbs = headers.iter().flat_map(|header| header.split(|byte| *byte == b';'));
    crumbs.filter_map(|crumb| {
        let crumb = crumb.trim_ascii();
        let at = crumb.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (crumb[..at].trim_ascii(), crumb[at + 1..].trim_ascii());
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some((name, quoted.unwrap_or(value)))
    })
}

/// The value of a cookie, or of its pieces together. What is empty was cleared, and counts as missing.
///
/// # Errors
/// The cookie, or a piece of it, is there twice with different values; or it is there both whole and in other pieces.
pub(crate) fn value(headers: &[Vec<u8>], name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let mut whole: Option<&[u8]> = None;
    let mut pieces: Vec<((u8, usize), &[u8])> = Vec::new();
    for (found, value) in pairs(headers).filter(|(_, value)| !is_blank(value)) {
        let place = match found.strip_prefix(name.as_bytes()) {
            Some(b"") => &mut whole,
            Some(rest) => match piece(rest) {
                Some(number) => match pieces.iter().find(|(other, _)| *other == number) {
                    Some((_, same)) if *same == value => continue,
                    Some(_) => return Err(Refusal::Ambiguous),
                    None => {
                        pieces.push((number, value));
                        continue;
                    }
                },
                None => continue,
            },
            None => continue,
        };
        if place.replace(value).is_some_and(|before| before != value) {
            return Err(Refusal::Ambiguous);
        }
    }
    pieces.sort_unstable_by_key(|(number, _)| *number);
    let together = pieces.iter().flat_map(|(_, value)| value.iter().copied()).collect::<Vec<u8>>();
    match (whole, pieces.first(), pieces.last()) {
        (Some(whole), None, _) => Ok(Some(whole.to_vec())),
        (Some(whole), Some(_), _) if whole == together => Ok(Some(together)),
        (Some(_), Some(_), _) => Err(Refusal::Ambiguous),
        (None, Some((first, _)), Some((last, _))) => {
            // All of one style, counted from 0 or 1, none left out.
            let complete = first.0 == last.0 && first.1 <= 1 && last.1 - first.1 + 1 == pieces.len();
            if complete { Ok(Some(together)) } else { Err(Refusal::Malformed) }
        }
        (None, ..) => Ok(None),
    }
}

/// The `cookie` header without the cookies of these names and their pieces; `None` if nothing is to be taken out.
pub(crate) fn without(headers: &[Vec<u8>], names: &[String]) -> Option<Vec<u8>> {
    let stripped = |found: &[u8]| {
        let is = |name: &String| {
            found.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || piece(rest).is_some())
        };
        names.iter().any(is)
    };
    if !pairs(headers).any(|(name, _)| stripped(name)) {
        return None;
    }
    let crumbs = headers.iter().flat_map(|header| header.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let name =
        |crumb: &[u8]| crumb.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii().to_vec();
    let kept: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty() && !stripped(&name(crumb))).collect();
    Some(kept.join(&b"; "[..]))
}

/// What follows a cookie's name in that of a piece: the style and the number.
fn piece(rest: &[u8]) -> Option<(u8, usize)> {
    let (style, digits) = rest.split_first()?;
    let is_number = matches!(digits.len(), 1..=2) && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    matches!(style, b'_' | b'.' | b'-').then_some((*style, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn of(header: &str) -> Result<Option<String>, Refusal> {
        let value = value(&[header.as_bytes().to_vec()], "id")?;
        Ok(value.map(|value| String::from_utf8(value).unwrap()))
    }

    #[test]
    fn a_cookie_is_found_among_others_whole_or_in_pieces() {
        assert_eq!(of("a=1; id=x.y.z; idx=2").unwrap().as_deref(), Some("x.y.z"));
        assert_eq!(of("id=\"x\"").unwrap().as_deref(), Some("x"));
        assert_eq!(of("id_1=b; id_0=a; id_2=c").unwrap().as_deref(), Some("abc"));
        assert_eq!(of("id.1=a; id.2=b").unwrap().as_deref(), Some("ab"));
        assert_eq!(
            of("id_10=k; id_0=a;id_1=b;id_2=c;id_3=d;id_4=e;id_5=f;id_6=g;id_7=h;id_8=i;id_9=j")
                .unwrap()
                .unwrap(),
            "abcdefghijk"
        );
        assert_eq!(of("id_x=a; ID=b; id__0=c; a=id=1").unwrap(), None);
        assert_eq!(of("id=ab; id_0=a; id_1=b").unwrap().as_deref(), Some("ab"));
    }

    #[test]
    fn a_cookie_that_could_be_read_in_two_ways_is_no_cookie() {
        assert_eq!(of("id=a; id=b"), Err(Refusal::Ambiguous));
        assert_eq!(of("id=a; id=a").unwrap().as_deref(), Some("a"));
        assert_eq!(of("id_0=a; id_0=b"), Err(Refusal::Ambiguous));
        assert_eq!(of("id=x; id_0=a; id_1=b"), Err(Refusal::Ambiguous));
        assert_eq!(of("id_0=a; id_2=c"), Err(Refusal::Malformed));
        assert_eq!(of("id_2=a; id_3=c"), Err(Refusal::Malformed));
        assert_eq!(of("id_0=a; id.1=c"), Err(Refusal::Malformed));
    }

    #[test]
    fn a_cookie_that_was_cleared_is_not_there() {
        for cleared in ["id=", "id=\"\"", "id=; id_0=", "id=\" \""] {
            assert_eq!(of(cleared).unwrap(), None, "{cleared}");
            assert_eq!(of(&format!("{cleared}; id=a")).unwrap().as_deref(), Some("a"), "{cleared}");
        }
        assert_eq!(of("id=; id_0=a; id_1=b; id_2=").unwrap().as_deref(), Some("ab"));
        assert_eq!(of("id=a; id_0=; id_1=").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn cookies_are_taken_out_with_their_pieces_and_the_others_stay() {
        let names = ["id".to_owned(), "at".to_owned()];
        let without = |headers: &[&str]| {
            let headers: Vec<Vec<u8>> = headers.iter().map(|header| header.as_bytes().to_vec()).collect();
            super::without(&headers, &names).map(|kept| String::from_utf8(kept).unwrap())
        };
        assert_eq!(without(&["a=1; b"]), None);
        assert_eq!(
            without(&["a=1; id=x; lang=\"de\"; id_0=y", "at.1=z;idx=2"]).unwrap(),
            "a=1; lang=\"de\"; idx=2"
        );
        assert_eq!(without(&["id=x"]).unwrap(), "");
    }
}
