//! On which brokers the replicas of new partitions go.
//!
//! Kafka's way: racks take turns, and within a rack its brokers do, so that leaders, replicas and
//! racks are spread evenly. Each partition begins one rack and one broker further than the last,
//! from a random start. A fenced broker gets a replica only when the others of its rack have one,
//! and never the first. Once each broker has led, the order is shuffled, so that not the same
//! brokers follow each other for ever.

use millstream_protocol::NodeId;

use crate::entropy::Entropy;

/// A broker that may get replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node_id: NodeId,
    pub(crate) rack: Option<String>,
    pub(crate) fenced: bool,
}

/// The replicas of each of `partitions`, the preferred leader first.
pub(crate) fn place(
    candidates: &[Candidate],
    partitions: usize,
    replication_factor: usize,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<NodeId>>, String> {
    assert!(replication_factor > 0, "checked by the caller");
    let unfenced = candidates
        .iter()
        .filter(|candidate| !candidate.fenced)
        .count();
    if unfenced == 0 {
        return Err("All brokers are currently fenced.".to_owned());
    }
    if replication_factor > candidates.len() {
        return Err(format!(
            "The target replication factor of {replication_factor} cannot be reached because only \
             {} broker(s) are registered.",
            candidates.len()
        ));
    }
    let mut stripes = Stripes::new(candidates, unfenced, entropy);
    Ok((0..partitions)
        .map(|_| stripes.next_replicas(replication_factor, entropy))
        .collect())
}

struct Stripes {
    racks: Vec<Rack>,
    unfenced: usize,
    /// Which rack is first for the next partition.
    offset: usize,
    /// Partitions since the last shuffle.
    round: usize,
}

struct Rack {
    name: Option<String>,
    unfenced: Ring,
    fenced: Ring,
}

/// Brokers that take turns.
#[derive(Default)]
struct Ring {
    brokers: Vec<NodeId>,
    offset: usize,
    given: usize,
}

impl Stripes {
    fn new(candidates: &[Candidate], unfenced: usize, entropy: &mut Entropy) -> Stripes {
        let mut racks: Vec<Rack> = Vec::new();
        let mut sorted: Vec<&Candidate> = candidates.iter().collect();
        sorted.sort_by(|a, b| (&a.rack, a.node_id).cmp(&(&b.rack, b.node_id)));
        for candidate in sorted {
            if racks.last().is_none_or(|rack| rack.name != candidate.rack) {
                let name = candidate.rack.clone();
                racks.push(Rack {
                    name,
                    unfenced: Ring::default(),
                    fenced: Ring::default(),
                });
            }
            let rack = racks.last_mut().expect("made above");
            let ring = if candidate.fenced {
                &mut rack.fenced
            } else {
                &mut rack.unfenced
            };
            ring.brokers.push(candidate.node_id);
        }
        for ring in racks
            .iter_mut()
            .flat_map(|rack| [&mut rack.unfenced, &mut rack.fenced])
        {
            if !ring.brokers.is_empty() {
                ring.offset = entropy.below(ring.brokers.len());
            }
        }
        let offset = entropy.below(racks.len());
        Stripes {
            racks,
            unfenced,
            offset,
            round: 0,
        }
    }

    fn next_replicas(&mut self, replication_factor: usize, entropy: &mut Entropy) -> Vec<NodeId> {
        if self.round == self.unfenced && self.unfenced > 1 {
            self.shuffle(entropy);
            self.round = 0;
        }
        let racks = self.racks.len();
        let start = self.offset % racks;
        let (leader_rack, leader) = (0..racks)
            .map(|step| (start + step) % racks)
            .find_map(|rack| Some((rack, self.racks[rack].unfenced.next()?)))
            .expect("an unfenced broker is left at the start of each partition");
        let mut replicas = vec![leader];
        // The rack of the leader had its turn: it is passed over once.
        let mut passed_over = Some(leader_rack);
        let mut rack = start;
        while replicas.len() < replication_factor {
            if passed_over == Some(rack) {
                passed_over = None;
            } else {
                replicas.extend(self.racks[rack].next());
            }
            rack = (rack + 1) % racks;
        }
        self.round += 1;
        self.offset = start + 1;
        self.turn();
        replicas
    }

    /// The next partition begins one broker further in every rack.
    fn turn(&mut self) {
        for ring in self
            .racks
            .iter_mut()
            .flat_map(|rack| [&mut rack.unfenced, &mut rack.fenced])
        {
            ring.given = 0;
            ring.offset += 1;
        }
    }

    fn shuffle(&mut self, entropy: &mut Entropy) {
        shuffle(&mut self.racks, entropy);
        for rack in &mut self.racks {
            shuffle(&mut rack.unfenced.brokers, entropy);
            shuffle(&mut rack.fenced.brokers, entropy);
        }
    }
}

impl Rack {
    fn next(&mut self) -> Option<NodeId> {
        self.unfenced.next().or_else(|| self.fenced.next())
    }
}

impl Ring {
    /// The next broker that this partition does not have yet.
    fn next(&mut self) -> Option<NodeId> {
        if self.given == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.offset + self.given) % self.brokers.len()];
        self.given += 1;
        Some(broker)
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], entropy: &mut Entropy) {
    for end in (1..items.len()).rev() {
        items.swap(end, entropy.below(end + 1));
    }
}
