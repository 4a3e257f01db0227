//! Which brokers have the replicas of a new partition, chosen by the caller or placed, and who of
//! them leads first.

use millstream_metadata::{Image, Partition, RecoveryState};
use millstream_protocol::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex};

use crate::api_error::ApiError;
use crate::entropy::Entropy;
use crate::placement::{self, Candidate};

/// Partitions that one request may make.
pub(crate) const MAX_PARTITIONS_PER_REQUEST: usize = 10_000;

/// The refusal of a request that would make more.
pub(crate) fn too_many_partitions() -> ApiError {
    let message = "Excessively large number of partitions per request.";
    ApiError::new(ErrorCode::PolicyViolation, message)
}

/// Places the replicas of `partitions` new partitions.
pub(crate) fn place(
    image: &Image,
    partitions: usize,
    factor: usize,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<NodeId>>, ApiError> {
    let candidates: Vec<Candidate> = image
        .brokers()
        .map(|broker| Candidate {
            node_id: broker.node_id,
            rack: broker.rack.clone(),
            fenced: broker.fenced,
        })
        .collect();
    placement::place(&candidates, partitions, factor, entropy).map_err(|reason| {
        let message = format!("Unable to replicate the partition {factor} time(s): {reason}");
        ApiError::new(ErrorCode::InvalidReplicationFactor, message)
    })
}

/// Checks the replicas that a caller chose for a partition; the others of its topic have `factor`.
pub(crate) fn check(
    image: &Image,
    index: PartitionIndex,
    replicas: &[NodeId],
    factor: usize,
) -> Result<(), ApiError> {
    let twice = |(at, node): &(usize, &NodeId)| replicas[..*at].contains(node);
    let message = if replicas.is_empty() {
        "The manual partition assignment includes an empty replica list.".to_owned()
    } else if let Some(unknown) = replicas.iter().find(|node| image.broker(**node).is_none()) {
        format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is \
             registered."
        )
    } else if let Some((_, node)) = replicas.iter().enumerate().find(twice) {
        format!("The manual partition assignment includes the broker {node} more than once.")
    } else if replicas.len() != factor {
        format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )
    } else if !replicas.iter().any(|node| is_active(image, *node)) {
        format!(
            "All brokers specified in the manual partition assignment for partition {index} are \
             fenced or in controlled shutdown."
        )
    } else {
        return Ok(());
    };
    Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message))
}

/// All live replicas are in sync with a partition that is empty; the first of them leads.
pub(crate) fn first_leadership(image: &Image, replicas: Vec<NodeId>) -> Partition {
    let live = replicas.iter().copied();
    let isr: Vec<NodeId> = live.filter(|node| is_active(image, *node)).collect();
    Partition {
        leader: *isr
            .first()
            .expect("both ways give each partition a live broker"),
        replicas,
        isr,
        elr: Vec::new(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        recovery_state: RecoveryState::Recovered,
    }
}

fn is_active(image: &Image, node_id: NodeId) -> bool {
    image.broker(node_id).is_some_and(|broker| !broker.fenced)
}
