//! The network between nodes: listeners, links with latency, loss and resets, partitions.
//!
//! Nothing is lost but time: as under TCP, a lost segment arrives after a retransmission, and what
//! is sent into a partition arrives after it is mended. Only a reset takes bytes away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, Content, Segment};
use super::stream::Backlog;
use super::world::World;

/// How packets fare between two nodes.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// How long a segment takes.
    pub latency: RangeInclusive<Duration>,
    /// How likely a segment is lost; it then arrives after one or more retransmission timeouts.
    pub loss: f64,
    /// How likely a segment brings a reset of its connection with it.
    pub reset: f64,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            latency: Duration::from_micros(50)..=Duration::from_micros(500),
            loss: 0.0,
            reset: 0.0,
        }
    }
}

/// After which a lost segment is sent again; doubled for each further loss.
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(200);

/// Losses in a row of one segment.
const MAX_LOSSES: u32 = 6;

/// Latency within a node.
const LOOPBACK_LATENCY: RangeInclusive<Duration> =
    Duration::from_micros(5)..=Duration::from_micros(50);

pub(super) struct Network {
    default_link: LinkOptions,
    links: BTreeMap<(usize, usize), LinkOptions>,
    /// Directions in which nothing arrives.
    cut: BTreeSet<(usize, usize)>,
    listeners: BTreeMap<(usize, u16), Vec<Rc<Backlog>>>,
    pub(super) connections: BTreeMap<u64, Connection>,
    next_connection: u64,
}

impl Network {
    pub(super) fn new(default_link: LinkOptions) -> Network {
        Network {
            default_link,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
        }
    }

    pub(super) fn partition(&mut self, from: usize, to: usize) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    pub(super) fn heal(&mut self, one: usize, other: usize) {
        self.cut.remove(&(one, other));
        self.cut.remove(&(other, one));
    }

    pub(super) fn heal_all(&mut self) {
        self.cut.clear();
    }

    pub(super) fn set_link(&mut self, one: usize, other: usize, options: LinkOptions) {
        self.links.insert((one, other), options.clone());
        self.links.insert((other, one), options);
    }

    pub(super) fn listen(&mut self, node: usize, backlog: Rc<Backlog>) {
        let place = (node, backlog.address.port());
        self.listeners.entry(place).or_default().push(backlog);
    }

    pub(super) fn is_listening(&self, node: usize, port: u16) -> bool {
        self.listeners.contains_key(&(node, port))
    }

    pub(super) fn stop_listening(&mut self, node: usize, backlog: &Rc<Backlog>) {
        let place = (node, backlog.address.port());
        if let Some(listeners) = self.listeners.get_mut(&place) {
            listeners.retain(|listener| !Rc::ptr_eq(listener, backlog));
            if listeners.is_empty() {
                self.listeners.remove(&place);
            }
        }
    }

    /// Those who listen for connections to an address of a node.
    pub(super) fn listeners(&self, node: usize, address: SocketAddr) -> Vec<Rc<Backlog>> {
        let listeners = self.listeners.get(&(node, address.port()));
        let listeners = listeners.into_iter().flatten();
        let hears = |ip: IpAddr| ip.is_unspecified() || ip == address.ip();
        listeners
            .filter(|backlog| hears(backlog.address.ip()))
            .cloned()
            .collect()
    }

    pub(super) fn connect(&mut self, ends: [(usize, SocketAddr); 2]) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(id, Connection::new(ends));
        id
    }

    fn link(&self, from: usize, to: usize) -> &LinkOptions {
        self.links.get(&(from, to)).unwrap_or(&self.default_link)
    }

    /// The nodes at `end` of a connection and at its other end.
    fn route(&self, id: u64, end: usize) -> Option<(usize, usize)> {
        let ends = &self.connections.get(&id)?.ends;
        Some((ends[end].node, ends[1 - end].node))
    }
}

