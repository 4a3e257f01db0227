//! AlterConfigs, versions 0–2: settings replaced as a whole. What is not named goes back to its
//! default.

use std::rc::Rc;

use millstream_controller::ConfigAlteration;
use millstream_protocol::messages::alter_configs_request::AlterConfigsResource;
use millstream_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use millstream_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::config_changes::{Change, make};
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let changes = request.resources.iter().map(change).collect();
    let changed = make(shard, changes, request.validate_only).await;
    let responses = changed.into_iter().map(|changed| {
        AlterConfigsResourceResponse::default()
            .with_error_code(changed.error_code())
            .with_error_message(changed.error_message())
            .with_resource_type(changed.resource_type)
            .with_resource_name(changed.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn change(resource: &AlterConfigsResource) -> Change {
    let alterations = resource.configs.iter().map(|config| {
        let value = config.value.as_ref().map(|value| value.as_str().to_owned());
        (
            config.name.as_str().to_owned(),
            ConfigAlteration::Set(value),
        )
    });
    Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        alterations: Ok(alterations.collect()),
        replaces: true,
    }
}
