//! Asking the owner of a partition, be it this shard or another, and answering those who ask.

use std::future::ready;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, join_all};
use millstream_coordinator::{GroupRequest, GroupResponse, RequestContext};
use millstream_protocol::{ErrorCode, Offset, PartitionIndex, TopicPartition};
use millstream_reactor::{Reactor, Receiver, TaskQueue};
use millstream_replication::Acks;
use millstream_storage::AppendOrigin;

use super::messages::{
    DeleteRecordsPart, FetchRead, FetchResult, FoundOffset, ListOffsetsPart, ProducePart,
    ProduceResult, ShardMessage, ShardReply, ShardRequest, WatchId,
};
use super::partition::{Partition, Watcher};
use super::{Shard, ShardId};
use crate::metrics::ShardMetrics;

impl Shard {
    /// Sends each batch to its owner. Batches for one partition are appended in the order of the
    /// calls: what this does before it returns its future is in order, the rest is waiting.
    pub fn produce(
        self: &Rc<Self>,
        acks: Acks,
        timeout: Duration,
        parts: Vec<ProducePart>,
    ) -> impl Future<Output = Vec<(usize, ProduceResult)>> + use<> {
        let asked: Vec<_> = self
            .by_owner(parts, |part| part.partition)
            .into_iter()
            .map(|(owner, parts)| self.ask(owner, ShardRequest::Produce(acks, timeout, parts)))
            .collect();
        async move {
            let mut results = Vec::new();
            // All are under way: it does not matter which is waited for first.
            for reply in asked {
                match reply.await {
                    Some(ShardReply::Produce(some)) if results.is_empty() => results = some,
                    Some(ShardReply::Produce(some)) => results.extend(some),
                    _ => {}
                }
            }
            results
        }
    }

    /// Reads from the owners of the partitions.
    pub async fn fetch(self: &Rc<Self>, read: FetchRead) -> Vec<(usize, FetchResult)> {
        let FetchRead {
            isolation,
            watch,
            parts,
        } = read;
        let asked: Vec<_> = self
            .by_owner(parts, |part| part.partition)
            .into_iter()
            .map(|(owner, parts)| {
                self.ask(
                    owner,
                    ShardRequest::Fetch(FetchRead {
                        isolation,
                        watch,
                        parts,
                    }),
                )
            })
            .collect();
        let mut results = Vec::new();
        for reply in join_all(asked).await {
            if let Some(ShardReply::Fetch(some)) = reply {
                results.extend(some);
            }
        }
        results
    }

    /// Looks up offsets at the owners of the partitions.
    pub async fn list_offsets(
        self: &Rc<Self>,
        parts: Vec<ListOffsetsPart>,
    ) -> Vec<(usize, Result<FoundOffset, ErrorCode>)> {
        let asked: Vec<_> = self
            .by_owner(parts, |part| part.partition)
            .into_iter()
            .map(|(owner, parts)| self.ask(owner, ShardRequest::ListOffsets(parts)))
            .collect();
        let mut results = Vec::new();
        for reply in join_all(asked).await {
            if let Some(ShardReply::ListOffsets(some)) = reply {
                results.extend(some);
            }
        }
        results
    }

    /// Deletes records at the owners of the partitions; each result is the log's first offset then.
    pub async fn delete_records(
        self: &Rc<Self>,
        parts: Vec<DeleteRecordsPart>,
    ) -> Vec<(usize, Result<Offset, ErrorCode>)> {
        let asked: Vec<_> = self
            .by_owner(parts, |part| part.partition)
            .into_iter()
            .map(|(owner, parts)| self.ask(owner, ShardRequest::DeleteRecords(parts)))
            .collect();
        let mut results = Vec::new();
        for reply in join_all(asked).await {
            if let Some(ShardReply::DeleteRecords(some)) = reply {
                results.extend(some);
            }
        }
        results
    }

    /// The counters of all shards, in order.
    pub async fn all_metrics(self: &Rc<Self>) -> Vec<ShardMetrics> {
        let asked = (0..self.peers.count())
            .map(|shard| self.ask(ShardId(shard), ShardRequest::Metrics))
            .collect::<Vec<_>>();
        let replies = join_all(asked).await.into_iter();
        replies
            .filter_map(|reply| match reply {
                Some(ShardReply::Metrics(metrics)) => Some(*metrics),
                _ => None,
            })
            .collect()
    }

