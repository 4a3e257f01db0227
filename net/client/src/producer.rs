//! Writing records: collected into a batch for each partition, sent when full or old enough.
//!
//! Each partition has one task and one batch on its way at a time, so records arrive in the order
//! they were given, retries included; with idempotence also exactly once. Batches of different
//! partitions travel side by side. The memory of unsent records is bounded: [`Producer::send`]
//! waits for room.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bytes::Bytes;
use futures::channel::oneshot;
use millstream_net::{MemoryBudget, MemoryPermit};
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use millstream_protocol::messages::{self, InitProducerIdRequest};
use millstream_protocol::record_batch::{BatchBuilder, increment_sequence};
use millstream_protocol::{ErrorCode, ProducerId};
use millstream_reactor::{Notify, Task, TaskQueue};

use crate::backoff::Backoff;
use crate::client::{Client, Purpose, topic_name};
use crate::error::{ClientError, Result};
use crate::offsets::NamedPartition;
use crate::partitioner::partition_for_key;
use crate::record::{ProducerRecord, RecordMetadata};

/// The last version that names topics instead of giving their ids.
const MAX_PRODUCE_VERSION: i16 = 12;
/// What a record costs in memory beside its bytes.
const RECORD_OVERHEAD: usize = 64;

/// Who must have a batch before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: no answer is waited for.
    None,
    /// The leader.
    Leader,
    /// Every replica that is in sync.
    All,
}

/// How a producer writes.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Who must have a batch.
    pub acks: Acks,
    /// How batches are compressed.
    pub codec: Codec,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How large it grows before compression; a larger record is a batch of its own.
    pub batch_bytes: usize,
    /// How much memory unsent records may take.
    pub buffer_bytes: usize,
    /// How long a batch is tried before its records count as failed.
    pub delivery_timeout: Duration,
    /// Whether the broker is to recognise batches that it has already.
    pub idempotent: bool,
    /// Whether a topic that does not exist is made.
    pub create_topics: bool,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            codec: Codec::None,
            linger: Duration::from_millis(5),
            batch_bytes: 256 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            idempotent: false,
            create_topics: true,
        }
    }
}

/// Writes records. Dropping it gives up what is unsent: [`Producer::flush`] first.
pub struct Producer {
    inner: Rc<Inner>,
    tasks: RefCell<Vec<Task<()>>>,
}

struct Inner {
    client: Client,
    config: ProducerConfig,
    buffer: MemoryBudget,
    partitions: RefCell<BTreeMap<NamedPartition, Rc<Partition>>>,
    /// Where records without a key of each topic go, until that batch is full.
    sticky: RefCell<AHashMap<Rc<str>, i32>>,
    identity: RefCell<Option<Identity>>,
    flushing: Cell<usize>,
    unfinished: Cell<usize>,
    finished: Notify,
}

/// What the broker recognises this producer by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    id: i64,
    epoch: i16,
}

struct Partition {
    name: NamedPartition,
    queue: RefCell<VecDeque<Batch>>,
    changed: Notify,
    sequence: Cell<(Option<Identity>, i32)>,
}

struct Batch {
    builder: BatchBuilder,
    opened: Instant,
    sealed: bool,
    deliveries: Vec<(i64, oneshot::Sender<Result<RecordMetadata>>)>,
    permits: Vec<MemoryPermit>,
}

/// The fate of a record, known once its batch was answered.
pub struct Delivery {
    result: oneshot::Receiver<Result<RecordMetadata>>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<RecordMetadata>> {
        Pin::new(&mut self.result)
            .poll(cx)
            .map(|result| match result {
                Ok(result) => result,
                Err(_) => Err(ClientError::Misuse(
                    "the producer was dropped before it was flushed",
                )),
            })
    }
}

impl Producer {
    /// A producer for the cluster of `client`.
    pub fn new(client: Client, config: ProducerConfig) -> Producer {
        Producer {
            inner: Rc::new(Inner {
                buffer: MemoryBudget::new(config.buffer_bytes),
                client,
                config,
                partitions: RefCell::default(),
                sticky: RefCell::default(),
                identity: RefCell::default(),
                flushing: Cell::new(0),
                unfinished: Cell::new(0),
                finished: Notify::new(),
            }),
            tasks: RefCell::default(),
        }
    }

