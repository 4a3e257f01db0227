//! One connection: requests in, replies out, in the same order.
//!
//! Three futures share one task: a reader that cuts frames and starts requests, a writer that sends
//! replies, and a watch that ends a connection on which nothing happens. They are polled in turn
//! until none gets on, so a request that is answered at once costs no wake-up.
//!
//! Invariants:
//! * requests are started in the order they came, and answered in that order;
//! * a request starts only when every earlier one has been answered and its answer sent, except
//!   that requests which may overlap ([`Overlap`]) start while earlier ones of their kind wait;
//! * when the requests in flight reach their bound in number or bytes, the socket is not read;
//! * answers that have left are not lost by the closing of the connection, as far as the client takes
//!   them within a second.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use millstream_reactor::{Reactor, SendFileError, Stream, TailSlice};
use thiserror::Error;
use tracing::{debug, info, warn};

use crate::counters::{Counters, add};
use crate::direct_reads::DirectReads;
use crate::frame::{FrameError, FrameReader, RequestFrame};
use crate::memory_budget::MemoryBudget;
use crate::reply::{FileRange, Part, Reply};
use crate::request_times::Timing;
use crate::shutdown::Shutdown;

/// Replies that are ready together leave in one send of at most about this many bytes.
const MAX_SEND_BYTES: u64 = 1024 * 1024;
/// And at most this many parts, well below the kernel's 1024.
const MAX_SEND_PARTS: usize = 256;
/// Slices of at least so many bytes leave without a copy; of less a copy costs no more.
const MIN_UNCOPIED_BYTES: usize = 64 * 1024;
/// And of at least such a part of their buffer: a client that takes nothing may keep all of it.
const MIN_UNCOPIED_PART: usize = 8;
/// Least time between two lines about slow requests.
const SLOW_LOG_PAUSE: Duration = Duration::from_secs(1);
/// How long a client whose last answers have just left may take to end its side.
const LINGER: Duration = Duration::from_secs(1);
/// The api key of Produce, the only request that clients pipeline for its own sake.
const PRODUCE: i16 = 0;

/// Bounds of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The largest frame (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
    /// Requests in flight: started and not yet answered.
    pub max_in_flight: usize,
    /// Bytes of the requests in flight; one request may go beyond it.
    pub max_in_flight_bytes: usize,
    /// A connection without requests is closed after this time (`connections.max.idle.ms`), and so
    /// is one that does not take its reply for as long.
    pub max_idle: Duration,
    /// How long the requests in flight may still take after the shutdown signal, or after the
    /// client has ended its side.
    pub drain_timeout: Duration,
    /// A request that took longer, what it was meant to wait not counted, is logged.
    pub slow_request: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> ConnectionOptions {
        ConnectionOptions {
            max_frame_bytes: 100 * 1024 * 1024,
            max_in_flight: 128,
            max_in_flight_bytes: 16 * 1024 * 1024,
            max_idle: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(5),
            slow_request: Duration::MAX,
        }
    }
}

/// Whether a request may start before the earlier ones are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// It waits for all earlier ones, and all later ones wait for it.
    Never,
    /// It may start while earlier requests of the same api key wait for their answers.
    WithSameKind,
}

/// What a connection's requests are given to.
pub trait Handler {
    /// Whether `frame` may start while earlier ones of its kind are in flight. Produce may.
    fn overlap(&self, frame: &RequestFrame) -> Overlap {
        if frame.api_key() == PRODUCE {
            Overlap::WithSameKind
        } else {
            Overlap::Never
        }
    }

    /// Whether to wait is what `frame` is sent for, such as a fetch's wait for records.
    fn waits(&self, _frame: &RequestFrame) -> bool {
        false
    }

    /// Starts a request. Called in the order of the requests; what must happen in that order
    /// happens before it returns, the rest in the future it returns.
    fn start(&mut self, frame: RequestFrame) -> LocalBoxFuture<'static, Reply>;
}

