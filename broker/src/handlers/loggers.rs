//! The loggers of this node (resource type 8): DescribeConfigs and IncrementalAlterConfigs.
//!
//! Kafka's levels, of which FATAL silences a logger: nothing here ends the process by a line in
//! its log. Changes hold until the process ends.

use std::collections::BTreeSet;

use millstream_controller::{ApiError, ConfigAlteration};
use millstream_protocol::ErrorCode;
use tracing::info;
use tracing::level_filters::LevelFilter;

use super::described_setting::Described;
use crate::config::Source;
use crate::log_levels::ROOT;
use crate::shard::Shard;

/// By Kafka's names.
const LEVELS: &[(&str, LevelFilter)] = &[
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::OFF),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// The loggers of node `name` with their levels.
pub(super) fn describe(shard: &Shard, name: &str) -> Result<Vec<Described>, (ErrorCode, String)> {
    if name.is_empty() {
        let message = "Broker id must not be empty".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    check_node(shard, name).map_err(|error| (error.code, error.message))?;
    let levels = shard.log_levels().all().into_iter();
    let described = levels.map(|(logger, level)| Described {
        name: logger,
        value: Some(level_name(level).to_owned()),
        read_only: false,
        source: Source::Logger,
        secret: false,
        synonyms: Vec::new(),
        kind: Described::UNKNOWN_KIND,
        text: Some(""),
    });
    Ok(described.collect())
}

/// Changes levels, all of them or none.
pub(super) fn change(
    shard: &Shard,
    name: &str,
    alterations: &[(String, ConfigAlteration)],
    validate_only: bool,
) -> Result<(), ApiError> {
    let mut loggers = BTreeSet::new();
    if !alterations.iter().all(|(logger, _)| loggers.insert(logger)) {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    let nulls: Vec<_> = alterations
        .iter()
        .filter(|(_, alteration)| has_null(alteration))
        .map(|(logger, _)| logger.as_str())
        .collect();
    if !nulls.is_empty() {
        return Err(invalid_request(format!(
            "Null value not supported for : {}",
            nulls.join(", ")
        )));
    }
    check_node(shard, name)?;
    let known = shard.log_levels().all();
    let check_known = |logger: &str| match known.contains_key(logger) {
        true => Ok(()),
        false => Err(invalid_config(format!("Logger {logger} does not exist!"))),
    };
    let mut changes = Vec::with_capacity(alterations.len());
    for (logger, alteration) in alterations {
        let level = match alteration {
            ConfigAlteration::Set(value) => {
                check_known(logger)?;
                Some(level(logger, value.as_deref().unwrap_or_default())?)
            }
            ConfigAlteration::Delete => {
                check_known(logger)?;
                if logger == ROOT {
                    return Err(invalid_request(
                        "Removing the log level of the root logger is not allowed",
                    ));
                }
                None
            }
            ConfigAlteration::Append(_) | ConfigAlteration::Subtract(_) => {
                return Err(invalid_request(
                    "Levels of loggers are no lists: nothing can be appended or subtracted",
                ));
            }
        };
        changes.push((logger.clone(), level));
    }
    if !validate_only {
        shard.log_levels().change(&changes);
        for (logger, level) in &changes {
            let level = level.map_or("that of the logger above it", level_name);
            info!(logger, level, "changed a level of the log");
        }
    }
    Ok(())
}

fn has_null(alteration: &ConfigAlteration) -> bool {
    match alteration {
        ConfigAlteration::Set(value)
        | ConfigAlteration::Append(value)
        | ConfigAlteration::Subtract(value) => value.is_none(),
        ConfigAlteration::Delete => false,
    }
}

fn level(logger: &str, name: &str) -> Result<LevelFilter, ApiError> {
    let found = LEVELS.iter().find(|(known, _)| *known == name);
    found.map(|(_, level)| *level).ok_or_else(|| {
        let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
        invalid_config(format!(
            "Cannot set the log level of {logger} to {name} as it is not a supported log level. \
             Valid log levels are {}",
            names.join(", ")
        ))
    })
}

fn level_name(level: LevelFilter) -> &'static str {
    let found = LEVELS.iter().find(|(_, known)| *known == level);
    found.map_or("OFF", |(name, _)| *name)
}

fn check_node(shard: &Shard, name: &str) -> Result<(), ApiError> {
    let id: i32 = name
        .parse()
        .map_err(|_| invalid_request(format!("Node id must be an integer, but it is: {name}")))?;
    let node_id = shard.node_id();
    if id == node_id.0 {
        Ok(())
    } else {
        Err(invalid_request(format!(
            "Unexpected node id. Expected {node_id}, but received {id}"
        )))
    }
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

fn invalid_config(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidConfig, message)
}
