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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Brokers with their racks, of which the first is never fenced.
    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let broker = (prop::option::of(0_u8..3), prop::bool::weighted(0.2));
        prop::collection::vec(broker, 1..9).prop_map(|brokers| {
            let of = |(id, (rack, fenced)): (i32, (Option<u8>, bool))| Candidate {
                node_id: NodeId(id),
                rack: rack.map(|rack| rack.to_string()),
                fenced: fenced && id > 0,
            };
            (0..).zip(brokers).map(of).collect()
        })
    }

    fn leaders(placed: &[Vec<NodeId>], candidates: &[Candidate]) -> Vec<usize> {
        let live = candidates.iter().filter(|candidate| !candidate.fenced);
        live.map(|live| placed.iter().filter(|r| r[0] == live.node_id).count())
            .collect()
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_brokers_and_a_live_one_is_first(
            candidates in candidates(),
            partitions in 0_usize..40,
            factor in 1_usize..9,
            seed: [u64; 2],
        ) {
            let placed = place(&candidates, partitions, factor, &mut Entropy::new(seed));
            if factor > candidates.len() {
                prop_assert!(placed.is_err());
                return Ok(());
            }
            let placed = placed.expect("there are brokers enough");
            prop_assert_eq!(placed.len(), partitions);
            for replicas in &placed {
                let distinct: BTreeSet<_> = replicas.iter().collect();
                prop_assert_eq!(distinct.len(), factor);
                let of = |node: &NodeId| candidates.iter().find(|c| c.node_id == *node);
                let first = of(&replicas[0]).expect("a candidate");
                prop_assert!(!first.fenced);
            }
        }

        #[test]
        fn brokers_without_racks_lead_equally_often(
            brokers in 1_i32..9,
            rounds in 1_usize..6,
            factor in 1_usize..9,
            seed: [u64; 2],
        ) {
            let broker = |id| Candidate { node_id: NodeId(id), rack: None, fenced: false };
            let candidates: Vec<_> = (0..brokers).map(broker).collect();
            let factor = factor.min(candidates.len());
            let partitions = rounds * candidates.len();
            let placed = place(&candidates, partitions, factor, &mut Entropy::new(seed));
            let placed = placed.expect("there are brokers enough");
            let leaders = leaders(&placed, &candidates);
            prop_assert!(leaders.iter().all(|led| *led == rounds), "{:?}", leaders);
        }

        #[test]
        fn replicas_are_in_as_many_racks_as_there_are(
            racks in 1_i32..5,
            per_rack in 1_i32..4,
            factor in 1_usize..9,
            seed: [u64; 2],
        ) {
            let broker = |id: i32| Candidate {
                node_id: NodeId(id),
                rack: Some((id % racks).to_string()),
                fenced: false,
            };
            let candidates: Vec<_> = (0..racks * per_rack).map(broker).collect();
            let factor = factor.min(candidates.len());
            let placed = place(&candidates, 24, factor, &mut Entropy::new(seed));
            for replicas in placed.expect("there are brokers enough") {
                let used: BTreeSet<i32> = replicas.iter().map(|node| node.0 % racks).collect();
                prop_assert_eq!(used.len(), factor.min(racks.unsigned_abs() as usize));
            }
        }
    }

    #[test]
    fn nothing_is_placed_where_all_brokers_are_fenced() {
        let fenced = Candidate {
            node_id: NodeId(1),
            rack: None,
            fenced: true,
        };
        assert!(place(&[fenced], 1, 1, &mut Entropy::new([1, 2])).is_err());
    }
}
