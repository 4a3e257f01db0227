//! The kernel backend: glommio's executor runs the tasks, a ring of our own does all I/O.
//!
//! One [`Shard`] is one thread. Its parts:
//!
//! * `task_table`: wakers that work from any thread, and how many tasks can run;
//! * `ring`: submission, completion, and what each operation in flight keeps alive;
//! * `driver`: the task that submits and reaps, and puts the thread to sleep *in the ring*, so
//!   that completions, timers and wakes from other threads all end the same system call;
//! * `listener`, `stream`, `splice`, `lend`: sockets; `file`, `directory`: files.
//!
//! What is deliberately absent: glommio's sockets, files, timers and its way to sleep. Its
//! sockets make a system call for each receive and send; its files cannot write memory that it
//! did not allocate; and each of its sleeps costs several system calls over three rings.

mod buffer_pool;
mod directory;
mod driver;
mod file;
mod heap;
mod lend;
mod listener;
mod operation;
mod port;
mod ring;
mod shard;
mod signal;
mod splice;
mod stream;
mod support;
mod task_table;
mod timers;

pub(crate) use file::written_within;
pub use file::{File, SharedFile};
pub use listener::Listener;
pub use port::{PortReservation, reserve_port};
pub use shard::{Shard, ShardHandle, ShardOptions, start_shard};
pub use signal::{catch_terminate_signals, terminate_signal};
pub use stream::Stream;
pub use support::{Unsupported, probe, supports_direct_io};
