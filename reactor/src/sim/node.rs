//! A simulated machine: its shards, its clock's error, its disk, its crashes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use crate::reactor::{Backend, Reactor};
use crate::task::TaskQueue;

use super::disk::{Disk, DiskFault};
use super::shard::Shard;
use super::world::World;

/// Which unsynced changes of its disk a node finds again after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepUnsynced {
    /// Every completed write, as after `kill -9`: the kernel lives on. They are still not durable.
    /// Writes in flight are torn.
    All,
    /// None: the worst power cut.
    None,
    /// Any of them, sector by sector: a usual power cut.
    Random,
}

/// How a node crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashOptions {
    /// What the disk keeps.
    pub keep: KeepUnsynced,
    /// Whether peers hear nothing, as when a machine loses power: their connections hang until
    /// they send something to the node that has come back. Otherwise connections are reset.
    pub silent: bool,
}

impl CrashOptions {
    /// A crash with `keep`, after which peers see their connections reset.
    pub fn keep(keep: KeepUnsynced) -> CrashOptions {
        CrashOptions {
            keep,
            silent: false,
        }
    }
}

/// A machine of a simulation. Clones are handles on the same one.
#[derive(Clone)]
pub struct Node {
    pub(super) world: Rc<World>,
    pub(super) state: Rc<NodeState>,
}

/// What the simulation keeps of a node.
pub(super) struct NodeState {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) ip: IpAddr,
    pub(super) disk: RefCell<Disk>,
    /// Counts crashes; shards of an earlier run are dead.
    run: Cell<u64>,
    /// Stopped by a fault point, and not yet crashed by the test.
    stopped: Cell<bool>,
    /// Answers no packet.
    silent: Cell<bool>,
    clock_skew_ms: Cell<i64>,
    next_port: Cell<u16>,
    last_write: Cell<Option<Instant>>,
}

/// The first port that is given when port 0 is asked for.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

impl NodeState {
    pub(super) fn note_write(&self, now: Instant) {
        self.last_write.set(Some(now));
    }

    pub(super) fn last_write(&self) -> Option<Instant> {
        self.last_write.get()
    }

    pub(super) fn new(index: usize, name: &str, ip: IpAddr) -> NodeState {
        NodeState {
            index,
            name: name.to_owned(),
            ip,
            disk: RefCell::new(Disk::new()),
            run: Cell::new(0),
            stopped: Cell::new(false),
            silent: Cell::new(false),
            clock_skew_ms: Cell::new(0),
            next_port: Cell::new(FIRST_EPHEMERAL_PORT),
            last_write: Cell::new(None),
        }
    }

    pub(super) fn run(&self) -> u64 {
        self.run.get()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.get()
    }

    pub(super) fn clock_skew_ms(&self) -> i64 {
        self.clock_skew_ms.get()
    }

    pub(super) fn mark_stopped(&self) {
        self.stopped.set(true);
        self.silent.set(true);
    }

    pub(super) fn ephemeral_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port
            .set(port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT));
        port
    }
}

impl Node {
    /// The name given when it was added.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its address on the simulated network. 127.0.0.0/8 is the node itself, too.
    pub fn ip(&self) -> IpAddr {
        self.state.ip
    }

    /// A port of its address.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.state.ip, port)
    }

    /// Starts a shard. Shards of one node share its disk and address.
    ///
    /// # Panics
    /// When a fault point stopped the node and [`Node::crash`] has not yet said what its disk
    /// keeps.
    pub fn reactor(&self) -> Reactor {
        assert!(
            !self.state.is_stopped(),
            "node {} was stopped by a fault point: crash it before it starts again",
            self.state.name
        );
        if self.state.silent.replace(false) {
            self.world.deliver_held(self.state.index);
        }
        Reactor {
            backend: Backend::Sim(Rc::new(Shard::new(self.world.clone(), self.state.clone()))),
        }
    }

    /// Runs `future` as a task of this node until it ends; `None` if the node crashed or stopped
    /// before.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let task = self.reactor().spawn(TaskQueue::Requests, future);
        self.world.block_on(task)
    }

    /// Crashes the node: its tasks are dropped, its connections end, its disk loses what
    /// `options.keep` says. New shards may be started at once.
    pub fn crash(&self, options: CrashOptions) {
        let state = &self.state;
        state.run.set(state.run.get() + 1);
        state.stopped.set(false);
        state.silent.set(options.silent);
        self.world.clock.forget_node(state.index);
        self.world.disconnect(state.index, options.silent);
        while self.world.executor.drop_tasks(Some(state.index)) {}
        let random = &mut self.world.random.borrow_mut();
        state.disk.borrow_mut().crash(options.keep, random);
        tracing::debug!(
            node = state.name,
            elapsed = ?self.world.clock.elapsed(),
            ?options,
            "the node crashes"
        );
    }

    /// Sets how far the node's wall clock is ahead of the simulation's.
    pub fn set_clock_skew(&self, skew_ms: i64) {
        self.state.clock_skew_ms.set(skew_ms);
    }

    /// Writes, syncs and changes of folders that were begun on this disk so far.
    pub fn disk_operations(&self) -> u64 {
        self.state.disk.borrow().operations()
    }

    /// Stops the node at its `n`th disk operation, counted from 1 since the node was added: before
    /// it, while it is in flight, or after it and before its caller learns so, by the seed. Its
    /// tasks are dropped; [`Node::crash`] says what the disk keeps.
    ///
    /// # Panics
    /// When that operation has been.
    pub fn crash_at_disk_operation(&self, n: u64) {
        self.state.disk.borrow_mut().set_fault_point(n);
    }

    /// Whether a fault point stopped the node.
    pub fn is_stopped(&self) -> bool {
        self.state.is_stopped()
    }

    /// Makes disk operations fail.
    pub fn inject(&self, fault: DiskFault) {
        self.state.disk.borrow_mut().inject(fault);
    }

    /// Takes back all injected faults.
    pub fn clear_faults(&self) {
        self.state.disk.borrow_mut().clear_faults();
    }

    /// Limits the sum of file sizes, each rounded up to whole blocks: more is ENOSPC.
    pub fn set_disk_capacity(&self, bytes: Option<u64>) {
        self.state.disk.borrow_mut().set_capacity(bytes);
    }

    /// Rots a byte of a file, on the device and in memory.
    ///
    /// # Panics
    /// When there is no such file or it is shorter.
    pub fn corrupt(&self, path: impl AsRef<Path>, position: u64, xor: u8) {
        let mut disk = self.state.disk.borrow_mut();
        disk.corrupt(path.as_ref(), position, xor);
    }

    /// What a file would hold after a crash that keeps nothing unsynced; `None` if it would not
    /// be there.
    pub fn read_durable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state.disk.borrow().read_durable(path.as_ref())
    }

    /// What a file holds now, completed writes included; `None` if it is not there.
    pub fn read_current(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state.disk.borrow().read_current(path.as_ref())
    }

    /// Puts a folder there, and those above it, durable at once and without an operation counted.
    pub fn make_dir(&self, path: impl AsRef<Path>) {
        self.state.disk.borrow_mut().make_dir(path.as_ref());
    }

    /// Puts a file there in the same way, as a fixture; its folder must be there.
    pub fn plant_file(&self, path: impl AsRef<Path>, content: &[u8]) {
        let mut disk = self.state.disk.borrow_mut();
        disk.plant_file(path.as_ref(), content);
    }
}