    /// Asks the coordinator on a partition of `__consumer_offsets`.
    pub async fn group(
        self: &Rc<Self>,
        index: PartitionIndex,
        context: RequestContext,
        request: GroupRequest,
    ) -> GroupResponse {
        let absent = request.error_response(context.api_version, ErrorCode::NotCoordinator);
        let image = self.image();
        let Some(topic) = image.topic_by_name(crate::GROUP_METADATA_TOPIC) else {
            return absent;
        };
        let partition = TopicPartition {
            topic_id: topic.id,
            partition: index,
        };
        let request = ShardRequest::Group(index, Box::new((context, request)));
        match self.ask(self.owner(partition), request).await {
            Some(ShardReply::Group(response)) => *response,
            _ => absent,
        }
    }

    /// A fetch is about to wait: the receiver completes when a partition it watches moves.
    pub fn new_watch(&self) -> (WatchId, oneshot::Receiver<()>) {
        let id = WatchId(self.next_watch.get());
        self.next_watch.set(id.0 + 1);
        (id, self.rearm_watch(id))
    }

    /// The same watch, to be woken again.
    pub fn rearm_watch(&self, id: WatchId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.watches.borrow_mut().insert(id, sender);
        receiver
    }

    /// The fetch waits no longer.
    pub fn end_watch(self: &Rc<Self>, id: WatchId, partitions: Vec<TopicPartition>) {
        self.watches.borrow_mut().remove(&id);
        for (owner, partitions) in self.by_owner(partitions, |partition| *partition) {
            if owner == self.id {
                self.unwatch((self.id, id), &partitions);
            } else {
                // The answer says nothing; it is dropped with its receiver.
                drop(self.call(owner, ShardRequest::Unwatch(id, partitions)));
            }
        }
    }

    /// Wakes a fetch of this or another shard.
    pub fn wake(&self, (shard, watch): Watcher) {
        if shard == self.id {
            if let Some(sender) = self.watches.borrow_mut().remove(&watch) {
                // The fetch may have ended since.
                let _ = sender.send(());
            }
        } else {
            self.peers.send(shard, ShardMessage::Wake(watch));
        }
    }

    pub(super) fn serve_peer(self: &Rc<Self>, from: ShardId, mut receiver: Receiver<ShardMessage>) {
        let shard = self.clone();
        let serve = async move {
            while let Some(message) = receiver.recv().await {
                match message {
                    ShardMessage::Reply(id, reply) => shard.peers.answered(id, reply),
                    ShardMessage::Wake(watch) => shard.wake((shard.id, watch)),
                    ShardMessage::Request {
                        id,
                        image_offset,
                        request,
                    } => {
                        // In the loop, so that later requests do not overtake this one.
                        shard
                            .wait_for_image(|image| image.offset() >= image_offset)
                            .await;
                        let answer = shard.start_request(from, request);
                        let answering = shard.clone();
                        let send = async move {
                            let reply = answer.await;
                            answering.peers.send(from, ShardMessage::Reply(id, reply));
                        };
                        shard.reactor.spawn(TaskQueue::Requests, send).detach();
                    }
                }
            }
        };
        let serve = self.reactor.spawn(TaskQueue::Requests, serve);
        self.tasks.borrow_mut().push(serve);
    }

    /// Asks the owner; what has an order is done, or on its way in order, when this returns.
    pub(super) fn ask(
        self: &Rc<Self>,
        owner: ShardId,
        request: ShardRequest,
    ) -> impl Future<Output = Option<ShardReply>> + use<> {
        if owner == self.id {
            Either::Left(self.start_request(self.id, request).map(Some))
        } else {
            Either::Right(self.call(owner, request).map(Result::ok))
        }
    }

    fn call(&self, to: ShardId, request: ShardRequest) -> oneshot::Receiver<ShardReply> {
        self.peers.call(to, self.image.borrow().offset(), request)
    }

