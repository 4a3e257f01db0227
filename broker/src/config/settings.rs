//! The settings given at start and those given while the node runs, checked against the table of
//! keys.
//!
//! A value given to this node outranks one given to all brokers, and that one what the node was
//! started with.

use std::collections::BTreeMap;

use thiserror::Error;

use super::keys::{Key, Status, broker_key, broker_keys, is_dynamic, topic_key};
use super::properties::{PropertiesError, parse_properties};

/// Why a setting cannot be taken, and what to do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// The file is not in the properties format.
    #[error("cannot read the settings: {0}")]
    Properties(#[from] PropertiesError),
    /// Neither Kafka nor Millstream has such a key.
    #[error("there is no setting `{name}`{}", suggestion.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// As it was given.
        name: String,
        /// The key that is spelt most like it.
        suggestion: Option<&'static str>,
    },
    /// The value is not of the kind the key wants, or out of its bounds.
    #[error("{0}")]
    Invalid(String),
    /// The key belongs to something that is not there.
    #[error("`{name}` cannot be set: {reason}; remove it")]
    Refused {
        /// The key.
        name: String,
        /// What is not there.
        reason: &'static str,
    },
    /// `--set` without an equals sign.
    #[error("`{0}` is not of the form key=value")]
    NotAPair(String),
}

/// Where a value comes from, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The topic has it.
    Topic = 1,
    /// Given to this node while it runs.
    Node = 2,
    /// Given to all brokers while they run.
    Cluster = 3,
    /// The node was started with it.
    Start = 4,
    /// Nobody said otherwise.
    Default = 5,
    /// The level of a logger.
    Logger = 6,
    /// The subscription to clients' metrics has it.
    ClientMetrics = 7,
    /// The group has it.
    Group = 8,
}

impl Source {
    /// The code of DescribeConfigs.
    pub fn protocol_code(self) -> i8 {
        self as i8
    }
}

/// A key with a value that somebody gave it, or its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The key's name.
    pub name: &'static str,
    /// The value.
    pub value: String,
    /// Who gave it.
    pub source: Source,
}

/// The settings of this node: what was given, and defaults for the rest.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    start: BTreeMap<&'static str, String>,
    cluster: BTreeMap<&'static str, String>,
    node: BTreeMap<&'static str, String>,
    notices: Vec<String>,
}

impl Settings {
    /// Takes the text of a `server.properties`.
    pub fn take_properties(&mut self, text: &str) -> Result<(), SettingsError> {
        for (name, value) in parse_properties(text)? {
            self.set(&name, &value)?;
        }
        Ok(())
    }

