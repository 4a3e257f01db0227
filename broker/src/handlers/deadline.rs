//! The `timeout_ms` of requests that the controller decides on.
//!
//! As in Kafka, a request whose time is over when it arrives (zero, or less) is not carried out;
//! one that is decided on in time is, however long its answer takes.

use std::time::Duration;

use millstream_controller::ApiError;
use millstream_protocol::ErrorCode;

/// The refusal of a request that gives no time.
pub(super) fn expired(timeout_ms: i32) -> Option<ApiError> {
    let refusal = || ApiError::new(ErrorCode::RequestTimedOut, "The request timed out.");
    (timeout_ms <= 0).then(refusal)
}

/// How long the answer may wait.
pub(super) fn time_left(timeout_ms: i32) -> Duration {
    Duration::from_millis(timeout_ms.max(0).unsigned_abs().into())
}