impl<F: FnMut(RequestFrame) -> LocalBoxFuture<'static, Reply>> Handler for F {
    fn start(&mut self, frame: RequestFrame) -> LocalBoxFuture<'static, Reply> {
        self(frame)
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum CloseReason {
    /// The client closed it.
    #[error("the client closed the connection")]
    Ended,
    /// What came was not a request.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Sending failed.
    #[error("sending failed: {0}")]
    Send(#[source] io::Error),
    /// What was to be sent could not be read from its file.
    #[error("{path}: reading at {position} failed: {cause}", path = path.display())]
    File {
        /// The file.
        path: Arc<Path>,
        /// Where the range begins that was read.
        position: u64,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A reply was asked to close it.
    #[error("{0}")]
    Handler(Cow<'static, str>),
    /// Nothing happened on it for too long.
    #[error("no request for connections.max.idle.ms")]
    Idle,
    /// The client did not take a reply for too long.
    #[error("the client took no reply for connections.max.idle.ms")]
    NotReading,
    /// This side shuts down.
    #[error("shutting down")]
    Shutdown,
}

impl CloseReason {
    /// Why `range` was not sent.
    pub(crate) fn unsent(range: &FileRange, error: SendFileError) -> CloseReason {
        match error {
            SendFileError::Socket(cause) => CloseReason::Send(cause),
            SendFileError::File(cause) => CloseReason::File {
                path: range.path.clone(),
                position: range.position,
                cause,
            },
        }
    }

    /// Whether the client may have sent more than was read.
    fn leaves_input_unread(&self) -> bool {
        match self {
            CloseReason::Frame(FrameError::Io(_)) => false,
            CloseReason::Frame(_)
            | CloseReason::Handler(_)
            | CloseReason::File { .. }
            | CloseReason::Shutdown => true,
            CloseReason::Ended
            | CloseReason::Send(_)
            | CloseReason::Idle
            | CloseReason::NotReading => false,
        }
    }
}

/// What the connections of a listener share on one shard.
#[derive(Clone)]
pub struct Shared {
    reactor: Reactor,
    budget: MemoryBudget,
    counters: Rc<Counters>,
    shutdown: Shutdown,
    direct_reads: Rc<DirectReads>,
}

impl Shared {
    /// A reactor, and what other listeners of its shard have as well.
    pub fn new(
        reactor: Reactor,
        budget: MemoryBudget,
        counters: Rc<Counters>,
        shutdown: Shutdown,
    ) -> Shared {
        Shared {
            direct_reads: Rc::new(DirectReads::new(reactor.clone())),
            reactor,
            budget,
            counters,
            shutdown,
        }
    }
}

/// Serves `stream` until it ends, and says why it did; this is logged.
pub async fn serve(
    stream: Stream,
    options: ConnectionOptions,
    shared: Shared,
    mut handler: impl Handler,
) -> CloseReason {
    let Shared {
        reactor,
        budget,
        counters,
        shutdown,
        direct_reads,
    } = shared;
    let flight = Flight::new(&reactor, &options);
    let mut frames = FrameReader::new(options.max_frame_bytes, budget, counters.clone());
    let reason = {
        let mut reader = pin!(read_requests(&stream, &mut frames, &flight, &mut handler));
        let mut writer = pin!(write_replies(&stream, &flight, &counters, &direct_reads));
        let mut watch = pin!(watch_idle(&flight));
        let mut shutdown = pin!(shutdown.wait());
        let mut draining: Option<Draining> = None;
        poll_fn(|cx| {
            if draining.is_none() && shutdown.as_mut().poll(cx).is_ready() {
                draining = Some(flight.drain(CloseReason::Shutdown));
            }
            loop {
                if draining.is_none()
                    && let Poll::Ready(reason) = reader.as_mut().poll(cx)
                {
                    draining = Some(flight.drain(reason));
                }
                if let Poll::Ready(reason) = writer.as_mut().poll(cx) {
                    return Poll::Ready(reason);
                }
                if let Some(draining) = &mut draining
                    && (flight.count.get() == 0 || draining.is_over(cx))
                {
                    return Poll::Ready(draining.reason());
                }
                if !flight.progress.take() {
                    break;
                }
            }
            watch.as_mut().poll(cx)
        })
        .await
    };
    drop(frames);
    record(&stream, &reason, &counters);
    if flight.answered_lately() && reason.leaves_input_unread() {
        linger(&reactor, &stream, options.drain_timeout.min(LINGER)).await;
    }
    stream.shutdown();
    reason
}

/// The requests that were started and whose replies have not left yet.
struct Flight<'a> {
    reactor: &'a Reactor,
    options: &'a ConnectionOptions,
    replies: RefCell<FuturesOrdered<Answering>>,
    count: Cell<usize>,
    bytes: Cell<usize>,
    /// The api key of the requests in flight, if they may overlap.
    kind: Cell<Option<i16>>,
    /// Something changed that another of the connection's futures may wait for.
    progress: Cell<bool>,
    last_activity: Cell<Instant>,
    last_answer: Cell<Option<Instant>>,
    sending_since: Cell<Option<Instant>>,
}

impl<'a> Flight<'a> {
    fn new(reactor: &'a Reactor, options: &'a ConnectionOptions) -> Flight<'a> {
        Flight {
            reactor,
            options,
            replies: RefCell::default(),
            count: Cell::new(0),
            bytes: Cell::new(0),
            kind: Cell::new(None),
            progress: Cell::new(false),
            last_activity: Cell::new(reactor.now()),
            last_answer: Cell::new(None),
            sending_since: Cell::new(None),
        }
    }

    fn has_room(&self) -> bool {
        self.count.get() < self.options.max_in_flight
            && self.bytes.get() < self.options.max_in_flight_bytes
    }

    fn may_start(&self, kind: Option<i16>) -> bool {
        self.count.get() == 0 || (kind.is_some() && kind == self.kind.get())
    }

    fn started(
        &self,
        kind: Option<i16>,
        request_bytes: usize,
        timing: Timing,
        reply: LocalBoxFuture<'static, Reply>,
    ) {
        self.count.set(self.count.get() + 1);
        self.bytes.set(self.bytes.get() + request_bytes);
        self.kind.set(kind);
        self.replies.borrow_mut().push_back(Answering {
            reactor: self.reactor.clone(),
            reply,
            request_bytes,
            timing,
        });
        self.progress.set(true);
    }

    /// Notes that answers have left; when.
    fn answered(&self, count: usize, bytes: usize) -> Instant {
        self.count.set(self.count.get() - count);
        self.bytes.set(self.bytes.get() - bytes);
        let now = self.reactor.now();
        self.last_activity.set(now);
        self.last_answer.set(Some(now));
        self.progress.set(true);
        now
    }

    /// Whether the client may not have received all its answers yet.
    fn answered_lately(&self) -> bool {
        let now = self.reactor.now();
        self.last_answer.get().is_some_and(|at| now - at < LINGER)
    }

    /// The reply of the oldest request in flight.
    fn poll_reply(&self, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.replies.borrow_mut().poll_next_unpin(cx) {
            Poll::Ready(Some(reply)) => Poll::Ready(reply),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn drain(&self, reason: CloseReason) -> Draining {
        let reactor = self.reactor.clone();
        let timeout = self.options.drain_timeout;
        Draining {
            reason: Some(reason),
            over: Box::pin(async move { reactor.sleep(timeout).await }),
        }
    }
}

/// One request that was started.
struct Answering {
    reactor: Reactor,
    reply: LocalBoxFuture<'static, Reply>,
    request_bytes: usize,
    timing: Timing,
}

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let reply = ready!(self.reply.poll_unpin(cx));
        let replied = self.reactor.now();
        Poll::Ready(Answer {
            reply,
            request_bytes: self.request_bytes,
            timing: Timing {
                replied,
                ..self.timing
            },
        })
    }
}

/// What became of one request.
struct Answer {
    reply: Reply,
    request_bytes: usize,
    timing: Timing,
}

/// No more requests are read; those in flight are given a bounded time.
struct Draining {
    reason: Option<CloseReason>,
    over: Pin<Box<dyn Future<Output = ()>>>,
}

impl Draining {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.over.as_mut().poll(cx).is_ready()
    }

    fn reason(&mut self) -> CloseReason {
        self.reason.take().expect("a connection ends once")
    }
}

