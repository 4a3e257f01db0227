//! The leader's side of one partition.
//!
//! Invariants:
//! * the high watermark never goes back while this replica leads;
//! * it never passes what every member of the ISR keeps at the topic's durability level, nor moves
//!   while the ISR is smaller than `min.insync.replicas` (KIP-966);
//! * a producer with `acks=all` is answered only when the high watermark has passed its records,
//!   in the order in which they were appended.

use std::collections::{BTreeMap, VecDeque};

use millstream_protocol::{LeaderEpoch, NodeId, Offset};

/// Names a producer's wait; chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaitId(pub u64);

/// What a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// `acks=0`: nothing.
    None,
    /// `acks=1`: the leader's own copy.
    Leader,
    /// `acks=all`: every member of the ISR.
    All,
}

/// Who leads, and with whom, as the controller decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of this decision within the term.
    pub partition_epoch: i32,
    /// Replicas in sync, the leader among them.
    pub isr: Vec<NodeId>,
    /// Effective `min.insync.replicas`: no more than there are replicas.
    pub min_insync_replicas: usize,
}

/// Why a batch may not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProduceRefusal {
    /// This replica does not lead (NOT_LEADER_OR_FOLLOWER).
    NotLeader,
    /// `acks=all` with an ISR below the minimum (NOT_ENOUGH_REPLICAS).
    NotEnoughReplicas,
}

/// What the caller has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionOutput {
    /// Records below this offset may be shown to consumers.
    HighWatermarkAdvanced(Offset),
    /// The wait is over: its records are kept as asked.
    Acknowledged(WaitId),
    /// The wait is over: the records are appended, but the ISR shrank below the minimum
    /// (NOT_ENOUGH_REPLICAS_AFTER_APPEND).
    AcknowledgedBelowMinimum(WaitId),
    /// The wait is over: the leadership was lost first (NOT_LEADER_OR_FOLLOWER).
    LeadershipLost(WaitId),
}

/// The state of one partition on the broker that leads it, or may.
#[derive(Debug)]
pub struct Partition {
    local: NodeId,
    leadership: Option<Leadership>,
    high_watermark: Offset,
    /// For each replica, the end of what it keeps at the topic's durability level.
    kept: BTreeMap<NodeId, Offset>,
    /// The end of what the leader itself keeps well enough for `acks=1`.
    leader_kept: Offset,
    all_waits: VecDeque<(Offset, WaitId)>,
    leader_waits: VecDeque<(Offset, WaitId)>,
    outputs: VecDeque<PartitionOutput>,
}

