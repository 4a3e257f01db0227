//! InitProducerId, versions 0–5: an id for an idempotent producer.
//!
//! Ids come from the controller in blocks; a shard hands out its block one by one. With a
//! transactional id the answer is TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the code that every client
//! takes as final, since there are no transactions yet.

use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId,
};

use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let failed = |error: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1)
    };
    match &request.transactional_id {
        Some(id) if id.is_empty() => return failed(ErrorCode::InvalidRequest),
        Some(_) => return failed(ErrorCode::TransactionalIdAuthorizationFailed),
        None => {}
    }
    // An id and its epoch come together, or neither.
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return failed(ErrorCode::InvalidRequest);
    }
    match shard.next_producer_id().await {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(WireProducerId(id.0))
            .with_producer_epoch(0),
        Err(error) => failed(error),
    }
}