    /// Takes a `key=value` argument.
    pub fn take_pair(&mut self, pair: &str) -> Result<(), SettingsError> {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| SettingsError::NotAPair(pair.into()))?;
        self.set(name.trim(), value.trim())
    }

    /// Sets one key; a later value replaces an earlier one.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        let Some(key) = broker_key(name) else {
            return Err(unknown(name));
        };
        key.kind
            .check(name, value)
            .map_err(SettingsError::Invalid)?;
        match key.status {
            Status::Works => {}
            Status::Accepted if key.default == Some(value) => {}
            Status::Accepted => {
                self.notices
                    .push(format!("`{name}` has no effect: {}", key.text));
            }
            Status::Refused if key.default.unwrap_or("").eq_ignore_ascii_case(value) => {}
            Status::Refused => {
                return Err(SettingsError::Refused {
                    name: name.into(),
                    reason: key.text,
                });
            }
        }
        self.start.insert(key.name, value.to_owned());
        Ok(())
    }

    /// `broker.id` is the older name of `node.id`: what holds for one holds for both.
    pub(super) fn join_node_ids(&mut self) -> Result<(), SettingsError> {
        let given = |name: &str| self.start.get(name).cloned();
        match (given("node.id"), given("broker.id")) {
            (Some(node), Some(broker)) if node.trim() != broker.trim() => {
                Err(SettingsError::Invalid(format!(
                    "`node.id` is {node} and `broker.id`, its older name, {broker}; remove one"
                )))
            }
            (None, Some(id)) => self.set("node.id", &id),
            (None, None) | (Some(_), None) => {
                let id = self.text("node.id").to_owned();
                self.start.insert("broker.id", id);
                Ok(())
            }
            (Some(_), Some(_)) => Ok(()),
        }
    }

    /// These settings with others over those of the start: `cluster` for all brokers, `node` for
    /// this one. What cannot change while the node runs is passed over, and what does not parse,
    /// which a checked change cannot leave behind.
    pub fn with_dynamic(
        &self,
        cluster: &BTreeMap<String, String>,
        node: &BTreeMap<String, String>,
    ) -> Settings {
        let known = |given: &BTreeMap<String, String>| {
            let keys = given.iter().filter_map(|(name, value)| {
                let key = broker_key(name).filter(|key| is_dynamic(key.name))?;
                let valid = key.kind.check(name, value).is_ok();
                valid.then(|| (key.name, value.clone()))
            });
            keys.collect()
        };
        Settings {
            cluster: known(cluster),
            node: known(node),
            ..self.clone()
        }
    }

    /// What was taken but has no effect, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The strongest value that was given for a key.
    pub fn given(&self, name: &str) -> Option<&str> {
        let layers = [&self.node, &self.cluster, &self.start];
        let mut found = layers.into_iter().filter_map(|layer| layer.get(name));
        found.next().map(String::as_str)
    }

    /// All values there are for these keys, the strongest first: by who gave them, then in the
    /// order of `names`. As in Kafka, what comes before a value of `described` itself is left out.
    pub fn synonyms(&self, names: &[&'static str], described: &str) -> Vec<Synonym> {
        let mut found = Vec::new();
        let layers = [
            (&self.node, Source::Node),
            (&self.cluster, Source::Cluster),
            (&self.start, Source::Start),
        ];
        for (layer, source) in layers {
            found.extend(names.iter().filter_map(|&name| {
                let value = layer.get(name)?.clone();
                Some(Synonym {
                    name,
                    value,
                    source,
                })
            }));
        }
        found.extend(names.iter().filter_map(|&name| {
            Some(Synonym {
                name,
                value: self.default_of(name)?,
                source: Source::Default,
            })
        }));
        let before = found.iter().position(|synonym| synonym.name == described);
        found.split_off(before.unwrap_or(found.len()))
    }

    /// The value of a key: as given, or its default.
    ///
    /// # Panics
    /// When the table has no such key.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given(name).or(key(name).default)
    }

    /// The default of a key.
    pub fn default_of(&self, name: &str) -> Option<String> {
        key(name).default.map(str::to_owned)
    }

    /// The value of a key that has a default.
    pub fn text(&self, name: &str) -> &str {
        self.value(name)
            .unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// The value of a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> T {
        let text = self.text(name).trim();
        // The table's test proves this of defaults, and `set` of what was given.
        text.parse()
            .unwrap_or_else(|_| panic!("`{name}` = `{text}` was checked"))
    }

    /// The value of a boolean.
    pub fn boolean(&self, name: &str) -> bool {
        self.text(name).trim().eq_ignore_ascii_case("true")
    }

    /// The value of a topic key by this node's settings, with the name of the broker key it comes
    /// from; the topic key's default when none of them was given.
    pub fn topic_default(&self, name: &str) -> Option<(String, Option<&'static str>)> {
        let key = topic_key(name)?;
        for synonym in key.synonyms {
            if let Some(value) = self.given(synonym) {
                return Some((convert_unit(synonym, value), Some(synonym)));
            }
        }
        key.key.default.map(|default| (default.to_owned(), None))
    }
}

