//! Files to sockets without a copy through this process: file → pipe → socket.
//!
//! Both steps run on the ring at once, so that the file is read while the socket is filled. A
//! splice into a socket occupies a thread of the kernel's until it ends. So one that a slow
//! client holds up is cut off after [`STALL`]: what was not sent is thrown away with the pipe, and
//! only when the socket has room again is it read anew.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use io_uring::{opcode, types};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::pipe2;

use super::file::File;
use super::operation::{Keep, Operation, Yields};
use super::stream::Network;
use crate::socket::SendFileError;
use crate::sync::Notify;

/// Pipes of one shard, and so the splices that run at once.
const PIPES_MAX: usize = 32;

/// Idle pipes kept for the next splice.
const PIPES_IDLE: usize = 8;

/// Bytes asked of a pipe's capacity; it may be less for a user with many pipes.
const PIPE_LEN: i32 = 1024 * 1024;

/// Bytes of one splice.
const STEP: u64 = 256 * 1024;

/// How far ahead of the splice the file is asked for.
const READ_AHEAD: u64 = 2 * 1024 * 1024;

/// How long one splice into a socket may take.
const STALL: Duration = Duration::from_millis(200);

/// The pipes of a shard.
#[derive(Default)]
pub(super) struct PipePool {
    idle: RefCell<Vec<Pipe>>,
    taken: Cell<usize>,
    returned: Notify,
}

pub(super) struct Pipe {
    pub(super) reader: Arc<OwnedFd>,
    pub(super) writer: Arc<OwnedFd>,
}

/// A pipe in use; given back when it is empty, closed otherwise.
struct TakenPipe<'a> {
    pool: &'a PipePool,
    pipe: Option<Pipe>,
    /// Bytes in the pipe, or being written to it.
    filled: u64,
}

impl PipePool {
    async fn take(&self) -> io::Result<TakenPipe<'_>> {
        while self.taken.get() >= PIPES_MAX {
            self.returned.notified().await;
        }
        let idle = self.idle.borrow_mut().pop();
        let pipe = match idle {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        self.taken.set(self.taken.get() + 1);
        Ok(TakenPipe {
            pool: self,
            pipe: Some(pipe),
            filled: 0,
        })
    }
}

impl Pipe {
    pub(super) fn new() -> io::Result<Pipe> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        // A smaller pipe works as well, in smaller steps.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_LEN));
        Ok(Pipe {
            reader: Arc::new(reader),
            writer: Arc::new(writer),
        })
    }
}

impl TakenPipe<'_> {
    fn ends(&self) -> &Pipe {
        self.pipe.as_ref().expect("present until the drop")
    }
}

impl Drop for TakenPipe<'_> {
    fn drop(&mut self) {
        let pipe = self.pipe.take().expect("dropped once");
        let mut idle = self.pool.idle.borrow_mut();
        if self.filled == 0 && idle.len() < PIPES_IDLE {
            idle.push(pipe);
        }
        drop(idle);
        self.pool.taken.set(self.pool.taken.get() - 1);
        self.pool.returned.notify_waiters();
    }
}

/// Sends `[position, position + len)` of `file`.
pub(super) async fn send_file(
    network: &Rc<Network>,
    socket: &Arc<OwnedFd>,
    file: &File,
    position: u64,
    len: u64,
) -> Result<(), SendFileError> {
    let mut sent = 0;
    while sent < len {
        let pipe = network.pipes.take().await;
        let pipe = pipe.map_err(SendFileError::Socket)?;
        let transfer = Transfer {
            network,
            socket,
            file,
            end: position + len,
            pipe,
        };
        sent += transfer.run(position + sent).await?;
        if sent < len {
            let room = wait_for_room(network, socket).await;
            room.map_err(SendFileError::Socket)?;
        }
    }
    Ok(())
}

/// One run through one pipe, from a position to the end or until the client holds it up.
struct Transfer<'a> {
    network: &'a Rc<Network>,
    socket: &'a Arc<OwnedFd>,
    file: &'a File,
    end: u64,
    pipe: TakenPipe<'a>,
}

