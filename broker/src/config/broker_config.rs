//! What the broker acts on, as one plain struct made once at start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millstream_coordinator::GroupCoordinatorConfig;
use millstream_protocol::NodeId;
use millstream_storage::CleanerConfig;

use super::keys::list;
use super::listeners::Endpoint;
use super::settings::{Settings, SettingsError};

/// The node's settings, parsed.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// All settings, for those who answer by name.
    pub settings: Settings,
    /// This node.
    pub node_id: NodeId,
    /// Rack told to clients.
    pub rack: Option<String>,
    /// Where clients connect.
    pub listeners: Vec<Endpoint>,
    /// What clients are told, in the order of `listeners`.
    pub advertised: Vec<Endpoint>,
    /// The folder of all data.
    pub log_dir: PathBuf,
    /// Whether records are written past the page cache.
    pub direct_io: bool,
    /// Cores that serve partitions; 0 for all there are.
    pub shards: usize,
    /// Memory of one shard for requests and tails, in bytes.
    pub shard_memory_bytes: u64,
    /// Bytes that they may grow to while consumers are behind; a part of the machine's memory if
    /// nobody has set it.
    pub shard_memory_max_bytes: Option<u64>,
    /// Memory that there is for this process, in bytes; 0 if nobody has looked.
    pub machine_memory_bytes: u64,
    /// Largest request frame.
    pub socket_request_max_bytes: usize,
    /// Most bytes in one answer to a fetch.
    pub fetch_max_bytes: i32,
    /// Fetch sessions kept by the node.
    pub fetch_session_slots: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// When an idle connection is closed; `None` for never.
    pub connections_max_idle: Option<Duration>,
    /// Requests that take longer are logged; `None` for none.
    pub slow_request: Option<Duration>,
    /// Where the node tells of itself, as host:port; `None` for nowhere.
    pub metrics_listener: Option<String>,
    /// Whether topics are made on demand.
    pub auto_create_topics: bool,
    /// Whether topics may be deleted.
    pub delete_topic_enable: bool,
    /// Partitions of a topic that does not say.
    pub num_partitions: i32,
    /// Replicas of a topic that does not say.
    pub default_replication_factor: i16,
    /// Partitions of `__consumer_offsets`.
    pub offsets_topic_partitions: i32,
    /// Replicas of `__consumer_offsets`.
    pub offsets_topic_replication_factor: i16,
    /// Longest wait for a commit of offsets.
    pub offsets_commit_timeout: Duration,
    /// What group coordinators go by.
    pub groups: GroupCoordinatorConfig,
}

