//! One partition on the shard that owns it: its log, its leader's state, and who waits for either.
//!
//! Appends happen in the order of the calls to [`Partition::produce`], also when the shard has no
//! buffer free and they must wait for one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use futures::channel::oneshot;
use millstream_protocol::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition};
use millstream_reactor::{Reactor, TaskQueue};
use millstream_replication::{
    Acks, Leadership, Partition as Leader, PartitionOutput, ProduceRefusal, WaitId,
};
use millstream_storage::{
    AppendError, AppendOrigin, DeleteRecordsError, Log, ReadError, ShardStore, StorageError,
};
use tracing::error;

use super::messages::{
    FetchPart, FetchResult, FoundOffset, Isolation, ListOffsetsPart, OffsetQuery, ProduceFailure,
    ProduceResult, Produced, WatchId,
};
use super::peers::ShardId;
use crate::metrics::Traffic;

/// Who is woken when the partition moves.
pub type Watcher = (ShardId, WatchId);

/// A partition that this shard owns.
pub struct Partition {
    id: TopicPartition,
    topic: Arc<str>,
    reactor: Reactor,
    store: Rc<ShardStore>,
    log: Rc<Log>,
    leader: RefCell<Leader>,
    waits: RefCell<AHashMap<WaitId, (oneshot::Sender<ProduceResult>, Produced)>>,
    next_wait: Cell<u64>,
    watchers: RefCell<AHashSet<Watcher>>,
    wake: Wake,
    unappended: RefCell<VecDeque<Unappended>>,
    following_log: Cell<bool>,
    offline: Cell<bool>,
    /// Its topic is deleted.
    ended: Cell<bool>,
    traffic: Traffic,
}

struct Unappended {
    acks: Acks,
    batch: Bytes,
    origin: AppendOrigin,
    result: oneshot::Sender<ProduceResult>,
}

/// Calls the given function for every watcher that a partition has to wake.
pub type Wake = Rc<dyn Fn(Watcher)>;

