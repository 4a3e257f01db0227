//! The shell of the group coordinator: one for each partition of `__consumer_offsets` led here.
//!
//! `millstream-coordinator` decides; this gives it its log, its clock and its randomness. Writes
//! go to the partition in the order in which they were decided, and are reported in that order.
//! What became of a write that fails after it was appended is not known, so the coordinator is
//! unloaded then, and loaded again once the log can be used and has nothing on its way: clients find
//! it again, and what is in the log counts.

mod loading;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::select;
use millstream_coordinator::{
    GroupCoordinator, GroupCoordinatorConfig, GroupRequest, GroupResponse, Input, Output,
    RequestContext, RequestToken, WriteId,
};
use millstream_protocol::compression::{Codec, CompressionError};
use millstream_protocol::group_records::{GroupRecord, GroupRecordError};
use millstream_protocol::record_batch::BatchBuilder;
use millstream_protocol::{ErrorCode, StrBytes};
use millstream_reactor::{Notify, Reactor, TaskQueue};
use millstream_replication::Acks;
use millstream_storage::AppendOrigin;
use thiserror::Error;
use tracing::error;

use crate::shard::{Partition, ProduceResult, Shard};

/// The coordinator of one partition of `__consumer_offsets`, at work.
pub struct CoordinatorShell {
    reactor: Reactor,
    config: GroupCoordinatorConfig,
    partition: Rc<Partition>,
    commit_timeout: Duration,
    core: RefCell<GroupCoordinator>,
    answers: RefCell<AHashMap<RequestToken, oneshot::Sender<GroupResponse>>>,
    next_token: Cell<u64>,
    /// On their way, in their order.
    writes: RefCell<VecDeque<(WriteId, Fate)>>,
    reporting: Cell<bool>,
    /// The next deadline is sooner than it was, or the coordinator is unloaded.
    rescheduled: Notify,
    standing: Cell<Standing>,
    shard: Weak<Shard>,
    /// Topics that were deleted before the coordinator could take note.
    deleted_topics: RefCell<Vec<StrBytes>>,
}

/// Whether the coordinator is at work, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It loads, or is loaded.
    Live,
    /// It is to be loaded again.
    Lost,
    /// It is unloaded for good.
    Ended,
}

/// The first wait before a coordinator is loaded again; each that was in vain doubles it.
const FIRST_RELOAD_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const MOST_RELOAD_WAIT: Duration = Duration::from_secs(10);

/// What becomes of a write.
enum Fate {
    /// It is committed.
    Kept,
    /// It is appended; the result tells when it is committed.
    Appended(oneshot::Receiver<ProduceResult>),
    /// It is not in the log, for this reason.
    Refused(ErrorCode),
}

/// Why records cannot be put into a batch.
#[derive(Debug, Error)]
enum BatchError {
    #[error(transparent)]
    Record(#[from] GroupRecordError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("a batch of {size} bytes is beyond the {limit} of max.message.bytes")]
    TooLarge { size: usize, limit: u32 },
}

impl CoordinatorShell {
    /// Starts to load the coordinator; requests are answered COORDINATOR_LOAD_IN_PROGRESS until
    /// that is done.
    pub fn start(shard: &Rc<Shard>, partition: &Rc<Partition>) -> Rc<CoordinatorShell> {
        let reactor = shard.reactor().clone();
        let config: GroupCoordinatorConfig = shard.config().groups.clone();
        let shell = Rc::new(CoordinatorShell {
            core: RefCell::new(GroupCoordinator::new(config.clone(), reactor.now())),
            partition: partition.clone(),
            commit_timeout: shard.config().offsets_commit_timeout,
            answers: RefCell::default(),
            next_token: Cell::new(0),
            writes: RefCell::default(),
            reporting: Cell::new(false),
            rescheduled: Notify::new(),
            standing: Cell::new(Standing::Live),
            shard: Rc::downgrade(shard),
            deleted_topics: RefCell::default(),
            config,
            reactor,
        });
        let live = shell.clone();
        let life = async move { live.live().await };
        shell.reactor.spawn(TaskQueue::Requests, life).detach();
        shell
    }

