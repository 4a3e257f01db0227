//! The table of keys: every key of Apache Kafka's and the few of our own.

mod accepted;
mod client_metrics;
mod dynamic;
mod group;
mod internal;
mod refused;
mod topic;
mod working;

pub use dynamic::is_dynamic;
pub use internal::is_internal;

/// What a value looks like, with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 16 bits, from … to.
    Short(i16, i16),
    /// 32 bits, from … to.
    Int(i32, i32),
    /// 64 bits, from … to.
    Long(i64, i64),
    /// A floating-point number, from … to.
    Double(f64, f64),
    /// Any text.
    Text,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// Words separated by commas.
    List,
    /// Some of these words, separated by commas.
    ListOf(&'static [&'static str]),
    /// The name of a Java class.
    Class,
    /// A secret, never shown.
    Password,
}

impl Kind {
    /// Any 16-bit number.
    pub const SHORT: Kind = Kind::Short(i16::MIN, i16::MAX);
    /// Any 32-bit number.
    pub const INT: Kind = Kind::Int(i32::MIN, i32::MAX);
    /// Any 64-bit number.
    pub const LONG: Kind = Kind::Long(i64::MIN, i64::MAX);
    /// Any floating-point number.
    pub const DOUBLE: Kind = Kind::Double(f64::MIN, f64::MAX);

    /// The code of DescribeConfigs for this kind of value.
    pub fn protocol_code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text | Kind::OneOf(_) => 2,
            Kind::Int(..) => 3,
            Kind::Short(..) => 4,
            Kind::Long(..) => 5,
            Kind::Double(..) => 6,
            Kind::List | Kind::ListOf(_) => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Why `value` is not of this kind, in Kafka's words where it has some.
    pub fn check(self, name: &str, value: &str) -> Result<(), String> {
        let invalid =
            |why: String| format!("Invalid value {value} for configuration {name}: {why}");
        let number = |min: i64, max: i64, kind: &str| match value.trim().parse::<i64>() {
            Err(_) => Err(invalid(format!("Not a number of type {kind}"))),
            Ok(n) if n < min => Err(invalid(format!("Value must be at least {min}"))),
            Ok(n) if n > max => Err(invalid(format!("Value must be no more than {max}"))),
            Ok(_) => Ok(()),
        };
        match self {
            Kind::Boolean => match value.trim().to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err(invalid("Expected value to be either true or false".into())),
            },
            Kind::Short(min, max) => number(min.into(), max.into(), "SHORT"),
            Kind::Int(min, max) => number(min.into(), max.into(), "INT"),
            Kind::Long(min, max) => number(min, max, "LONG"),
            Kind::Double(min, max) => match value.trim().parse::<f64>() {
                Err(_) => Err(invalid("Not a number of type DOUBLE".into())),
                Ok(n) if !(min..=max).contains(&n) => {
                    Err(invalid(format!("Value must be between {min} and {max}")))
                }
                Ok(_) => Ok(()),
            },
            Kind::OneOf(words) => {
                if words
                    .iter()
                    .any(|word| word.eq_ignore_ascii_case(value.trim()))
                {
                    Ok(())
                } else {
                    Err(invalid(format!(
                        "String must be one of: {}",
                        words.join(", ")
                    )))
                }
            }
            Kind::ListOf(words) => match list(value).find(|item| !words.contains(item)) {
                Some(_) => Err(invalid(format!(
                    "String must be one of: {}",
                    words.join(", ")
                ))),
                None => Ok(()),
            },
            Kind::Text | Kind::List | Kind::Class | Kind::Password => Ok(()),
        }
    }

    /// A value of this kind as Kafka tells it: read, and written anew. What is not of this kind
    /// stays as it is.
    pub fn normalise(self, value: &str) -> String {
        let trimmed = value.trim();
        match self {
            Kind::Boolean => trimmed.to_ascii_lowercase(),
            Kind::Short(..) | Kind::Int(..) | Kind::Long(..) => trimmed
                .parse::<i64>()
                .map_or_else(|_| value.to_owned(), |number| number.to_string()),
            Kind::Double(..) => trimmed
                .parse::<f64>()
                .map_or_else(|_| value.to_owned(), java_double),
            Kind::Text | Kind::OneOf(_) | Kind::Class | Kind::Password => trimmed.to_owned(),
            Kind::List if trimmed.is_empty() => String::new(),
            Kind::List => once_each(trimmed.split(',').map(str::trim)),
            Kind::ListOf(_) => once_each(list(trimmed)),
        }
    }
}

/// The items of a list; one that is there twice counts once (KIP-1161).
fn once_each<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.join(",")
}

/// A number as Java writes it.
fn java_double(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{number:?}");
    }
    let scientific = format!("{number:E}");
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => scientific,
    }
}

/// The items of a list value.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Whether a key does anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what its text says.
    Works,
    /// It is taken and has no effect; the text says why.
    Accepted,
    /// Any value but the default is refused; the text says why.
    Refused,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name, Kafka's where Kafka has one.
    pub name: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// Its default; `None` when it has none.
    pub default: Option<&'static str>,
    /// Whether it does anything here.
    pub status: Status,
    /// What it does, or why it does nothing.
    pub text: &'static str,
}

impl Key {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        status: Status,
        text: &'static str,
    ) -> Key {
        Key {
            name,
            kind,
            default,
            status,
            text,
        }
    }
}

/// A key of topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicKey {
    /// The key itself.
    pub key: Key,
    /// The broker keys that give its default, the strongest first.
    pub synonyms: &'static [&'static str],
}

