//! gRPC's length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message").

use crate::problem::Problem;

/// Bytes in front of every message: a compression flag and the message's length, big-endian.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The prefix of an uncompressed message.
pub(crate) fn prefix(message_bytes: usize) -> Result<[u8; PREFIX_BYTES], Problem> {
    let length = u32::try_from(message_bytes)
        .map_err(|_| Problem::too_large("the request is larger than a gRPC message can be (4 GiB)"))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// Cuts a response body into its one message, however the bytes are chunked.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    prefix: [u8; PREFIX_BYTES],
    prefix_read: usize,
    message_read: usize,
}

impl Reader {
    /// Takes the next bytes of a body of one message and returns those of them that belong to the message.
    pub(crate) fn take<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Problem> {
        let of_message = self.take_off(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(of_message);
        }
        Err(Problem::bad_answer("the model server sent more than one gRPC message for one request"))
    }

    /// Takes this message's bytes off the front of `bytes`, its frame included, and returns those of them that belong to
    /// the message itself. What is left is the next message's.
    pub(crate) fn take_off<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<&'a [u8], Problem> {
        let of_prefix = bytes.len().min(PREFIX_BYTES - self.prefix_read);
        self.prefix[self.prefix_read..self.prefix_read + of_prefix].copy_from_slice(&bytes[..of_prefix]);
        self.prefix_read += of_prefix;
        *bytes = &bytes[of_prefix..];
        let Some(length) = self.length() else { return Ok(&[]) };
        if self.prefix[0] > 1 {
            return Err(Problem::bad_answer(format!(
                "the model server's gRPC message begins with the flag {}, which should be 0 or 1",
                self.prefix[0]
            )));
        }
        let (of_message, rest) = bytes.split_at(bytes.len().min(length - self.message_read));
        *bytes = rest;
        self.message_read += of_message.len();
        Ok(of_message)
    }

    /// The message's length, once its prefix has been read.
    pub(crate) fn length(&self) -> Option<usize> {
        let [_, a, b, c, d] = self.prefix;
        (self.prefix_read == PREFIX_BYTES).then(|| u32::from_be_bytes([a, b, c, d]) as usize)
    }

    /// Whether the message is compressed, once its prefix has been read.
    pub(crate) fn is_compressed(&self) -> bool {
        self.length().is_some() && self.prefix[0] == 1
    }

    /// Whether any byte has been read.
    pub(crate) fn has_begun(&self) -> bool {
        self.prefix_read > 0
    }

    /// Whether the whole message has been read.
    pub(crate) fn is_complete(&self) -> bool {
        self.length() == Some(self.message_read)
    }

    /// Why a body that ends here is not an answer; `None` if it is one.
    pub(crate) fn problem_at_end(&self) -> Option<Problem> {
        match self.length() {
            Some(length) if length == self.message_read => None,
            None if self.prefix_read == 0 => {
                Some(Problem::bad_answer("the model server answered without a message"))
            }
            length => Some(Problem::bad_answer(match length {
                Some(length) => {
                    format!("the model server's answer ended after {} of {length} bytes", self.message_read)
                }
                None => "the model server's answer ended within a gRPC frame".to_owned(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_message_split_at_every_byte_is_the_same_message() {
        let body = [&prefix(300).unwrap()[..], &[7; 300]].concat();
        for size in [1, 2, 3, 4, 5, 6, 304, 305] {
            let mut reader = Reader::default();
            let message: Vec<u8> =
                body.chunks(size).flat_map(|chunk| reader.take(chunk).unwrap().to_vec()).collect();
            assert_eq!(message, [7; 300]);
            assert!(reader.is_complete());
            assert_eq!(reader.problem_at_end(), None);
        }
    }

    #[test]
    fn a_flag_says_whether_the_message_is_compressed() {
        for (bytes, expected) in
            [(&b"\x01\0\0\0"[..], false), (b"\x01\0\0\0\x01", true), (b"\0\0\0\0\x01x", false)]
        {
            let mut reader = Reader::default();
            reader.take(bytes).unwrap();
            assert_eq!(reader.is_compressed(), expected);
        }
    }

    #[test]
    fn odd_frames_are_named() {
        let problem = |bytes: &[u8]| {
            let mut reader = Reader::default();
            match reader.take(bytes) {
                Err(problem) => problem.message,
                Ok(_) => reader.problem_at_end().unwrap().message,
            }
        };
        assert!(problem(b"\x02\0\0\0\x01x").contains("begins with the flag 2"));
        assert!(problem(b"\0\0\0\0\x01xy").contains("more than one"));
        assert!(problem(b"\0\0\0\0\x02x").contains("after 1 of 2 bytes"));
        assert!(problem(b"\0\0").contains("within a gRPC frame"));
        assert!(problem(b"").contains("without a message"));
    }
}
