//! The refusal of a request, or of one item of it.

use std::fmt;

use millstream_protocol::ErrorCode;

/// An error code of Kafka's, and what happened in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What clients act on.
    pub code: ErrorCode,
    /// What people read.
    pub message: String,
}

impl ApiError {
    /// An error with a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            message: message.into(),
        }
    }

    /// The request has to go to another node.
    pub fn not_controller() -> ApiError {
        ApiError::new(
            ErrorCode::NotController,
            "This is not the correct controller for this cluster.",
        )
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}