/// A key of groups.
#[derive(Debug, Clone, Copy)]
pub struct GroupKey {
    /// The key itself.
    pub key: Key,
    /// The broker key that gives its default, if one does.
    pub broker: Option<&'static str>,
}

/// Every broker key, by groups of what becomes of them.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    working::KEYS
        .iter()
        .chain(accepted::KEYS)
        .chain(refused::KEYS)
}

/// The broker key of this name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    [working::KEYS, accepted::KEYS, refused::KEYS]
        .into_iter()
        .find_map(|keys| {
            keys.binary_search_by(|key| key.name.cmp(name))
                .ok()
                .map(|index| &keys[index])
        })
}

/// The broker keys that say the same as this one in other units, itself among them, the strongest
/// first.
pub fn broker_synonyms(name: &'static str) -> Vec<&'static str> {
    let family = topic::KEYS
        .iter()
        .map(|key| key.synonyms)
        .find(|family| family.contains(&name));
    match family {
        // Its other name is only a default for it, and stands for itself.
        _ if name == "log.flush.scheduler.interval.ms" => vec![name],
        Some(family) => family.to_vec(),
        None => vec![name],
    }
}

/// Every topic key, in order of their names.
pub fn topic_keys() -> &'static [TopicKey] {
    topic::KEYS
}

/// The topic key of this name.
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    topic::KEYS
        .binary_search_by(|key| key.key.name.cmp(name))
        .ok()
        .map(|index| &topic::KEYS[index])
}

/// Every key of groups, in order of their names.
pub fn group_keys() -> &'static [GroupKey] {
    group::KEYS
}

/// The key of groups of this name.
pub fn group_key(name: &str) -> Option<&'static GroupKey> {
    group::KEYS
        .binary_search_by(|key| key.key.name.cmp(name))
        .ok()
        .map(|index| &group::KEYS[index])
}

/// Every key of subscriptions to clients' metrics, in order of their names.
pub fn client_metrics_keys() -> &'static [Key] {
    client_metrics::KEYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_their_defaults_valid() {
        for keys in [working::KEYS, accepted::KEYS, refused::KEYS] {
            assert!(keys.is_sorted_by(|a, b| a.name < b.name));
        }
        assert!(topic::KEYS.is_sorted_by(|a, b| a.key.name < b.key.name));
        assert!(group_keys().is_sorted_by(|a, b| a.key.name < b.key.name));
        assert!(client_metrics_keys().is_sorted_by(|a, b| a.name < b.name));
        let others = topic_keys()
            .iter()
            .map(|key| &key.key)
            .chain(group_keys().iter().map(|key| &key.key))
            .chain(client_metrics_keys());
        for key in broker_keys().chain(others) {
            if let Some(default) = key.default {
                assert_eq!(key.kind.check(key.name, default), Ok(()), "{}", key.name);
                assert_eq!(key.kind.normalise(default), default, "{}", key.name);
            }
            assert!(!key.text.is_empty());
        }
        let mut names: Vec<_> = broker_keys().map(|key| key.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a key stands in one table only");
    }

    #[test]
    fn synonyms_of_topic_keys_are_broker_keys() {
        for key in topic_keys() {
            for synonym in key.synonyms {
                assert!(
                    broker_key(synonym).is_some(),
                    "{synonym} of {}",
                    key.key.name
                );
            }
        }
    }

    #[test]
    fn defaults_of_groups_are_those_of_their_broker_keys() {
        for GroupKey { key, broker } in group_keys() {
            let Some(broker) = broker else { continue };
            let broker = broker_key(broker).unwrap_or_else(|| panic!("no key {broker}"));
            assert_eq!(broker.default, key.default, "{}", key.name);
        }
    }

    #[test]
    fn values_are_told_as_kafka_writes_them() {
        for (kind, written, told) in [
            (Kind::LONG, " 8000 ", "8000"),
            (Kind::INT, "+007", "7"),
            (Kind::INT, "many", "many"),
            (Kind::Boolean, " TRUE ", "true"),
            (Kind::DOUBLE, "1", "1.0"),
            (Kind::DOUBLE, "1e-1", "0.1"),
            (Kind::DOUBLE, "0.001", "0.001"),
            (Kind::DOUBLE, "0.0005", "5.0E-4"),
            (Kind::DOUBLE, "12345678.5", "1.23456785E7"),
            (Kind::DOUBLE, "1e10", "1.0E10"),
            (Kind::Text, " a b ", "a b"),
            (Kind::List, " a , b,", "a,b,"),
            (Kind::List, "a,b,a", "a,b"),
            (Kind::List, " ", ""),
            (Kind::ListOf(&["a", "b"]), "a, b,a", "a,b"),
        ] {
            assert_eq!(kind.normalise(written), told, "{kind:?} {written}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        let key = broker_key("log.segment.bytes").expect("in the table");
        assert_eq!(
            key.kind.check(key.name, "10"),
            Err("Invalid value 10 for configuration log.segment.bytes: \
                 Value must be at least 1048576"
                .into())
        );
        assert!(Kind::Boolean.check("a", "yes").is_err());
        assert!(Kind::OneOf(&["fsync"]).check("durability", "FSYNC").is_ok());
        assert!(
            Kind::ListOf(&["compact", "delete"])
                .check("a", "compact,delete")
                .is_ok()
        );
        assert!(
            Kind::ListOf(&["compact", "delete"])
                .check("a", "compact,x")
                .is_err()
        );
        assert!(Kind::Double(0.0, 1.0).check("a", "1.5").is_err());
    }
}
