//! FindCoordinator, versions 0–6: which broker coordinates a group.
//!
//! The first request for a group makes `__consumer_offsets`. Version 4 takes many keys. For a
//! transactional id the answer is TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the code that every client
//! takes as final, since there are no transactions yet; for a share partition INVALID_REQUEST.

use std::rc::Rc;

use millstream_protocol::messages::find_coordinator_response::Coordinator;
use millstream_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use millstream_protocol::partitioning::partition_for_group;
use millstream_protocol::{ErrorCode, StrBytes};

use super::{RequestInfo, code, text};
use crate::GROUP_METADATA_TOPIC;
use crate::shard::Shard;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let refusal = match request.key_type {
        GROUP => shard
            .ensure_group_topic()
            .await
            .err()
            .map(|error| (error, None)),
        TRANSACTION => Some((
            ErrorCode::TransactionalIdAuthorizationFailed,
            Some("transactions are not there yet"),
        )),
        _ => Some((
            ErrorCode::InvalidRequest,
            Some("share groups are not there yet"),
        )),
    };
    let find = |key: StrBytes| match refusal {
        Some((error, message)) => Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(message.map(text)),
        None => coordinator(shard, &info, key),
    };
    if info.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(find);
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let found = find(request.key);
    let response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if info.version >= 1 {
        response.with_error_message(found.error_message)
    } else {
        response
    }
}

fn coordinator(shard: &Shard, info: &RequestInfo, key: StrBytes) -> Coordinator {
    let image = shard.image();
    let leader = image.topic_by_name(GROUP_METADATA_TOPIC).and_then(|topic| {
        let count = i32::try_from(topic.partitions.len()).ok()?;
        let index = partition_for_group(&key, count);
        image.broker(topic.partition(index)?.leader)
    });
    let endpoint = leader
        .filter(|broker| !broker.fenced)
        .and_then(|broker| Some((broker.node_id, broker.endpoint(&info.connection.listener)?)));
    let found = Coordinator::default().with_key(key);
    match endpoint {
        Some((node_id, endpoint)) => found
            .with_node_id(BrokerId(node_id.0))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port.into())
            .with_error_code(code(None)),
        None => found
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(ErrorCode::CoordinatorNotAvailable.code()),
    }
}
