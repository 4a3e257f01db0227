//! Registration and heartbeats of brokers.

use millstream_metadata::{
    BrokerChangeRecord, BrokerRegistration, Endpoint, Image, PartitionChangeRecord, Record,
    RegisterBrokerRecord,
};
use millstream_protocol::{ErrorCode, NodeId};
use uuid::Uuid;

use crate::api::HeartbeatReply;
use crate::api_error::ApiError;
use crate::decision::{Context, Draft};

pub(crate) struct NewRegistration {
    pub(crate) node_id: NodeId,
    pub(crate) cluster_id: String,
    pub(crate) incarnation_id: Uuid,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rack: Option<String>,
}

/// Registers a broker; the same incarnation again only amends its registration.
///
/// A new incarnation may have lost what its predecessor had not flushed, so what that led is led in
/// a new epoch: two different batches at one offset never have the same one.
pub(crate) fn register(
    draft: &mut Draft,
    new: NewRegistration,
    context: &Context<'_>,
) -> Result<i64, ApiError> {
    let expected = &context.settings.cluster_id;
    if new.cluster_id != *expected {
        let message = format!(
            "Expected cluster ID {expected}, but got cluster ID {}",
            new.cluster_id
        );
        return Err(ApiError::new(ErrorCode::InconsistentClusterId, message));
    }
    if new.node_id.0 < 0 {
        return Err(ApiError::new(
            ErrorCode::InvalidRegistration,
            "A broker id is not negative.",
        ));
    }
    let existing = draft.image.broker(new.node_id).cloned();
    let same = existing.filter(|existing| existing.incarnation_id == new.incarnation_id);
    let next_epoch = i64::try_from(context.next_offset).expect("a log is shorter than 2^63");
    let (epoch, fenced) = same.as_ref().map_or((next_epoch, true), |existing| {
        (existing.epoch, existing.fenced)
    });
    if same.is_none() {
        for record in leaderships(&draft.image, new.node_id) {
            draft.add(record);
        }
    }
    let registration = BrokerRegistration {
        node_id: new.node_id,
        incarnation_id: new.incarnation_id,
        epoch,
        endpoints: new.endpoints,
        rack: new.rack,
        fenced,
    };
    if same.is_none_or(|existing| *existing != registration) {
        draft.add(Record::RegisterBroker(RegisterBrokerRecord {
            registration,
        }));
    }
    Ok(epoch)
}

/// Lets a broker in once it has replayed its own registration, and fences it when it asks to be.
pub(crate) fn heartbeat(
    draft: &mut Draft,
    node_id: NodeId,
    epoch: i64,
    metadata_offset: u64,
    want_fence: bool,
) -> Result<HeartbeatReply, ApiError> {
    let fenced = check_epoch(&draft.image, node_id, epoch)?.fenced;
    let is_caught_up = i64::try_from(metadata_offset).is_ok_and(|offset| offset >= epoch);
    let is_fenced = want_fence || (fenced && !is_caught_up);
    if is_fenced != fenced {
        let change = BrokerChangeRecord {
            node_id,
            epoch,
            fenced: is_fenced,
        };
        draft.add(Record::BrokerChange(change));
    }
    Ok(HeartbeatReply {
        is_caught_up,
        is_fenced,
    })
}

/// The registration of a broker that speaks for it.
pub(crate) fn check_epoch(
    image: &Image,
    node_id: NodeId,
    epoch: i64,
) -> Result<&BrokerRegistration, ApiError> {
    let Some(broker) = image.broker(node_id) else {
        let message = format!("Broker ID {node_id} is not currently registered");
        return Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, message));
    };
    if broker.epoch != epoch {
        let message = format!(
            "Expected broker epoch {}, but got broker epoch {epoch}",
            broker.epoch
        );
        return Err(ApiError::new(ErrorCode::StaleBrokerEpoch, message));
    }
    Ok(broker)
}

/// Changes that raise the leader epoch of all partitions a broker leads.
fn leaderships(image: &Image, node_id: NodeId) -> Vec<Record> {
    image
        .topics()
        .flat_map(|topic| {
            topic
                .iter()
                .map(|(index, partition)| (topic.id, index, partition))
        })
        .filter(|(_, _, partition)| partition.leader == node_id)
        .map(|(topic_id, index, _)| {
            let mut change = PartitionChangeRecord::of(topic_id, index);
            change.leader = Some(node_id);
            Record::PartitionChange(change)
        })
        .collect()
}
