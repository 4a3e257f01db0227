//! Settings of topics and brokers, changed while the node runs.

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::alter_configs_request::{
    AlterConfigsResource as WholeResource, AlterableConfig as WholeConfig,
};
use millstream_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millstream_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_protocol::messages::{
    AlterConfigsRequest, ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{Cluster, batch, call, create_topic, newest, produce, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What is told of one resource, its errors included.
pub async fn describe(
    connection: &Connection,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> Result<Vec<DescribeConfigsResourceResult>, i16> {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    let mut answer = call(connection, newest(ApiKey::DescribeConfigs), &request).await;
    let result = answer.results.remove(0);
    match result.error_code {
        0 => Ok(result.configs),
        code => Err(code),
    }
}

/// The value of a setting, and where it comes from.
pub async fn setting(
    connection: &Connection,
    kind: i8,
    name: &str,
    key: &str,
) -> Option<(String, i8)> {
    let mut found = describe(connection, kind, name, Some(&[key]))
        .await
        .expect("the resource is there");
    let config = found.pop()?;
    Some((config.value?.to_string(), config.config_source))
}

/// How often a setting is asked for until a change shows; a shard has it after a few times.
pub const ASKED: usize = 1_000;

/// Waits until a setting is told so, which a change brings about.
pub async fn wait_for_setting(
    connection: &Connection,
    kind: i8,
    name: &str,
    key: &str,
    told: Option<(String, i8)>,
) {
    for _ in 0..ASKED {
        if setting(connection, kind, name, key).await == told {
            return;
        }
    }
    assert_eq!(setting(connection, kind, name, key).await, told, "{key}");
}

pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;

/// Changes one setting; the code of the answer.
pub async fn alter(
    connection: &Connection,
    kind: i8,
    name: &str,
    (operation, key, value): (i8, &str, Option<&str>),
) -> i16 {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = call(connection, 1, &request).await;
    answer.responses[0].error_code
}

/// Waits until a batch of so many bytes is refused for its size, which a change brings about.
async fn refused_for_its_size(connection: &Connection, topic: &str, records: usize) {
    loop {
        let kept = produce(connection, topic, 0, batch(&vec!["0123456789"; records])).await;
        if kept.error_code == ErrorCode::MessageTooLarge.code() {
            return;
        }
    }
}

#[test]
fn settings_of_topics_change_and_stay_changed() {
    let mut cluster = Cluster::new(&[("log.retention.hours", "2")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        // As Kafka tells it: hours are not the key behind `retention.ms`, so it names no source.
        assert_eq!(
            setting(&connection, TOPIC, "t", "retention.ms").await,
            Some(("7200000".into(), 5))
        );
        let code = async |change| alter(&connection, TOPIC, "t", change).await;
        assert_eq!(code((SET, "max.message.bytes", Some("100"))).await, 0);
        assert_eq!(code((APPEND, "cleanup.policy", Some("compact"))).await, 0);
        let invalid = ErrorCode::InvalidConfig.code();
        assert_eq!(code((SET, "max.message.bytes", Some("-1"))).await, invalid);
        assert_eq!(code((SET, "no.such.key", Some("1"))).await, invalid);
        assert_eq!(
            code((9, "retention.ms", Some("1"))).await,
            ErrorCode::InvalidRequest.code()
        );
        refused_for_its_size(&connection, "t", 20).await;
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        assert_eq!(
            setting(&connection, TOPIC, "t", "max.message.bytes").await,
            Some(("100".into(), 1))
        );
        assert_eq!(
            setting(&connection, TOPIC, "t", "cleanup.policy").await,
            Some(("delete,compact".into(), 1))
        );
    });
}

#[test]
fn settings_of_brokers_change_while_they_run_and_survive_a_restart() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        assert_eq!(describe(&connection, BROKER, "", None).await, Ok(vec![]));
        let key = "message.max.bytes";
        for (name, value, source) in [("", "150", 3), ("1", "100", 2)] {
            assert_eq!(
                alter(&connection, BROKER, name, (SET, key, Some(value))).await,
                0
            );
            let told = Some((value.to_owned(), source));
            wait_for_setting(&connection, BROKER, "1", key, told.clone()).await;
            assert_eq!(
                setting(&connection, TOPIC, "t", "max.message.bytes").await,
                told
            );
        }
        refused_for_its_size(&connection, "t", 10).await;
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let found = describe(&connection, TOPIC, "t", Some(&["max.message.bytes"])).await;
        let synonyms: Vec<_> = found.expect("the topic is there")[0]
            .synonyms
            .iter()
            .map(|s| (s.value.as_ref().map(|value| value.to_string()), s.source))
            .collect();
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(
            synonyms,
            [(some("100"), 2), (some("150"), 3), (some("1048588"), 5)]
        );
        let back = (DELETE, "message.max.bytes", None);
        assert_eq!(alter(&connection, BROKER, "1", back).await, 0);
        let told = Some(("150".into(), 3));
        wait_for_setting(&connection, TOPIC, "t", "max.message.bytes", told).await;
    });
}