    /// Takes a record, waiting for room in memory; its fate is known later.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let inner = &self.inner;
        let partition = inner.choose_partition(&record).await?;
        let partition = self.partition((record.topic.clone(), partition));
        let size = record_size(&record);
        let permit = inner.buffer.acquire(RECORD_OVERHEAD + size).await;
        let (sender, result) = oneshot::channel();
        inner.append(&partition, record, size, sender, permit);
        Ok(Delivery { result })
    }

    /// Waits until every record taken so far was written or has failed, without lingering.
    pub async fn flush(&self) {
        let inner = &self.inner;
        inner.flushing.set(inner.flushing.get() + 1);
        for partition in inner.partitions.borrow().values() {
            partition.changed.notify_waiters();
        }
        loop {
            let finished = inner.finished.notified();
            if inner.unfinished.get() == 0 {
                break;
            }
            finished.await;
        }
        inner.flushing.set(inner.flushing.get() - 1);
    }

    fn partition(&self, name: NamedPartition) -> Rc<Partition> {
        if let Some(partition) = self.inner.partitions.borrow().get(&name) {
            return partition.clone();
        }
        let partition = Rc::new(Partition {
            name: name.clone(),
            queue: RefCell::default(),
            changed: Notify::new(),
            sequence: Cell::new((None, 0)),
        });
        let sending = send_batches(self.inner.clone(), partition.clone());
        let task = self
            .inner
            .client
            .reactor()
            .spawn(TaskQueue::Requests, sending);
        self.tasks.borrow_mut().push(task);
        let mut partitions = self.inner.partitions.borrow_mut();
        partitions.insert(name, partition.clone());
        partition
    }
}

impl Inner {
    async fn choose_partition(&self, record: &ProducerRecord) -> Result<i32> {
        let create = self.config.create_topics;
        let count = self.client.partition_count(&record.topic, create).await?;
        match (record.partition, &record.key) {
            (Some(partition), _) if (0..count).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(ClientError::UnknownPartition {
                topic: record.topic.clone(),
                partition,
                count: usize::try_from(count).unwrap_or(0),
            }),
            (None, Some(key)) => Ok(partition_for_key(key, count)),
            (None, None) => {
                let mut sticky = self.sticky.borrow_mut();
                let random =
                    || self.client.reactor().random_u64() % u64::from(count.unsigned_abs());
                let chosen = sticky
                    .entry(record.topic.clone())
                    .or_insert_with(|| i32::try_from(random()).unwrap_or(0));
                Ok(*chosen)
            }
        }
    }

    fn append(
        &self,
        partition: &Partition,
        record: ProducerRecord,
        size: usize,
        delivery: oneshot::Sender<Result<RecordMetadata>>,
        permit: MemoryPermit,
    ) {
        let reactor = self.client.reactor();
        let timestamp = record.timestamp.unwrap_or_else(|| reactor.wall_clock_ms());
        let headers: Vec<(&str, Option<&[u8]>)> = record
            .headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        let mut queue = partition.queue.borrow_mut();
        let has_room = queue.back().is_some_and(|batch| {
            !batch.sealed && batch.builder.size_in_bytes() + size <= self.config.batch_bytes
        });
        if !has_room {
            if let Some(full) = queue.back_mut() {
                full.sealed = true;
                self.sticky.borrow_mut().remove(&record.topic);
            }
            queue.push_back(Batch {
                builder: BatchBuilder::new(self.config.codec),
                opened: reactor.now(),
                sealed: false,
                deliveries: Vec::new(),
                permits: Vec::new(),
            });
        }
        let batch = queue.back_mut().expect("there is one with room");
        batch.builder.push(
            timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
        batch.sealed = batch.builder.size_in_bytes() >= self.config.batch_bytes;
        batch.deliveries.push((timestamp, delivery));
        batch.permits.push(permit);
        self.unfinished.set(self.unfinished.get() + 1);
        let wakes = batch.sealed || batch.deliveries.len() == 1 || queue.len() > 1;
        drop(queue);
        if wakes {
            partition.changed.notify_waiters();
        }
    }

    /// The producer's identity, asked for when it is first needed.
    async fn identity(&self) -> Result<Option<Identity>> {
        if !self.config.idempotent {
            return Ok(None);
        }
        if let Some(identity) = *self.identity.borrow() {
            return Ok(Some(identity));
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(messages::ProducerId(-1))
            .with_producer_epoch(-1);
        let response = self
            .client
            .retry(async || {
                let response = self.client.any_broker().await?.call(&request).await?;
                ClientError::check(|| "InitProducerId".to_owned(), response.error_code, None)?;
                Ok(response)
            })
            .await?;
        let identity = Identity {
            id: response.producer_id.0,
            epoch: response.producer_epoch,
        };
        // Another partition may have asked at the same time: the first answer counts.
        Ok(Some(*self.identity.borrow_mut().get_or_insert(identity)))
    }

    /// Sends a batch until it is written or has failed for good; gives its first offset and, where
    /// the broker sets it, its time.
    async fn deliver(&self, partition: &Partition, builder: BatchBuilder) -> Result<(i64, i64)> {
        let (topic, index) = &partition.name;
        let count = builder.records_count();
        let identity = self.identity().await?;
        let builder = match identity {
            None => builder,
            Some(Identity { id, epoch }) => {
                let (known, sequence) = partition.sequence.get();
                let sequence = if known == identity { sequence } else { 0 };
                partition.sequence.set((identity, sequence));
                builder.producer(ProducerId(id), epoch, sequence)
            }
        };
        let records = builder.build().map_err(|error| ClientError::Records {
            topic: topic.clone(),
            partition: *index,
            offset: -1,
            cause: error.to_string().into(),
        })?;
        let mut backoff = Backoff::new(self.client.reactor(), self.config.delivery_timeout);
        loop {
            let error = match self.produce(&partition.name, records.clone()).await {
                Ok(written) => {
                    let (known, sequence) = partition.sequence.get();
                    partition
                        .sequence
                        .set((known, increment_sequence(sequence, count)));
                    return Ok(written);
                }
                Err(error) => error,
            };
            self.client.forget(topic);
            if !error.is_retriable() || !backoff.wait().await {
                // Whether the broker has the batch is unknown: only another identity, with
                // sequences from 0 on, is safe to go on with.
                if identity == *self.identity.borrow() {
                    self.identity.take();
                }
                return Err(error);
            }
        }
    }

    async fn produce(&self, (topic, index): &NamedPartition, records: Bytes) -> Result<(i64, i64)> {
        let leader = self.client.leader(topic, *index).await?;
        let connection = self.client.broker(leader, Purpose::Control).await?;
        let version = connection
            .version::<ProduceRequest>()?
            .min(MAX_PRODUCE_VERSION);
        let data = PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(records));
        let topic_data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let timeout = connection.request_timeout();
        let request = ProduceRequest::default()
            .with_acks(match self.config.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            })
            .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![topic_data]);
        if self.config.acks == Acks::None {
            connection.send(&request, version).await?;
            return Ok((-1, -1));
        }
        let response = connection.call_version(&request, version, timeout).await?;
        let what = || format!("producing to {topic}-{index}");
        let answer = response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partition_responses)
            .next()
            .ok_or_else(|| ClientError::Broker {
                what: what().into(),
                code: ErrorCode::UnknownServerError,
                message: Some("the broker's answer does not mention it".into()),
            })?;
        // The broker has the batch already: an earlier attempt got through.
        if answer.error_code != ErrorCode::DuplicateSequenceNumber.code() {
            let message = answer.error_message.as_deref();
            ClientError::check(what, answer.error_code, message)?;
        }
        Ok((answer.base_offset, answer.log_append_time_ms))
    }
}

