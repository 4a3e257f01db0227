//! Connected sockets: receiving through the ring's buffer pool or straight into the caller's
//! memory, and gathered sends.
//!
//! Receiving has two ways. Small messages come by a multishot receive, which stays armed and fills
//! buffers of the pool. The rest of a large message is received into the caller's buffer; a
//! multishot receive is stopped for that, and until messages are small again the first bytes of
//! each come by a receive that fills one buffer only, so that there is nothing to stop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use io_uring::{opcode, squeue, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage,
    getpeername, getsockname, send, setsockopt, shutdown, socket,
};

use super::buffer_pool::{CHUNK_LEN, Chunk, GROUP};
use super::file::File;
use super::lend::Lender;
use super::operation::{Keep, Message, Operation, Outcome, Yields};
use super::ring::Ring;
use super::splice::{self, PipePool};
use super::timers::Timers;
use crate::buffer::TailSlice;
use crate::socket::SendFileError;

/// Buffers that a multishot receive may fill before somebody takes them; then it pauses, and the
/// peer is held back by TCP.
const UNTAKEN: usize = 8;

/// A rest of at most so many bytes may come with what is sent next, through the pool.
const SMALL_REST: usize = 16 * 1024;

/// Receives of one buffer after a large message, before the next multishot receive.
const SMALL_AFTER_LARGE: u32 = 8;

/// Parts of at most so many bytes in all are copied together and sent as one.
const GATHER_MAX: usize = 2048;

/// Sends of at most so many bytes are tried at once, before the ring has them.
const DIRECT_MAX: usize = 16 * 1024;

/// Bytes that leave without a copy, and without waiting, before others have their turn.
const PAUSE_AFTER: usize = 1024 * 1024;

/// The last segment may wait for what is sent next.
const MORE: MsgFlags = MsgFlags::from_bits_retain(libc::MSG_MORE);

/// Parts of one gathered send (`IOV_MAX`).
const PARTS_MAX: usize = 1024;

/// Bytes of one system call's transfer.
const TRANSFER_MAX: usize = 1 << 30;

/// What all sockets of a shard share.
pub(super) struct Network {
    pub(super) ring: Rc<Ring>,
    pub(super) timers: Rc<Timers>,
    pub(super) pipes: PipePool,
    pub(super) lender: Lender,
}

/// A connected socket. Dropping it ends its operations and closes it.
pub struct Stream {
    network: Rc<Network>,
    socket: Arc<OwnedFd>,
    receiving: RefCell<Receiving>,
    /// Receives left to be made one buffer at a time.
    one_by_one: Cell<u32>,
    /// Bytes lent since others had their turn.
    lent_at_once: Cell<usize>,
    peer: SocketAddr,
    local: SocketAddr,
}

#[derive(Default)]
struct Receiving {
    /// Received, not yet taken.
    pieces: VecDeque<Piece>,
    armed: Option<Armed>,
    ended: bool,
}

enum Armed {
    /// Into buffers of the pool.
    Pool(Operation),
    /// Into memory of its own, because the pool was empty.
    Own(Operation),
}

/// A received piece.
enum Piece {
    Chunk(Chunk),
    Own(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Chunk(chunk) => chunk,
            Piece::Own(bytes) => bytes,
        }
    }

    fn advance(&mut self, len: usize) {
        match self {
            Piece::Chunk(chunk) => chunk.advance(len),
            Piece::Own(bytes) => bytes.advance(len),
        }
    }
}

impl Stream {
    fn new(network: &Rc<Network>, socket: OwnedFd) -> io::Result<Stream> {
        let peer = to_std_address(&getpeername(socket.as_raw_fd())?)?;
        let local = to_std_address(&getsockname(socket.as_raw_fd())?)?;
        Ok(Stream {
            network: network.clone(),
            socket: Arc::new(socket),
            receiving: RefCell::default(),
            one_by_one: Cell::new(0),
            lent_at_once: Cell::new(0),
            peer,
            local,
        })
    }

    /// A stream of a socket that a listener accepted.
    pub(super) fn from_accepted(network: &Rc<Network>, socket: OwnedFd) -> io::Result<Stream> {
        Stream::new(network, socket)
    }