#[test]
fn the_limit_of_connections_changes_while_the_node_runs() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let key = "max.connections";
        let lowered = (SET, key, Some("1"));
        assert_eq!(alter(&connection, BROKER, "1", lowered).await, 0);
        while client.try_connect().await.is_ok() {}
        assert_eq!(
            setting(&connection, BROKER, "1", key).await,
            Some(("1".into(), 2))
        );
        let back = (DELETE, key, None);
        assert_eq!(alter(&connection, BROKER, "1", back).await, 0);
        while client.try_connect().await.is_err() {}
    });
}

#[test]
fn what_a_broker_cannot_change_is_refused() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let refused = ErrorCode::InvalidRequest.code();
        for (name, key, value) in [
            ("1", "node.id", "7"),
            ("", "log.dirs", "/elsewhere"),
            ("1", "message.max.bytes", "many"),
            ("2", "message.max.bytes", "1000"),
            ("one", "message.max.bytes", "1000"),
        ] {
            assert_eq!(
                alter(&connection, BROKER, name, (SET, key, Some(value))).await,
                refused,
                "{name} {key} {value}"
            );
        }
        // Kafka takes what it does not know, for plugins, and shows none of it.
        let plugin = (SET, "plugin.secret", Some("x"));
        assert_eq!(alter(&connection, BROKER, "", plugin).await, 0);
        let told = loop {
            let told = describe(&connection, BROKER, "", None).await;
            match told.expect("there is always a default") {
                told if told.is_empty() => {}
                told => break told,
            }
        };
        assert_eq!(told[0].name.as_str(), "plugin.secret");
        assert_eq!((told[0].value.clone(), told[0].is_sensitive), (None, true));
        assert!(told[0].read_only);
        // Nor what Kafka defines for itself, set or not.
        let of_node = describe(&connection, BROKER, "1", None)
            .await
            .expect("told");
        let named = |name: &str| of_node.iter().any(|config| config.name.as_str() == name);
        assert!(named("num.partitions") && !named("log.initial.task.delay.ms"));
        assert_eq!(describe(&connection, BROKER, "7", None).await, Err(refused));
        assert_eq!(describe(&connection, 99, "", None).await, Err(refused));
    });
}

/// A value is told as Kafka writes it, not as somebody wrote it.
#[test]
fn values_are_told_as_kafka_writes_them() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for (key, written, told) in [
            ("retention.ms", " 8000 ", "8000"),
            ("min.cleanable.dirty.ratio", "1e-1", "0.1"),
            ("preallocate", "TRUE", "true"),
            ("cleanup.policy", "compact, delete", "compact,delete"),
        ] {
            let set = (SET, key, Some(written));
            assert_eq!(alter(&connection, TOPIC, "t", set).await, 0, "{key}");
            let told = Some((told.to_owned(), 1));
            wait_for_setting(&connection, TOPIC, "t", key, told).await;
        }
        let id = setting(&connection, BROKER, "1", "broker.id").await;
        assert_eq!(id.expect("it has one").0, "1");
    });
}

#[test]
fn replacing_settings_takes_away_what_is_not_named() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[("segment.ms", "5000")]).await;
        let replace = async |configs: &[(&str, Option<&str>)]| {
            let configs = configs.iter().map(|(name, value)| {
                WholeConfig::default()
                    .with_name(text(name))
                    .with_value(value.map(text))
            });
            let resource = WholeResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text("t"))
                .with_configs(configs.collect());
            let request = AlterConfigsRequest::default().with_resources(vec![resource]);
            let answer = call(&connection, newest(ApiKey::AlterConfigs), &request).await;
            answer.responses[0].error_code
        };
        assert_eq!(replace(&[("retention.ms", Some("9000"))]).await, 0);
        let told = Some(("604800000".into(), 5));
        wait_for_setting(&connection, TOPIC, "t", "segment.ms", told).await;
        assert_eq!(
            setting(&connection, TOPIC, "t", "retention.ms").await,
            Some(("9000".into(), 1))
        );
        let refused = ErrorCode::InvalidRequest.code();
        assert_eq!(replace(&[("retention.ms", None)]).await, refused);
    });
}