/// Hours and minutes become the milliseconds of the topic key.
fn convert_unit(broker_name: &str, value: &str) -> String {
    let factor: i64 = match broker_name {
        name if name.ends_with(".hours") => 3_600_000,
        name if name.ends_with(".minutes") => 60_000,
        _ => return value.to_owned(),
    };
    match value.trim().parse::<i64>() {
        Ok(count) if count >= 0 => count.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

fn key(name: &str) -> &'static Key {
    broker_key(name).unwrap_or_else(|| panic!("`{name}` is not in the table of keys"))
}

fn unknown(name: &str) -> SettingsError {
    if let Some(rest) = name.strip_prefix("listener.name.")
        && (rest.contains(".ssl.") || rest.contains(".sasl."))
    {
        let reason = "TLS and SASL are not there yet";
        return SettingsError::Refused {
            name: name.into(),
            reason,
        };
    }
    let suggestion = broker_keys()
        .map(|key| (strsim::jaro_winkler(name, key.name), key.name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(score, _)| *score > 0.8)
        .map(|(_, name)| name);
    SettingsError::Unknown {
        name: name.into(),
        suggestion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_is_taken() {
        let mut settings = Settings::default();
        settings
            .take_properties(
                "process.roles=broker,controller\nnode.id=1\n\
                 controller.quorum.bootstrap.servers=localhost:9093\n\
                 listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
                 inter.broker.listener.name=PLAINTEXT\n\
                 advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                 controller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
                 num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
                 log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
                 offsets.topic.replication.factor=1\n\
                 transaction.state.log.replication.factor=1\nlog.retention.hours=168\n\
                 log.segment.bytes=1073741824\n",
            )
            .expect("the stock file is accepted");
        assert_eq!(settings.text("log.dirs"), "/tmp/kraft-combined-logs");
        assert_eq!(settings.number::<i32>("num.partitions"), 1);
        assert_eq!(settings.notices().len(), 2, "{:?}", settings.notices());
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        let error = Settings::default()
            .set("log.dir.s", "x")
            .expect_err("no such key");
        assert_eq!(
            error.to_string(),
            "there is no setting `log.dir.s`; did you mean `log.dirs`?"
        );
        let error = Settings::default()
            .set("zzz", "x")
            .expect_err("no such key");
        assert_eq!(error.to_string(), "there is no setting `zzz`");
    }

    #[test]
    fn a_refused_key_says_why_and_its_default_is_let_pass() {
        let mut settings = Settings::default();
        let error = settings
            .set("ssl.keystore.location", "/x")
            .expect_err("refused");
        assert!(
            error.to_string().contains("TLS is not there yet"),
            "{error}"
        );
        settings
            .set("remote.log.storage.system.enable", "false")
            .expect("the default");
        assert!(
            settings
                .set("remote.log.storage.system.enable", "true")
                .is_err()
        );
        assert!(settings.take_pair("x").is_err());
    }

    #[test]
    fn what_is_given_to_the_node_outranks_what_is_given_to_all() {
        let mut settings = Settings::default();
        settings.set("log.retention.ms", "1000").expect("valid");
        let given = |value: &str| BTreeMap::from([("log.retention.ms".into(), value.to_owned())]);
        let none = BTreeMap::new();
        let value = |cluster: &BTreeMap<_, _>, node: &BTreeMap<_, _>| {
            let settings = settings.with_dynamic(cluster, node);
            settings.topic_default("retention.ms").expect("a key").0
        };
        assert_eq!(value(&none, &none), "1000");
        assert_eq!(value(&given("2000"), &none), "2000");
        assert_eq!(value(&given("2000"), &given("3000")), "3000");
        assert_eq!(value(&given("soon"), &none), "1000");
        let fixed = BTreeMap::from([("node.id".to_owned(), "7".to_owned())]);
        assert_eq!(settings.with_dynamic(&fixed, &none).text("node.id"), "1");
    }

    #[test]
    fn synonyms_are_listed_by_who_gave_them() {
        let mut settings = Settings::default();
        settings.set("log.roll.hours", "2").expect("valid");
        let node = BTreeMap::from([("log.roll.ms".to_owned(), "5".to_owned())]);
        let settings = settings.with_dynamic(&BTreeMap::new(), &node);
        let names = ["log.roll.ms", "log.roll.hours"];
        let listed = |described| {
            let synonyms = settings.synonyms(&names, described);
            let listed = synonyms
                .into_iter()
                .map(|synonym| (synonym.name, synonym.value, synonym.source));
            listed.collect::<Vec<_>>()
        };
        let all = [
            ("log.roll.ms", "5".to_owned(), Source::Node),
            ("log.roll.hours", "2".to_owned(), Source::Start),
            ("log.roll.hours", "168".to_owned(), Source::Default),
        ];
        assert_eq!(listed("log.roll.ms"), all);
        assert_eq!(listed("log.roll.hours"), all[1..]);
    }

    #[test]
    fn topic_defaults_come_from_the_strongest_broker_key() {
        let mut settings = Settings::default();
        assert_eq!(
            settings.topic_default("segment.ms"),
            Some(("604800000".into(), None))
        );
        settings.set("log.roll.hours", "2").expect("valid");
        let hours = Some(("7200000".to_owned(), Some("log.roll.hours")));
        assert_eq!(settings.topic_default("segment.ms"), hours);
        settings.set("log.roll.ms", "5").expect("valid");
        let ms = Some(("5".to_owned(), Some("log.roll.ms")));
        assert_eq!(settings.topic_default("segment.ms"), ms);
    }
}