    pub(crate) async fn recv(&self) -> io::Result<Bytes> {
        self.one_by_one.set(self.one_by_one.get().saturating_sub(1));
        match poll_fn(|cx| self.poll_piece(cx)).await? {
            Some(Piece::Chunk(chunk)) => Ok(chunk.into_bytes()),
            Some(Piece::Own(bytes)) => Ok(bytes),
            None => Ok(Bytes::new()),
        }
    }

    pub(crate) async fn recv_exact(
        &self,
        mut buffer: BytesMut,
        len: usize,
    ) -> io::Result<BytesMut> {
        buffer.reserve(len);
        let mut missing = len - self.take_received(&mut buffer, len);
        while missing > 0 && missing <= SMALL_REST {
            let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.receiving.borrow_mut().pieces.push_front(piece);
            missing -= self.take_received(&mut buffer, missing);
        }
        if missing > 0 {
            self.one_by_one.set(SMALL_AFTER_LARGE);
            poll_fn(|cx| self.poll_stop_receiving(cx)).await?;
            missing -= self.take_received(&mut buffer, missing);
        }
        while missing > 0 {
            let received;
            (received, buffer) = self.recv_into(buffer, missing).await?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            missing -= received;
        }
        Ok(buffer)
    }

    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        self.send_with(parts, MsgFlags::empty()).await
    }

    pub(crate) async fn send_more(&self, parts: Vec<Bytes>) -> io::Result<()> {
        self.send_with(parts, MORE).await
    }

    pub(crate) async fn send_slice(&self, slice: TailSlice, more: bool) -> io::Result<()> {
        let mut sent = 0;
        while sent < slice.len()
            && let Some(lent) = slice.lend()
        {
            let pushed = self.lend(&lent[sent..], more).await?;
            if pushed == 0 {
                // The kernel is short of memory or descriptors, and a copy waits for it.
                break;
            }
            sent += pushed;
        }
        let rest = Bytes::from(slice).split_off(sent);
        let flags = match more {
            true => MORE,
            false => MsgFlags::empty(),
        };
        self.send_with(vec![rest], flags).await
    }

    /// Lends the socket what it has room for, if need be after a wait. Others have their turn now
    /// and then.
    async fn lend(&self, bytes: &[u8], more: bool) -> io::Result<usize> {
        if self.lent_at_once.get() >= PAUSE_AFTER {
            self.lent_at_once.set(0);
            glommio::executor().yield_now().await;
        }
        let lender = &self.network.lender;
        let mut pushed = lender.push(&self.socket, bytes, more)?;
        if pushed == 0 {
            self.lent_at_once.set(0);
            splice::wait_for_room(&self.network, &self.socket).await?;
            pushed = lender.push(&self.socket, bytes, more)?;
        }
        self.lent_at_once.set(self.lent_at_once.get() + pushed);
        Ok(pushed)
    }

    async fn send_with(&self, mut parts: Vec<Bytes>, flags: MsgFlags) -> io::Result<()> {
        parts.retain(|part| !part.is_empty());
        let total: usize = parts.iter().map(Bytes::len).sum();
        match parts.len() {
            0 => Ok(()),
            1 => self.send_one(parts.swap_remove(0), flags).await,
            _ if total <= GATHER_MAX => {
                let mut gathered = BytesMut::with_capacity(total);
                for part in &parts {
                    gathered.extend_from_slice(part);
                }
                self.send_one(gathered.freeze(), flags).await
            }
            _ => self.send_parts(parts, flags).await,
        }
    }

    pub(crate) async fn send_file(
        &self,
        file: &File,
        position: u64,
        len: u64,
    ) -> Result<(), SendFileError> {
        splice::send_file(&self.network, &self.socket, file, position, len).await
    }

    pub(crate) fn finish(&self) {
        // Fails only when the peer has ended the connection already.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    pub(crate) fn shutdown(&self) {
        // Fails only when the peer has ended the connection already.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next piece; none at the end of the stream.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Piece>>> {
        let mut receiving = self.receiving.borrow_mut();
        loop {
            if let Some(piece) = receiving.pieces.pop_front() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if receiving.ended {
                return Poll::Ready(Ok(None));
            }
            if receiving.armed.is_none() {
                receiving.armed = Some(Armed::Pool(self.start_pool_receive()));
            }
            ready!(self.poll_armed(&mut receiving, cx))?;
        }
    }

    /// Stops what is armed and moves its results to `pieces`.
    fn poll_stop_receiving(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut receiving = self.receiving.borrow_mut();
        loop {
            match &receiving.armed {
                None => return Poll::Ready(Ok(())),
                Some(Armed::Pool(operation) | Armed::Own(operation)) => operation.cancel(),
            }
            ready!(self.poll_armed(&mut receiving, cx))?;
        }
    }

    /// Takes one result of what is armed.
    fn poll_armed(&self, receiving: &mut Receiving, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (outcome, kept) = match &mut receiving.armed {
            None => return Poll::Ready(Ok(())),
            Some(Armed::Pool(operation)) => (ready!(operation.poll_next(cx)), Keep::Nothing),
            Some(Armed::Own(operation)) => (ready!(operation.poll_next(cx)), operation.kept()),
        };
        let Some(outcome) = outcome else {
            receiving.armed = None;
            return Poll::Ready(Ok(()));
        };
        match outcome.count() {
            Ok(0) => receiving.ended = true,
            Ok(len) => {
                let piece = match kept {
                    Keep::Receive(mut buffer) => {
                        // SAFETY: the kernel has written `len` bytes at the buffer's start.
                        unsafe { buffer.set_len(len) };
                        Piece::Own(buffer.freeze())
                    }
                    _ => Piece::Chunk(
                        self.network
                            .ring
                            .chunk(outcome)
                            .expect("a receive from the pool names its buffer"),
                    ),
                };
                receiving.pieces.push_back(piece);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => {
                    receiving.armed = Some(Armed::Own(self.start_own_receive()));
                }
                Some(libc::ECANCELED | libc::EINTR) => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
        Poll::Ready(Ok(()))
    }

    fn start_pool_receive(&self) -> Operation {
        let fd = types::Fd(self.socket.as_raw_fd());
        let (receive, limit) = if self.one_by_one.get() == 0 {
            (opcode::RecvMulti::new(fd, GROUP).build(), UNTAKEN)
        } else {
            let receive = opcode::Recv::new(fd, std::ptr::null_mut(), CHUNK_LEN as u32)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT);
            (receive, 1)
        };
        let socket = Some(self.socket.clone());
        // SAFETY: the memory is the pool's, which the ring owns.
        unsafe {
            self.network
                .ring
                .start(receive, socket, Keep::Nothing, Yields::Buffer, limit)
        }
    }

    fn start_own_receive(&self) -> Operation {
        let mut buffer = BytesMut::with_capacity(CHUNK_LEN);
        let fd = types::Fd(self.socket.as_raw_fd());
        let receive = opcode::Recv::new(fd, buffer.as_mut_ptr(), CHUNK_LEN as u32).build();
        let socket = Some(self.socket.clone());
        // SAFETY: the buffer has that capacity, is on the heap, and goes with the operation.
        unsafe {
            self.network
                .ring
                .start(receive, socket, Keep::Receive(buffer), Yields::Count, 1)
        }
    }

    /// Moves received bytes to `buffer`, at most `max`; says how many.
    fn take_received(&self, buffer: &mut BytesMut, max: usize) -> usize {
        let mut receiving = self.receiving.borrow_mut();
        let mut taken = 0;
        while taken < max {
            let Some(piece) = receiving.pieces.front_mut() else {
                break;
            };
            let len = piece.bytes().len().min(max - taken);
            buffer.extend_from_slice(&piece.bytes()[..len]);
            taken += len;
            if len < piece.bytes().len() {
                piece.advance(len);
            } else {
                receiving.pieces.pop_front();
            }
        }
        taken
    }

    /// Receives up to `missing` bytes behind those in `buffer`.
    async fn recv_into(
        &self,
        mut buffer: BytesMut,
        missing: usize,
    ) -> io::Result<(usize, BytesMut)> {
        let room = buffer.spare_capacity_mut();
        assert!(room.len() >= missing, "the whole length was reserved");
        let len = missing.min(TRANSFER_MAX);
        let fd = types::Fd(self.socket.as_raw_fd());
        let receive = opcode::Recv::new(fd, room.as_mut_ptr().cast(), len as u32)
            .flags(libc::MSG_WAITALL)
            .build();
        // SAFETY: the room is on the heap, owned by the buffer, which goes with the operation.
        let run = unsafe { self.run(receive, Keep::Receive(buffer)) };
        let (outcome, Keep::Receive(mut buffer)) = run.await else {
            unreachable!("a receive gives its buffer back");
        };
        let received = outcome.count()?;
        // SAFETY: the kernel has written so many bytes behind the filled ones.
        unsafe { buffer.set_len(buffer.len() + received) };
        Ok((received, buffer))
    }

    async fn send_one(&self, mut rest: Bytes, flags: MsgFlags) -> io::Result<()> {
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        if rest.len() <= DIRECT_MAX {
            // Nearly always the socket has room. Then the call costs less than a submission, a
            // completion and another turn of the task, and the bytes leave at once.
            let at_once = flags | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), &rest, at_once) {
                Ok(sent) => rest.advance(sent),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        while !rest.is_empty() {
            let len = rest.len().min(TRANSFER_MAX);
            let fd = types::Fd(self.socket.as_raw_fd());
            let send = opcode::Send::new(fd, rest.as_ptr(), len as u32)
                .flags((flags | MsgFlags::MSG_WAITALL).bits())
                .build();
            // SAFETY: the bytes do not move, and go with the operation.
            let run = unsafe { self.run(send, Keep::Bytes(rest)) };
            let (outcome, Keep::Bytes(kept)) = run.await else {
                unreachable!("a send gives its bytes back");
            };
            rest = kept;
            rest.advance(sent(outcome)?);
        }
        Ok(())
    }

    async fn send_parts(&self, parts: Vec<Bytes>, flags: MsgFlags) -> io::Result<()> {
        let mut rest = VecDeque::from(parts);
        while !rest.is_empty() {
            // The kernel takes `MSG_WAITALL` to mean the whole of this message.
            let batch = rest.iter().take(PARTS_MAX).cloned().collect();
            let message = Message::new(batch);
            let flags = flags | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_WAITALL;
            let fd = types::Fd(self.socket.as_raw_fd());
            let send = opcode::SendMsg::new(fd, &message.header)
                .flags(flags.bits() as u32)
                .build();
            // SAFETY: the boxed message owns the header, its vectors and the parts.
            let (outcome, _) = unsafe { self.run(send, Keep::Message(message)) }.await;
            let mut sent = sent(outcome)?;
            while sent > 0 {
                let part = rest
                    .front_mut()
                    .expect("no more is sent than was asked for");
                let len = sent.min(part.len());
                part.advance(len);
                sent -= len;
                if part.is_empty() {
                    rest.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Starts an operation on the socket.
    ///
    /// # Safety
    /// As for [`Ring::start`].
    unsafe fn run(
        &self,
        entry: squeue::Entry,
        keep: Keep,
    ) -> impl Future<Output = (Outcome, Keep)> + use<> {
        let socket = Some(self.socket.clone());
        // SAFETY: passed on to the caller; the operation keeps the socket.
        unsafe { self.network.ring.run(entry, socket, keep) }
    }
}

/// Connects to `address`.
pub(super) async fn connect(network: &Rc<Network>, address: SocketAddr) -> io::Result<Stream> {
    let socket = Arc::new(new_socket(address)?);
    setsockopt(&socket, TcpNoDelay, &true)?;
    let address = Box::new(SockaddrStorage::from(address));
    let fd = types::Fd(socket.as_raw_fd());
    let connect = opcode::Connect::new(fd, address.as_ptr(), address.len()).build();
    // SAFETY: the boxed address goes with the operation.
    let run = unsafe {
        network
            .ring
            .run(connect, Some(socket.clone()), Keep::Address(address))
    };
    run.await.0.count()?;
    let socket = Arc::into_inner(socket).expect("the operation has ended and let go of it");
    Stream::new(network, socket)
}

/// A TCP socket for addresses like `address`.
pub(super) fn new_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    Ok(socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

/// The address as the standard library has it.
pub(super) fn to_std_address(address: &SockaddrStorage) -> io::Result<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Ok(SocketAddr::from((v4.ip(), v4.port())));
    }
    match address.as_sockaddr_in6() {
        Some(v6) => Ok(SocketAddr::from((v6.ip(), v6.port()))),
        None => Err(io::Error::other("a TCP socket without an IP address")),
    }
}

fn sent(outcome: Outcome) -> io::Result<usize> {
    match outcome.count()? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => Ok(sent),
    }
}
