//! IncrementalAlterConfigs, versions 0–1: set, delete, append to and subtract from settings.
//!
//! Topics only: the settings of a node are those it was started with.

use std::rc::Rc;

use millstream_controller::{AlterConfigsResource, ApiError, ConfigAlteration};
use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as WireResource, AlterableConfig,
};
use millstream_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use millstream_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::text;
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut answers = Vec::new();
    let mut resources = Vec::new();
    for resource in &request.resources {
        match alterations(resource) {
            Ok(accepted) => resources.push(accepted),
            Err(error) => answers.push(answer(
                resource.resource_type,
                resource.resource_name.as_str(),
                Err(&error),
            )),
        }
    }
    let asked: Vec<ConfigResource> = resources.iter().map(|r| r.resource.clone()).collect();
    let altered = shard
        .controller()
        .incremental_alter_configs(resources, request.validate_only)
        .await;
    match altered {
        Ok(results) => answers.extend(results.iter().map(|altered| {
            let ConfigResource {
                resource_type,
                name,
            } = &altered.resource;
            answer(resource_type.code(), name, altered.result.as_ref().copied())
        })),
        Err(error) => answers.extend(
            asked
                .iter()
                .map(|resource| answer(resource.resource_type.code(), &resource.name, Err(&error))),
        ),
    }
    IncrementalAlterConfigsResponse::default().with_responses(answers)
}

fn alterations(resource: &WireResource) -> Result<AlterConfigsResource, ApiError> {
    let name = resource.resource_name.as_str().to_owned();
    match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => {}
        Some(ResourceType::Broker) => {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "The settings of a broker cannot be changed while it runs yet: change its \
                 server.properties and start it again.",
            ));
        }
        _ => {
            let message = format!("Unexpected resource type {}.", resource.resource_type);
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
    }
    let alterations = resource.configs.iter().map(|config| {
        let name = config.name.as_str().to_owned();
        alteration(config).map(|alteration| (name, alteration))
    });
    Ok(AlterConfigsResource {
        resource: ConfigResource::topic(name),
        alterations: alterations.collect::<Result<_, _>>()?,
    })
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

fn answer(
    resource_type: i8,
    name: &str,
    result: Result<(), &ApiError>,
) -> AlterConfigsResourceResponse {
    let answer = AlterConfigsResourceResponse::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name));
    match result {
        Ok(()) => answer,
        Err(error) => answer
            .with_error_code(error.code.code())
            .with_error_message(Some(text(&error.message))),
    }
}
