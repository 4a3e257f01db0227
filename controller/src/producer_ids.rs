//! Producer ids, given to brokers in blocks.

use millstream_metadata::{ProducerIdsRecord, Record};
use millstream_protocol::{ErrorCode, NodeId, ProducerId};

use crate::api::ProducerIdBlock;
use crate::api_error::ApiError;
use crate::brokers;
use crate::decision::Draft;

/// Ids in a block.
const BLOCK_LEN: i32 = 1000;

/// The next block, for a registered broker.
pub(crate) fn allocate(
    draft: &mut Draft,
    node_id: NodeId,
    broker_epoch: i64,
) -> Result<ProducerIdBlock, ApiError> {
    brokers::check_epoch(&draft.image, node_id, broker_epoch)?;
    let first = draft.image.next_producer_id();
    let Some(next) = first.0.checked_add(i64::from(BLOCK_LEN)) else {
        let message = "Exhausted all producerIds as the next block's end producerId has exceeded \
                       the int64 type limit";
        return Err(ApiError::new(ErrorCode::UnknownServerError, message));
    };
    let next_producer_id = ProducerId(next);
    draft.add(Record::ProducerIds(ProducerIdsRecord {
        node_id,
        broker_epoch,
        next_producer_id,
    }));
    Ok(ProducerIdBlock {
        first,
        len: BLOCK_LEN,
    })
}
