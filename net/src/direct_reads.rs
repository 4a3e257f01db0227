//! Replies with ranges of files that were opened with O_DIRECT: the ranges are read in pieces, some
//! ahead of the socket, and leave in order.
//!
//! While the files of this process are being written, a shard has one such read (or small ones
//! that come to no more) under way at a time. A flush waits behind what the disk was given before
//! it: eight reads of 256 KiB make it ten times as long, one hardly twice.
//!
//! Memory is bounded for the shard, not for each connection: what cannot have a buffer is read in
//! small pieces, one at a time, and a client that takes nothing for [`STALL`] gives back what was
//! read ahead for it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use millstream_reactor::{AlignedBuffer, BLOCK_SIZE, Reactor, SendFileError, Stream};

use crate::connection::{CloseReason, send_bytes, send_range};
use crate::memory_budget::MemoryBudget;
use crate::reply::{FileRange, Part};

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// Bytes of a read that has no buffer of the shard's.
const SMALL_READ_BYTES: usize = 32 * 1024;
/// Reads that are under way, or have ended and are not being sent yet.
const READS_AHEAD: usize = 8;
/// Pieces of all kinds that may leave together.
const PIECES_AHEAD: usize = 256;
/// Bytes that leave together, where as many are there.
const SEND_BYTES: usize = 512 * 1024;
/// Buffers of a shard: 16 MiB.
const BUFFERS: usize = 64;
/// Those kept when nobody needs them.
const IDLE_BUFFERS: usize = 8;
/// How long a send may take before what was read ahead is dropped.
const STALL: Duration = Duration::from_millis(200);

/// What the connections of a shard share for such replies.
pub(crate) struct DirectReads {
    reactor: Reactor,
    buffers: Arc<Buffers>,
    /// Reads under way while files are being written.
    turns: MemoryBudget,
}

/// The buffers of a shard. Sent bytes are dropped wherever they are dropped, hence the lock.
#[derive(Default)]
struct Buffers {
    state: Mutex<BufferState>,
}

#[derive(Default)]
struct BufferState {
    idle: Vec<AlignedBuffer>,
    leased: usize,
}

/// The right to one of the shard's buffers.
struct Lease {
    buffers: Arc<Buffers>,
}

/// What was read, in a buffer that goes back when nobody needs the bytes any more.
struct Filled {
    buffer: Option<AlignedBuffer>,
    lease: Lease,
}

/// A stretch of a reply.
#[derive(Clone)]
enum Piece {
    Bytes(Bytes),
    /// To be read, at most [`READ_BYTES`] of whole blocks.
    Blocks(FileRange),
    /// A range of a file that is not direct: it is spliced.
    Spliced(FileRange),
}

/// A piece on its way to the socket.
enum Next {
    Reading(LocalBoxFuture<'static, Result<Bytes, CloseReason>>),
    Ready(Bytes),
    Spliced,
}

impl DirectReads {
    pub(crate) fn new(reactor: Reactor) -> DirectReads {
        DirectReads {
            reactor,
            buffers: Arc::default(),
            turns: MemoryBudget::new(READ_BYTES + BLOCK_SIZE),
        }
    }

    /// Sends parts in order.
    pub(crate) async fn send(&self, stream: &Stream, parts: Vec<Part>) -> Result<(), CloseReason> {
        let mut rest = pieces(parts);
        let mut ahead: VecDeque<(Piece, Next)> = VecDeque::new();
        let mut depth = READS_AHEAD;
        loop {
            self.start_reads(&mut rest, &mut ahead, depth);
            let Some((piece, next)) = ahead.front() else {
                return Ok(());
            };
            if let (Piece::Spliced(range), Next::Spliced) = (piece, next) {
                send_range(stream, range).await?;
                ahead.pop_front();
                continue;
            }
            let run = poll_fn(|cx| poll_run(&mut ahead, cx)).await?;
            let stalled = self.send_run(stream, run, &mut ahead, &mut rest).await?;
            // For a client that is slow nothing is read to be dropped.
            depth = if stalled { 1 } else { READS_AHEAD };
        }
    }

    /// Starts what may be read ahead, `depth` reads of it at most, and at least one piece.
    fn start_reads(
        &self,
        rest: &mut VecDeque<Piece>,
        ahead: &mut VecDeque<(Piece, Next)>,
        depth: usize,
    ) {
        let is_read = |(piece, _): &&(Piece, Next)| matches!(piece, Piece::Blocks(_));
        let mut reads = ahead.iter().filter(is_read).count();
        while reads < depth
            && ahead.len() < PIECES_AHEAD
            && let Some(piece) = rest.pop_front()
        {
            let (piece, next) = match piece {
                Piece::Bytes(bytes) => (Piece::Bytes(bytes.clone()), Next::Ready(bytes)),
                // Nobody goes on with reads while it is spliced, and one that stood still would
                // keep the turn from the other connections: it comes by itself.
                Piece::Spliced(_) if !ahead.is_empty() => {
                    rest.push_front(piece);
                    return;
                }
                Piece::Spliced(_) => {
                    ahead.push_back((piece, Next::Spliced));
                    return;
                }
                Piece::Blocks(mut range) => {
                    let lease = self.buffers.lease();
                    if lease.is_none() && !ahead.is_empty() {
                        rest.push_front(Piece::Blocks(range));
                        return;
                    }
                    let small = (SMALL_READ_BYTES - lead(&range)) as u64;
                    if lease.is_none() && range.len > small {
                        rest.push_front(Piece::Blocks(FileRange {
                            position: range.position + small,
                            len: range.len - small,
                            ..range.clone()
                        }));
                        range.len = small;
                    }
                    reads += 1;
                    let (reactor, turns) = (self.reactor.clone(), self.turns.clone());
                    let read = read_range(reactor, turns, range.clone(), lease);
                    (Piece::Blocks(range), Next::Reading(read.boxed_local()))
                }
            };
            ahead.push_back((piece, next));
        }
    }

