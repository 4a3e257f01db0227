//! Settings of groups, subscriptions to clients' metrics and loggers.

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::alter_configs_request::{
    AlterConfigsResource as WholeResource, AlterableConfig as WholeConfig,
};
use millstream_protocol::messages::{
    AlterConfigsRequest, ApiKey, ListConfigResourcesRequest, list_config_resources_response,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::configuring::{APPEND, ASKED, DELETE, SET, alter, describe, setting, wait_for_setting};
use crate::harness::{Cluster, call, newest, text};

const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const OF_GROUP: i8 = 8;
const OF_CLIENT_METRICS: i8 = 7;
const BY_DEFAULT: i8 = 5;

/// The names of the resources of one kind that have settings.
async fn listed(connection: &Connection, kind: i8) -> Vec<String> {
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![kind]);
    let answer = call(connection, newest(ApiKey::ListConfigResources), &request).await;
    assert_eq!(answer.error_code, 0);
    let name = |resource: &list_config_resources_response::ConfigResource| {
        resource.resource_name.as_str().to_owned()
    };
    answer.config_resources.iter().map(name).collect()
}

/// Waits until the resources of one kind that have settings are these.
async fn wait_for_list(connection: &Connection, kind: i8, names: &[&str]) {
    for _ in 0..ASKED {
        if listed(connection, kind).await == names {
            return;
        }
    }
    assert_eq!(listed(connection, kind).await, names);
}

/// Replaces all settings of one resource; the code of the answer.
async fn replace(
    connection: &Connection,
    kind: i8,
    name: &str,
    configs: &[(&str, Option<&str>)],
) -> i16 {
    let configs = configs.iter().map(|(name, value)| {
        WholeConfig::default()
            .with_name(text(name))
            .with_value(value.map(text))
    });
    let resource = WholeResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = call(connection, newest(ApiKey::AlterConfigs), &request).await;
    answer.responses[0].error_code
}

fn told(value: &str, source: i8) -> Option<(String, i8)> {
    Some((value.to_owned(), source))
}

#[test]
fn settings_of_groups_are_kept() {
    let settings = [("group.consumer.session.timeout.ms", "50000")];
    let mut cluster = Cluster::new(&settings);
    let key = "consumer.session.timeout.ms";
    cluster.run(async move |client| {
        let connection = client.connect().await;
        // Any group has them, with the broker's defaults.
        let found = describe(&connection, GROUP, "g", Some(&[key])).await;
        let found = found.expect("there are defaults").remove(0);
        assert_eq!(found.value, Some(text("50000")));
        assert!(!found.read_only && !found.is_sensitive);
        assert_eq!(listed(&connection, GROUP).await, [""; 0]);
        let set = (SET, key, Some(" 60000 "));
        assert_eq!(alter(&connection, GROUP, "g", set).await, 0);
        wait_for_setting(&connection, GROUP, "g", key, told("60000", OF_GROUP)).await;
        assert_eq!(listed(&connection, GROUP).await, ["g"]);
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let kept = setting(&connection, GROUP, "g", key).await;
        assert_eq!(kept, told("60000", OF_GROUP));
        let isolation = ("share.isolation.level", Some("read_committed"));
        assert_eq!(replace(&connection, GROUP, "g", &[isolation]).await, 0);
        wait_for_setting(
            &connection,
            GROUP,
            "g",
            isolation.0,
            told("read_committed", OF_GROUP),
        )
        .await;
        let other = setting(&connection, GROUP, "g", key).await.expect("told");
        assert_eq!(other.0, "50000", "it is not named");
        let back = (DELETE, isolation.0, None);
        assert_eq!(alter(&connection, GROUP, "g", back).await, 0);
        wait_for_list(&connection, GROUP, &[]).await;
    });
}

#[test]
fn settings_of_groups_are_refused_as_kafka_refuses_them() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let (request, config) = (
            ErrorCode::InvalidRequest.code(),
            ErrorCode::InvalidConfig.code(),
        );
        let session = "consumer.session.timeout.ms";
        for (group, change, code) in [
            ("", (SET, session, Some("50000")), request),
            ("g", (SET, session, Some("1")), config),
            ("g", (SET, session, Some("long")), config),
            ("g", (SET, session, None), request),
            ("g", (SET, "retention.ms", Some("1")), config),
            ("g", (DELETE, "retention.ms", None), 0),
            ("g", (APPEND, session, Some("1")), config),
            (
                "g",
                (SET, "share.auto.offset.reset", Some("sometime")),
                config,
            ),
        ] {
            let found = alter(&connection, GROUP, group, change).await;
            assert_eq!(found, code, "{group} {change:?}");
        }
        assert_eq!(describe(&connection, GROUP, "", None).await, Err(request));
        assert_eq!(listed(&connection, GROUP).await, [""; 0]);
    });
}

