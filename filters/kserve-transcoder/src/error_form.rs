//! In which form a client is told of an error.

use crate::generic::Statuses;
use crate::openai;
use crate::problem::Problem;
use crate::rows::Row;
use filter_api::Reply;
use std::sync::Arc;

/// The form of the protocol that a client speaks.
#[derive(Clone, Debug, Default)]
pub(crate) enum ErrorForm {
    /// `{"error": "..."}`, the error object of the Open Inference Protocol's REST interface.
    #[default]
    Kserve,
    /// `{"error": {"message": "...", ...}}`, as OpenAI's clients read it.
    OpenAi,
    /// A status that a server gives is a `google.rpc.Status`, with those of its details that this row's descriptor set, or
    /// another one, can explain; other errors are as `Kserve` has them.
    Status { statuses: Arc<Statuses>, row: Arc<Row> },
}

impl Problem {
    /// The local reply that tells a client of this protocol.
    #[must_use]
    pub(crate) fn reply_as(&self, form: &ErrorForm) -> Reply {
        self.reply(self.body_as(form))
    }

    /// The error object for a client of this protocol.
    #[must_use]
    pub(crate) fn body_as(&self, form: &ErrorForm) -> Vec<u8> {
        match (form, &self.grpc) {
            (ErrorForm::OpenAi, _) => openai::error_body(self),
            (ErrorForm::Status { statuses, row }, Some(status)) => statuses.json(status, row),
            (ErrorForm::Kserve | ErrorForm::Status { .. }, _) => self.body(),
        }
    }
}