/// Sends a partition's batches, one after another.
async fn send_batches(inner: Rc<Inner>, partition: Rc<Partition>) {
    loop {
        let batch = next_batch(&inner, &partition).await;
        let Batch {
            builder,
            deliveries,
            permits,
            ..
        } = batch;
        let result = inner.deliver(&partition, builder).await;
        drop(permits);
        let (topic, index) = &partition.name;
        let count = deliveries.len();
        for (delta, (timestamp, delivery)) in (0..).zip(deliveries) {
            let result = result
                .clone()
                .map(|(base_offset, append_time)| RecordMetadata {
                    topic: topic.clone(),
                    partition: *index,
                    offset: if base_offset < 0 {
                        -1
                    } else {
                        base_offset + delta
                    },
                    timestamp: if append_time < 0 {
                        timestamp
                    } else {
                        append_time
                    },
                });
            // Whoever sent it may not care.
            let _ = delivery.send(result);
        }
        inner.unfinished.set(inner.unfinished.get() - count);
        inner.finished.notify_waiters();
    }
}

/// The oldest batch, once it is full, old enough, or wanted by a flush.
async fn next_batch(inner: &Inner, partition: &Partition) -> Batch {
    let reactor = inner.client.reactor();
    loop {
        let changed = partition.changed.notified();
        let opened = {
            let mut queue = partition.queue.borrow_mut();
            let flushing = inner.flushing.get() > 0;
            let due = |batch: &Batch| {
                let age = reactor.now() - batch.opened;
                batch.sealed || flushing || age >= inner.config.linger
            };
            if queue.front().is_some_and(due) {
                // Records to come belong to another batch, perhaps of another partition.
                inner.sticky.borrow_mut().remove(&partition.name.0);
                return queue.pop_front().expect("there is a first one");
            }
            queue.front().map(|batch| batch.opened)
        };
        match opened {
            None => changed.await,
            Some(opened) => {
                let left = (opened + inner.config.linger).saturating_duration_since(reactor.now());
                // Both ways out lead to another look.
                let _ = reactor.timeout(left, changed).await;
            }
        }
    }
}

fn record_size(record: &ProducerRecord) -> usize {
    let headers: Vec<(&str, Option<&[u8]>)> = record
        .headers
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .collect();
    BatchBuilder::record_size_max(record.key.as_deref(), record.value.as_deref(), &headers)
}
