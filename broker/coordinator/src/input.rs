//! What a coordinator is told and what it asks for.

use millstream_protocol::{ErrorCode, StrBytes};

use crate::request::{GroupRequest, GroupResponse, RequestContext, RequestToken};
use millstream_protocol::group_records::GroupRecord;

/// Names a write of the coordinator; they count up from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What a coordinator is told.
#[expect(
    clippy::large_enum_variant,
    reason = "an input is handed over once and never stored"
)]
#[derive(Debug)]
pub enum Input {
    /// The partition's log was replayed to its end: requests may be answered from now on.
    Loaded,
    /// A request came in. Exactly one [`Output::Respond`] follows for its token.
    Request {
        /// Names the request in its answer.
        token: RequestToken,
        /// Of whom it came.
        context: RequestContext,
        /// What it asks.
        request: GroupRequest,
    },
    /// Time has passed.
    Tick,
    /// The records of an [`Output::Append`] are committed. Writes are reported in their order.
    RecordsCommitted(WriteId),
    /// The records of an [`Output::Append`] are not in the log and never will be. A write whose
    /// fate is unknown is no such thing: unload then, and load again.
    RecordsFailed(WriteId, ErrorCode),
    /// A topic was deleted; the offsets committed for it go.
    TopicDeleted(StrBytes),
    /// The partition has moved away (NOT_COORDINATOR) or the broker is stopping
    /// (COORDINATOR_NOT_AVAILABLE): every request that waits is answered with that error, as is
    /// every later one.
    Unload(ErrorCode),
}

/// What a coordinator asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Append these records to the partition as one batch, after those of earlier writes, and
    /// report with [`Input::RecordsCommitted`] or [`Input::RecordsFailed`].
    Append {
        /// Names the write in the report.
        write: WriteId,
        /// What to append.
        records: Vec<GroupRecord>,
    },
    /// Answer a request.
    Respond(RequestToken, GroupResponse),
}