impl World {
    /// Whether a packet gets through now.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let cut = self.network.borrow().cut.contains(&(from, to));
        from == to || !(cut || self.nodes.borrow()[to].is_silent())
    }

    /// How long a packet takes.
    pub(super) fn latency(&self, from: usize, to: usize) -> Duration {
        let random = &mut self.random.borrow_mut();
        if from == to {
            return random.duration(&LOOPBACK_LATENCY);
        }
        let network = self.network.borrow();
        let link = network.link(from, to);
        let mut latency = random.duration(&link.latency);
        let mut losses = 0;
        while link.loss > 0.0 && losses < MAX_LOSSES && random.chance(link.loss) {
            latency += RETRANSMISSION_TIMEOUT * 2_u32.pow(losses);
            losses += 1;
        }
        latency
    }

    /// Sends from an end of a connection to the other.
    pub(super) fn transmit(&self, id: u64, end: usize, content: Content) {
        let Some((from, to)) = self.network.borrow().route(id, end) else {
            return;
        };
        let latency = self.latency(from, to);
        let now = self.clock.elapsed();
        let arrives = {
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                return;
            };
            let end = &mut connection.ends[end];
            let arrives = (now + latency).max(end.last_arrival);
            end.push(Segment { arrives, content });
            arrives
        };
        self.after(
            arrives - now,
            None,
            Box::new(move |world| world.deliver(id, end)),
        );
        let reset = self.network.borrow().link(from, to).reset;
        if from != to && reset > 0.0 && self.random.borrow_mut().chance(reset) {
            self.send_reset(id, 0);
            self.send_reset(id, 1);
        }
    }

    /// Hands over what has arrived from `end` at the other.
    fn deliver(&self, id: u64, end: usize) {
        let Some((from, to)) = self.network.borrow().route(id, end) else {
            return;
        };
        if !self.reaches(from, to) {
            return;
        }
        let now = self.clock.elapsed();
        let mut refused = false;
        {
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                return;
            };
            let [one, other] = &mut connection.ends;
            let (sender, receiver) = if end == 0 { (one, other) } else { (other, one) };
            while let Some(content) = sender.pop_arrived(now) {
                match content {
                    Content::Data(data) if receiver.receives() => receiver.receive(data),
                    Content::Data(_) => refused = true,
                    Content::EndOfStream => receiver.ended = true,
                }
            }
            receiver.wake();
            if refused {
                sender.truncate_in_flight(0);
            }
        }
        if refused {
            self.send_reset(id, end);
        }
    }

    /// Tells an end, after a while, that the connection is reset. Lost when it does not get
    /// through.
    pub(super) fn send_reset(&self, id: u64, end: usize) {
        let Some((to, from)) = self.network.borrow().route(id, end) else {
            return;
        };
        let latency = self.latency(from, to);
        self.after(
            latency,
            None,
            Box::new(move |world| {
                if !world.reaches(from, to) {
                    return;
                }
                let mut network = world.network.borrow_mut();
                if let Some(connection) = network.connections.get_mut(&id) {
                    let end = &mut connection.ends[end];
                    end.reset = true;
                    end.truncate_in_flight(0);
                    end.wake();
                }
            }),
        );
    }

    /// Ends both directions as seen from `end`.
    pub(super) fn shut(&self, id: u64, end: usize) {
        {
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                return;
            };
            let end = &mut connection.ends[end];
            if std::mem::replace(&mut end.shut, true) {
                return;
            }
            end.wake();
        }
        self.finish(id, end);
    }

    /// Ends the direction from `end`.
    pub(super) fn finish(&self, id: u64, end: usize) {
        {
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                return;
            };
            let end = &mut connection.ends[end];
            if std::mem::replace(&mut end.finished, true) || end.reset {
                return;
            }
            end.wake();
        }
        self.transmit(id, end, Content::EndOfStream);
    }

    /// The stream at `end` is gone. Had it left something unread, that is an abort.
    pub(super) fn close(&self, id: u64, end: usize) {
        let unread = {
            let network = self.network.borrow();
            let Some(connection) = network.connections.get(&id) else {
                return;
            };
            connection.ends[end].has_received()
        };
        if unread {
            self.abort(id, end);
        } else {
            self.shut(id, end);
            self.let_go(id, end);
        }
    }

    /// Ends a connection with a reset: what `end` sent and has not arrived is lost.
    pub(super) fn abort(&self, id: u64, end: usize) {
        {
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                return;
            };
            connection.ends[end].truncate_in_flight(0);
        }
        self.send_reset(id, 1 - end);
        self.let_go(id, end);
    }

    /// Nobody holds `end` any more.
    fn let_go(&self, id: u64, end: usize) {
        let mut network = self.network.borrow_mut();
        if let Some(connection) = network.connections.get_mut(&id) {
            connection.ends[end].held = false;
            connection.ends[end].shut = true;
            if connection.is_over() {
                network.connections.remove(&id);
            }
        }
    }

    /// Takes a node that stops off the network. Of what it sent, a part still arrives. Peers see
    /// resets, unless it is silent.
    pub(super) fn disconnect(&self, node: usize, silent: bool) {
        let mut gone = Vec::new();
        {
            let mut network = self.network.borrow_mut();
            network
                .listeners
                .retain(|(listening, _), _| *listening != node);
            let random = &mut self.random.borrow_mut();
            for (id, connection) in &mut network.connections {
                for (index, end) in connection.ends.iter_mut().enumerate() {
                    if end.node == node {
                        let kept = random.index(end.in_flight.len() + 1);
                        end.truncate_in_flight(kept);
                        gone.push((*id, index));
                    }
                }
            }
        }
        for (id, end) in gone {
            if !silent {
                self.send_reset(id, 1 - end);
            }
            self.let_go(id, end);
        }
    }

    /// Sends again what could not get through to a node or from it.
    pub(super) fn deliver_held(&self, node: usize) {
        let now = self.clock.elapsed();
        let mut held = Vec::new();
        for (id, connection) in &self.network.borrow().connections {
            for (index, end) in connection.ends.iter().enumerate() {
                let (from, to) = (end.node, connection.ends[1 - index].node);
                let overdue = end
                    .in_flight
                    .front()
                    .is_some_and(|segment| segment.arrives <= now);
                if overdue && (from == node || to == node) {
                    held.push((*id, index, from, to));
                }
            }
        }
        for (id, end, from, to) in held {
            let arrives = now + self.latency(from, to);
            let mut network = self.network.borrow_mut();
            let Some(connection) = network.connections.get_mut(&id) else {
                continue;
            };
            let sender = &mut connection.ends[end];
            for segment in &mut sender.in_flight {
                segment.arrives = segment.arrives.max(arrives);
            }
            sender.last_arrival = sender.last_arrival.max(arrives);
            self.after(
                arrives - now,
                None,
                Box::new(move |world| world.deliver(id, end)),
            );
        }
    }
}
