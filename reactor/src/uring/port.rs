//! Keeping a port from other processes while our own shards share it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{SockaddrStorage, bind, getsockname, setsockopt};

use super::stream::{new_socket, to_std_address};

/// A port that is ours while this lives: a socket bound to it that never listens.
pub struct PortReservation {
    _socket: OwnedFd,
}

/// Reserves the port of `address`, or a free one if it is 0, and says which.
///
/// Shards share a port by `SO_REUSEPORT`, which would let a second process of the same user join
/// them unnoticed. Whoever reserves first is told `AddrInUse` if anybody listens on the port or
/// has reserved it.
pub fn reserve_port(address: SocketAddr) -> io::Result<(SocketAddr, PortReservation)> {
    let socket = new_socket(address)?;
    // With this a bind passes over connections that are still in TIME_WAIT, but not over a
    // listener; without `SO_REUSEPORT`, not over our kind of listener either.
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // Bound: now let our listeners in, and nobody who only has `SO_REUSEADDR`.
    setsockopt(&socket, ReusePort, &true)?;
    setsockopt(&socket, ReuseAddr, &false)?;
    let address = to_std_address(&getsockname(socket.as_raw_fd())?)?;
    Ok((address, PortReservation { _socket: socket }))
}
