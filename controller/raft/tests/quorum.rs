//! Whole quorums in one process: messages lost, late and doubled, disks that forget what was not
//! flushed, nodes that stop and start again. Every run comes from one seed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use millstream_protocol::NodeId;
use millstream_raft::{
    Entry, HardState, Message, Output, Persist, ProposeError, Raft, RaftConfig, Recovered, Snapshot,
};
use proptest::prelude::*;

const ELECTION_TICKS: usize = 5;
/// Types of messages as the byte after the version tells them.
const HEARTBEAT: u8 = 6;
const TIMEOUT_NOW: u8 = 8;

/// A node with its disk, and what it has replayed.
struct Node {
    raft: Option<Raft>,
    disk: Recovered,
    /// Written, not yet flushed.
    unflushed: VecDeque<Persist>,
    /// The data of all committed entries, in order.
    state: Vec<Bytes>,
    applied: u64,
}

struct Quorum {
    nodes: Vec<Node>,
    /// Bytes on the wire: what is sent is encoded, what comes is decoded.
    network: Vec<Bytes>,
    random: u64,
    /// What was committed anywhere, by index; each index once.
    committed: BTreeMap<u64, Entry>,
    leaders: BTreeMap<u64, NodeId>,
    /// Leaders hand over to whom they would send a heartbeat.
    hand_over: bool,
}

impl Quorum {
    fn new(size: i32, seed: u64) -> Quorum {
        let mut quorum = Quorum {
            nodes: Vec::new(),
            network: Vec::new(),
            random: seed,
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            hand_over: false,
        };
        for _ in 0..size {
            quorum.nodes.push(Node {
                raft: None,
                disk: Recovered::default(),
                unflushed: VecDeque::new(),
                state: Vec::new(),
                applied: 0,
            });
        }
        for at in 0..quorum.nodes.len() {
            quorum.start(at);
        }
        quorum
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    fn start(&mut self, at: usize) {
        let config = RaftConfig {
            node_id: NodeId(at as i32),
            voters: (0..self.nodes.len() as i32).map(NodeId).collect(),
            learners: Vec::new(),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 1,
            seed: self.random ^ at as u64,
        };
        let node = &mut self.nodes[at];
        node.unflushed.clear();
        node.state.clear();
        node.applied = 0;
        if let Some(snapshot) = node.disk.snapshot.clone() {
            restore(node, &snapshot);
        }
        node.raft = Some(Raft::start(&config, node.disk.clone()).expect("what was flushed fits"));
        self.drain(at);
    }

    fn stop(&mut self, at: usize) {
        self.nodes[at].raft = None;
    }

    fn drain(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            let Some(output) = node.raft.as_mut().and_then(Raft::poll_output) else {
                return;
            };
            match output {
                Output::Persist(persist) => node.unflushed.push_back(persist),
                Output::Send(message) => self.network.push(message.encode()),
                Output::Committed(entries) => {
                    for entry in entries {
                        assert_eq!(entry.index, node.applied + 1, "each once, in order");
                        node.applied = entry.index;
                        node.state.push(entry.data.clone());
                        assert!(
                            node.disk.entries.contains(&entry),
                            "committed before it is durable here"
                        );
                        let other = self.committed.entry(entry.index).or_insert(entry.clone());
                        assert_eq!(*other, entry, "two nodes committed different entries");
                    }
                }
                Output::Restored(snapshot) => {
                    assert_eq!(
                        node.disk.snapshot.as_ref(),
                        Some(&snapshot),
                        "durable first"
                    );
                    restore(node, &snapshot);
                }
                Output::SnapshotWanted => {
                    let (applied, data) = (node.applied, data_of(&node.state));
                    if applied > 0 {
                        let raft = node.raft.as_mut().expect("it just spoke");
                        raft.offer_snapshot(applied, data);
                    }
                }
            }
            let raft = self.nodes[at].raft.as_ref().expect("it just spoke");
            if raft.is_leader() {
                let id = NodeId(at as i32);
                assert_eq!(
                    *self.leaders.entry(raft.term()).or_insert(id),
                    id,
                    "one a term"
                );
            }
        }
    }

