//! What an operation in flight keeps alive, and the handle through which its results are taken.
//!
//! The kernel reads and writes memory named in a submission until the last completion. So that
//! memory belongs to the ring's slot, never to the future that waits: dropping the handle asks the
//! kernel to cancel and leaves the memory where it is.

use std::ffi::CString;
use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use nix::libc;
use nix::sys::socket::SockaddrStorage;

use super::ring::Ring;
use crate::buffer::{AlignedBuffer, BlockRange};

/// Memory and descriptors that an operation names.
#[expect(dead_code, reason = "much is only kept alive, and never read back")]
pub(super) enum Keep {
    Nothing,
    Bytes(Bytes),
    Message(Box<Message>),
    Receive(BytesMut),
    Aligned(AlignedBuffer),
    Blocks(BlockRange),
    Path(CString),
    Paths(CString, CString),
    Status(CString, Box<libc::statx>),
    Address(Box<SockaddrStorage>),
    /// The other end of a splice.
    Descriptor(Arc<OwnedFd>),
}

/// A gathered send: the header points at the vectors, they point into the parts.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    _vectors: Vec<libc::iovec>,
    _parts: Vec<Bytes>,
}

impl Message {
    /// A message of `parts`, at most `IOV_MAX` of them.
    pub(super) fn new(parts: Vec<Bytes>) -> Box<Message> {
        let mut vectors: Vec<libc::iovec> = parts
            .iter()
            .map(|part| libc::iovec {
                iov_base: part.as_ptr() as *mut libc::c_void,
                iov_len: part.len(),
            })
            .collect();
        // SAFETY: all zeros is a valid `msghdr`: no address, no vectors, no control data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len();
        Box::new(Message {
            header,
            _vectors: vectors,
            _parts: parts,
        })
    }
}

/// What a positive result stands for, so that a result nobody takes is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Yields {
    /// A number of bytes, or nothing.
    Count,
    /// A new file descriptor.
    Descriptor,
    /// A buffer of the ring's pool, holding that many bytes.
    Buffer,
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Outcome {
    /// The number of bytes, or the error.
    pub(super) fn count(self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }

    /// The new descriptor of an operation that yields one, or the error.
    ///
    /// # Safety
    /// The outcome must be that of an operation started with [`Yields::Descriptor`], and be turned
    /// into a descriptor once only.
    pub(super) unsafe fn descriptor(self) -> io::Result<OwnedFd> {
        self.count()?;
        // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// An operation that the kernel has, or will have at the next submission.
///
/// Dropping it cancels the operation; results not taken are given back.
pub(super) struct Operation {
    ring: Rc<Ring>,
    key: Option<usize>,
}

impl Operation {
    pub(super) fn new(ring: Rc<Ring>, key: usize) -> Operation {
        Operation {
            ring,
            key: Some(key),
        }
    }

    /// The next result; `None` when there will be no more.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(key) = self.key else {
            return Poll::Ready(None);
        };
        let next = self.ring.poll_outcome(key, cx);
        if matches!(next, Poll::Ready(None)) {
            self.ring.release(key);
            self.key = None;
        }
        next
    }

    /// The next result; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Asks the kernel to end the operation; results go on until the last.
    pub(super) fn cancel(&self) {
        if let Some(key) = self.key {
            self.ring.cancel(key);
        }
    }

    /// Waits for the only result of a plain operation and takes back what it kept.
    ///
    /// A zero-copy send may still be read by the kernel after its result: then what it keeps stays
    /// with the ring, and [`Keep::Nothing`] comes back.
    pub(super) async fn finish(mut self) -> (Outcome, Keep) {
        let outcome = self
            .next()
            .await
            .expect("a plain operation has exactly one result");
        (outcome, self.kept())
    }

    /// What a plain operation kept, after its result was taken.
    pub(super) fn kept(&mut self) -> Keep {
        match self.key.take() {
            Some(key) => self.ring.take_kept(key),
            None => Keep::Nothing,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.ring.abandon(key);
        }
    }
}
