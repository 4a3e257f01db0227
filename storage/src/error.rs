//! What can go wrong with a log, with the file, the position in it and the cause.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_protocol::{Offset, ProducerId, TopicId};
use thiserror::Error;

/// The action of a flush in an error.
const FLUSH: &str = "flush";

/// A fault of the disk, or of what is on it. Clones share the cause; may go to another core.
#[derive(Debug, Clone, Error)]
pub enum StorageError {
    /// The file system refused.
    #[error("cannot {action} {path} at position {position}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Where in the file; 0 for the whole.
        position: u64,
        /// Why it failed.
        #[source]
        cause: Arc<io::Error>,
    },
    /// Bytes in a file are not what was written there.
    #[error("{path} is damaged at position {position}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The folder belongs to an earlier topic of the same name.
    #[error("{path} belongs to topic id {found}, not {expected}")]
    TopicIdMismatch {
        /// The partition's folder.
        path: PathBuf,
        /// The id in the folder.
        found: TopicId,
        /// The id of the topic to open.
        expected: TopicId,
    },
    /// The log is closed, or being deleted.
    #[error("the log in {path} is closed")]
    Closed {
        /// The partition's folder.
        path: PathBuf,
    },
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> StorageError {
        StorageError::io_at(action, path, 0, cause)
    }

    pub(crate) fn io_at(
        action: &'static str,
        path: &Path,
        position: u64,
        cause: io::Error,
    ) -> StorageError {
        StorageError::Io {
            action,
            path: path.to_owned(),
            position,
            cause: Arc::new(cause),
        }
    }

    /// Whether the disk had no room for a write, which may be tried again. What a flush says may
    /// not, whatever it is.
    pub fn is_full(&self) -> bool {
        match self {
            StorageError::Io { action, cause, .. } => {
                *action != FLUSH && cause.kind() == io::ErrorKind::StorageFull
            }
            _ => false,
        }
    }

    pub(crate) fn damaged(path: &Path, position: u64, reason: &'static str) -> StorageError {
        StorageError::Damaged {
            path: path.to_owned(),
            position,
            reason,
        }
    }
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    /// The producer's sequence number is not the next one (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    #[error("producer {producer_id}: sequence {sequence} after {last_sequence}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The first sequence number of the batch.
        sequence: i32,
        /// The last one that the log knows.
        last_sequence: i32,
    },
    /// The producer's epoch is older than the one known (`INVALID_PRODUCER_EPOCH`).
    #[error("producer {producer_id}: epoch {epoch} after {last_epoch}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch of the batch.
        epoch: i16,
        /// The epoch that the log knows.
        last_epoch: i16,
    },
    /// Larger than a whole segment (`RECORD_LIST_TOO_LARGE`).
    #[error("{len} bytes do not fit into a segment of {segment_bytes}")]
    LargerThanSegment {
        /// Bytes of the append.
        len: usize,
        /// The largest segment.
        segment_bytes: u32,
    },
    /// A replicated batch does not continue the log.
    #[error("a replicated batch starts at {base_offset}, the log ends at {log_end_offset}")]
    OffsetMismatch {
        /// The first offset of the batch.
        base_offset: Offset,
        /// Where the log ends.
        log_end_offset: Offset,
    },
    /// The bytes are not whole batches of version 2.
    #[error("not a record batch: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The shard's tail buffers are full of data on its way to the disk: wait on
    /// [`crate::ShardStore::room`] and try again.
    #[error("no tail buffer is free")]
    NoRoom,
    /// The log is being truncated.
    #[error("the log is being truncated")]
    Truncating,
    /// The disk is full. The log takes appends again when what it has could be written.
    #[error("the disk is full: {0}")]
    DiskFull(StorageError),
    /// The log is offline, for this reason.
    #[error("the log is offline: {0}")]
    Offline(StorageError),
}

/// Why records were not deleted.
#[derive(Debug, Clone, Error)]
pub enum DeleteRecordsError {
    /// Only what consumers see may be deleted (`OFFSET_OUT_OF_RANGE`).
    #[error("offset {offset} is above the high watermark {high_watermark}")]
    AboveHighWatermark {
        /// The offset asked for.
        offset: Offset,
        /// The log's high watermark.
        high_watermark: Offset,
    },
    /// The log is offline, or its new start could not be written down.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a read gave nothing.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// The offset is outside the log.
    #[error("offset {offset} is outside [{log_start_offset}, {log_end_offset}]")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset of the log.
        log_start_offset: Offset,
        /// The offset after the last of the log.
        log_end_offset: Offset,
    },
    /// The disk failed, or holds what was not written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