/// Ends the sending side and throws away what still comes until the client ends its side. To close
/// a socket with unread bytes resets the connection, and the client would lose the answers that are
/// on their way.
async fn linger(reactor: &Reactor, stream: &Stream, timeout: Duration) {
    stream.finish();
    let ended = async { while stream.recv().await.is_ok_and(|bytes| !bytes.is_empty()) {} };
    // After the timeout the client has had its chance.
    let _ = reactor.timeout(timeout, ended).await;
}

async fn read_requests(
    stream: &Stream,
    frames: &mut FrameReader,
    flight: &Flight<'_>,
    handler: &mut impl Handler,
) -> CloseReason {
    loop {
        until(|| flight.has_room()).await;
        let frame = match frames.next(stream).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return CloseReason::Ended,
            Err(error) => return error.into(),
        };
        let received = flight.reactor.now();
        flight.last_activity.set(received);
        let kind = match handler.overlap(&frame) {
            Overlap::WithSameKind => Some(frame.api_key()),
            Overlap::Never => None,
        };
        until(|| flight.may_start(kind)).await;
        let bytes = frame.bytes().len();
        let started = flight.reactor.now();
        let timing = Timing {
            api_key: frame.api_key(),
            correlation_id: frame.correlation_id(),
            waits: handler.waits(&frame),
            received,
            started,
            returned: started,
            replied: started,
        };
        let reply = handler.start(frame);
        let returned = flight.reactor.now();
        flight.started(kind, bytes, Timing { returned, ..timing }, reply);
    }
}