#[test]
fn subscriptions_to_clients_metrics_are_kept() {
    let mut cluster = Cluster::new(&[]);
    let name = "sub";
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let (request, config) = (
            ErrorCode::InvalidRequest.code(),
            ErrorCode::InvalidConfig.code(),
        );
        let found = setting(&connection, CLIENT_METRICS, name, "interval.ms").await;
        assert_eq!(found, told("300000", BY_DEFAULT));
        for (subscription, change, code) in [
            ("", (SET, "interval.ms", Some("1000")), request),
            (name, (SET, "interval.ms", Some("10")), request),
            (name, (SET, "no.such.key", Some("10")), request),
            (name, (SET, "match", Some("colour=red")), config),
            (name, (SET, "interval.ms", Some("1000")), 0),
            (
                name,
                (SET, "match", Some("client_id = a.*, client_source_port=1")),
                0,
            ),
        ] {
            let found = alter(&connection, CLIENT_METRICS, subscription, change).await;
            assert_eq!(found, code, "{subscription} {change:?}");
        }
        wait_for_list(&connection, CLIENT_METRICS, &[name]).await;
        assert_eq!(
            describe(&connection, CLIENT_METRICS, "", None).await,
            Err(request)
        );
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let matched = setting(&connection, CLIENT_METRICS, name, "match").await;
        let wanted = told("client_id = a.*,client_source_port=1", OF_CLIENT_METRICS);
        assert_eq!(matched, wanted);
        let interval = [("interval.ms", Some("100"))];
        assert_eq!(
            replace(&connection, CLIENT_METRICS, name, &interval).await,
            0
        );
        wait_for_setting(
            &connection,
            CLIENT_METRICS,
            name,
            "interval.ms",
            told("100", OF_CLIENT_METRICS),
        )
        .await;
        let matched = setting(&connection, CLIENT_METRICS, name, "match").await;
        assert_eq!(matched, told("", BY_DEFAULT), "it is not named");
    });
}

#[test]
fn levels_of_loggers_are_shown_and_changed_but_not_kept() {
    let mut cluster = Cluster::new(&[]);
    let (above, below) = ("millstream_storage", "millstream_storage::writer");
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let level = async |logger| setting(&connection, BROKER_LOGGER, "1", logger).await;
        let change = async |node, change| alter(&connection, BROKER_LOGGER, node, change).await;
        let by_logger = 6;
        assert_eq!(level("root").await, told("INFO", by_logger));
        assert_eq!(level(below).await, told("INFO", by_logger));
        assert_eq!(change("1", (SET, above, Some("DEBUG"))).await, 0);
        assert_eq!(level(below).await, told("DEBUG", by_logger));
        assert_eq!(change("1", (SET, below, Some("FATAL"))).await, 0);
        assert_eq!(level(below).await, told("FATAL", by_logger));
        assert_eq!(change("1", (DELETE, below, None)).await, 0);
        assert_eq!(level(below).await, told("DEBUG", by_logger));
        assert_eq!(change("1", (SET, "root", Some("WARN"))).await, 0);
        assert_eq!(level("millstream_net").await, told("WARN", by_logger));

        let (request, config) = (
            ErrorCode::InvalidRequest.code(),
            ErrorCode::InvalidConfig.code(),
        );
        for (node, wrong, code) in [
            ("1", (SET, "no_such_module", Some("INFO")), config),
            ("1", (DELETE, "no_such_module", None), config),
            ("1", (SET, above, Some("info")), config),
            ("1", (SET, above, None), request),
            ("1", (DELETE, "root", None), request),
            ("1", (APPEND, above, Some("INFO")), request),
            ("2", (SET, above, Some("INFO")), request),
            ("", (SET, above, Some("INFO")), request),
        ] {
            assert_eq!(change(node, wrong).await, code, "{node} {wrong:?}");
        }
        let whole = replace(&connection, BROKER_LOGGER, "1", &[(above, Some("INFO"))]).await;
        assert_eq!(whole, request, "AlterConfigs would reset all others");
        for node in ["", "2", "one"] {
            let found = describe(&connection, BROKER_LOGGER, node, None).await;
            assert_eq!(found, Err(request), "{node}");
        }
    });
    cluster.restart();
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let level = setting(&connection, BROKER_LOGGER, "1", above).await;
        assert_eq!(level, told("INFO", 6));
    });
}
