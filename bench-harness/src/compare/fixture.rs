//! Results made by hand, for tests.

use std::collections::BTreeMap;

use serde_json::json;

use super::load_result::LoadResult;
use super::machine::Machine;
use super::probes::Probed;
use super::profile::Profile;
use super::results::{Results, Run, VERSION};

const SUITE: &str = r#"
name = "by hand"
about = "For tests <&> nothing else."
rounds = 3
probes = { disk_mb = 1, loopback_seconds = 0.1, stall_seconds = 0.1, flush_seconds = 0.1, exchange_seconds = 0.1, message_bytes = 1000 }

[[broker]]
id = "kafka"
label = "Apache Kafka"
kind = "kafka"
flush = "never flushed"
set = ["a=b"]

[[broker]]
id = "fsync"
label = "Millstream, fsync"
kind = "millstream"
flush = "flushed before the answer"

[[row]]
number = 1
title = "Produce at saturation"

[[row.case]]
id = "1a"
title = "1 KiB, <1> partition"
brokers = ["kafka", "fsync"]
load = "produce --size 1024"

[[row.bar]]
title = "MB per broker CPU second, of Kafka's"
of = "fsync.mb_per_cpu_s@1a / kafka.mb_per_cpu_s@1a"
at_least = 6

[[row.bar]]
title = "MB/s, of Kafka's"
of = "fsync.produced_mb_s@1a / kafka.produced_mb_s@1a"
at_least = 3
unless = ["client", "disk"]

[[row]]
number = 5
title = "End to end"

[[row.case]]
id = "5a"
title = "1,000 a second"
brokers = ["kafka", "fsync"]
load = "end-to-end --rate 1000"

[[row.bar]]
title = "p99, of Kafka's"
of = "fsync.p99_ms@5a / kafka.p99_ms@5a"
at_most = 0.25

[[row.bar]]
title = "Catch-up, of Kafka's"
of = "fsync.catch_up_mb_s@5a / kafka.catch_up_mb_s@5a"
at_least = 1
"#;

/// The same, where `fsync` took so many times the CPU time.
pub fn with_cpu_times(results: &Results, factor: f64) -> Results {
    let mut changed = results.clone();
    for run in changed.runs.iter_mut().filter(|run| run.broker == "fsync") {
        let load = run.load.as_mut().expect("every run has its load");
        let broker = load.broker.as_mut().expect("every broker is sampled");
        broker.cpu_seconds *= factor;
    }
    changed
}

/// Three rounds of two cases on two brokers, 5 % apart.
pub fn results() -> Results {
    let mut runs = Vec::new();
    for round in 1..=3 {
        let luck = 0.9 + 0.05 * round as f64;
        let other_luck = 1.1 - 0.05 * round as f64;
        for (broker, rate, cpu, client, busy) in [
            ("kafka", 300.0 * other_luck, 9.0, 0.6, 0.97),
            ("fsync", 800.0 * luck, 4.0, 0.98, 0.4),
        ] {
            runs.push(run("1a", broker, round, produce(rate, cpu, client, busy)));
        }
        for (broker, p50) in [("kafka", 300.0), ("fsync", 310.0)] {
            runs.push(run("5a", broker, round, end_to_end(broker, p50 * luck)));
        }
    }
    Results {
        version: VERSION,
        began_unix_ms: 1_790_000_000_000,
        ended_unix_ms: 1_790_000_600_000,
        rounds: 3,
        suite: toml::from_str(SUITE).unwrap(),
        machine: Machine {
            processor: "Some processor".to_owned(),
            cores: 2,
            memory_gb: 16.0,
            kernel: "6.18.0".to_owned(),
            broker_cores: vec![0],
            load_cores: vec![1],
            congestion_control: "cubic".to_owned(),
        },
        versions: BTreeMap::from([("kafka".to_owned(), "4.3.1".to_owned())]),
        notes: vec!["A note.".to_owned()],
        probes: (0..3)
            .map(|_| Probed {
                disk_growing_write_mb_s: Some(600.0),
                disk_write_mb_s: Some(1000.0),
                disk_write_cpu_s_per_gb: Some(0.05),
                disk_durable_write_mb_s: Some(700.0),
                disk_read_mb_s: Some(2000.0),
                loopback_mb_s: Some(3000.0),
                loopback_cpu_s_per_gb: Some(0.1),
                stall_p99_ms: Some(0.2),
                stall_p999_ms: Some(1.0),
                flush_p50_ms: Some(0.1),
                flush_p99_ms: Some(0.5),
                flush_p999_ms: Some(2.0),
                flush_cpu_s_per_gb: Some(21.0),
                exchange_cpu_s_per_gb: Some(17.0),
            })
            .collect(),
        worked_out: BTreeMap::new(),
        runs,
        profiles: vec![Profile {
            case: "1a".to_owned(),
            broker: "fsync".to_owned(),
            stacks: BTreeMap::from([("shard-0;Log::append;memmove".to_owned(), 3)]),
        }],
    }
}

