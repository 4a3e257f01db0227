//! The simulated backend: virtual time, seeded scheduling, a network and disks that fail.
//!
//! A [`Simulation`] runs any number of [`Node`]s in the calling thread. Everything that could
//! differ between two runs (which ready task goes next, how long a write takes, where a stream is
//! split, which sectors survive a crash) is drawn from one seed, so the same seed and the same
//! code give the same trace: [`Simulation::trace_hash`] is there to prove it. Code above must not
//! bring chance of its own, such as the iteration order of a randomly keyed hash map.
//!
//! ```text
//! simulation ─ world ─┬─ executor   tasks of all nodes, picked at random
//!                     ├─ clock      virtual time and what happens when
//!                     ├─ network    connections, listeners, partitions
//!                     └─ nodes ──── disk: durable images, unsynced changes, writes in flight
//! ```

mod clock;
mod connection;
mod disk;
mod executor;
mod file;
mod network;
mod node;
mod random;
mod shard;
mod simulation;
mod stream;
mod world;

pub use disk::{DiskFault, DiskOperation, DiskOptions, FaultError};
pub use file::{File, SharedFile};
pub use network::LinkOptions;
pub use node::{CrashOptions, KeepUnsynced, Node};
pub use shard::Shard;
pub use simulation::{Simulation, SimulationOptions};
pub use stream::{Listener, Stream};