impl Partition {
    /// A partition that leads nothing yet; `high_watermark` as recovered.
    pub fn new(local: NodeId, high_watermark: Offset) -> Partition {
        Partition {
            local,
            leadership: None,
            high_watermark,
            kept: BTreeMap::new(),
            leader_kept: Offset(0),
            all_waits: VecDeque::new(),
            leader_waits: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The offset below which records may be shown to consumers.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The leadership, when this replica leads.
    pub fn leadership(&self) -> Option<&Leadership> {
        self.leadership.as_ref()
    }

    /// Takes over the lead, or learns of a change of its ISR or minimum.
    ///
    /// # Panics
    /// When the leader is not in the ISR, or the decision is older than the one in force.
    pub fn lead(&mut self, leadership: Leadership) {
        assert!(
            leadership.isr.contains(&self.local),
            "{} not in {leadership:?}",
            self.local
        );
        if let Some(current) = &self.leadership {
            assert!(
                (current.leader_epoch, current.partition_epoch)
                    <= (leadership.leader_epoch, leadership.partition_epoch),
                "{leadership:?} after {current:?}"
            );
        }
        self.leadership = Some(leadership);
        self.advance_high_watermark();
    }

    /// Gives up the lead; whoever waits is told.
    pub fn resign(&mut self) {
        self.leadership = None;
        for (_, wait) in self.all_waits.drain(..).chain(self.leader_waits.drain(..)) {
            self.outputs
                .push_back(PartitionOutput::LeadershipLost(wait));
        }
    }

    /// Whether a batch may be appended.
    pub fn check_produce(&self, acks: Acks) -> Result<LeaderEpoch, ProduceRefusal> {
        let leadership = self.leadership.as_ref().ok_or(ProduceRefusal::NotLeader)?;
        if acks == Acks::All && leadership.isr.len() < leadership.min_insync_replicas {
            return Err(ProduceRefusal::NotEnoughReplicas);
        }
        Ok(leadership.leader_epoch)
    }

    /// A producer waits for records that end at `end_offset` (exclusive). Waits of one kind are
    /// given in order of their end offsets, except that a duplicate may ask for an earlier one.
    pub fn wait(&mut self, acks: Acks, end_offset: Offset, wait: WaitId) {
        let waits = match acks {
            Acks::None => return,
            Acks::Leader => &mut self.leader_waits,
            Acks::All => &mut self.all_waits,
        };
        let at = waits.partition_point(|(end, _)| *end <= end_offset);
        waits.insert(at, (end_offset, wait));
        self.answer_waits();
    }

    /// Forgets a wait whose producer was answered otherwise (its time was over).
    pub fn cancel_wait(&mut self, wait: WaitId) {
        self.all_waits.retain(|(_, id)| *id != wait);
        self.leader_waits.retain(|(_, id)| *id != wait);
    }

    /// The local log keeps what is below `kept` at the topic's durability level, and what is below
    /// `leader_kept` well enough for `acks=1`.
    pub fn local_progress(&mut self, kept: Offset, leader_kept: Offset) {
        self.leader_kept = self.leader_kept.max(leader_kept);
        self.replica_progress(self.local, kept);
    }

    /// Replica `node` keeps what is below `kept` at the topic's durability level.
    pub fn replica_progress(&mut self, node: NodeId, kept: Offset) {
        let known = self.kept.entry(node).or_insert(Offset(0));
        *known = (*known).max(kept);
        self.advance_high_watermark();
    }

    /// The next thing to do; call until `None` after each input.
    pub fn poll_output(&mut self) -> Option<PartitionOutput> {
        self.outputs.pop_front()
    }

    fn advance_high_watermark(&mut self) {
        if let Some(leadership) = &self.leadership {
            let enough = leadership.isr.len() >= leadership.min_insync_replicas;
            let kept_by_all = leadership
                .isr
                .iter()
                .map(|node| self.kept.get(node).copied().unwrap_or_default())
                .min()
                .expect("the leader is in the ISR");
            if enough && kept_by_all > self.high_watermark {
                self.high_watermark = kept_by_all;
                self.outputs
                    .push_back(PartitionOutput::HighWatermarkAdvanced(kept_by_all));
            }
        }
        self.answer_waits();
    }

    fn answer_waits(&mut self) {
        let Some(leadership) = &self.leadership else {
            return;
        };
        let enough = leadership.isr.len() >= leadership.min_insync_replicas;
        while let Some((end, wait)) = self.leader_waits.front().copied()
            && end <= self.leader_kept
        {
            self.leader_waits.pop_front();
            self.outputs.push_back(PartitionOutput::Acknowledged(wait));
        }
        while let Some((end, wait)) = self.all_waits.front().copied() {
            // With too small an ISR the high watermark stands still: such a wait ends when the
            // replicas that are left keep the records, with the error that says so.
            let output = if end <= self.high_watermark {
                PartitionOutput::Acknowledged(wait)
            } else if !enough && self.kept_by_isr(end) {
                PartitionOutput::AcknowledgedBelowMinimum(wait)
            } else {
                break;
            };
            self.all_waits.pop_front();
            self.outputs.push_back(output);
        }
    }

    fn kept_by_isr(&self, end: Offset) -> bool {
        self.leadership.as_ref().is_some_and(|leadership| {
            leadership
                .isr
                .iter()
                .all(|node| self.kept.get(node).is_some_and(|kept| *kept >= end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOCAL: NodeId = NodeId(1);

    fn leadership(isr: &[i32], min_insync_replicas: usize) -> Leadership {
        Leadership {
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: isr.iter().copied().map(NodeId).collect(),
            min_insync_replicas,
        }
    }

    fn outputs(partition: &mut Partition) -> Vec<PartitionOutput> {
        std::iter::from_fn(|| partition.poll_output()).collect()
    }

    #[test]
    fn alone_the_high_watermark_is_what_the_leader_keeps() {
        let mut partition = Partition::new(LOCAL, Offset(0));
        assert_eq!(
            partition.check_produce(Acks::All),
            Err(ProduceRefusal::NotLeader)
        );
        partition.lead(leadership(&[1], 1));
        assert_eq!(partition.check_produce(Acks::All), Ok(LeaderEpoch(0)));
        partition.wait(Acks::All, Offset(5), WaitId(1));
        partition.wait(Acks::Leader, Offset(7), WaitId(2));
        partition.local_progress(Offset(0), Offset(7));
        assert_eq!(
            outputs(&mut partition),
            [PartitionOutput::Acknowledged(WaitId(2))]
        );
        partition.local_progress(Offset(6), Offset(7));
        assert_eq!(
            outputs(&mut partition),
            [
                PartitionOutput::HighWatermarkAdvanced(Offset(6)),
                PartitionOutput::Acknowledged(WaitId(1))
            ]
        );
    }

    #[test]
    fn below_the_minimum_all_is_refused_and_the_high_watermark_stands() {
        let mut partition = Partition::new(LOCAL, Offset(0));
        partition.lead(leadership(&[1], 2));
        assert_eq!(
            partition.check_produce(Acks::All),
            Err(ProduceRefusal::NotEnoughReplicas)
        );
        assert_eq!(partition.check_produce(Acks::Leader), Ok(LeaderEpoch(0)));
        partition.wait(Acks::Leader, Offset(3), WaitId(1));
        partition.wait(Acks::All, Offset(3), WaitId(2));
        partition.local_progress(Offset(3), Offset(3));
        assert_eq!(partition.high_watermark(), Offset(0));
        assert_eq!(
            outputs(&mut partition),
            [
                PartitionOutput::Acknowledged(WaitId(1)),
                PartitionOutput::AcknowledgedBelowMinimum(WaitId(2))
            ]
        );
    }

    #[test]
    fn the_slowest_member_of_the_isr_holds_the_high_watermark() {
        let mut partition = Partition::new(LOCAL, Offset(0));
        partition.lead(leadership(&[1, 2], 1));
        partition.local_progress(Offset(9), Offset(9));
        assert_eq!(partition.high_watermark(), Offset(0));
        partition.replica_progress(NodeId(2), Offset(4));
        assert_eq!(partition.high_watermark(), Offset(4));
        partition.lead(Leadership {
            partition_epoch: 1,
            ..leadership(&[1], 1)
        });
        assert_eq!(partition.high_watermark(), Offset(9));
    }

    #[test]
    fn a_lost_lead_ends_every_wait() {
        let mut partition = Partition::new(LOCAL, Offset(0));
        partition.lead(leadership(&[1], 1));
        partition.wait(Acks::All, Offset(5), WaitId(1));
        partition.wait(Acks::All, Offset(6), WaitId(2));
        partition.cancel_wait(WaitId(1));
        partition.resign();
        assert_eq!(
            outputs(&mut partition),
            [PartitionOutput::LeadershipLost(WaitId(2))]
        );
    }

    proptest! {
        /// The high watermark only grows, stays within what every member keeps, and each wait is
        /// answered exactly once, not before its records are kept.
        #[test]
        fn waits_are_answered_once_and_not_early(
            steps in proptest::collection::vec((0..3_u8, 1..3_i32, 0..20_i64), 1..60),
        ) {
            let mut partition = Partition::new(LOCAL, Offset(0));
            partition.lead(leadership(&[1, 2], 1));
            let (mut kept, mut open) = ([0_i64; 3], BTreeMap::new());
            for (id, (step, node, offset)) in steps.into_iter().enumerate() {
                let before = partition.high_watermark();
                let id = WaitId(id as u64);
                match step {
                    0 => {
                        open.insert(id, offset);
                        partition.wait(Acks::All, Offset(offset), id);
                    }
                    1 if node == 1 => {
                        kept[1] = kept[1].max(offset);
                        partition.local_progress(Offset(offset), Offset(offset));
                    }
                    _ => {
                        kept[node as usize] = kept[node as usize].max(offset);
                        partition.replica_progress(NodeId(node), Offset(offset));
                    }
                }
                let high_watermark = partition.high_watermark();
                prop_assert!(high_watermark >= before);
                prop_assert_eq!(high_watermark.0, kept[1].min(kept[2]));
                for output in outputs(&mut partition) {
                    if let PartitionOutput::Acknowledged(wait) = output {
                        let end = open.remove(&wait);
                        prop_assert!(end.is_some_and(|end| end <= high_watermark.0));
                    }
                }
                prop_assert!(open.values().all(|end| *end > high_watermark.0));
            }
        }
    }
}