    /// Whether every shard answers; waits for the slowest.
    pub async fn all_answer(self: &Rc<Self>) -> bool {
        let asked: Vec<_> = (0..self.peers.count())
            .map(|shard| self.ask(ShardId(shard), ShardRequest::CatchUp))
            .collect();
        join_all(asked).await.iter().all(Option::is_some)
    }

    /// Waits until every shard has this one's metadata, or has stopped.
    pub(super) async fn others_catch_up(self: &Rc<Self>) {
        let others = (0..self.peers.count())
            .map(ShardId)
            .filter(|shard| *shard != self.id);
        join_all(others.map(|shard| self.call(shard, ShardRequest::CatchUp))).await;
    }

    /// Starts what shard `from` asks.
    fn start_request(
        self: &Rc<Self>,
        from: ShardId,
        request: ShardRequest,
    ) -> LocalBoxFuture<'static, ShardReply> {
        match request {
            ShardRequest::Produce(acks, timeout, parts) => self.start_produce(acks, timeout, parts),
            ShardRequest::Fetch(read) => {
                let shard = self.clone();
                async move { ShardReply::Fetch(shard.read_parts(from, read).await) }.boxed_local()
            }
            ShardRequest::Metrics => {
                ready(ShardReply::Metrics(Box::new(self.metrics()))).boxed_local()
            }
            ShardRequest::Unwatch(watch, partitions) => {
                self.unwatch((from, watch), &partitions);
                std::future::ready(ShardReply::Done).boxed_local()
            }
            ShardRequest::CatchUp => std::future::ready(ShardReply::Done).boxed_local(),
            ShardRequest::ListOffsets(parts) => {
                let shard = self.clone();
                async move { ShardReply::ListOffsets(shard.look_up(parts).await) }.boxed_local()
            }
            ShardRequest::DeleteRecords(parts) => {
                let shard = self.clone();
                async move { ShardReply::DeleteRecords(shard.forget_records(parts).await) }
                    .boxed_local()
            }
            ShardRequest::LogSizes => {
                std::future::ready(ShardReply::LogSizes(self.own_log_sizes())).boxed_local()
            }
            ShardRequest::Producers(parts) => {
                std::future::ready(ShardReply::Producers(self.own_producers(parts))).boxed_local()
            }
            ShardRequest::Group(index, question) => {
                let coordinator = self.coordinators.borrow().get(&index).cloned();
                async move {
                    let (context, request) = *question;
                    let response = match coordinator {
                        Some(coordinator) => coordinator.call(context, request).await,
                        None => {
                            request.error_response(context.api_version, ErrorCode::NotCoordinator)
                        }
                    };
                    ShardReply::Group(Box::new(response))
                }
                .boxed_local()
            }
        }
    }

    fn start_produce(
        self: &Rc<Self>,
        acks: Acks,
        timeout: Duration,
        parts: Vec<ProducePart>,
    ) -> LocalBoxFuture<'static, ShardReply> {
        let waiting: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let result = self
                    .partition(part.partition)
                    .map(|partition| partition.produce(acks, part.batch, AppendOrigin::Client));
                (part.slot, result)
            })
            .collect();
        let reactor = self.reactor.clone();
        // The time is for replicas; the leader's own write has none, as in Kafka.
        let deadline = (acks == Acks::All).then(|| reactor.now() + timeout);
        async move {
            let mut results = Vec::with_capacity(waiting.len());
            for (slot, result) in waiting {
                let result = match (result, deadline) {
                    (Ok(receiver), Some(deadline)) => {
                        kept_in_time(&reactor, deadline, receiver).await
                    }
                    (Ok(receiver), None) => receiver
                        .await
                        .unwrap_or_else(|_| Err(ErrorCode::NotLeaderOrFollower.into())),
                    (Err(error), _) => Err(error.into()),
                };
                results.push((slot, result));
            }
            ShardReply::Produce(results)
        }
        .boxed_local()
    }

    async fn read_parts(&self, from: ShardId, read: FetchRead) -> Vec<(usize, FetchResult)> {
        let partitions: Vec<_> = read
            .parts
            .iter()
            .map(|part| self.partition(part.partition))
            .collect();
        // Watched before the read: what moves during it is not missed.
        if let Some((watch, _)) = read.watch {
            for partition in partitions.iter().flatten() {
                partition.watch((from, watch));
            }
        }
        let mut results = Vec::with_capacity(partitions.len());
        for (part, partition) in read.parts.iter().zip(&partitions) {
            let result = match partition {
                Ok(partition) => partition.fetch(read.isolation, part).await,
                Err(error) => FetchResult::failed(*error),
            };
            results.push((part.slot, result));
        }
        if let Some((watch, min_bytes)) = read.watch {
            let bytes: u64 = results.iter().map(|(_, result)| result.records.len).sum();
            let at_once =
                |result: &FetchResult| result.error.is_some() || result.diverging.is_some();
            if bytes >= min_bytes || results.iter().any(|(_, result)| at_once(result)) {
                for partition in partitions.iter().flatten() {
                    partition.unwatch((from, watch));
                }
            }
        }
        results
    }

    async fn look_up(
        &self,
        parts: Vec<ListOffsetsPart>,
    ) -> Vec<(usize, Result<FoundOffset, ErrorCode>)> {
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let result = match self.partition(part.partition) {
                Ok(partition) => partition.list_offset(&part).await,
                Err(error) => Err(error),
            };
            results.push((part.slot, result));
        }
        results
    }

    /// All at once: one write of the shard's checkpoint serves them.
    async fn forget_records(
        &self,
        parts: Vec<DeleteRecordsPart>,
    ) -> Vec<(usize, Result<Offset, ErrorCode>)> {
        let deletions = parts.into_iter().map(|part| async move {
            let result = match self.partition(part.partition) {
                Ok(partition) => partition.delete_records(part.before).await,
                Err(error) => Err(error),
            };
            (part.slot, result)
        });
        join_all(deletions).await
    }

    /// A partition that this shard owns. One that the image has and that is not open yet, or
    /// could not be opened, is told apart from one that does not exist.
    pub(super) fn partition(&self, id: TopicPartition) -> Result<Rc<Partition>, ErrorCode> {
        if let Some(partition) = self.partitions.borrow().get(&id) {
            return Ok(partition.clone());
        }
        if self.broken.borrow().contains(&id) {
            return Err(ErrorCode::KafkaStorageError);
        }
        let image = self.image.borrow();
        match image
            .topic(id.topic_id)
            .and_then(|topic| topic.partition(id.partition))
        {
            Some(_) if !self.deleted.borrow().contains(&id.topic_id) => {
                Err(ErrorCode::NotLeaderOrFollower)
            }
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    fn unwatch(&self, watcher: Watcher, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(partition) = self.partitions.borrow().get(partition) {
                partition.unwatch(watcher);
            }
        }
    }

    pub(super) fn by_owner<T>(
        &self,
        parts: Vec<T>,
        partition: impl Fn(&T) -> TopicPartition,
    ) -> Vec<(ShardId, Vec<T>)> {
        let owner = |part: &T| self.owner(partition(part));
        let Some(first) = parts.first().map(owner) else {
            return Vec::new();
        };
        if parts.iter().all(|part| owner(part) == first) {
            return vec![(first, parts)];
        }
        let mut by_owner: AHashMap<ShardId, Vec<T>> = AHashMap::new();
        for part in parts {
            by_owner.entry(owner(&part)).or_default().push(part);
        }
        by_owner.into_iter().collect()
    }
}

/// The result, or REQUEST_TIMED_OUT: then the batch stays appended all the same.
async fn kept_in_time(
    reactor: &Reactor,
    deadline: Instant,
    mut result: oneshot::Receiver<ProduceResult>,
) -> ProduceResult {
    // No timer for what is there already.
    let arrived = match result.try_recv() {
        Ok(Some(result)) => return result,
        Ok(None) => {
            let left = deadline.saturating_duration_since(reactor.now());
            reactor.timeout(left, result).await
        }
        Err(cancelled) => Ok(Err(cancelled)),
    };
    match arrived {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower.into()),
        Err(_) => Err(ErrorCode::RequestTimedOut.into()),
    }
}
