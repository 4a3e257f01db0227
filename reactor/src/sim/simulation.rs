//! A simulation as tests see it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use super::disk::DiskOptions;
use super::network::LinkOptions;
use super::node::{Node, NodeState};
use super::world::World;

/// What a simulation is made from. The defaults suit a test of a few seconds of virtual time.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// Everything random comes from here.
    pub seed: u64,
    /// Polls and time steps that one [`Simulation::block_on`] or [`Simulation::run_for`] may take.
    pub max_steps: u64,
    /// Virtual time that one [`Simulation::block_on`] may take.
    pub max_virtual_time: Duration,
    /// How two nodes are linked unless [`Simulation::set_link`] says otherwise.
    pub link: LinkOptions,
    /// How long disks take.
    pub disk: DiskOptions,
}

impl Default for SimulationOptions {
    fn default() -> SimulationOptions {
        SimulationOptions {
            seed: 0,
            max_steps: 50_000_000,
            max_virtual_time: Duration::from_secs(3600),
            link: LinkOptions::default(),
            disk: DiskOptions::default(),
        }
    }
}

/// Nodes, their network and their time, run by the calling thread.
pub struct Simulation {
    world: Rc<World>,
}

impl Simulation {
    /// A simulation without nodes, at the start of its time.
    pub fn new(options: SimulationOptions) -> Simulation {
        Simulation {
            world: Rc::new(World::new(options)),
        }
    }

    /// A simulation with the default options and this seed.
    pub fn with_seed(seed: u64) -> Simulation {
        Simulation::new(SimulationOptions {
            seed,
            ..SimulationOptions::default()
        })
    }

    /// Adds a machine with an empty disk and an address of its own (10.0.0.1 and up).
    pub fn add_node(&self, name: &str) -> Node {
        let mut nodes = self.world.nodes.borrow_mut();
        let index = nodes.len();
        let number = u32::try_from(index + 1).expect("fewer nodes than addresses");
        let [_, high, middle, low] = number.to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, high, middle, low));
        let state = Rc::new(NodeState::new(index, name, ip));
        nodes.push(state.clone());
        Node {
            world: self.world.clone(),
            state,
        }
    }

    /// Runs everything until `future` is ready. The future itself belongs to no node: it goes on
    /// when nodes crash.
    ///
    /// # Panics
    /// When a task or the future panics, when nothing can make progress any more, and when a bound
    /// of the options is passed; the message names the seed.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.world.block_on(future)
    }

    /// Runs everything for a span of virtual time.
    ///
    /// # Panics
    /// As [`Simulation::block_on`].
    pub fn run_for(&self, duration: Duration) {
        self.world.run_for(duration);
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.world.clock.elapsed()
    }

    /// A digest of every choice made so far: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace_hash()
    }

    /// A random number from the seed, for choices of the test's own.
    pub fn random_u64(&self) -> u64 {
        self.world.random.borrow_mut().next_u64()
    }

    /// Cuts the link between two nodes: what is sent waits, and arrives after [`Self::heal`].
    pub fn partition(&self, one: &Node, other: &Node) {
        self.partition_one_way(one, other);
        self.partition_one_way(other, one);
    }

    /// Cuts one direction of a link.
    pub fn partition_one_way(&self, from: &Node, to: &Node) {
        let cut = (from.state.index, to.state.index);
        self.world.network.borrow_mut().partition(cut.0, cut.1);
    }

    /// Mends the link between two nodes.
    pub fn heal(&self, one: &Node, other: &Node) {
        let (one, other) = (one.state.index, other.state.index);
        self.world.network.borrow_mut().heal(one, other);
        self.world.deliver_held(one);
        self.world.deliver_held(other);
    }

    /// Mends all links.
    pub fn heal_all(&self) {
        self.world.network.borrow_mut().heal_all();
        for node in 0..self.world.nodes.borrow().len() {
            self.world.deliver_held(node);
        }
    }

    /// Sets how two nodes are linked from now on, in both directions.
    pub fn set_link(&self, one: &Node, other: &Node, options: LinkOptions) {
        let mut network = self.world.network.borrow_mut();
        network.set_link(one.state.index, other.state.index, options);
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.world.dismantle();
    }
}