    /// Flushes the oldest write of a node.
    fn flush(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(persist) = node.unflushed.pop_front() else {
            return;
        };
        write(&mut node.disk, &persist);
        if let Some(raft) = &mut node.raft {
            raft.persisted(persist.number);
        }
        self.drain(at);
    }

    fn deliver(&mut self, which: usize) {
        let bytes = self.network.swap_remove(which);
        let message = Message::decode(bytes.clone()).expect("what a node sends can be read");
        assert_eq!(message.encode(), bytes);
        let at = message.to().0 as usize;
        let message = match (self.hand_over, bytes[1]) {
            (true, HEARTBEAT) => {
                let changed = [&bytes[..1], &[TIMEOUT_NOW], &bytes[2..]].concat();
                Message::decode(changed.into()).expect("they have the same fields")
            }
            _ => message,
        };
        if let Some(raft) = &mut self.nodes[at].raft {
            raft.step(message);
        }
        self.drain(at);
    }

    fn compact(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(raft) = &mut node.raft else {
            return;
        };
        let begins_at = node
            .disk
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.index);
        if node.applied > begins_at {
            let Some(snapshot) = raft.snapshot(node.applied, data_of(&node.state)) else {
                return;
            };
            raft.compact(snapshot.index);
            node.disk
                .entries
                .retain(|entry| entry.index > snapshot.index);
            node.disk.snapshot = Some(snapshot);
        }
    }

    fn step(&mut self, proposal: u64) {
        let at = self.below(self.nodes.len());
        match self.below(100) {
            0..=34 if !self.network.is_empty() => {
                let which = self.below(self.network.len());
                self.deliver(which);
            }
            35..=37 if !self.network.is_empty() => {
                let which = self.below(self.network.len());
                self.network.swap_remove(which);
            }
            38..=40 if !self.network.is_empty() => {
                let which = self.below(self.network.len());
                self.network.push(self.network[which].clone());
            }
            41..=64 => self.flush(at),
            65..=79 => {
                if let Some(raft) = &mut self.nodes[at].raft {
                    raft.tick();
                }
                self.drain(at);
            }
            80..=93 => {
                if let Some(raft) = &mut self.nodes[at].raft {
                    let data = Bytes::from(proposal.to_le_bytes().to_vec());
                    match raft.propose(data) {
                        Ok(_) | Err(ProposeError::NotLeader { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                self.drain(at);
            }
            94..=95 => self.compact(at),
            96..=97 => self.stop(at),
            _ if self.nodes[at].raft.is_none() => self.start(at),
            _ => {}
        }
    }

    /// All nodes up, nothing lost: they come to agree.
    fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].raft.is_none() {
                self.start(at);
            }
        }
        for _ in 0..200 {
            for at in 0..self.nodes.len() {
                self.nodes[at].raft.as_mut().expect("started").tick();
                self.drain(at);
            }
            for _ in 0..20 {
                for at in 0..self.nodes.len() {
                    while !self.nodes[at].unflushed.is_empty() {
                        self.flush(at);
                    }
                }
                for _ in 0..self.network.len() {
                    self.deliver(0);
                }
            }
        }
    }
}

fn write(disk: &mut Recovered, persist: &Persist) {
    if let Some(snapshot) = &persist.snapshot {
        disk.snapshot = Some(snapshot.clone());
        disk.entries.clear();
    }
    if let Some(first) = persist.entries.first() {
        disk.entries.retain(|entry| entry.index < first.index);
        disk.entries.extend(persist.entries.iter().cloned());
    }
    disk.hard_state = persist.hard_state;
}

fn data_of(state: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    for data in state {
        out.push(data.len() as u8);
        out.extend_from_slice(data);
    }
    out.into()
}

