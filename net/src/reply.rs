//! What a handler answers.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_reactor::{File, TailSlice};

/// The answer to one request.
pub enum Reply {
    /// A whole response frame, its 4-byte length in front, in parts.
    Send(Vec<Part>),
    /// No response is due (a produce request with acks=0).
    Nothing,
    /// Close the connection after the earlier responses have left.
    Close {
        /// Why, for the log.
        reason: Cow<'static, str>,
    },
}

/// A piece of a response.
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a buffer; many of them leave without a copy.
    Slice(TailSlice),
    /// Bytes of a file: spliced, or read in pieces when the file is `direct`.
    File(FileRange),
}

/// A range of a file.
#[derive(Clone)]
pub struct FileRange {
    /// The file.
    pub file: File,
    /// Its path, for messages.
    pub path: Arc<Path>,
    /// Where the range begins.
    pub position: u64,
    /// Its length.
    pub len: u64,
}

impl Part {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Slice(slice) => slice.len() as u64,
            Part::File(range) => range.len,
        }
    }

    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Part::File(range) if range.file.is_direct())
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Reply {
    /// A response frame that lies whole in memory.
    pub fn bytes(frame: Bytes) -> Reply {
        Reply::Send(vec![Part::Bytes(frame)])
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Part {
        Part::Bytes(bytes)
    }
}
