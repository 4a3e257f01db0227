//! `millstream cluster` and `millstream doctor`.

use crate::harness::Cluster;

#[test]
fn the_cluster_is_shown() {
    let cluster = Cluster::new();
    let info = cluster.json("cluster info");
    assert_eq!(info["nodes"].as_array().map(Vec::len), Some(1), "{info}");
    assert_eq!(info["controller"], info["nodes"][0]["id"]);
    assert_eq!(info["quorum"]["leader"], info["controller"]);
    assert!(
        info["features"]["finalized"]["metadata.version"].as_i64() > Some(0),
        "{info}"
    );
    assert_eq!(info["apis"], serde_json::Value::Null);
    let text = cluster.text("cluster info --apis");
    assert!(
        text.contains("active controller") && text.contains("18   ApiVersions"),
        "{text}"
    );
}

#[test]
fn a_healthy_cluster_passes() {
    let cluster = Cluster::new();
    cluster.text("topic create orders -p 3");
    let found = cluster.json_lines("doctor --remote");
    assert!(
        found.iter().all(|finding| finding["level"] == "ok"),
        "{found:#?}"
    );
    let subjects: Vec<_> = found
        .iter()
        .map(|finding| finding["subject"].as_str())
        .collect();
    for subject in ["bootstrap", "listener", "controller", "partitions"] {
        assert!(subjects.contains(&Some(subject)), "{subject}: {found:#?}");
    }
}

#[test]
fn an_address_where_nobody_serves_is_an_error() {
    let cluster = Cluster::new();
    let nobody = "10.99.0.1:1";
    let ran = cluster.run_at(nobody, &["--timeout", "2", "doctor", "--remote"]);
    assert_eq!(ran.exit_code, 5, "{} {}", ran.text, ran.failure);
    let said = ran.text.contains("10.99.0.1:1 does not serve");
    assert!(said, "{}", ran.text);
    let ran = cluster.run_at(nobody, &["--timeout", "2", "topic", "list"]);
    assert_eq!(ran.exit_code, 4, "{}", ran.failure);
}

#[test]
fn a_broker_that_sends_clients_nowhere_is_an_error() {
    let cluster = Cluster::advertising(Some("10.99.0.1"));
    let ran = cluster.run(&["--timeout", "2", "--output", "json", "doctor", "--remote"]);
    assert_eq!(ran.exit_code, 5, "{} {}", ran.text, ran.failure);
    let findings = ran.text.lines().map(|line| {
        let finding: serde_json::Value = serde_json::from_str(line).expect("JSON");
        finding
    });
    let wrong: Vec<_> = findings
        .filter(|finding| finding["level"] == "error")
        .collect();
    assert_eq!(wrong.len(), 1, "{}", ran.text);
    let said = wrong[0].to_string();
    assert_eq!(wrong[0]["subject"], "listener", "{said}");
    for words in ["10.99.0.1:9092", "advertised.listeners"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
