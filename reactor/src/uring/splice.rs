//! Files to sockets without a copy through this process: file → pipe → socket.
//!
//! The first step may wait for the disk, so it runs on the ring, where a splice has a thread of the
//! kernel's until it ends. It is made of large steps: each wakes that thread and this one, and the
//! kernel reads further ahead for them. The second step is a system call at once, without waiting,
//! as far as the socket has room.
//!
//! Whoever waits for a slow client holds a pipe for [`STALL`] at most: then the pipe is closed with
//! what is in it, and only when the socket has room again is that read anew.

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
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc;
use nix::unistd::pipe2;

use super::file::File;
use super::operation::{Keep, Yields};
use super::stream::Network;
use crate::socket::SendFileError;
use crate::sync::Notify;

/// Pipes of one shard, and so the files that are sent at once.
const PIPES_MAX: usize = 32;

/// Idle pipes kept for the next file.
const PIPES_IDLE: usize = 8;

/// Bytes of one step, and asked of a pipe's capacity, which may be less for a user with many pipes.
const STEP: u64 = 1024 * 1024;

/// How long a pipe waits for a client that takes nothing.
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
    /// Bytes in the pipe.
    filled: u64,
    /// Something is being written to it, also when nobody waits for that any more.
    filling: bool,
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
            filling: false,
        })
    }
}

impl Pipe {
    pub(super) fn new() -> io::Result<Pipe> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        // A smaller pipe works as well, in smaller steps.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(STEP as i32));
        Ok(Pipe {
            reader: Arc::new(reader),
            writer: Arc::new(writer),
        })
    }

    /// Moves up to `len` of the bytes in it to a socket, as far as that has room now: how many.
    /// With `more` the last segment may wait for what is sent next.
    pub(super) fn drain(&self, socket: &OwnedFd, len: usize, more: bool) -> io::Result<usize> {
        let mut flags = SpliceFFlags::SPLICE_F_MOVE;
        flags.set(SpliceFFlags::SPLICE_F_MORE, more);
        // Only a socket that does not block is filled without waiting. The ring's operations are
        // for sockets that do; none of them begins in between.
        fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let moved = splice(&self.reader, None, socket, None, len, flags);
        fcntl(socket, FcntlArg::F_SETFL(OFlag::empty()))?;
        match moved {
            Ok(moved) => Ok(moved),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl TakenPipe<'_> {
    fn ends(&self) -> &Pipe {
        self.pipe.as_ref().expect("present until the drop")
    }

    /// Fills the empty pipe with what fits of the first `len` bytes from a position of a file on.
    async fn fill(
        &mut self,
        network: &Network,
        file: &File,
        position: u64,
        len: u64,
    ) -> io::Result<()> {
        let writer = self.ends().writer.clone();
        let splice = opcode::Splice::new(
            types::Fd(file.descriptor().as_raw_fd()),
            i64::try_from(position).expect("a file is smaller than 2^63 bytes"),
            types::Fd(writer.as_raw_fd()),
            -1,
            len.min(STEP) as u32,
        )
        .flags(libc::SPLICE_F_MOVE)
        .build();
        let keep = Keep::Descriptor(file.descriptor().clone());
        self.filling = true;
        // SAFETY: a splice names no memory; the operation keeps both descriptors.
        let operation = unsafe {
            network
                .ring
                .start(splice, Some(writer), keep, Yields::Count, 1)
        };
        let filled = operation.finish().await.0.count();
        self.filling = false;
        self.filled = filled? as u64;
        if self.filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Moves what is in the pipe to the socket, all of it or until the client holds it up: how many
    /// bytes.
    async fn empty(&mut self, network: &Rc<Network>, socket: &Arc<OwnedFd>) -> io::Result<u64> {
        let mut emptied = 0;
        loop {
            let drained = self.ends().drain(socket, self.filled as usize, false)? as u64;
            self.filled -= drained;
            emptied += drained;
            if self.filled == 0 {
                return Ok(emptied);
            }
            let mut room = pin!(wait_for_room(network, socket));
            let mut patience = pin!(network.timers.sleep(STALL));
            let has_room = poll_fn(|cx| match room.as_mut().poll(cx) {
                Poll::Ready(room) => Poll::Ready(room.map(|()| true)),
                Poll::Pending => patience.as_mut().poll(cx).map(|()| Ok(false)),
            });
            if !has_room.await? {
                return Ok(emptied);
            }
        }
    }
}

impl Drop for TakenPipe<'_> {
    fn drop(&mut self) {
        let pipe = self.pipe.take().expect("dropped once");
        let mut idle = self.pool.idle.borrow_mut();
        if self.filled == 0 && !self.filling && idle.len() < PIPES_IDLE {
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
        let mut pipe = pipe.map_err(SendFileError::Socket)?;
        let filled = pipe.fill(network, file, position + sent, len - sent).await;
        filled.map_err(SendFileError::File)?;
        let emptied = pipe.empty(network, socket).await;
        sent += emptied.map_err(SendFileError::Socket)?;
        if pipe.filled > 0 {
            drop(pipe);
            let room = wait_for_room(network, socket).await;
            room.map_err(SendFileError::Socket)?;
        }
    }
    Ok(())
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
