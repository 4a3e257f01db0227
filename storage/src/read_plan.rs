//! The answer to a read: whole batches, partly in memory, partly ranges of files.

use bytes::{Bytes, BytesMut};
use millstream_protocol::Offset;
use millstream_reactor::{Reactor, SharedFile, TailSlice};

use crate::error::StorageError;

/// Whole batches of one log in the order of their offsets. May go to another core.
#[derive(Clone, Default)]
pub struct ReadPlan {
    /// The bytes, in order.
    pub parts: Vec<ReadPart>,
    /// Bytes in all.
    pub len: u64,
    /// The base offset of the first batch, which may be below the offset asked for.
    pub first_offset: Option<Offset>,
    /// The offset after the last batch: where the next read starts.
    pub next_offset: Option<Offset>,
}

/// One piece of a plan.
#[derive(Clone)]
pub enum ReadPart {
    /// In memory.
    Memory(TailSlice),
    /// In a file.
    File(FileRange),
}

/// Bytes of a file.
#[derive(Clone)]
pub struct FileRange {
    /// The file; [`millstream_reactor::FileSystem::adopt`] opens it on any core of the process.
    pub file: SharedFile,
    /// Where in the file.
    pub position: u64,
    /// How many bytes.
    pub len: u64,
    /// The file's path, for messages.
    pub path: std::sync::Arc<std::path::Path>,
}

/// Bytes that one read request of [`ReadPlan::load`] asks for.
const LOAD_CHUNK_BYTES: u64 = 256 * 1024;
/// Requests of [`ReadPlan::load`] in flight.
const LOAD_DEPTH: usize = 8;

impl ReadPlan {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, part: ReadPart) {
        let len = match &part {
            ReadPart::Memory(slice) => slice.len() as u64,
            ReadPart::File(range) => range.len,
        };
        self.len += len;
        self.parts.push(part);
    }

    /// Reads what is in files, several requests in flight, so that all parts are in memory.
    pub async fn load(self, reactor: &Reactor) -> Result<Vec<Bytes>, StorageError> {
        let mut loaded = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            match part {
                ReadPart::Memory(slice) => loaded.push(slice.into()),
                ReadPart::File(range) => load_range(reactor, &range, &mut loaded).await?,
            }
        }
        Ok(loaded)
    }

    /// As [`ReadPlan::load`], in one piece. Copies, unless there is only one part.
    pub async fn load_contiguous(self, reactor: &Reactor) -> Result<Bytes, StorageError> {
        let mut parts = self.load(reactor).await?;
        if parts.len() == 1 {
            return Ok(parts.swap_remove(0));
        }
        let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in parts {
            joined.extend_from_slice(&part);
        }
        Ok(joined.freeze())
    }
}

async fn load_range(
    reactor: &Reactor,
    range: &FileRange,
    loaded: &mut Vec<Bytes>,
) -> Result<(), StorageError> {
    use futures::stream::{StreamExt, TryStreamExt};

    let file = reactor.fs().adopt(&range.file);
    let end = range.position + range.len;
    let chunks = (range.position..end)
        .step_by(LOAD_CHUNK_BYTES as usize)
        .map(|position| {
            let (file, range) = (file.clone(), range.clone());
            let len = LOAD_CHUNK_BYTES.min(end - position) as usize;
            async move { read_exactly(&file, &range, position, len).await }
        });
    let mut stream = futures::stream::iter(chunks).buffered(LOAD_DEPTH);
    while let Some(chunk) = stream.try_next().await? {
        loaded.push(chunk);
    }
    Ok(())
}

async fn read_exactly(
    file: &millstream_reactor::File,
    range: &FileRange,
    position: u64,
    len: usize,
) -> Result<Bytes, StorageError> {
    use millstream_reactor::BLOCK_SIZE;

    let lead = if file.is_direct() {
        (position % BLOCK_SIZE as u64) as usize
    } else {
        0
    };
    let ask = if file.is_direct() {
        (lead + len).next_multiple_of(BLOCK_SIZE)
    } else {
        len
    };
    let bytes = file
        .read_at(position - lead as u64, ask)
        .await
        .map_err(|cause| StorageError::io_at("read", &range.path, position, cause))?
        .into_bytes();
    if bytes.len() < lead + len {
        return Err(StorageError::damaged(
            &range.path,
            position,
            "the file ends within a batch",
        ));
    }
    Ok(bytes.slice(lead..lead + len))
}
