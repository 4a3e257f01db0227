//! `millstream config`.

use crate::harness::Cluster;

#[test]
fn settings_of_a_topic_are_set_shown_and_taken_back() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    cluster.text("config set --topic orders retention.ms=1000 cleanup.policy=delete");
    cluster.text("config set --topic orders --append cleanup.policy=compact");
    let set = cluster.json("config get --topic orders");
    let value = |name: &str| {
        let entries = set.as_array().expect("a list").iter();
        entries
            .filter(|entry| entry["name"] == name)
            .map(|entry| entry["value"].clone())
            .next()
    };
    assert_eq!(value("retention.ms"), Some("1000".into()), "{set}");
    assert_eq!(value("cleanup.policy"), Some("delete,compact".into()));
    assert_eq!(value("segment.bytes"), None, "nobody has set it");
    let all = cluster.json("config get --topic orders --all");
    assert!(all.as_array().is_some_and(|all| all.len() > 20), "{all}");

    cluster.text("config set --topic orders --dry-run retention.ms=2000");
    let named = cluster.json("config get --topic orders retention.ms segment.bytes");
    assert_eq!(named[0]["value"], "1000");
    assert_eq!(named[1]["source"], "DEFAULT_CONFIG");
    cluster.text("config unset --topic orders retention.ms");
    let named = cluster.json("config get --topic orders retention.ms");
    assert_eq!(named[0]["source"], "DEFAULT_CONFIG");

    let (code, failure) = cluster.failure("config get --topic orders retention.mss");
    assert!(
        code == 3 && failure.contains("did you mean retention.ms?"),
        "{failure}"
    );
    assert_eq!(cluster.failure("config get --topic other").0, 3);
    assert_eq!(cluster.failure("config set --topic orders").0, 2);
    assert_eq!(cluster.failure("config get").0, 2);
}

#[test]
fn a_setting_of_all_brokers_shows_at_each() {
    let cluster = Cluster::new();
    cluster.text("config set --cluster log.retention.ms=5000");
    let of_all = cluster.json("config get --cluster");
    assert_eq!(of_all[0]["name"], "log.retention.ms", "{of_all}");
    let node = cluster.json("cluster info")["nodes"][0]["id"].clone();
    let here = cluster.json(&format!("config get --broker {node} log.retention.ms"));
    assert_eq!(here[0]["source"], "DYNAMIC_DEFAULT_BROKER_CONFIG", "{here}");
}

#[test]
fn a_setting_is_explained() {
    let cluster = Cluster::new();
    cluster.text("topic create orders -c retention.ms=3600000");
    cluster.text("config set --topic orders max.message.bytes=2000000");
    let explained = cluster.json("config explain max.message.bytes --topic orders");
    assert_eq!(explained["value"], "2000000");
    assert_eq!(explained["default"], "1048588", "{explained}");
    assert_eq!(explained["type"], "int");
    assert_eq!(explained["synonyms"][0]["source"], "DYNAMIC_TOPIC_CONFIG");
    let words = explained["documentation"].as_str().map(str::len);
    assert!(words > Some(10), "{explained}");
    let text = cluster.text("config explain retention.ms --topic orders");
    assert!(
        text.contains("3600000 (1h)") && text.contains("set for the topic"),
        "{text}"
    );

    let text = cluster.text("config explain num.partitions");
    assert!(
        text.contains("num.partitions") && text.contains("the default"),
        "{text}"
    );
    let (code, failure) = cluster.failure("config explain num.partition");
    assert!(
        code == 3 && failure.contains("num.partitions?"),
        "{failure}"
    );
}