fn restore(node: &mut Node, snapshot: &Snapshot) {
    node.state.clear();
    node.applied = snapshot.index;
    let mut rest = &snapshot.data[..];
    while let Some((len, tail)) = rest.split_first() {
        let (data, tail) = tail.split_at(usize::from(*len));
        node.state.push(Bytes::copy_from_slice(data));
        rest = tail;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Inside the run: no two leaders a term, no two entries at an index, nothing replayed that is
    /// not durable, nothing twice. At its end: all have the same state, and new proposals commit.
    #[test]
    fn nodes_agree_whatever_is_lost(size in 1_i32..=5, seed in 1_u64..u64::MAX) {
        agree(Quorum::new(size, seed));
    }

    /// The same where leaders hand over all the time.
    #[test]
    fn nodes_agree_though_leaders_hand_over(size in 1_i32..=5, seed in 1_u64..u64::MAX) {
        let mut quorum = Quorum::new(size, seed);
        quorum.hand_over = true;
        agree(quorum);
    }
}

/// An election came due while a snapshot was being written.
#[test]
fn nodes_agree_though_elections_come_at_the_wrong_time() {
    agree(Quorum::new(3, 15_892_140_444_323_178_032));
}

fn agree(mut quorum: Quorum) {
    for proposal in 0..3000 {
        quorum.step(proposal);
    }
    quorum.hand_over = false;
    quorum.settle();
    let leader = (0..quorum.nodes.len())
        .find(|at| quorum.nodes[*at].raft.as_ref().is_some_and(Raft::is_leader))
        .expect("a quorum that hears itself has a leader");
    let raft = quorum.nodes[leader].raft.as_mut().expect("it leads");
    let proposed = raft.propose(Bytes::from_static(b"last"));
    let proposed = proposed.expect("a leader proposes");
    quorum.drain(leader);
    quorum.settle();
    assert!(quorum.committed.contains_key(&proposed.index));
    for (at, node) in quorum.nodes.iter().enumerate() {
        let raft = node.raft.as_ref().expect("all are up");
        let described = raft.replicas();
        assert_eq!(described.is_some(), at == leader, "only the leader knows");
        for replica in described.into_iter().flatten() {
            assert!(replica.is_voter);
            assert_eq!(replica.last_index, proposed.index);
        }
    }
    for node in &quorum.nodes {
        assert_eq!(node.state, quorum.nodes[leader].state);
        assert_eq!(node.state.last().map(|data| &data[..]), Some(&b"last"[..]));
    }
}

#[test]
fn the_only_voter_leads_at_once_and_commits_when_it_is_durable() {
    let config = RaftConfig {
        node_id: NodeId(0),
        voters: vec![NodeId(0)],
        learners: Vec::new(),
        election_ticks: 10,
        heartbeat_ticks: 2,
        seed: 1,
    };
    let mut raft = Raft::start(&config, Recovered::default()).expect("an empty log fits");
    assert!(raft.is_leader());
    raft.propose(Bytes::from_static(b"a")).expect("it leads");
    raft.propose(Bytes::from_static(b"b")).expect("it leads");
    let Some(Output::Persist(persist)) = raft.poll_output() else {
        panic!("the log comes first");
    };
    let written: Vec<(u64, &[u8])> = persist
        .entries
        .iter()
        .map(|entry| (entry.index, &entry.data[..]))
        .collect();
    assert_eq!(written, [(1, &b""[..]), (2, b"a"), (3, b"b")]);
    assert_eq!(
        persist.hard_state,
        HardState {
            term: 1,
            vote: Some(NodeId(0)),
            commit: 0
        }
    );
    assert_eq!(
        raft.poll_output(),
        None,
        "nothing is committed before it is durable"
    );
    raft.persisted(persist.number);
    assert_eq!(raft.poll_output(), Some(Output::Committed(persist.entries)));
    assert_eq!(raft.poll_output(), None);
}

#[test]
fn a_log_with_a_gap_is_refused() {
    let config = RaftConfig {
        node_id: NodeId(0),
        voters: vec![NodeId(0)],
        learners: Vec::new(),
        election_ticks: 10,
        heartbeat_ticks: 2,
        seed: 1,
    };
    let entry = Entry {
        term: 1,
        index: 2,
        data: Bytes::new(),
    };
    let recovered = Recovered {
        entries: vec![entry],
        ..Recovered::default()
    };
    assert!(Raft::start(&config, recovered).is_err());
    let hard_state = HardState {
        term: 1,
        vote: None,
        commit: 5,
    };
    let recovered = Recovered {
        hard_state,
        ..Recovered::default()
    };
    assert!(Raft::start(&config, recovered).is_err());
}
