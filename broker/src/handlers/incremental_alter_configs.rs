//! IncrementalAlterConfigs, versions 0–1: set, delete, append to and subtract from settings.

use std::rc::Rc;

use millstream_controller::{ApiError, ConfigAlteration};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use millstream_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::config_changes::{Change, make};
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let changes = request.resources.iter().map(change).collect();
    let changed = make(shard, changes, request.validate_only).await;
    let responses = changed.into_iter().map(|changed| {
        AlterConfigsResourceResponse::default()
            .with_error_code(changed.error_code())
            .with_error_message(changed.error_message())
            .with_resource_type(changed.resource_type)
            .with_resource_name(changed.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn change(resource: &AlterConfigsResource) -> Change {
    let alterations = resource.configs.iter().map(|config| {
        let name = config.name.as_str().to_owned();
        alteration(config).map(|alteration| (name, alteration))
    });
    Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        alterations: alterations.collect(),
        replaces: false,
    }
}

fn alteration(config: &AlterableConfig) -> Result<ConfigAlteration, ApiError> {
    let value = config.value.as_ref().map(|value| value.as_str().to_owned());
    match config.config_operation {
        0 => Ok(ConfigAlteration::Set(value)),
        1 => Ok(ConfigAlteration::Delete),
        2 => Ok(ConfigAlteration::Append(value)),
        3 => Ok(ConfigAlteration::Subtract(value)),
        other => {
            let message = format!(
                "Unknown config operation {other} for {}.",
                config.name.as_str()
            );
            Err(ApiError::new(ErrorCode::InvalidRequest, message))
        }
    }
}
