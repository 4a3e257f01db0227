//! The handle by which all code reaches its core: an enum over the two backends.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use futures::future::{Either, select};

use crate::file::FileSystem;
use crate::socket::{Listener, Stream};
use crate::task::{Task, TaskQueue};
use crate::{sim, uring};

/// A handle on the reactor of this core. Cheap to clone; never leaves its thread.
#[derive(Clone)]
pub struct Reactor {
    pub(crate) backend: Backend,
}

#[derive(Clone)]
pub(crate) enum Backend {
    Uring(Rc<uring::Shard>),
    Sim(Rc<sim::Shard>),
}

/// The future given to [`Reactor::timeout`] did not finish in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl Reactor {
    /// Monotonic time; virtual in simulation.
    pub fn now(&self) -> Instant {
        match &self.backend {
            Backend::Uring(shard) => shard.now(),
            Backend::Sim(shard) => shard.now(),
        }
    }

    /// Milliseconds since the Unix epoch; virtual, and possibly skewed, in simulation.
    pub fn wall_clock_ms(&self) -> i64 {
        match &self.backend {
            Backend::Uring(shard) => shard.wall_clock_ms(),
            Backend::Sim(shard) => shard.wall_clock_ms(),
        }
    }

    /// A random number; from the seed in simulation.
    pub fn random_u64(&self) -> u64 {
        match &self.backend {
            Backend::Uring(shard) => shard.random_u64(),
            Backend::Sim(shard) => shard.random_u64(),
        }
    }

    /// Gives the pages of the heap that nothing uses back to the kernel. Takes milliseconds for
    /// each hundred megabytes, on this core, and holds up allocations on the others.
    pub fn trim_heap(&self) {
        match &self.backend {
            Backend::Uring(shard) => shard.trim_heap(),
            // Its nodes share the heap of the test.
            Backend::Sim(_) => {}
        }
    }

    /// Runs `future` on this core, in the given queue.
    #[track_caller]
    pub fn spawn<T: 'static>(
        &self,
        queue: TaskQueue,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        match &self.backend {
            Backend::Uring(shard) => shard.spawn(queue, future),
            Backend::Sim(shard) => shard.spawn(queue, future),
        }
    }

    /// Waits for a duration.
    pub async fn sleep(&self, duration: Duration) {
        match &self.backend {
            Backend::Uring(shard) => shard.sleep(duration).await,
            Backend::Sim(shard) => shard.sleep(duration).await,
        }
    }

    /// Waits until `deadline`; at once if it has passed.
    pub async fn sleep_until(&self, deadline: Instant) {
        let now = self.now();
        if deadline > now {
            self.sleep(deadline - now).await;
        }
    }

    /// Lets the other tasks that are ready run first.
    pub async fn yield_now(&self) {
        match &self.backend {
            Backend::Uring(shard) => shard.yield_now().await,
            Backend::Sim(shard) => shard.yield_now().await,
        }
    }

    /// Runs `future` for at most `duration`; drops it then.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let future = std::pin::pin!(future);
        let sleep = std::pin::pin!(self.sleep(duration));
        match select(future, sleep).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// Listens on `address`. All shards of a process may listen on the same port: the kernel
    /// spreads connections over them (`SO_REUSEPORT`), but a second process is refused with
    /// `AddrInUse`, as long as the shards of the first share one `group`: see
    /// [`uring::reserve_port`].
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        match &self.backend {
            Backend::Uring(shard) => Ok(Listener::Uring(shard.listen(address).await?)),
            Backend::Sim(shard) => Ok(Listener::Sim(shard.listen(address).await?)),
        }
    }

    /// Connects to `address`, with TCP_NODELAY.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        match &self.backend {
            Backend::Uring(shard) => Ok(Stream::Uring(shard.connect(address).await?)),
            Backend::Sim(shard) => Ok(Stream::Sim(shard.connect(address).await?)),
        }
    }

    /// The files of this machine, or of the simulated node.
    pub fn fs(&self) -> FileSystem {
        FileSystem {
            reactor: self.clone(),
        }
    }
}