    /// Sends `run` while the reads go on. If the client holds it up they are given up, and go back
    /// to `rest`. Whether it did.
    async fn send_run(
        &self,
        stream: &Stream,
        run: Vec<Bytes>,
        ahead: &mut VecDeque<(Piece, Next)>,
        rest: &mut VecDeque<Piece>,
    ) -> Result<bool, CloseReason> {
        let mut send = pin!(send_bytes(stream, run));
        let mut patience = pin!(self.reactor.sleep(STALL));
        let stalled = poll_fn(|cx| {
            poll_reads(ahead, cx)?;
            if let Poll::Ready(sent) = send.as_mut().poll(cx) {
                return Poll::Ready(sent.map(|()| false));
            }
            patience.as_mut().poll(cx).map(|()| Ok(true))
        })
        .await?;
        if stalled {
            for (piece, _) in ahead.drain(..).rev() {
                rest.push_front(piece);
            }
            send.await?;
        }
        Ok(stalled)
    }
}

/// Goes on with all reads.
fn poll_reads(
    ahead: &mut VecDeque<(Piece, Next)>,
    cx: &mut Context<'_>,
) -> Result<(), CloseReason> {
    for (_, next) in ahead.iter_mut() {
        if let Next::Reading(read) = next
            && let Poll::Ready(bytes) = read.as_mut().poll(cx)
        {
            *next = Next::Ready(bytes?);
        }
    }
    Ok(())
}

/// What leaves next: the first pieces, as far as they are there.
fn poll_run(
    ahead: &mut VecDeque<(Piece, Next)>,
    cx: &mut Context<'_>,
) -> Poll<Result<Vec<Bytes>, CloseReason>> {
    poll_reads(ahead, cx)?;
    let mut run = Vec::new();
    let mut len = 0;
    while len < SEND_BYTES
        && let Some((_, Next::Ready(bytes))) = ahead.front()
    {
        len += bytes.len();
        run.push(bytes.clone());
        ahead.pop_front();
    }
    if run.is_empty() {
        return Poll::Pending;
    }
    Poll::Ready(Ok(run))
}

fn pieces(parts: Vec<Part>) -> VecDeque<Piece> {
    let mut pieces = VecDeque::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Bytes(bytes) => pieces.push_back(Piece::Bytes(bytes)),
            Part::Slice(slice) => pieces.push_back(Piece::Bytes(slice.into())),
            Part::File(range) if !range.file.is_direct() => {
                pieces.push_back(Piece::Spliced(range));
            }
            Part::File(mut range) => {
                let end = range.position + range.len;
                while range.position < end {
                    let most = (READ_BYTES - lead(&range)) as u64;
                    range.len = most.min(end - range.position);
                    pieces.push_back(Piece::Blocks(range.clone()));
                    range.position += range.len;
                }
            }
        }
    }
    pieces
}

/// Bytes between the block boundary and the range.
fn lead(range: &FileRange) -> usize {
    (range.position % BLOCK_SIZE as u64) as usize
}

async fn read_range(
    reactor: Reactor,
    turns: MemoryBudget,
    range: FileRange,
    lease: Option<Lease>,
) -> Result<Bytes, CloseReason> {
    let read = read(&reactor, &turns, &range, lease).await;
    read.map_err(|cause| CloseReason::unsent(&range, SendFileError::File(cause)))
}

/// Reads a range, in a buffer of the shard's if there is a lease for one.
async fn read(
    reactor: &Reactor,
    turns: &MemoryBudget,
    range: &FileRange,
    lease: Option<Lease>,
) -> io::Result<Bytes> {
    let (lead, len) = (lead(range), range.len as usize);
    let whole = (lead + len).next_multiple_of(BLOCK_SIZE);
    let _turn = match reactor.fs().is_writing() {
        true => Some(turns.acquire(whole).await),
        false => None,
    };
    let start = range.position - lead as u64;
    let bytes = match lease {
        Some(lease) => {
            let buffer = lease.buffers.take();
            let buffer = Some(range.file.read_into(start, buffer, whole).await?);
            Bytes::from_owner(Filled { buffer, lease })
        }
        None => range.file.read_at(start, whole).await?.into_bytes(),
    };
    if bytes.len() < lead + len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.slice(lead..lead + len))
}

impl Buffers {
    fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.leased == BUFFERS {
            return None;
        }
        state.leased += 1;
        Some(Lease {
            buffers: self.clone(),
        })
    }

    fn take(&self) -> AlignedBuffer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = state.idle.pop();
        idle.unwrap_or_else(|| AlignedBuffer::unfilled(READ_BYTES))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = &self.buffers.state;
        state.lock().unwrap_or_else(PoisonError::into_inner).leased -= 1;
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().expect("present until the drop")
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut state = self
            .lease
            .buffers
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = self.buffer.take()
            && state.idle.len() < IDLE_BUFFERS
        {
            state.idle.push(buffer);
        }
    }
}
