//! Why there is no measurement.

use std::time::Duration;

use millstream_client::ClientError;
use millstream_packaging::WriteError;
use thiserror::Error;

/// Why there is no measurement.
#[derive(Debug, Error)]
pub enum Failure {
    /// The broker cannot be found.
    #[error("{0} is no HOST:PORT with an address")]
    Address(String),
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
    #[error("{what}: the broker answers with error {code}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Kafka's code.
        code: i16,
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
