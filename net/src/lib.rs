//! The server side of connections: listeners, frames and the connection loop.
//!
//! A frame is a request's bytes without its length. [`Acceptor`] takes connections from a listener
//! and runs [`serve`] for each; `serve` reads frames, hands them to a [`Handler`] in order, and
//! sends the replies in the order of the requests. What a connection, and all connections of a
//! shard together, may hold is bounded ([`ConnectionOptions`], [`MemoryBudget`]): when a bound is
//! reached the socket is not read, so that the client feels it.
//!
//! Nothing here knows what a request means.

mod acceptor;
mod connection;
mod counters;
mod direct_reads;
mod frame;
mod memory_budget;
mod port_owner;
mod reply;
mod request_times;
mod shutdown;

pub use acceptor::{Acceptor, AcceptorOptions};
pub use connection::{CloseReason, ConnectionOptions, Handler, Overlap, Shared, serve};
pub use counters::Counters;
pub use frame::{FrameError, FrameReader, RequestFrame};
pub use memory_budget::{MemoryBudget, MemoryPermit};
pub use port_owner::{PortOwner, port_owner};
pub use reply::{FileRange, Part, Reply};
pub use request_times::{ApiTimes, BUCKET_BOUNDS_US, Histogram, RequestTimes};
pub use shutdown::{Shutdown, ShutdownWait};
