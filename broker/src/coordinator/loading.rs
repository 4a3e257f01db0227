//! Loading a coordinator: the partition's log, read from its start and replayed.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use millstream_coordinator::{GroupCoordinator, Input, ReplayError};
use millstream_protocol::compression::Decompressor;
use millstream_protocol::group_records::{GroupRecordError, decode_group_record};
use millstream_protocol::record_batch::{BatchError, Batches, RecordsError};
use millstream_protocol::{Offset, StrBytes};
use millstream_storage::{ReadError, StorageError};
use thiserror::Error;
use tracing::{error, info, warn};

use super::CoordinatorShell;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Most bytes that the records of one batch take.
const BATCH_BYTES: usize = 256 << 20;

/// Why the log cannot be replayed.
#[derive(Debug, Error)]
enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("nothing could be read at offset {next} of a log that ends at {end}")]
    Short { next: Offset, end: Offset },
    #[error("the batch at offset {offset}: {cause}")]
    Batch { offset: Offset, cause: BatchError },
    #[error("the batch at offset {offset}: {cause}")]
    Records { offset: Offset, cause: RecordsError },
    #[error("the record at offset {offset}: {cause}")]
    Record {
        offset: Offset,
        cause: GroupRecordError,
    },
    #[error("the record at offset {offset}: {cause}")]
    Replay { offset: Offset, cause: ReplayError },
}

impl CoordinatorShell {
    /// Replays the log, then lets requests in; if that fails, clients are told NOT_COORDINATOR, as
    /// Kafka tells them, until it succeeds. Whether it did not fail.
    pub(super) async fn load(self: &Rc<Self>) -> bool {
        let started: Instant = self.reactor.now();
        let partition = self.partition.id().partition;
        match self.replay().await {
            Ok(0) => {}
            Ok(records) => {
                let took = self.reactor.now() - started;
                info!(%partition, records, ?took, "groups and offsets are loaded");
            }
            Err(cause) => {
                error!(%partition, %cause, "groups and offsets cannot be loaded");
                self.lose();
                return false;
            }
        }
        let gone = self.topics_gone().await;
        if !self.is_live() {
            return false;
        }
        self.handle(Input::Loaded);
        for topic in gone {
            self.handle(Input::TopicDeleted(topic));
        }
        true
    }

    /// Topics that have offsets and are deleted: while nobody could take note of it, or by a node
    /// that went down before it had recorded the end of their offsets.
    async fn topics_gone(&self) -> BTreeSet<StrBytes> {
        let mut gone: BTreeSet<StrBytes> = self.core.borrow().topics_with_offsets().collect();
        let Some(shard) = self.shard.upgrade() else {
            return BTreeSet::new();
        };
        // Before that the shard's image is none, or one without what is loaded here.
        let own = self.partition.id().topic_id;
        shard
            .wait_for_image(|image| image.topic(own).is_some() || !self.is_live())
            .await;
        let image = shard.image();
        gone.retain(|topic| image.topic_by_name(topic).is_none());
        gone.extend(self.deleted_topics.take());
        gone
    }

    async fn replay(&self) -> Result<u64, LoadError> {
        let log = self.partition.log();
        // Nobody appends before the coordinator is loaded.
        let end = log.log_end_offset();
        let mut next = log.log_start_offset();
        let mut decompressor = Decompressor::default();
        let mut count = 0;
        while next < end && self.is_live() {
            let plan = log.read(next, READ_BYTES, end, true).await?;
            let Some(after) = plan.next_offset else {
                return Err(LoadError::Short { next, end });
            };
            let bytes = plan.load_contiguous(&self.reactor).await?;
            count += self.replay_batches(next, &bytes, &mut decompressor)?;
            next = after;
        }
        Ok(count)
    }

    fn replay_batches(
        &self,
        from: Offset,
        bytes: &[u8],
        decompressor: &mut Decompressor,
    ) -> Result<u64, LoadError> {
        let mut core = self.core.borrow_mut();
        let mut offset = from;
        let mut count = 0;
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|cause| LoadError::Batch { offset, cause })?;
            batch
                .check_crc()
                .map_err(|cause| LoadError::Batch { offset, cause })?;
            let base_offset = batch.header().base_offset;
            offset = batch.header().next_offset();
            if batch.header().attributes.is_control() {
                continue;
            }
            let unreadable = |cause| LoadError::Records {
                offset: base_offset,
                cause,
            };
            for record in batch
                .records(decompressor, BATCH_BYTES)
                .map_err(unreadable)?
            {
                let record = record.map_err(unreadable)?;
                let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
                let value = record.value.map(Bytes::copy_from_slice);
                replay_record(&mut core, record.offset, &key, value.as_ref())?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// A record that is not understood is passed over, as in Kafka: a later version may have
/// written it.
fn replay_record(
    core: &mut GroupCoordinator,
    offset: Offset,
    key: &Bytes,
    value: Option<&Bytes>,
) -> Result<(), LoadError> {
    let record = match decode_group_record(key, value) {
        Ok(record) => record,
        Err(cause @ GroupRecordError::UnknownVersion { .. }) => {
            warn!(%offset, %cause, "passed over");
            return Ok(());
        }
        Err(cause) => return Err(LoadError::Record { offset, cause }),
    };
    core.replay(record)
        .map_err(|cause| LoadError::Replay { offset, cause })
}
