//! Compaction in a whole node: of the group's own topic, while coordinators use it and load it.

use std::path::Path;
use std::time::Duration;

use millstream_client::Connection;
use millstream_protocol::messages::IncrementalAlterConfigsRequest;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::groups::{commit, committed};
use crate::harness::{Cluster, call, create_topic, find_coordinator, text};

const GROUPS: usize = 5;
/// Of the words of a commit: a few of them fill a segment.
const WORDS_LEN: usize = 60_000;
const OFFSETS_DIR: &str = "/data/__consumer_offsets-0";

/// One partition for the groups, with segments as small as they may be.
const SMALL: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "1"),
    ("offsets.topic.segment.bytes", "1048576"),
    ("offset.metadata.max.bytes", "100000"),
];

fn words(round: i64, group: usize) -> String {
    format!("round {round} of group {group} {}", "x".repeat(WORDS_LEN))
}

/// Commits once for every group; the words tell the round.
async fn commit_round(connection: &Connection, round: i64) {
    for group in 0..GROUPS {
        let (id, words) = (format!("g{group}"), words(round, group));
        let code = commit(connection, &id, "t", round, &words).await;
        assert_eq!(code, 0);
    }
}

async fn check_round(connection: &Connection, round: i64) {
    for group in 0..GROUPS {
        let found = committed(connection, &format!("g{group}"), "t").await;
        assert!(found == (0, round, words(round, group)), "group {group}");
    }
}

/// The `.log` files of the groups' partition, and their bytes.
fn segments(cluster: &Cluster) -> (usize, u64) {
    let fs = cluster.broker.reactor().fs();
    cluster.sim.block_on(async move {
        let (mut count, mut bytes) = (0, 0);
        for entry in fs.read_dir(OFFSETS_DIR.as_ref()).await.expect("there") {
            if entry.name.ends_with(".log") {
                count += 1;
                let path = Path::new(OFFSETS_DIR).join(&entry.name);
                bytes += fs.read(&path).await.expect("readable").len() as u64;
            }
        }
        (count, bytes)
    })
}

#[test]
fn the_topic_of_the_groups_is_compacted_and_keeps_the_last_commits() {
    let settings = [SMALL, &[("log.cleaner.backoff.ms", "500")]].concat();
    let mut cluster = Cluster::new(&settings);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g0").await;
        for round in 0..40 {
            commit_round(&connection, round).await;
            client.reactor.sleep(Duration::from_millis(200)).await;
        }
        check_round(&connection, 39).await;
        client.reactor.sleep(Duration::from_secs(120)).await;
    });
    // 12 MB went in, of which 300 kB count, and the last segment is not compacted.
    let (count, bytes) = segments(&cluster);
    assert!(bytes < 4_000_000, "{count} segments of {bytes}");
    for keep in [KeepUnsynced::None, KeepUnsynced::All] {
        cluster.crash_and_restart(keep);
        cluster.run(async |client| check_round(&client.connect().await, 39).await);
    }
    cluster.restart();
    cluster.run(async |client| {
        let connection = client.connect().await;
        check_round(&connection, 39).await;
        commit_round(&connection, 40).await;
        check_round(&connection, 40).await;
    });
}

/// From the next start on compaction begins at once: the one that runs sleeps for longer.
async fn compact_from_the_start_on(connection: &Connection) {
    let set = |name: &str, value: &str| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text(""))
        .with_configs(vec![set("log.cleaner.backoff.ms", "0")]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = call(connection, 1, &request).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[test]
fn a_coordinator_that_loads_while_its_log_is_swapped_sees_every_commit() {
    const ROUNDS: i64 = 34;
    for seed in 0..6 {
        let settings = [SMALL, &[("log.cleaner.backoff.ms", "3600000")]].concat();
        let mut cluster = Cluster::with_seed(seed, &settings);
        cluster.run(async |client| {
            let connection = client.connect().await;
            create_topic(&connection, "t", 1, &[]).await;
            find_coordinator(&connection, "g0").await;
            for round in 0..ROUNDS {
                commit_round(&connection, round).await;
            }
            compact_from_the_start_on(&connection).await;
        });
        let before = segments(&cluster);
        assert!(before.0 > 8, "nothing was compacted yet: {before:?}");
        if seed % 2 == 0 {
            cluster.crash_and_restart(KeepUnsynced::Random);
        } else {
            cluster.restart();
        }
        cluster.run(async |client| {
            let connection = client.connect().await;
            check_round(&connection, ROUNDS - 1).await;
            commit_round(&connection, ROUNDS).await;
            check_round(&connection, ROUNDS).await;
            client.reactor.sleep(Duration::from_secs(60)).await;
        });
        let after = segments(&cluster);
        assert!(after.1 < before.1 / 2, "seed {seed}: {before:?}, {after:?}");
        cluster.crash_and_restart(KeepUnsynced::None);
        cluster.run(async |client| check_round(&client.connect().await, ROUNDS).await);
    }
}
