//! Listening sockets: one multishot accept for each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};
use nix::libc;
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort, TcpNoDelay};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, getsockname, listen, setsockopt};

use super::operation::{Keep, Operation, Yields};
use super::stream::{Network, Stream, new_socket, to_std_address};

/// Connections that the kernel holds for us before they are accepted.
const BACKLOG: i32 = 1024;

/// Accepted connections nobody has taken, after which accepting pauses.
const UNTAKEN: usize = 256;

/// A listening socket.
pub struct Listener {
    network: Rc<Network>,
    socket: Arc<OwnedFd>,
    address: SocketAddr,
    accepting: RefCell<Option<Operation>>,
}

impl Listener {
    pub(super) fn bind(network: &Rc<Network>, address: SocketAddr) -> io::Result<Listener> {
        let socket = new_socket(address)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        setsockopt(&socket, ReusePort, &true)?;
        // Accepted sockets inherit it.
        setsockopt(&socket, TcpNoDelay, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let address = to_std_address(&getsockname(socket.as_raw_fd())?)?;
        Ok(Listener {
            network: network.clone(),
            socket: Arc::new(socket),
            address,
            accepting: RefCell::new(None),
        })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        loop {
            let socket = poll_fn(|cx| self.poll_accept(cx)).await?;
            // A connection that is gone again has no address, and is nobody's concern.
            if let Ok(stream) = Stream::from_accepted(&self.network, socket) {
                return Ok(stream);
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let mut accepting = self.accepting.borrow_mut();
        loop {
            let operation = accepting.get_or_insert_with(|| self.start_accept());
            let Some(outcome) = ready!(operation.poll_next(cx)) else {
                *accepting = None;
                continue;
            };
            // SAFETY: the operation yields descriptors, and each outcome is taken once.
            match unsafe { outcome.descriptor() } {
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ECANCELED | libc::ECONNABORTED | libc::EINTR)
                    ) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn start_accept(&self) -> Operation {
        let accept = opcode::AcceptMulti::new(types::Fd(self.socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        let socket = Some(self.socket.clone());
        // SAFETY: an accept names no memory, and the operation keeps the socket.
        unsafe {
            self.network
                .ring
                .start(accept, socket, Keep::Nothing, Yields::Descriptor, UNTAKEN)
        }
    }
}