    async fn live(self: &Rc<Self>) {
        let mut wait = FIRST_RELOAD_WAIT;
        loop {
            if self.load().await {
                wait = FIRST_RELOAD_WAIT;
                self.keep_time().await;
            }
            loop {
                if self.standing.get() == Standing::Ended {
                    return;
                }
                self.reactor.sleep(wait).await;
                wait = (wait * 2).min(MOST_RELOAD_WAIT);
                if self.is_settled() {
                    break;
                }
            }
            *self.core.borrow_mut() =
                GroupCoordinator::new(self.config.clone(), self.reactor.now());
            self.standing.set(Standing::Live);
        }
    }

    /// Whether what the log holds is all that it will hold of the writes before, and may be read.
    fn is_settled(&self) -> bool {
        let log = self.partition.log();
        self.standing.get() == Standing::Lost
            && self.writes.borrow().is_empty()
            && !self.reporting.get()
            && self.partition.is_usable()
            && log.durable_offset() >= log.log_end_offset()
    }

    /// Answers a request. A write that takes longer than `offsets.commit.timeout.ms` goes on,
    /// but the client is told to try again.
    pub async fn call(
        self: &Rc<Self>,
        context: RequestContext,
        request: GroupRequest,
    ) -> GroupResponse {
        let (sender, answer) = oneshot::channel();
        let token = RequestToken(self.next_token.get());
        self.next_token.set(token.0 + 1);
        self.answers.borrow_mut().insert(token, sender);
        let lost = request.error_response(context.api_version, ErrorCode::CoordinatorNotAvailable);
        let writes = matches!(
            request,
            GroupRequest::OffsetCommit(_)
                | GroupRequest::OffsetDelete(_)
                | GroupRequest::DeleteGroups(_)
        );
        self.handle(Input::Request {
            token,
            context,
            request,
        });
        if !writes {
            return answer.await.unwrap_or(lost);
        }
        match self.reactor.timeout(self.commit_timeout, answer).await {
            Ok(answered) => answered.unwrap_or(lost),
            Err(_) => {
                self.answers.borrow_mut().remove(&token);
                lost
            }
        }
    }

    /// The offsets committed for the topic go, now or once they are loaded.
    pub fn topic_deleted(self: &Rc<Self>, topic: StrBytes) {
        if self.core.borrow().is_active() {
            self.handle(Input::TopicDeleted(topic));
        } else {
            self.deleted_topics.borrow_mut().push(topic);
        }
    }

    /// Ends the coordinator: what waits, and what still comes, is answered with `error`.
    pub fn unload(self: &Rc<Self>, error: ErrorCode) {
        if self.standing.replace(Standing::Ended) == Standing::Live {
            self.handle(Input::Unload(error));
            self.rescheduled.notify_waiters();
        }
    }

    /// Unloads the coordinator until it can be loaded again.
    fn lose(self: &Rc<Self>) {
        if self.standing.get() == Standing::Live {
            self.standing.set(Standing::Lost);
            self.handle(Input::Unload(ErrorCode::NotCoordinator));
            self.rescheduled.notify_waiters();
        }
    }

    fn is_live(&self) -> bool {
        self.standing.get() == Standing::Live
    }

    fn handle(self: &Rc<Self>, input: Input) {
        let entropy = u128::from(self.reactor.random_u64()) << 64;
        let entropy = entropy | u128::from(self.reactor.random_u64());
        let (now, wall_clock_ms) = (self.reactor.now(), self.reactor.wall_clock_ms());
        let before = self.core.borrow().next_deadline();
        self.core
            .borrow_mut()
            .handle(now, wall_clock_ms, entropy, input);
        self.carry_out();
        let sooner = match (self.core.borrow().next_deadline(), before) {
            (Some(now), Some(before)) => now < before,
            (now, _) => now.is_some(),
        };
        if sooner {
            self.rescheduled.notify_waiters();
        }
    }

