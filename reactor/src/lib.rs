//! One reactor per core: tasks, time, mailboxes, files and sockets.
//!
//! Everything above this crate is single-threaded `async` code that holds a [`Reactor`] and never
//! learns which of two backends is behind it:
//!
//! * `uring`: glommio's executor, with a ring of our own for sockets and files;
//! * `sim`: virtual time, seeded scheduling, a network and disks that fail on purpose.
//!
//! This is the only crate that names glommio or io-uring, and the only one with `unsafe` code.

mod buffer;
mod file;
mod mailbox;
mod reactor;
#[cfg(test)]
mod resident;
pub mod sim;
mod socket;
mod sync;
mod task;
pub mod uring;

pub use buffer::{AlignedBuffer, BLOCK_SIZE, BlockRange, TailBuffer, TailSlice};
pub use file::{DirEntry, DiskSpace, File, FileLock, FileSystem, OpenOptions, SharedFile};
pub use mailbox::{MailboxClosed, Receiver, Sender, mailbox};
pub use reactor::{Elapsed, Reactor};
pub use socket::{Listener, SendFileError, Stream};
pub use sync::Notify;
pub use task::{Task, TaskQueue};
