//! Leaves exports out of a wasm module.
//!
//! The proxy-wasm SDK exports every callback of the ABI, and a host enters the module for each that is exported, which
//! in Envoy costs more than most of what a callback does. No linker option takes back an export that rustc asks for.

use std::ops::Range;

/// The first bytes of a module: its magic number and version (WebAssembly specification, section 5.5.16).
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";
/// The section of exports (section 5.5.10).
const EXPORTS: u8 = 7;

/// A module without the exports of these names.
///
/// # Errors
/// It is not a module, or has no such export.
pub(crate) fn without(module: &[u8], names: &[&str]) -> Result<Vec<u8>, String> {
    rewrite(module, names).unwrap_or_else(|| Err("is not a wasm module".to_owned()))
}

fn rewrite(module: &[u8], names: &[&str]) -> Option<Result<Vec<u8>, String>> {
    let mut missing: Vec<&str> = names.to_vec();
    let mut out = PREAMBLE.to_vec();
    let mut rest = Reader { bytes: module.strip_prefix(PREAMBLE)?, at: 0 };
    while let Some(id) = rest.byte() {
        let length = rest.number()?;
        let section = &rest.bytes[rest.take(length)?];
        let kept = if id == EXPORTS { Some(exports(section, &mut missing)?) } else { None };
        let section = kept.as_deref().unwrap_or(section);
        out.push(id);
        out.extend(encoded(section.len()));
        out.extend_from_slice(section);
    }
    Some(match missing.as_slice() {
        [] => Ok(out),
        missing => Err(format!("does not export {}", missing.join(", "))),
    })
}

/// The section without the exports of these names, which are taken off the list.
fn exports(section: &[u8], names: &mut Vec<&str>) -> Option<Vec<u8>> {
    let mut reader = Reader { bytes: section, at: 0 };
    let (mut count, mut kept) = (0, Vec::new());
    for _ in 0..reader.number()? {
        let start = reader.at;
        let length = reader.number()?;
        let name = &section[reader.take(length)?];
        // What it is, and its index.
        reader.byte()?;
        reader.number()?;
        match names.iter().position(|unwanted| unwanted.as_bytes() == name) {
            Some(at) => {
                names.swap_remove(at);
            }
            None => {
                count += 1;
                kept.extend_from_slice(&section[start..reader.at]);
            }
        }
    }
    Some([encoded(count), kept].concat())
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    /// A number in LEB128 (section 5.2.2).
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(length)?;
        self.bytes.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }
}

fn encoded(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with a section before that of its exports `a` and `bc`, and a long one after it.
    fn module() -> Vec<u8> {
        let exports = b"\x02\x01a\0\x05\x02bc\0\xac\x02";
        let long = [vec![0, 0x80 | 0x48, 0x01], vec![9; 200]].concat();
        [PREAMBLE, &[1, 1, 0], &[EXPORTS, exports.len() as u8], exports, &long].concat()
    }

    #[test]
    fn an_export_is_left_out_and_all_else_stays() {
        let left = without(&module(), &["a"]).unwrap();
        let long = [vec![0, 0x80 | 0x48, 0x01], vec![9; 200]].concat();
        let wanted = [PREAMBLE, &[1, 1, 0], &[EXPORTS, 7], b"\x01\x02bc\0\xac\x02", &long].concat();
        assert_eq!(left, wanted);
        assert_eq!(without(&module(), &[]).unwrap(), module());
    }

    #[test]
    fn what_is_no_module_or_lacks_an_export_is_an_error() {
        assert_eq!(without(&module(), &["a", "b"]).unwrap_err(), "does not export b");
        let whole = module();
        for cut in [0, 4, 9, 12, 20, whole.len() - 1] {
            assert_eq!(without(&whole[..cut], &["a"]).unwrap_err(), "is not a wasm module", "{cut}");
        }
    }
}
