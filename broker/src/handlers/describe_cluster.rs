//! DescribeCluster, versions 0–2: the brokers of the cluster.
//!
//! Version 1 can ask for controllers (KIP-919), which a broker's listener refuses with
//! MISMATCHED_ENDPOINT_TYPE; version 2 can ask for fenced brokers too.

use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use millstream_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{RequestInfo, text};
use crate::shard::Shard;

/// Operations that anybody may do on the cluster, as a bit for each code of KIP-430: create, alter,
/// describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Asks for the brokers.
const BROKERS: i8 = 1;

pub(super) fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if info.version >= 1 && request.endpoint_type != BROKERS {
        let (error, message) = match request.endpoint_type {
            2 => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
                 type CONTROLLER",
            ),
            _ => (
                ErrorCode::UnsupportedEndpointType,
                "Unsupported endpoint type",
            ),
        };
        return DescribeClusterResponse::default()
            .with_endpoint_type(BROKERS)
            .with_error_code(error.code())
            .with_error_message(Some(text(message)));
    }
    let image = shard.image();
    let brokers = image
        .brokers()
        .filter(|broker| !broker.fenced || (info.version >= 2 && request.include_fenced_brokers))
        .filter_map(|broker| {
            let endpoint = broker.endpoint(&info.connection.listener)?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(broker.node_id.0))
                    .with_host(text(&endpoint.host))
                    .with_port(endpoint.port.into())
                    .with_rack(broker.rack.as_deref().map(text))
                    .with_is_fenced(broker.fenced),
            )
        });
    let response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(image.cluster_id().unwrap_or_default()))
        .with_controller_id(BrokerId(shard.node_id().0))
        .with_brokers(brokers.collect());
    if request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}
