//! In which form a client is told of an error.

use crate::openai;
use crate::problem::Problem;
use filter_api::Reply;

/// The form of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// `{"error": "..."}`, the error object of the Open Inference Protocol's REST interface.
    #[default]
    Kserve,
    /// `{"error": {"message": "...", ...}}`, as OpenAI's clients read it.
    OpenAi,
}

impl Problem {
    /// The local reply that tells a client of this protocol.
    #[must_use]
    pub(crate) fn reply_as(&self, form: ErrorForm) -> Reply {
        match form {
            ErrorForm::Kserve => self.reply(),
            ErrorForm::OpenAi => self.reply().body(self.body_as(form)),
        }
    }

    /// The error object for a client of this protocol.
    #[must_use]
    pub(crate) fn body_as(&self, form: ErrorForm) -> Vec<u8> {
        match form {
            ErrorForm::Kserve => self.body(),
            ErrorForm::OpenAi => openai::error_body(self),
        }
    }
}
