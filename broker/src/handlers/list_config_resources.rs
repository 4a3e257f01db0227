//! ListConfigResources, versions 0–1: what has settings, or could have.
//!
//! Version 0 is KIP-714's list of client-metrics subscriptions; version 1 (KIP-1142) lists the
//! kinds asked for, or all. Topics, brokers and their loggers are listed whether they have settings
//! of their own or not, groups and subscriptions only if they do.

use std::rc::Rc;

use millstream_metadata::{Image, ResourceType};
use millstream_protocol::messages::list_config_resources_response::ConfigResource;
use millstream_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use millstream_protocol::{ErrorCode, StrBytes};

use super::{RequestInfo, text};
use crate::shard::Shard;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub(super) fn handle(
    shard: &Rc<Shard>,
    info: &RequestInfo,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let known: &[i8] = match info.version {
        0 => &[CLIENT_METRICS],
        _ => &[GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC],
    };
    let response = ListConfigResourcesResponse::default();
    let asked = &request.resource_types;
    if !asked.iter().all(|kind| known.contains(kind)) {
        return response.with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let image = shard.image();
    let wanted = known
        .iter()
        .filter(|kind| asked.is_empty() || asked.contains(kind));
    let resources = wanted.flat_map(|kind| {
        let names = names(&image, *kind, &info.connection.listener);
        names.into_iter().map(|name| {
            ConfigResource::default()
                .with_resource_name(name)
                .with_resource_type(*kind)
        })
    });
    response.with_config_resources(resources.collect())
}

fn names(image: &Image, kind: i8, listener: &str) -> Vec<StrBytes> {
    let with_settings = |wanted: ResourceType| {
        let resources = image.config_resources();
        let of_kind = resources.filter(|resource| resource.resource_type == wanted);
        of_kind.map(|resource| text(&resource.name)).collect()
    };
    match kind {
        TOPIC => image.topics().map(|topic| text(&*topic.name)).collect(),
        BROKER | BROKER_LOGGER => image
            .unfenced_brokers()
            .filter(|broker| broker.endpoint(listener).is_some())
            .map(|broker| text(broker.node_id.0.to_string()))
            .collect(),
        CLIENT_METRICS => with_settings(ResourceType::ClientMetrics),
        _ => with_settings(ResourceType::Group),
    }
}
