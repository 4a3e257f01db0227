//! Tells a service manager how far the daemon is, by the protocol of `sd_notify(3)`: a datagram to
//! the socket that `$NOTIFY_SOCKET` names.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// Names the socket of the service manager.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager that started the daemon, if one did.
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl ServiceManager {
    /// The one that the environment names. One that cannot be reached is warned of: the daemon
    /// works without.
    pub fn from_environment() -> ServiceManager {
        let socket = env::var_os(VARIABLE).and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(cause) => {
                warn!("cannot use ${VARIABLE} ({}): {cause}", name.display());
                None
            }
        });
        ServiceManager { socket }
    }

    /// Tells it a state, such as `READY=1`.
    pub fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(cause) = socket.send_to_addr(state.as_bytes(), address)
        {
            warn!("the service manager could not be told {state}: {cause}");
        }
    }
}

/// A path, or with an `@` before it a name in the abstract namespace.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither a path nor an @name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read cannot hold the daemon up.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
