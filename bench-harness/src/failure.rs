//! Why there is no measurement.

use std::time::Duration;

use millstream_client::ClientError;
use millstream_packaging::WriteError;
use millstream_protocol::ErrorCode;
use thiserror::Error;

/// Why there is no measurement.
#[derive(Debug, Error)]
pub enum Failure {
    /// The broker cannot be found.
    #[error("{0} is no HOST:PORT with an address")]
    Address(String),
    /// The options do not go together.
    #[error("{0}")]
    Usage(String),
    /// This machine cannot run the measurement.
    #[error("{0}")]
    System(String),
    /// A man page or completion cannot be written.
    #[error(transparent)]
    Reference(#[from] WriteError),
    /// There is no comparison.
    #[error(transparent)]
    Compare(#[from] crate::compare::CompareError),
    /// The broker cannot be reached, or has broken off.
    #[error("{0}")]
    Client(String),
    /// The broker has refused something.
    #[error("{what}: the broker answers with {} (code {})", name(*.code), .code)]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Kafka's code.
        code: i16,
    },
    /// What the broker sends is not what it should be.
    #[error("{what} is malformed: {cause}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Nothing came.
    #[error("{what} did not come within {within:?}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long.
        within: Duration,
    },
}

impl Failure {
    /// What is malformed, and why.
    pub fn malformed(what: &'static str, cause: impl ToString) -> Failure {
        Failure::Malformed {
            what,
            cause: cause.to_string(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        // The error itself stays on its core.
        Failure::Client(error.to_string())
    }
}

/// Fails if the broker has refused.
pub fn accepted(what: &'static str, code: i16) -> Result<(), Failure> {
    if code == 0 {
        Ok(())
    } else {
        Err(Failure::Refused { what, code })
    }
}

fn name(code: i16) -> String {
    match ErrorCode::try_from_code(code) {
        Some(name) => name.to_string(),
        None => "no error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_broker_are_named() {
        assert!(accepted("producing", 0).is_ok());
        let refused = accepted("producing", 3).unwrap_err().to_string();
        assert!(
            refused.contains("code 3") && refused.contains("producing"),
            "{refused}"
        );
        assert!(!refused.contains("no error"), "{refused}");
    }
}