impl BrokerConfig {
    /// Makes the struct; fails on what the table cannot check by itself.
    pub fn new(mut settings: Settings) -> Result<BrokerConfig, SettingsError> {
        settings.join_node_ids()?;
        let invalid = SettingsError::Invalid;
        let controller: Vec<String> = list(settings.text("controller.listener.names"))
            .map(str::to_ascii_uppercase)
            .collect();
        let for_clients = |endpoints: Vec<Endpoint>| -> Vec<Endpoint> {
            endpoints
                .into_iter()
                .filter(|e| !controller.contains(&e.name))
                .collect()
        };
        let listeners = for_clients(
            Endpoint::parse_list("listeners", settings.text("listeners")).map_err(invalid)?,
        );
        if listeners.is_empty() {
            return Err(invalid("`listeners` names none for clients".into()));
        }
        check_protocols(&settings, &listeners)?;
        let told = match settings.given("advertised.listeners") {
            None => Vec::new(),
            Some(value) => {
                for_clients(Endpoint::parse_list("advertised.listeners", value).map_err(invalid)?)
            }
        };
        if let Some(stray) = told
            .iter()
            .find(|t| listeners.iter().all(|l| l.name != t.name))
        {
            let name = &stray.name;
            return Err(invalid(format!(
                "`advertised.listeners` names {name}, which `listeners` does not have; add it \
                 there or remove it"
            )));
        }
        if let Some(wild) = told
            .iter()
            .find(|t| matches!(t.host.as_str(), "0.0.0.0" | "::"))
        {
            return Err(invalid(format!(
                "`advertised.listeners` has {} for {}, which no client can connect to; name an \
                 address or host",
                wild.host, wild.name
            )));
        }
        let advertised = listeners
            .iter()
            .map(|listener| {
                let own = told.iter().find(|t| t.name == listener.name);
                own.cloned().unwrap_or_else(|| listener.clone())
            })
            .collect();
        let dirs: Vec<&str> = list(
            settings
                .given("log.dirs")
                .unwrap_or(settings.text("log.dir")),
        )
        .collect();
        let &[log_dir] = dirs.as_slice() else {
            return Err(invalid(format!(
                "`log.dirs` names {} folders; one is served, name one",
                dirs.len()
            )));
        };
        let roles: Vec<&str> = list(settings.text("process.roles")).collect();
        if !roles.contains(&"broker") {
            return Err(invalid(
                "`process.roles` lacks broker; this node is always broker and controller".into(),
            ));
        }
        let idle: i64 = settings.number("connections.max.idle.ms");
        let memory_max: i64 = settings.number("shard.memory.max.bytes");
        let slow: i64 = settings.number("slow.request.log.ms");
        let size = |name: &str| usize::try_from(settings.number::<i64>(name)).unwrap_or(usize::MAX);
        Ok(BrokerConfig {
            node_id: NodeId(settings.number("node.id")),
            rack: settings.given("broker.rack").map(str::to_owned),
            listeners,
            advertised,
            log_dir: PathBuf::from(log_dir),
            direct_io: true,
            shards: size("shards"),
            shard_memory_bytes: settings.number("shard.memory.bytes"),
            shard_memory_max_bytes: u64::try_from(memory_max).ok(),
            machine_memory_bytes: 0,
            socket_request_max_bytes: size("socket.request.max.bytes"),
            fetch_max_bytes: settings.number("fetch.max.bytes"),
            fetch_session_slots: size("max.incremental.fetch.session.cache.slots"),
            max_connections: size("max.connections"),
            connections_max_idle: u64::try_from(idle).ok().map(Duration::from_millis),
            slow_request: u64::try_from(slow).ok().map(Duration::from_millis),
            metrics_listener: Some(settings.text("metrics.listener").trim().to_owned())
                .filter(|address| !address.is_empty()),
            auto_create_topics: settings.boolean("auto.create.topics.enable"),
            delete_topic_enable: settings.boolean("delete.topic.enable"),
            num_partitions: settings.number("num.partitions"),
            default_replication_factor: settings.number("default.replication.factor"),
            offsets_topic_partitions: settings.number("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: settings.number("offsets.topic.replication.factor"),
            offsets_commit_timeout: Duration::from_millis(
                settings.number("offsets.commit.timeout.ms"),
            ),
            groups: group_config(&settings),
            settings,
        })
    }
}

impl BrokerConfig {
    /// How each of so many shards compacts: the node's memory and bandwidth for that, shared out.
    pub fn cleaner(&self, shards: usize) -> CleanerConfig {
        let settings = &self.settings;
        let memory: i64 = settings.number("log.cleaner.dedupe.buffer.size");
        let rate: f64 = settings.number("log.cleaner.io.max.bytes.per.second");
        let rate = rate / shards as f64;
        CleanerConfig {
            enabled: settings.boolean("log.cleaner.enable"),
            backoff: Duration::from_millis(settings.number("log.cleaner.backoff.ms")),
            dedupe_buffer_bytes: usize::try_from(memory).unwrap_or(0) / shards,
            max_bytes_per_second: (rate < u64::MAX as f64).then(|| (rate as u64).max(1)),
        }
    }

