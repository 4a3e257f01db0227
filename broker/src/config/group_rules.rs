//! What the settings of a group may be, alone and together.

use std::collections::BTreeMap;

use super::iso_duration::parse_duration;
use super::keys::{GroupKey, Kind, group_key};
use super::settings::Settings;

/// A key of groups, and the broker keys between which it must lie, ends included.
struct Bounds {
    name: &'static str,
    min: Option<&'static str>,
    max: Option<&'static str>,
}

const fn bounds(name: &'static str, min: &'static str, max: &'static str) -> Bounds {
    Bounds {
        name,
        min: Some(min),
        max: Some(max),
    }
}

const BOUNDS: &[Bounds] = &[
    bounds(
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    bounds(
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    bounds(
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    bounds(
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    bounds(
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    bounds(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    bounds(
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    bounds(
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    bounds(
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    bounds(
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    bounds(
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
    Bounds {
        name: "streams.num.standby.replicas",
        min: None,
        max: Some("group.streams.max.standby.replicas"),
    },
    bounds(
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
];

/// A session must outlast the heartbeats that keep it.
const SESSIONS: &[(&str, &str)] = &[
    (
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    (
        "streams.session.timeout.ms",
        "streams.heartbeat.interval.ms",
    ),
];

impl Settings {
    /// What a group has that has no value of its own.
    pub fn group_default(&self, key: &GroupKey) -> String {
        let value = match key.broker {
            Some(broker) => self.value(broker),
            None => key.key.default,
        };
        value.unwrap_or_default().to_owned()
    }
}

/// Whether a group may have these values of its own; the error is the message for INVALID_CONFIG.
pub(super) fn check_group(
    settings: &Settings,
    own: &BTreeMap<String, String>,
) -> Result<(), String> {
    for name in own.keys() {
        if group_key(name).is_none() {
            return Err(format!("Unknown group config name: {name}"));
        }
    }
    for (name, value) in own {
        check_value(name, value)?;
    }
    let number = |name: &str| -> i64 {
        let text = match own.get(name) {
            Some(value) => value.clone(),
            None => group_key(name).map_or_else(String::new, |key| settings.group_default(key)),
        };
        // Both have been checked to be numbers.
        text.trim().parse().unwrap_or(0)
    };
    for Bounds { name, min, max } in BOUNDS {
        if let Some(min) = min
            && number(name) < settings.number(min)
        {
            return Err(format!("{name} must be greater than or equal to {min}"));
        }
        if let Some(max) = max
            && number(name) > settings.number(max)
        {
            return Err(format!("{name} must be less than or equal to {max}"));
        }
    }
    for (session, heartbeat) in SESSIONS {
        if number(session) <= number(heartbeat) {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    let Some(GroupKey { key, .. }) = group_key(name) else {
        return Err(format!("Unknown group config name: {name}"));
    };
    key.kind.check(name, value)?;
    let value = value.trim();
    let problem = match (name, key.kind) {
        ("share.auto.offset.reset", _) if !is_offset_reset(value) => {
            "give earliest, latest or by_duration:PnDTnHnMn.nS".to_owned()
        }
        (_, Kind::OneOf(words)) if !words.contains(&value) => {
            format!("String must be one of: {}", words.join(", "))
        }
        _ => return Ok(()),
    };
    Err(format!(
        "Invalid value {value} for configuration {name}: {problem}"
    ))
}

fn is_offset_reset(value: &str) -> bool {
    match value.strip_prefix("by_duration:") {
        Some(duration) => parse_duration(duration).is_some_and(|length| length >= 0),
        None => matches!(value, "earliest" | "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(), String> {
        let own = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        check_group(&Settings::default(), &own.collect())
    }

    #[test]
    fn values_that_fit_are_taken() {
        for (name, value) in [
            ("consumer.session.timeout.ms", "60000"),
            ("share.auto.offset.reset", "by_duration:PT1H"),
            ("share.auto.offset.reset", " earliest "),
            ("share.isolation.level", "read_committed"),
            ("share.record.lock.duration.ms", "15000"),
            ("streams.num.standby.replicas", "2"),
        ] {
            assert_eq!(check(&[(name, value)]), Ok(()), "{name} = {value}");
        }
    }

    #[test]
    fn values_that_kafka_refuses_are_refused() {
        for (name, value, words) in [
            (
                "retention.ms",
                "1",
                "Unknown group config name: retention.ms",
            ),
            ("consumer.session.timeout.ms", "soon", "Not a number"),
            ("consumer.session.timeout.ms", "0", "at least 1"),
            (
                "consumer.session.timeout.ms",
                "44999",
                "greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                "consumer.session.timeout.ms",
                "60001",
                "less than or equal to group.consumer.max.session.timeout.ms",
            ),
            (
                "streams.num.standby.replicas",
                "3",
                "less than or equal to group.streams.max.standby.replicas",
            ),
            ("share.isolation.level", "READ_COMMITTED", "must be one of"),
            ("share.auto.offset.reset", "none", "earliest, latest"),
            (
                "share.auto.offset.reset",
                "by_duration:-PT1S",
                "by_duration",
            ),
            ("share.auto.offset.reset", "by_duration:1h", "by_duration"),
        ] {
            let refused = check(&[(name, value)]).expect_err(name);
            assert!(refused.contains(words), "{name} = {value}: {refused}");
        }
    }

    #[test]
    fn a_session_outlasts_its_heartbeats() {
        let mut settings = Settings::default();
        let wide = [
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.max.heartbeat.interval.ms", "60000"),
        ];
        for (name, value) in wide {
            settings.set(name, value).expect("a known setting");
        }
        let own = |session: &str| {
            BTreeMap::from([
                (
                    "consumer.heartbeat.interval.ms".to_owned(),
                    "6000".to_owned(),
                ),
                ("consumer.session.timeout.ms".to_owned(), session.to_owned()),
            ])
        };
        assert_eq!(check_group(&settings, &own("6001")), Ok(()));
        assert_eq!(
            check_group(&settings, &own("6000")),
            Err(
                "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
                    .into()
            )
        );
    }
}