/// Waits for a condition that only this connection's other futures change: they say so by
/// [`Flight::progress`], and all are polled again.
async fn until(condition: impl Fn() -> bool) {
    poll_fn(|_| {
        if condition() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn write_replies(
    stream: &Stream,
    flight: &Flight<'_>,
    counters: &Counters,
    direct_reads: &DirectReads,
) -> CloseReason {
    let mut batch = ReplyBatch::default();
    loop {
        poll_fn(|cx| batch.gather(flight, cx)).await;
        flight.sending_since.set(Some(flight.reactor.now()));
        if let Err(reason) = send(stream, &mut batch.parts, direct_reads).await {
            return reason;
        }
        flight.sending_since.set(None);
        add(&counters.frames_sent, batch.frames);
        add(&counters.bytes_sent, batch.bytes);
        let left = flight.answered(batch.timings.len(), batch.request_bytes);
        for timing in &batch.timings {
            counters.times.record(timing, left);
            if timing.unwanted(left) >= flight.options.slow_request {
                log_slow(stream, counters, timing, left);
            }
        }
        if let Some(reason) = batch.close.take() {
            return CloseReason::Handler(reason);
        }
        batch = ReplyBatch::default();
    }
}

/// Logs a slow request, one in a second: a disk that stands still holds up hundreds.
fn log_slow(stream: &Stream, counters: &Counters, timing: &Timing, left: Instant) {
    add(&counters.slow_requests, 1);
    let count = counters.slow_requests.get();
    let before = match counters.slow_logged.get() {
        Some((at, _)) if left - at < SLOW_LOG_PAUSE => return,
        Some((_, before)) => before,
        None => 0,
    };
    counters.slow_logged.set(Some((left, count)));
    warn!(
        unlogged = count - before - 1,
        peer = %stream.peer_addr(),
        api_key = timing.api_key,
        correlation_id = timing.correlation_id,
        queue = ?(timing.started - timing.received),
        local = ?(timing.returned - timing.started),
        remote = ?(timing.replied - timing.returned),
        send = ?(left - timing.replied),
        "a slow request"
    );
}

/// Replies that are ready together.
#[derive(Default)]
struct ReplyBatch {
    parts: Vec<Part>,
    frames: u64,
    bytes: u64,
    /// Of each request that is answered.
    timings: Vec<Timing>,
    request_bytes: usize,
    close: Option<Cow<'static, str>>,
}

impl ReplyBatch {
    /// Takes the replies that are ready, at least one.
    fn gather(&mut self, flight: &Flight<'_>, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_full()
            && let Poll::Ready(answer) = flight.poll_reply(cx)
        {
            self.timings.push(answer.timing);
            self.request_bytes += answer.request_bytes;
            match answer.reply {
                Reply::Send(parts) => {
                    self.frames += 1;
                    self.bytes += parts.iter().map(Part::len).sum::<u64>();
                    self.parts.extend(parts);
                }
                Reply::Nothing => {}
                Reply::Close { reason } => self.close = Some(reason),
            }
        }
        if !self.timings.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn is_full(&self) -> bool {
        self.close.is_some() || self.bytes >= MAX_SEND_BYTES || self.parts.len() >= MAX_SEND_PARTS
    }
}

/// Sends parts in order: neighbours in memory in one send of a bounded number of parts.
async fn send(
    stream: &Stream,
    parts: &mut Vec<Part>,
    direct_reads: &DirectReads,
) -> Result<(), CloseReason> {
    if parts.iter().any(Part::is_direct) {
        return direct_reads.send(stream, std::mem::take(parts)).await;
    }
    parts.retain(|part| !part.is_empty());
    let mut run: Vec<Bytes> = Vec::with_capacity(parts.len().min(MAX_SEND_PARTS));
    let mut parts = parts.drain(..).peekable();
    while let Some(part) = parts.next() {
        let bytes = match part {
            Part::Bytes(bytes) => bytes,
            Part::Slice(slice) if is_copied(&slice) => slice.into(),
            Part::Slice(slice) => {
                let before = stream.send_more(std::mem::take(&mut run)).await;
                before.map_err(CloseReason::Send)?;
                let sent = stream.send_slice(slice, parts.peek().is_some()).await;
                sent.map_err(CloseReason::Send)?;
                continue;
            }
            Part::File(range) => {
                send_bytes(stream, std::mem::take(&mut run)).await?;
                send_range(stream, &range).await?;
                continue;
            }
        };
        run.push(bytes);
        if run.len() == MAX_SEND_PARTS {
            send_bytes(stream, std::mem::take(&mut run)).await?;
        }
    }
    send_bytes(stream, run).await
}

fn is_copied(slice: &TailSlice) -> bool {
    slice.len() < MIN_UNCOPIED_BYTES.max(slice.buffer_capacity() / MIN_UNCOPIED_PART)
}

pub(crate) async fn send_bytes(stream: &Stream, run: Vec<Bytes>) -> Result<(), CloseReason> {
    if run.is_empty() {
        return Ok(());
    }
    stream.send(run).await.map_err(CloseReason::Send)
}

pub(crate) async fn send_range(stream: &Stream, range: &FileRange) -> Result<(), CloseReason> {
    let sent = stream
        .send_file(&range.file, range.position, range.len)
        .await;
    sent.map_err(|error| CloseReason::unsent(range, error))
}

/// Ends the connection when no request came for too long, or a reply is not taken for too long.
/// Requests that wait for something are not idle.
async fn watch_idle(flight: &Flight<'_>) -> CloseReason {
    let max_idle = flight.options.max_idle;
    loop {
        let since = match flight.sending_since.get() {
            Some(since) => since,
            None if flight.count.get() > 0 => flight.reactor.now(),
            None => flight.last_activity.get(),
        };
        if flight.reactor.now() - since >= max_idle {
            return match flight.sending_since.get() {
                Some(_) => CloseReason::NotReading,
                None => CloseReason::Idle,
            };
        }
        flight.reactor.sleep_until(since + max_idle).await;
    }
}

fn record(stream: &Stream, reason: &CloseReason, counters: &Counters) {
    let peer = stream.peer_addr();
    match reason {
        CloseReason::Ended | CloseReason::Shutdown => debug!(%peer, "closed: {reason}"),
        CloseReason::Idle => {
            add(&counters.connections_idle_closed, 1);
            debug!(%peer, "closed: {reason}");
        }
        CloseReason::Frame(FrameError::Io(_)) | CloseReason::Send(_) => {
            debug!(%peer, "closed: {reason}");
        }
        CloseReason::NotReading | CloseReason::Handler(_) => info!(%peer, "closed: {reason}"),
        CloseReason::Frame(_) => {
            add(&counters.frames_refused, 1);
            warn!(%peer, "closed: {reason}");
        }
        CloseReason::File { .. } => warn!(%peer, "closed: {reason}"),
    }
}
