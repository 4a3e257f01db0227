//! The node's metrics by name: what each counts is said here and in `docs/operating.md`.

use std::collections::BTreeMap;

use millstream_net::ApiTimes;
use millstream_protocol::messages::ApiKey;

use super::exposition::Exposition;
use super::process;
use super::snapshot::{NetworkMetrics, ShardMetrics, TopicMetrics};

/// All metrics of a node with these shards.
pub fn render(shards: &[ShardMetrics]) -> String {
    let mut text = Exposition::default();
    text.gauge("millstream_build_info", "The version that runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    process::render(&mut text);
    render_requests(&mut text, shards);
    render_network(&mut text, shards);
    render_topics(&mut text, shards);
    per_shard(
        text.gauge(
            "millstream_metadata_offset",
            "The offset of the metadata that the shard goes by.",
        ),
        shards,
        |shard| shard.metadata_offset,
    );
    per_shard(
        text.gauge("millstream_fetch_sessions", "Fetch sessions that are open."),
        shards,
        |shard| shard.fetch_sessions,
    );
    text.into_text()
}

fn render_requests(text: &mut Exposition, shards: &[ShardMetrics]) {
    let mut family = text.histogram(
        "millstream_request_duration_seconds",
        "Time of requests by API and phase: queue before its turn, local in the handler, remote \
         waiting for a disk, a shard or records, send until it had left; total is all of them.",
    );
    let mut apis: BTreeMap<i16, ApiTimes> = BTreeMap::new();
    for (key, part) in shards.iter().flat_map(|shard| &shard.requests) {
        let times = apis.entry(*key).or_default();
        times.queue.add(&part.queue);
        times.local.add(&part.local);
        times.remote.add(&part.remote);
        times.send.add(&part.send);
        times.total.add(&part.total);
    }
    for (key, times) in &apis {
        let api = ApiKey::try_from(*key).map_or_else(|_| key.to_string(), |key| format!("{key:?}"));
        for (phase, histogram) in [
            ("queue", &times.queue),
            ("local", &times.local),
            ("remote", &times.remote),
            ("send", &times.send),
            ("total", &times.total),
        ] {
            family.durations(&[("api", &*api), ("phase", phase)], histogram);
        }
    }
}

/// Name, help and value of a metric of a shard's connections.
type NetworkCounter = (&'static str, &'static str, fn(&NetworkMetrics) -> u64);

fn render_network(text: &mut Exposition, shards: &[ShardMetrics]) {
    per_shard(
        text.gauge("millstream_connections", "Connections that are open."),
        shards,
        |shard| shard.network.open,
    );
    let counters: [NetworkCounter; 8] = [
        (
            "millstream_connections_accepted_total",
            "Connections taken.",
            |network| network.accepted,
        ),
        (
            "millstream_connections_refused_total",
            "Connections refused because max.connections were open.",
            |network| network.refused,
        ),
        (
            "millstream_connections_idle_closed_total",
            "Connections closed after connections.max.idle.ms.",
            |network| network.idle_closed,
        ),
        (
            "millstream_connections_broken_total",
            "Connections closed because what came on them was no request.",
            |network| network.frames_refused,
        ),
        (
            "millstream_network_received_bytes_total",
            "Bytes of requests.",
            |network| network.bytes_received,
        ),
        (
            "millstream_network_sent_bytes_total",
            "Bytes of answers.",
            |network| network.bytes_sent,
        ),
        (
            "millstream_memory_waits_total",
            "Times that reading requests stopped until memory was free.",
            |network| network.budget_waits,
        ),
        (
            "millstream_slow_requests_total",
            "Requests that took longer than slow.request.log.ms.",
            |network| network.slow_requests,
        ),
    ];
    for (name, help, value) in counters {
        per_shard(text.counter(name, help), shards, |shard| {
            value(&shard.network)
        });
    }
}

/// Name, help and value of a metric of a topic.
type TopicCounter = (&'static str, &'static str, fn(&TopicMetrics) -> u64);

fn render_topics(text: &mut Exposition, shards: &[ShardMetrics]) {
    let mut topics: BTreeMap<&str, TopicMetrics> = BTreeMap::new();
    for (name, part) in shards.iter().flat_map(|shard| &shard.topics) {
        let topic = topics.entry(name).or_default();
        topic.partitions += part.partitions;
        topic.offline += part.offline;
        topic.size_bytes += part.size_bytes;
        topic.bytes_in += part.bytes_in;
        topic.records_in += part.records_in;
        topic.bytes_out += part.bytes_out;
        topic.refused += part.refused;
    }
    let gauges: [TopicCounter; 3] = [
        (
            "millstream_topic_partitions",
            "Partitions of the topic on this node.",
            |topic| topic.partitions,
        ),
        (
            "millstream_topic_offline_partitions",
            "Partitions of the topic that cannot be written to.",
            |topic| topic.offline,
        ),
        (
            "millstream_topic_size_bytes",
            "Bytes of the topic's segments on this node.",
            |topic| topic.size_bytes,
        ),
    ];
    let counters: [TopicCounter; 4] = [
        (
            "millstream_topic_produced_bytes_total",
            "Bytes of batches that producers appended.",
            |topic| topic.bytes_in,
        ),
        (
            "millstream_topic_produced_records_total",
            "Records that producers appended.",
            |topic| topic.records_in,
        ),
        (
            "millstream_topic_fetched_bytes_total",
            "Bytes of batches handed out to fetches.",
            |topic| topic.bytes_out,
        ),
        (
            "millstream_topic_refused_batches_total",
            "Batches of producers that were refused by the log.",
            |topic| topic.refused,
        ),
    ];
    for (is_gauge, metrics) in [(true, &gauges[..]), (false, &counters[..])] {
        for (name, help, value) in metrics {
            let mut family = if is_gauge {
                text.gauge(name, help)
            } else {
                text.counter(name, help)
            };
            for (topic, metrics) in &topics {
                family.sample(&[("topic", topic)], value(metrics));
            }
        }
    }
}

fn per_shard(
    mut family: super::exposition::Family<'_>,
    shards: &[ShardMetrics],
    value: impl Fn(&ShardMetrics) -> u64,
) {
    for shard in shards {
        family.sample(&[("shard", &shard.shard.to_string())], value(shard));
    }
}