    fn carry_out(self: &Rc<Self>) {
        loop {
            let output = self.core.borrow_mut().poll_output();
            match output {
                None => return,
                Some(Output::Respond(token, response)) => {
                    let answer = self.answers.borrow_mut().remove(&token);
                    if let Some(answer) = answer {
                        // The connection may be gone.
                        let _ = answer.send(response);
                    }
                }
                Some(Output::Append { write, records }) => self.append(write, &records),
            }
        }
    }

    fn append(self: &Rc<Self>, id: WriteId, records: &[GroupRecord]) {
        let limit = self.partition.log().config().max_message_bytes;
        let fate = match batch(records, self.reactor.wall_clock_ms(), limit) {
            Ok(batch) => {
                let mut result =
                    self.partition
                        .produce(Acks::All, batch, AppendOrigin::Coordinator);
                match result.try_recv() {
                    // What fails at once was never appended.
                    Ok(Some(Err(refused))) => Fate::Refused(refused.error),
                    Ok(Some(Ok(_))) => Fate::Kept,
                    Ok(None) => Fate::Appended(result),
                    Err(_) => Fate::Refused(ErrorCode::NotLeaderOrFollower),
                }
            }
            Err(cause) => {
                error!(partition = %self.partition.id().partition, %cause, "group records");
                Fate::Refused(ErrorCode::UnknownServerError)
            }
        };
        self.writes.borrow_mut().push_back((id, fate));
        if !self.reporting.replace(true) {
            let shell = self.clone();
            let report = async move { shell.report_writes().await };
            self.reactor.spawn(TaskQueue::Requests, report).detach();
        }
    }

    async fn report_writes(self: Rc<Self>) {
        loop {
            let next = self.writes.borrow_mut().pop_front();
            let Some((write, fate)) = next else { break };
            let kept = match fate {
                Fate::Kept => Ok(()),
                Fate::Refused(error) => Err((error, true)),
                Fate::Appended(result) => match result.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(failure)) => Err((failure.error, failed_for_sure(failure.error))),
                    Err(_) => Err((ErrorCode::NotLeaderOrFollower, false)),
                },
            };
            // A coordinator that is lost waits for the end of its writes, but hears no more of them.
            match (self.standing.get(), kept) {
                (Standing::Ended, _) => break,
                (Standing::Lost, _) => {}
                (Standing::Live, Ok(())) => self.handle(Input::RecordsCommitted(write)),
                (Standing::Live, Err((error, true))) => {
                    self.handle(Input::RecordsFailed(write, error));
                }
                (Standing::Live, Err((_, false))) => self.lose(),
            }
        }
        self.reporting.set(false);
    }

    async fn keep_time(self: &Rc<Self>) {
        while self.is_live() {
            let rescheduled = self.rescheduled.notified();
            let deadline = self.core.borrow().next_deadline();
            match deadline {
                None => rescheduled.await,
                Some(deadline) if deadline <= self.reactor.now() => self.handle(Input::Tick),
                Some(deadline) => {
                    let sleep = Box::pin(self.reactor.sleep_until(deadline));
                    select(sleep, rescheduled).await;
                }
            }
        }
    }
}

fn batch(records: &[GroupRecord], now_ms: i64, limit: u32) -> Result<Bytes, BatchError> {
    let mut batch = BatchBuilder::new(Codec::None);
    for record in records {
        if let Some((key, value)) = record.encode()? {
            batch.push(now_ms, Some(&key), value.as_deref(), &[]);
        }
    }
    let size = batch.size_in_bytes();
    if size > limit as usize {
        return Err(BatchError::TooLarge { size, limit });
    }
    Ok(batch.build()?)
}

/// Whether a write that was appended, or was to be once there was room, and ended with this is not
/// in the log for sure.
fn failed_for_sure(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotEnoughReplicas
            | ErrorCode::RequestTimedOut
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::CorruptMessage
            | ErrorCode::UnknownServerError
            | ErrorCode::RecordListTooLarge
    )
}
