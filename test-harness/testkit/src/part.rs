//! A case's two messages as their senders send them, piece by piece.

use crate::case::Case;
use crate::chunking::Chunking;
use crate::headers::{Headers, to_headers};

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Headers, pseudo-headers included.
    Headers {
        /// Names and values.
        headers: Headers,
        /// The message ends here.
        end: bool,
    },
    /// A piece of the body.
    Data {
        /// Its bytes.
        bytes: Vec<u8>,
        /// The message ends here.
        end: bool,
    },
    /// Trailers, which end the message.
    Trailers(Headers),
    /// The sender resets the stream.
    Reset,
}

impl Case {
    /// The client's request.
    ///
    /// # Errors
    /// The notation of the body is wrong.
    pub fn request_parts(&self, chunking: Chunking) -> Result<Vec<Part>, String> {
        let request = &self.request;
        let body = request.body.bytes()?;
        let mut headers = vec![
            (b":method".to_vec(), request.method.clone().into_bytes()),
            (b":path".to_vec(), request.path.clone().into_bytes()),
            (b":scheme".to_vec(), b"http".to_vec()),
            (b":authority".to_vec(), b"gateway.test".to_vec()),
        ];
        headers.extend(to_headers(&request.headers));
        if !body.is_empty() && request.trailers.is_empty() {
            headers.push((b"content-length".to_vec(), body.len().to_string().into_bytes()));
        }
        let last = (!request.trailers.is_empty()).then(|| Part::Trailers(to_headers(&request.trailers)));
        Ok(parts(headers, &chunking.cut(&body), last))
    }

    /// The model server's answer; nothing where the case has none.
    ///
    /// # Errors
    /// The notation of a message is wrong.
    pub fn answer_parts(&self, chunking: Chunking) -> Result<Vec<Part>, String> {
        let Some(answer) = &self.answer else { return Ok(Vec::new()) };
        let mut headers = vec![(b":status".to_vec(), answer.http_status.to_string().into_bytes())];
        headers.extend(to_headers(&answer.headers));
        let last = match answer.reset {
            true => Some(Part::Reset),
            false => answer.trailers().map(|trailers| Part::Trailers(to_headers(&trailers))),
        };
        Ok(parts(headers, &answer.chunking(chunking).cut(&self.answer_data()?), last))
    }
}

fn parts(headers: Headers, chunks: &[&[u8]], last: Option<Part>) -> Vec<Part> {
    let mut parts = vec![Part::Headers { headers, end: chunks.is_empty() && last.is_none() }];
    for (index, chunk) in chunks.iter().enumerate() {
        let end = index + 1 == chunks.len() && last.is_none();
        parts.push(Part::Data { bytes: chunk.to_vec(), end });
    }
    parts.extend(last);
    parts
}
