//! JSON, read strictly (RFC 8259): what other readers may understand in another way is refused.
//!
//! A verifier and the application behind it must agree on what a token says. So duplicate members are refused, also
//! where an escape hides that two names are the same, and so are a byte-order mark, comments, single quotes, bad UTF-8,
//! lone surrogates and anything after the value. Numbers keep their digits: `9007199254740993` is not rounded.

use std::collections::BTreeMap;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// The number's text.
    Number(String),
    String(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// Why a text is not JSON that this filter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("not UTF-8")]
    Utf8,
    #[error("not JSON")]
    Syntax,
    #[error("an object has a member twice")]
    Duplicate,
    #[error("nested too deeply")]
    Depth,
}

impl Value {
    /// A member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            _ => None,
        }
    }

    /// A string's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a text that is one JSON value, in which objects and arrays lie at most `max_depth` deep in each other.
pub(crate) fn parse(text: &[u8], max_depth: usize) -> Result<Value, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::Utf8)?;
    let mut reader = Reader { text, at: 0, room: max_depth };
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(Error::Syntax) }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// How many levels may still be opened.
    room: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a byte if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Error::Syntax);
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(Error::Syntax),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, Error>) -> Result<Value, Error> {
        self.room = self.room.checked_sub(1).ok_or(Error::Depth)?;
        self.at += 1;
        let value = read(self)?;
        self.room += 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Error> {
        let mut members = BTreeMap::new();
        self.space();
        if self.takes(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            if !self.takes(b':') {
                return Err(Error::Syntax);
            }
            if members.insert(name, self.value()?).is_some() {
                return Err(Error::Duplicate);
            }
            self.space();
            if self.takes(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.takes(b',') {
                return Err(Error::Syntax);
            }
        }
    }

    fn array(&mut self) -> Result<Value, Error> {
        let mut items = Vec::new();
        self.space();
        if self.takes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.takes(b']') {
                return Ok(Value::Array(items));
            }
            if !self.takes(b',') {
                return Err(Error::Syntax);
            }
        }
    }

    fn number(&mut self) -> Result<Value, Error> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        Ok(Value::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(Error::Syntax) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Error> {
        if !self.takes(b'"') {
            return Err(Error::Syntax);
        }
        let mut string = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            // Both ends are at ASCII bytes, so between characters.
            string.push_str(&self.text[start..self.at]);
            if self.takes(b'"') {
                return Ok(string);
            }
            if !self.takes(b'\\') {
                return Err(Error::Syntax);
            }
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let kind = self.peek().ok_or(Error::Syntax)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..=0xdbff => {
                        if !(self.takes(b'\\') && self.takes(b'u')) {
                            return Err(Error::Syntax);
                        }
                        let second = self.hex()?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(Error::Syntax);
                        }
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => first,
                };
                char::from_u32(code).ok_or(Error::Syntax)?
            }
            _ => return Err(Error::Syntax),
        })
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or(Error::Syntax)?;
            self.at += 1;
            code = code * 16 + digit;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn values_are_read_and_numbers_keep_their_digits() {
        let value = parse(br#" {"a":[1e21,-0,9007199254740993],"b":"\u00e9\ud83d\ude00\n","c":null} "#, 2);
        let value = value.unwrap();
        let numbers = ["1e21", "-0", "9007199254740993"].map(|text| Value::Number(text.to_owned()));
        assert_eq!(value.get("a"), Some(&Value::Array(numbers.to_vec())));
        assert_eq!(value.get("b").unwrap().text(), Some("é😀\n"));
        assert_eq!(value.get("c"), Some(&Value::Null));
        assert_eq!(value.get("d"), None);
    }

    #[test]
    fn what_others_may_read_in_another_way_is_refused() {
        for (text, error) in [
            (&br#"{"a":1,"a":1}"#[..], Error::Duplicate),
            (br#"{"exp":1,"e\u0078p":2}"#, Error::Duplicate),
            (br#"{"o":{"a":1,"\u0061":1}}"#, Error::Duplicate),
            (b"\xef\xbb\xbf{}", Error::Syntax),
            (b"{} x", Error::Syntax),
            (b"{}{}", Error::Syntax),
            (b"{'a':1}", Error::Syntax),
            (b"{\"a\":1,}", Error::Syntax),
            (b"[1,]", Error::Syntax),
            (b"{/**/}", Error::Syntax),
            (b"{} // x", Error::Syntax),
            (b"{\"a\":NaN}", Error::Syntax),
            (b"{\"a\":01}", Error::Syntax),
            (b"{\"a\":+1}", Error::Syntax),
            (b"{\"a\":1.}", Error::Syntax),
            (b"{\"a\":.5}", Error::Syntax),
            (b"{\"a\":1e}", Error::Syntax),
            (b"{\"a\":0x10}", Error::Syntax),
            (b"{a:1}", Error::Syntax),
            (b"\"\\ud800\"", Error::Syntax),
            (b"\"\\udc00\"", Error::Syntax),
            (b"\"\\ud800\\u0041\"", Error::Syntax),
            (b"\"\\x41\"", Error::Syntax),
            (b"\"a\nb\"", Error::Syntax),
            (b"\"a", Error::Syntax),
            (b"\"\\u12\"", Error::Syntax),
            (b"tru", Error::Syntax),
            (b"", Error::Syntax),
            (b"{\"a\":\"\xff\"}", Error::Utf8),
            (b"[[[1]]]", Error::Depth),
        ] {
            assert_eq!(parse(text, 2), Err(error), "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(parse(&[b'['; 5000], 32), Err(Error::Depth));
    }
}
