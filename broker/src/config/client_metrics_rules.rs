//! What the settings of a subscription to clients' metrics may be (KIP-714).

use std::collections::BTreeMap;

use millstream_controller::ApiError;
use millstream_protocol::ErrorCode;

use super::keys::{Key, Kind, client_metrics_keys};

/// What clients can be chosen by.
const MATCHED: &[&str] = &[
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// How often clients may be asked for their metrics, in milliseconds.
const INTERVALS_MS: std::ops::RangeInclusive<i32> = 100..=3_600_000;

/// Whether a subscription may have these settings. As in Kafka, some faults are INVALID_REQUEST and
/// some INVALID_CONFIG.
pub(super) fn check_client_metrics(own: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for name in own.keys() {
        if key(name).is_none() {
            let message = format!("Unknown client metrics configuration: {name}");
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
    }
    for (name, value) in own {
        let kind = key(name).map_or(Kind::Text, |key| key.kind);
        kind.check(name, value).map_err(invalid_config)?;
        if kind == Kind::List {
            check_list(name, value).map_err(invalid_config)?;
        }
    }
    if let Some(value) = own.get("interval.ms")
        && !value
            .trim()
            .parse()
            .is_ok_and(|interval| INTERVALS_MS.contains(&interval))
    {
        let message = format!(
            "Invalid value {value} for interval.ms, interval must be between 100 and 3600000 \
             (1 hour)"
        );
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let patterns = own.get("match").map_or("", |value| value.trim());
    match items(patterns).find(|pattern| !is_pattern(pattern)) {
        Some(pattern) => Err(invalid_config(format!(
            "Illegal client matching pattern: {pattern}"
        ))),
        None => Ok(()),
    }
}

fn key(name: &str) -> Option<&'static Key> {
    client_metrics_keys().iter().find(|key| key.name == name)
}

fn invalid_config(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidConfig, message)
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    let all = value.split(',').map(str::trim);
    // No text at all is no item; empty text between commas is one.
    all.filter(move |_| !value.is_empty())
}

fn check_list(name: &str, value: &str) -> Result<(), String> {
    if items(value.trim()).any(str::is_empty) {
        return Err(format!("Configuration '{name}' values must not be empty."));
    }
    Ok(())
}

/// Whether it is `name=expression`.
fn is_pattern(pattern: &str) -> bool {
    // As Java splits: what is empty at the end does not count.
    let parts: Vec<&str> = pattern.trim_end_matches('=').split('=').collect();
    match parts[..] {
        [name, expression] => MATCHED.contains(&name.trim()) && is_expression(expression.trim()),
        _ => false,
    }
}

/// Whether brackets are closed, escapes complete and repetitions have something to repeat: the
/// faults that are made by hand. Nothing here ever runs the expression.
fn is_expression(text: &str) -> bool {
    let (mut open, mut in_class, mut repeatable) = (0_u32, false, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                if characters.next().is_none() {
                    return false;
                }
                repeatable = true;
            }
            ']' if in_class => {
                in_class = false;
                repeatable = true;
            }
            _ if in_class => {}
            '[' => in_class = true,
            '(' => {
                open += 1;
                // `(?` begins a group of a special kind.
                if characters.as_str().starts_with('?') {
                    characters.next();
                }
                repeatable = false;
            }
            ')' => {
                let Some(left) = open.checked_sub(1) else {
                    return false;
                };
                open = left;
                repeatable = true;
            }
            '|' => repeatable = false,
            '*' | '+' | '?' | '{' if !repeatable => return false,
            _ => repeatable = true,
        }
    }
    open == 0 && !in_class
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), ErrorCode> {
        let own = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        check_client_metrics(&own).map_err(|error| error.code)
    }

    #[test]
    fn settings_that_kafka_takes_are_taken() {
        for (name, value) in [
            ("interval.ms", "100"),
            ("interval.ms", " 3600000 "),
            ("metrics", ""),
            ("metrics", "*"),
            ("metrics", "a,a"),
            (
                "metrics",
                "org.apache.kafka.producer., org.apache.kafka.consumer.",
            ),
            ("match", ""),
            (
                "match",
                "client_software_name=Java,client_software_version=11.1.*",
            ),
            ("match", "client_id = (a|b)[0-9+*]+\\(?x{2}"),
            ("match", "client_id=(?:a)?"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name} = {value}");
        }
    }

    #[test]
    fn settings_that_kafka_refuses_are_refused() {
        let (request, config) = (ErrorCode::InvalidRequest, ErrorCode::InvalidConfig);
        for (name, value, code) in [
            ("no.such.key", "1", request),
            ("interval.ms", "99", request),
            ("interval.ms", "3600001", request),
            ("interval.ms", "soon", config),
            ("metrics", "a,,b", config),
            ("match", "client_id", config),
            ("match", "client_id=", config),
            ("match", "client_id=a=b", config),
            ("match", "client_colour=red", config),
            ("match", "=red", config),
            ("match", "client_id=[a", config),
            ("match", "client_id=(a", config),
            ("match", "client_id=a)", config),
            ("match", "client_id=*", config),
            ("match", "client_id=a\\", config),
        ] {
            assert_eq!(check(name, value), Err(code), "{name} = {value}");
        }
    }
}
