//! ApiVersions, versions 0–4: which APIs are served, in which versions, and the features in force.
//!
//! A version that is not served is answered in version 0 with UNSUPPORTED_VERSION and the ranges,
//! so that the client can ask again. From version 3 the client names its software (KIP-511).

use std::future::ready;
use std::rc::Rc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use millstream_net::Reply;
use millstream_protocol::ErrorCode;
use millstream_protocol::api::APIS;
use millstream_protocol::frame::decode_request;
use millstream_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use millstream_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use millstream_protocol::software_name::is_software_name;

use super::{RequestInfo, encoded, refuse, text};
use crate::shard::Shard;

/// Features this node knows, with the levels it can work at.
pub const SUPPORTED_FEATURES: &[(&str, i16, i16)] = &[("metadata.version", 7, 29)];

pub(super) fn start(
    shard: &Rc<Shard>,
    info: RequestInfo,
    body: Bytes,
) -> LocalBoxFuture<'static, Reply> {
    let reply = match decode_request::<ApiVersionsRequest>(info.version, body) {
        Ok(request) => encoded(
            info.correlation_id,
            info.version,
            &respond(shard, info.version, &request),
        ),
        Err(error) => refuse(&error),
    };
    ready(reply).boxed_local()
}

/// The answer to a version that is not served.
pub(super) fn unsupported(correlation_id: i32) -> Reply {
    let response = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(ranges());
    encoded(correlation_id, 0, &response)
}

fn respond(shard: &Shard, version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_software_name(&request.client_software_name)
        && is_software_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    let response = ApiVersionsResponse::default().with_api_keys(ranges());
    if version < 3 {
        return response;
    }
    let image = shard.image();
    let supported = SUPPORTED_FEATURES.iter().map(|(name, min, max)| {
        SupportedFeatureKey::default()
            .with_name(text(*name))
            .with_min_version(*min)
            .with_max_version(*max)
    });
    let finalized = image.features().iter().map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(i64::try_from(image.offset()).unwrap_or(i64::MAX))
}

fn ranges() -> Vec<ApiVersion> {
    APIS.iter()
        .map(|api| {
            ApiVersion::default()
                .with_api_key(api.id())
                .with_min_version(api.advertised_min_version)
                .with_max_version(api.max_version)
        })
        .collect()
}