impl Transfer<'_> {
    /// Says how many bytes reached the socket.
    async fn run(mut self, start: u64) -> Result<u64, SendFileError> {
        let mut read = start;
        let mut sent = start;
        let mut advised = start;
        let mut filling: Option<Operation> = None;
        while sent < self.end {
            if advised < self.end && advised < read + READ_AHEAD / 2 {
                let len = READ_AHEAD.min(self.end - advised);
                let advice = self.file.advise_will_need(advised, len).await;
                advice.map_err(SendFileError::File)?;
                advised += len;
            }
            // The next step is read while the one before is sent.
            if filling.is_none() && read < self.end && self.pipe.filled < STEP {
                filling = Some(self.start_fill(read));
            }
            if self.pipe.filled == 0 {
                let operation = filling.take().expect("an empty pipe is being filled");
                read += self.filled(operation).await.map_err(SendFileError::File)?;
                continue;
            }
            let drained = self.drain().await.map_err(SendFileError::Socket)?;
            let (drained, stalled) = drained;
            sent += drained;
            if stalled {
                // The pipe is closed, with what is in it, when the last fill has ended.
                return Ok(sent - start);
            }
            if let Some(operation) = filling.take() {
                read += self.filled(operation).await.map_err(SendFileError::File)?;
            }
        }
        Ok(sent - start)
    }

    /// How many bytes a fill has added to the pipe.
    async fn filled(&mut self, operation: Operation) -> io::Result<u64> {
        let len = operation.finish().await.0.count()?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pipe.filled += len as u64;
        Ok(len as u64)
    }

    fn start_fill(&self, position: u64) -> Operation {
        let len = STEP.min(self.end - position);
        let writer = &self.pipe.ends().writer;
        let splice = opcode::Splice::new(
            types::Fd(self.file.descriptor().as_raw_fd()),
            i64::try_from(position).expect("a file is smaller than 2^63 bytes"),
            types::Fd(writer.as_raw_fd()),
            -1,
            len as u32,
        )
        .flags(libc::SPLICE_F_MOVE)
        .build();
        let keep = Keep::Descriptor(self.file.descriptor().clone());
        // SAFETY: a splice names no memory; the operation keeps both descriptors.
        unsafe {
            self.network
                .ring
                .start(splice, Some(writer.clone()), keep, Yields::Count, 1)
        }
    }

    /// Moves what is in the pipe to the socket: how many bytes, and whether the client holds it
    /// up.
    async fn drain(&mut self) -> io::Result<(u64, bool)> {
        let reader = &self.pipe.ends().reader;
        let splice = opcode::Splice::new(
            types::Fd(reader.as_raw_fd()),
            -1,
            types::Fd(self.socket.as_raw_fd()),
            -1,
            self.pipe.filled as u32,
        )
        .flags(libc::SPLICE_F_MOVE)
        .build();
        let keep = Keep::Descriptor(reader.clone());
        // SAFETY: a splice names no memory; the operation keeps both descriptors.
        let mut operation = unsafe {
            let socket = Some(self.socket.clone());
            self.network
                .ring
                .start(splice, socket, keep, Yields::Count, 1)
        };
        let mut stalled = false;
        let mut patience = pin!(self.network.timers.sleep(STALL));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = operation.poll_next(cx) {
                return Poll::Ready(outcome);
            }
            if !stalled && patience.as_mut().poll(cx).is_ready() {
                stalled = true;
                operation.cancel();
            }
            Poll::Pending
        })
        .await
        .expect("a splice has one result");
        let drained = match outcome.count() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(drained) => drained as u64,
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN)
                ) =>
            {
                stalled = true;
                0
            }
            Err(error) => return Err(error),
        };
        self.pipe.filled -= drained;
        Ok((drained, stalled))
    }
}

/// Waits until the socket takes bytes again, or fails.
pub(super) async fn wait_for_room(network: &Rc<Network>, socket: &Arc<OwnedFd>) -> io::Result<()> {
    let fd = types::Fd(socket.as_raw_fd());
    let poll = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
    // SAFETY: a poll names no memory.
    let run = unsafe { network.ring.run(poll, Some(socket.clone()), Keep::Nothing) };
    run.await.0.count()?;
    Ok(())
}