impl Partition {
    /// A partition whose log is open.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a partition joins; it has one caller"
    )]
    pub fn new(
        id: TopicPartition,
        topic: Arc<str>,
        local: NodeId,
        reactor: Reactor,
        store: Rc<ShardStore>,
        log: Rc<Log>,
        high_watermark: Offset,
        wake: Wake,
    ) -> Rc<Partition> {
        Rc::new(Partition {
            id,
            topic,
            reactor,
            store,
            log,
            leader: RefCell::new(Leader::new(local, high_watermark)),
            waits: RefCell::default(),
            next_wait: Cell::new(0),
            watchers: RefCell::default(),
            wake,
            unappended: RefCell::default(),
            following_log: Cell::new(false),
            offline: Cell::new(false),
            ended: Cell::new(false),
            traffic: Traffic::default(),
        })
    }

    /// Which partition it is.
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    /// Its topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Its log.
    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    /// What went through it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Whether it is led here and its log takes appends.
    pub fn is_usable(&self) -> bool {
        self.leader.borrow().leadership().is_some() && !self.offline.get()
    }

    /// Takes over the lead, or learns of a change.
    pub fn lead(&self, leadership: Leadership) {
        self.log.assign_leader_epoch(leadership.leader_epoch);
        self.leader.borrow_mut().lead(leadership);
        self.log_progressed();
    }

    /// Gives up the lead: whoever waits is told, watchers are woken.
    pub fn resign(&self) {
        self.leader.borrow_mut().resign();
        self.drain_outputs();
        self.wake_watchers();
    }

    /// Its topic is deleted: whoever waits, or still asks, is told that it does not exist.
    pub fn end(&self) {
        self.ended.set(true);
        self.resign();
    }

    /// Appends a checked batch; the result arrives when it is kept as `acks` asks.
    pub fn produce(
        self: &Rc<Self>,
        acks: Acks,
        batch: Bytes,
        origin: AppendOrigin,
    ) -> oneshot::Receiver<ProduceResult> {
        let (result, receiver) = oneshot::channel();
        let unappended = Unappended {
            acks,
            batch,
            origin,
            result,
        };
        if !self.unappended.borrow().is_empty() {
            self.unappended.borrow_mut().push_back(unappended);
            return receiver;
        }
        if let Some(unappended) = self.try_append(unappended) {
            self.unappended.borrow_mut().push_back(unappended);
            let partition = self.clone();
            self.reactor
                .spawn(TaskQueue::Requests, async move {
                    partition.append_as_room_comes().await
                })
                .detach();
        }
        receiver
    }

    /// Reads for a fetch.
    pub async fn fetch(&self, isolation: Isolation, part: &FetchPart) -> FetchResult {
        if let Err(error) = self.check_leader_epoch(part.current_leader_epoch) {
            return FetchResult::failed(error);
        }
        if self.offline.get() {
            return FetchResult::failed(ErrorCode::KafkaStorageError);
        }
        let mut result = FetchResult {
            error: None,
            high_watermark: self.high_watermark(),
            last_stable_offset: self.bound(Isolation::ReadCommitted),
            log_start_offset: self.log.log_start_offset(),
            records: Default::default(),
            diverging: None,
        };
        match self.divergence(part) {
            Ok(None) => {}
            Ok(diverging) => {
                result.diverging = diverging;
                return result;
            }
            Err(error) => return FetchResult::failed(error),
        }
        let offset = part.fetch_offset;
        if offset < result.log_start_offset || offset > self.log.log_end_offset() {
            return FetchResult::failed(ErrorCode::OffsetOutOfRange);
        }
        let bound = self.bound(isolation);
        if offset >= bound {
            return result;
        }
        let max_bytes = usize::try_from(part.max_bytes).unwrap_or(usize::MAX);
        match self
            .log
            .read(offset, max_bytes, bound, part.at_least_one)
            .await
        {
            Ok(plan) => {
                Traffic::add(&self.traffic.bytes_out, plan.len);
                result.records = plan;
                result
            }
            Err(cause) => {
                error!(topic = %self.topic, partition = %self.id.partition, %cause, "a read failed");
                FetchResult::failed(storage_error(&cause))
            }
        }
    }

    /// Looks up an offset (semantics of ListOffsets).
    pub async fn list_offset(&self, part: &ListOffsetsPart) -> Result<FoundOffset, ErrorCode> {
        self.check_leader_epoch(part.current_leader_epoch)?;
        let bound = self.bound(part.isolation);
        let by_record = match part.query {
            OffsetQuery::Latest => {
                let leader_epoch = self.epoch_of(self.log.log_end_offset());
                return Ok(FoundOffset {
                    timestamp: -1,
                    offset: bound,
                    leader_epoch,
                });
            }
            OffsetQuery::Earliest => {
                let offset = self.log.log_start_offset();
                let leader_epoch = self.epoch_of(offset);
                return Ok(FoundOffset {
                    timestamp: -1,
                    offset,
                    leader_epoch,
                });
            }
            OffsetQuery::EndOfEpoch(epoch) => {
                let (leader_epoch, offset) = self.log.end_offset_for_epoch(epoch);
                return Ok(FoundOffset {
                    timestamp: -1,
                    offset,
                    leader_epoch,
                });
            }
            OffsetQuery::Tiered => return Ok(FoundOffset::NONE),
            OffsetQuery::MaxTimestamp => self.log.max_timestamp_offset(bound).await,
            OffsetQuery::Timestamp(timestamp) => {
                self.log.offset_for_timestamp(timestamp, bound).await
            }
        };
        match by_record {
            Ok(Some(record)) if record.offset < bound => Ok(FoundOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: record.leader_epoch,
            }),
            Ok(_) => Ok(FoundOffset::NONE),
            Err(cause) => {
                error!(topic = %self.topic, partition = %self.id.partition, %cause, "a look-up failed");
                Err(storage_error(&cause))
            }
        }
    }

    /// Forgets the records below `before`, or with −1 all that consumers see; durable when this
    /// returns the log's first offset. Not for topics that are only compacted.
    pub async fn delete_records(&self, before: Offset) -> Result<Offset, ErrorCode> {
        self.check_leader_epoch(-1)?;
        if self.offline.get() {
            return Err(ErrorCode::KafkaStorageError);
        }
        let cleanup = self.log.config().cleanup;
        if cleanup.compact && !cleanup.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let before = match before {
            Offset(-1) => self.high_watermark(),
            before if before.0 < 0 => return Err(ErrorCode::OffsetOutOfRange),
            before => before,
        };
        match self.log.delete_records(before).await {
            Ok(log_start_offset) => {
                self.wake_watchers();
                Ok(log_start_offset)
            }
            Err(DeleteRecordsError::AboveHighWatermark { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(DeleteRecordsError::Storage(cause)) => {
                error!(topic = %self.topic, partition = %self.id.partition, %cause, "a deletion failed");
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    /// The offset below which consumers see.
    pub fn high_watermark(&self) -> Offset {
        self.leader.borrow().high_watermark()
    }

    /// The offset below which a reader of this isolation sees. Until there are transactions, the
    /// last stable offset is the high watermark.
    pub fn bound(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted | Isolation::ReadCommitted => self.high_watermark(),
        }
    }

    /// Wakes the watcher, once, when the partition moves.
    pub fn watch(&self, watcher: Watcher) {
        self.watchers.borrow_mut().insert(watcher);
    }

    /// Forgets a watcher.
    pub fn unwatch(&self, watcher: Watcher) {
        self.watchers.borrow_mut().remove(&watcher);
    }

    fn try_append(self: &Rc<Self>, unappended: Unappended) -> Option<Unappended> {
        let Unappended {
            acks,
            batch,
            origin,
            result,
        } = unappended;
        let epoch = match self.leader.borrow().check_produce(acks) {
            Ok(epoch) => epoch,
            Err(refusal) => {
                let _ = result.send(Err(self.refusal_error(refusal).into()));
                return None;
            }
        };
        match self
            .log
            .append(&batch, epoch, origin, self.reactor.wall_clock_ms())
        {
            Ok(appended) => {
                if !appended.duplicate {
                    let records = appended.last_offset.0 - appended.base_offset.0 + 1;
                    Traffic::add(&self.traffic.records_in, records.unsigned_abs());
                    Traffic::add(&self.traffic.bytes_in, batch.len() as u64);
                }
                let produced = Produced {
                    base_offset: appended.base_offset,
                    log_append_time_ms: appended.log_append_time,
                    log_start_offset: appended.log_start_offset,
                };
                self.answer_when_kept(acks, appended.last_offset.next(), produced, result);
                None
            }
            Err(AppendError::NoRoom | AppendError::Truncating) => Some(Unappended {
                acks,
                batch,
                origin,
                result,
            }),
            Err(refused) => {
                Traffic::add(&self.traffic.refused, 1);
                let _ = result.send(Err(append_failure(&refused)));
                None
            }
        }
    }

    fn answer_when_kept(
        self: &Rc<Self>,
        acks: Acks,
        end_offset: Offset,
        produced: Produced,
        result: oneshot::Sender<ProduceResult>,
    ) {
        if acks == Acks::None {
            let _ = result.send(Ok(produced));
        } else {
            let wait = WaitId(self.next_wait.get());
            self.next_wait.set(wait.0 + 1);
            self.waits.borrow_mut().insert(wait, (result, produced));
            self.leader.borrow_mut().wait(acks, end_offset, wait);
        }
        self.log_progressed();
        if !self.following_log.replace(true) {
            let partition = self.clone();
            self.reactor
                .spawn(
                    TaskQueue::Requests,
                    async move { partition.follow_log().await },
                )
                .detach();
        }
    }

    async fn append_as_room_comes(self: Rc<Self>) {
        loop {
            let room = self.store.room().notified();
            let Some(next) = self.unappended.borrow_mut().pop_front() else {
                return;
            };
            // While this one is out of the queue nobody can overtake it: `produce` runs only at
            // suspension points of this task.
            if let Some(next) = self.try_append(next) {
                self.unappended.borrow_mut().push_front(next);
                room.await;
            }
        }
    }

    /// Runs as long as the log has something on its way to the disk.
    async fn follow_log(self: Rc<Self>) {
        loop {
            let progress = self.log.progress().notified();
            self.log_progressed();
            if self.offline.get() || self.log.durable_offset() >= self.log.log_end_offset() {
                self.following_log.set(false);
                return;
            }
            progress.await;
        }
    }

    fn log_progressed(&self) {
        if let Some(cause) = self.log.offline() {
            self.go_offline(&cause);
            return;
        }
        let kept = self.log.durable_offset();
        let leader_kept = self.log.written_offset().max(kept);
        self.leader.borrow_mut().local_progress(kept, leader_kept);
        self.drain_outputs();
        if self.log.disk_full().is_some() {
            self.fail_waits();
        }
    }

    fn go_offline(&self, cause: &StorageError) {
        if self.offline.replace(true) {
            return;
        }
        error!(topic = %self.topic, partition = %self.id.partition, %cause, "the partition is offline");
        self.fail_waits();
        self.wake_watchers();
    }

    /// Tells producers that nobody knows when, or whether, their batches will be kept. On a full
    /// disk they are written later all the same, as after a time-out; an idempotent producer that
    /// tries again then finds them there.
    fn fail_waits(&self) {
        for (_, (result, _)) in self.waits.borrow_mut().drain() {
            let _ = result.send(Err(ErrorCode::KafkaStorageError.into()));
        }
    }

    fn drain_outputs(&self) {
        loop {
            let output = self.leader.borrow_mut().poll_output();
            let Some(output) = output else { return };
            let (wait, failure) = match output {
                PartitionOutput::HighWatermarkAdvanced(high_watermark) => {
                    self.log.set_high_watermark(high_watermark);
                    self.wake_watchers();
                    continue;
                }
                PartitionOutput::Acknowledged(wait) => (wait, None),
                PartitionOutput::AcknowledgedBelowMinimum(wait) => {
                    (wait, Some(ErrorCode::NotEnoughReplicasAfterAppend))
                }
                PartitionOutput::LeadershipLost(wait) => (wait, Some(self.not_leader())),
            };
            if let Some((result, produced)) = self.waits.borrow_mut().remove(&wait) {
                // The request may have timed out, or its connection be gone.
                let _ = result.send(failure.map_or(Ok(produced), |error| Err(error.into())));
            }
        }
    }

    fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut *self.watchers.borrow_mut());
        for watcher in watchers {
            (self.wake)(watcher);
        }
    }

    /// The term in which the record at `offset` was written, or the last one at the log's end.
    fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        let epochs = self.log.leader_epochs();
        let entry = epochs
            .iter()
            .rev()
            .find(|entry| entry.start_offset <= offset);
        entry.map_or(LeaderEpoch::NONE, |entry| entry.epoch)
    }

    /// Compares the client's idea of the leader's term with ours (KIP-320).
    fn check_leader_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        let leader = self.leader.borrow();
        let leadership = leader.leadership().ok_or_else(|| self.not_leader())?;
        match known {
            -1 => Ok(()),
            known if known < leadership.leader_epoch.0 => Err(ErrorCode::FencedLeaderEpoch),
            known if known > leadership.leader_epoch.0 => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    fn refusal_error(&self, refusal: ProduceRefusal) -> ErrorCode {
        match refusal {
            ProduceRefusal::NotLeader => self.not_leader(),
            ProduceRefusal::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        }
    }

    /// Why a partition without a leader here answers nothing.
    fn not_leader(&self) -> ErrorCode {
        if self.ended.get() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::NotLeaderOrFollower
        }
    }

    /// Where the reader's log parted from this one, if it did (KIP-595). An epoch that this log
    /// knows nothing of is out of range.
    fn divergence(&self, part: &FetchPart) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
        if part.last_fetched_epoch < 0 {
            return Ok(None);
        }
        let (epoch, end) = self
            .log
            .end_offset_for_epoch(LeaderEpoch(part.last_fetched_epoch));
        if epoch.0 < 0 || end.0 < 0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let parted = epoch.0 < part.last_fetched_epoch || end < part.fetch_offset;
        Ok(parted.then_some((epoch, end)))
    }
}

fn append_failure(refused: &AppendError) -> ProduceFailure {
    let error = match refused {
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::OffsetMismatch { .. } => ErrorCode::UnknownServerError,
        AppendError::Malformed { .. } => ErrorCode::CorruptMessage,
        AppendError::DiskFull(_) | AppendError::Offline(_) => ErrorCode::KafkaStorageError,
        AppendError::NoRoom | AppendError::Truncating => ErrorCode::RequestTimedOut,
    };
    ProduceFailure {
        error,
        message: Some(refused.to_string()),
        records: Vec::new(),
    }
}

fn storage_error(cause: &ReadError) -> ErrorCode {
    match cause {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Storage(StorageError::Damaged { .. }) => ErrorCode::CorruptMessage,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}
