//! Memory to sockets without a copy: pages → pipe → socket.
//!
//! The socket refers to the pages until the peer has read them, over loopback until the receiving
//! process has, and nobody says when that is: [`TailSlice::lend`] is the other half of this.
//! `SENDMSG_ZC` would say it, but over loopback it copies after all, at more cost than a copy.
//!
//! The pipe is filled and emptied by system calls at once, without waiting: a splice on the ring
//! occupies a thread of the kernel's, and waking that costs more than the splice. What a socket
//! has no room for is thrown away with the pipe's content, and lent again when it has.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{OFlag, SpliceFFlags, open, splice, vmsplice};
use nix::sys::stat::Mode;

use super::splice::Pipe;

/// Bytes of one step: the most that is lent in vain.
const STEP: usize = 256 * 1024;

/// What a shard lends memory through.
#[derive(Default)]
pub(super) struct Lender {
    passage: Cell<Option<Passage>>,
}

struct Passage {
    pipe: Pipe,
    /// Where pages go that no socket takes.
    null: OwnedFd,
}

impl Lender {
    /// Gives the socket what it has room for now: how many of the first bytes. The caller has the
    /// memory lent. With `more` the last segment may wait for what is sent next.
    pub(super) fn push(
        &self,
        socket: &Arc<OwnedFd>,
        bytes: &[u8],
        more: bool,
    ) -> io::Result<usize> {
        // On an error it is closed, with what is in it: nobody else may get that.
        let passage = match self.passage.take().map_or_else(Passage::new, Ok) {
            Ok(passage) => passage,
            // Without descriptors nothing is lent.
            Err(_) => return Ok(0),
        };
        let step = &bytes[..bytes.len().min(STEP)];
        let taken = passage.fill(step)?;
        let more = more || taken < bytes.len();
        let moved = passage.pipe.drain(socket, taken, more)?;
        passage.throw_away(taken - moved)?;
        self.passage.set(Some(passage));
        Ok(moved)
    }
}

impl Passage {
    fn new() -> io::Result<Passage> {
        let null = open(
            "/dev/null",
            OFlag::O_WRONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Passage {
            pipe: Pipe::new()?,
            null,
        })
    }

    /// Puts the pages of as many bytes into the empty pipe as fit.
    fn fill(&self, bytes: &[u8]) -> io::Result<usize> {
        let pages = [IoSlice::new(bytes)];
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        Ok(vmsplice(&self.pipe.writer, &pages, flags)?)
    }

    fn throw_away(&self, mut len: usize) -> io::Result<()> {
        let flags = SpliceFFlags::SPLICE_F_MOVE;
        while len > 0 {
            match splice(&self.pipe.reader, None, &self.null, None, len, flags)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                gone => len -= gone,
            }
        }
        Ok(())
    }
}