fn run(case: &str, broker: &str, round: usize, load: serde_json::Value) -> Run {
    Run {
        case: case.to_owned(),
        broker: broker.to_owned(),
        round,
        command: "produce --size 1024".to_owned(),
        load: Some(LoadResult::parse(&load.to_string()).unwrap()),
        resident_bytes: Some(50e6),
        failure: None,
    }
}

fn produce(mb_s: f64, cpu: f64, client: f64, busy: f64) -> serde_json::Value {
    let bytes = mb_s * 1e7;
    let series: Vec<_> = (1..=10)
        .map(|second| {
            let bytes = bytes / 10.0 * (1.0 + 0.1 * (f64::from(second) * 1.7).sin());
            json!({"second": second, "produced_bytes": bytes, "consumed_bytes": null,
                "p50_us": 900, "p99_us": 2000, "max_us": 3000})
        })
        .collect();
    json!({
        "workload": "produce",
        "server": "127.0.0.1:9092",
        "options": {"size": 1024},
        "measured": {"seconds": 10.0, "from_unix_ms": 1, "until_unix_ms": 10_001},
        "produced": {"records": bytes / 1024.0, "bytes": bytes, "requests": 100, "errors": 0},
        "consumed": null,
        "connections_opened": null,
        "latency": "from send",
        "latency_us": {"count": 100, "mean": 1000, "p50": 900, "p90": 1500, "p99": 2000,
            "p999": 2500, "p9999": 2900, "max": 3000},
        "catch_up": null,
        "series": series,
        "client": {"cores": [1], "cpu_seconds": client * 10.0, "busy": client},
        "broker": {"pid": 7, "cpu_seconds": cpu, "busy": busy, "resident_bytes": 45e6,
            "read_bytes": 0, "written_bytes": 1e6, "voluntary_switches": 1000,
            "involuntary_switches": 10},
    })
}

fn end_to_end(broker: &str, p50: f64) -> serde_json::Value {
    let p99 = if broker == "kafka" { 2500 } else { 900 };
    let moved = json!({"records": 10_000, "bytes": 10_240_000, "requests": 10_000, "errors": 0});
    json!({
        "workload": "end-to-end",
        "options": {"rate": 1000},
        "measured": {"seconds": 10.0},
        "produced": moved,
        "consumed": moved,
        "latency": "from due",
        "latency_us": {"count": 10_000, "mean": p50, "p50": p50, "p90": p50 * 1.5, "p99": p99,
            "p999": p99 * 4, "p9999": p99 * 6, "max": p99 * 7},
        "series": [],
        "client": {"cores": [1], "cpu_seconds": 1.0, "busy": 0.1},
        "broker": {"cpu_seconds": 0.6, "busy": 0.06, "resident_bytes": 45e6, "read_bytes": 0,
            "written_bytes": 2e7, "voluntary_switches": 20_000, "involuntary_switches": 10},
    })
}