    /// This configuration with settings given while the node runs: `cluster` to all brokers, `node`
    /// to this one.
    pub fn with_dynamic(
        &self,
        cluster: &BTreeMap<String, String>,
        node: &BTreeMap<String, String>,
    ) -> Result<BrokerConfig, SettingsError> {
        let config = BrokerConfig::new(self.settings.with_dynamic(cluster, node))?;
        Ok(BrokerConfig {
            direct_io: self.direct_io,
            ..config
        })
    }
}

fn group_config(settings: &Settings) -> GroupCoordinatorConfig {
    let millis = |name: &str| Duration::from_millis(settings.number(name));
    GroupCoordinatorConfig {
        min_session_timeout_ms: settings.number("group.min.session.timeout.ms"),
        max_session_timeout_ms: settings.number("group.max.session.timeout.ms"),
        initial_rebalance_delay: millis("group.initial.rebalance.delay.ms"),
        max_group_size: settings.number("group.max.size"),
        offset_metadata_max_bytes: settings.number("offset.metadata.max.bytes"),
        offsets_retention: Duration::from_secs(
            60 * settings.number::<u64>("offsets.retention.minutes"),
        ),
        offsets_retention_check_interval: millis("offsets.retention.check.interval.ms"),
        ..GroupCoordinatorConfig::default()
    }
}

/// Every listener for clients speaks PLAINTEXT: the others are not there yet.
fn check_protocols(settings: &Settings, listeners: &[Endpoint]) -> Result<(), SettingsError> {
    let map: Vec<(String, String)> = list(settings.text("listener.security.protocol.map"))
        .filter_map(|item| item.split_once(':'))
        .map(|(name, protocol)| (name.to_ascii_uppercase(), protocol.to_ascii_uppercase()))
        .collect();
    for listener in listeners {
        let name = &listener.name;
        match map.iter().find(|(mapped, _)| mapped == name) {
            Some((_, protocol)) if protocol == "PLAINTEXT" => {}
            Some((_, protocol)) => {
                return Err(SettingsError::Refused {
                    name: format!("{name}:{protocol} in listener.security.protocol.map"),
                    reason: "TLS and SASL are not there yet, listeners are PLAINTEXT",
                });
            }
            None => {
                return Err(SettingsError::Invalid(format!(
                    "`listener.security.protocol.map` has no protocol for the listener {name}; \
                     add {name}:PLAINTEXT"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[&str]) -> Result<BrokerConfig, SettingsError> {
        let mut settings = Settings::default();
        for pair in pairs {
            settings.take_pair(pair)?;
        }
        BrokerConfig::new(settings)
    }

    #[test]
    fn with_nothing_given_it_is_a_local_node() {
        let config = config(&[]).expect("the defaults are valid");
        assert_eq!(config.node_id, NodeId(1));
        assert_eq!(config.listeners, config.advertised);
        assert_eq!(
            (config.listeners[0].host.as_str(), config.listeners[0].port),
            ("127.0.0.1", 9092)
        );
    }

    #[test]
    fn either_name_of_the_node_id_gives_both() {
        for pair in ["node.id=7", "broker.id=7"] {
            let config = config(&[pair]).expect("valid");
            assert_eq!(config.node_id, NodeId(7));
            let told = |name| config.settings.given(name).map(str::to_owned);
            assert_eq!(
                (told("node.id"), told("broker.id")),
                (told("broker.id"), Some("7".into()))
            );
        }
        let error = config(&["node.id=7", "broker.id=8"]).expect_err("which one?");
        assert!(error.to_string().contains("remove one"), "{error}");
    }

    #[test]
    fn controller_listeners_are_not_for_clients() {
        let config = config(&[
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "advertised.listeners=PLAINTEXT://host:1",
        ])
        .expect("valid");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.advertised[0].host, "host");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (pairs, words) in [
            (&["log.dirs=/a,/b"][..], "log.dirs"),
            (&["listeners=SSL://:1"], "SSL:SSL"),
            (&["listeners=X://:1"], "X:PLAINTEXT"),
            (&["advertised.listeners=X://a:1"], "advertised.listeners"),
            (&["advertised.listeners=PLAINTEXT://0.0.0.0:1"], "0.0.0.0"),
            (&["process.roles=controller"], "process.roles"),
        ] {
            let error = config(pairs).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
