//! What a run has found, as JSON and as a table.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::options::Workload;
use super::plan::Plan;
use super::process::Taken;
use super::tally::{Counts, Point, Tally};

/// All that is reported of a run.
pub struct Outcome<'a> {
    /// The run.
    pub plan: &'a Plan,
    /// The broker as it was named.
    pub server: &'a str,
    /// The measured time.
    pub seconds: f64,
    /// Its begin, in milliseconds since the epoch.
    pub from_unix_ms: i64,
    /// What all cores have seen.
    pub tally: &'a Tally,
    /// CPU seconds of the load.
    pub client_cpu_seconds: f64,
    /// What the broker has taken, if its process was named.
    pub broker: Option<Taken>,
}

impl Outcome<'_> {
    /// The one object that is printed.
    pub fn to_json(&self) -> Value {
        let plan = self.plan;
        let workload = plan.options.workload;
        let produces = plan.producers > 0;
        let consumes = plan.consumers > 0;
        let churns = workload == Workload::OpenClose;
        let latency = plan.latency();
        let until_unix_ms = self.from_unix_ms + (self.seconds * 1e3).round() as i64;
        json!({
            "workload": workload.name(),
            "server": self.server,
            "options": plan.to_json(),
            "measured": {
                "seconds": self.seconds,
                "from_unix_ms": self.from_unix_ms,
                "until_unix_ms": until_unix_ms,
            },
            "produced": produces.then(|| counts(&self.tally.produced)),
            "consumed": consumes.then(|| counts(&self.tally.consumed)),
            "connections_opened": churns.then_some(self.tally.connections_opened),
            "latency": latency,
            "latency_us": latency.map(|_| micros(&self.tally.latency)),
            "catch_up": (workload == Workload::Mixed).then(|| json!({
                "records": self.tally.catch_up.records,
                "bytes": self.tally.catch_up.bytes,
                "seconds": self.tally.catch_up_time.as_secs_f64(),
            })),
            "series": self.series(),
            "client": {
                "cores": plan.options.cores,
                "cpu_seconds": self.client_cpu_seconds,
                "busy": self.client_cpu_seconds / self.seconds / self.client_cores(),
            },
            "broker": self.broker.as_ref().map(|taken| json!({
                "pid": plan.options.broker_pid,
                "cpu_seconds": taken.cpu_seconds,
                "busy": taken.cpu_seconds / self.seconds,
                "resident_bytes": taken.resident_bytes,
                "read_bytes": taken.read_bytes,
                "written_bytes": taken.written_bytes,
                "voluntary_switches": taken.voluntary_switches,
                "involuntary_switches": taken.involuntary_switches,
            })),
        })
    }

    /// The seconds that were measured whole, and the rest of one if there is no whole one.
    fn series(&self) -> Value {
        let whole = (self.seconds.floor() as usize).max(1);
        let points = self.tally.series.iter().take(whole).zip(1..);
        points
            .map(|(point, second)| series_point(point, second))
            .collect()
    }

    fn client_cores(&self) -> f64 {
        self.plan.options.cores.len().max(1) as f64
    }

    /// The table for people.
    pub fn to_table(&self) -> String {
        let tally = self.tally;
        let mut rows = vec![(
            "Measured".to_owned(),
            format!(
                "{:.1} s of {}",
                self.seconds,
                self.plan.options.workload.name()
            ),
        )];
        if self.plan.producers > 0 {
            rows.push(("Produced".to_owned(), self.throughput(&tally.produced)));
        }
        if self.plan.consumers > 0 {
            rows.push(("Consumed".to_owned(), self.throughput(&tally.consumed)));
        }
        if self.plan.options.workload == Workload::OpenClose {
            let opened = tally.connections_opened;
            let rate = opened as f64 / self.seconds;
            rows.push((
                "Connections".to_owned(),
                format!("{opened}, {rate:.0} a second"),
            ));
        }
        if self.plan.options.workload == Workload::Mixed {
            let rate = tally.catch_up.bytes as f64 / 1e6 / self.seconds;
            let caught_up = format!("{} records, {rate:.1} MB/s", tally.catch_up.records);
            rows.push(("Caught up".to_owned(), caught_up));
        }
        if let Some(from) = self.plan.latency() {
            let latency = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e6;
            let row = format!(
                "p50 {:.3}, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, p99.99 {:.3}, max {:.3} ms",
                latency(0.5),
                latency(0.9),
                latency(0.99),
                latency(0.999),
                latency(0.9999),
                tally.latency.max() as f64 / 1e6,
            );
            rows.push((format!("Latency {from}"), row));
        }
        let bytes = tally.produced.bytes + tally.consumed.bytes + tally.catch_up.bytes;
        let per_gb = |cpu_seconds: f64| match bytes {
            0 => "no bytes".to_owned(),
            _ => format!("{:.3} a GB", cpu_seconds / (bytes as f64 / 1e9)),
        };
        let client = self.client_cpu_seconds;
        let busy = 100.0 * client / self.seconds / self.client_cores();
        let row = format!(
            "{client:.2} CPU s, {}; {busy:.0} % of its cores",
            per_gb(client)
        );
        rows.push(("Load".to_owned(), row));
        if let Some(broker) = &self.broker {
            let row = format!(
                "{:.2} CPU s, {}; {:.0} MB resident; {} + {} switches",
                broker.cpu_seconds,
                per_gb(broker.cpu_seconds),
                broker.resident_bytes as f64 / 1e6,
                broker.voluntary_switches,
                broker.involuntary_switches,
            );
            rows.push(("Broker".to_owned(), row));
        }
        let lines = rows
            .iter()
            .map(|(name, value)| format!("{name:<20} {value}\n"));
        lines.collect()
    }

    fn throughput(&self, counts: &Counts) -> String {
        format!(
            "{} records, {:.0} a second, {:.1} MB/s, {} requests",
            counts.records,
            counts.records as f64 / self.seconds,
            counts.bytes as f64 / 1e6 / self.seconds,
            counts.requests,
        )
    }
}

/// An error of the broker's ends the run, so that there is none to count.
fn counts(counts: &Counts) -> Value {
    json!({
        "records": counts.records,
        "bytes": counts.bytes,
        "requests": counts.requests,
        "errors": 0,
    })
}

fn micros(latency: &Histogram<u64>) -> Value {
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    json!({
        "count": latency.len(),
        "mean": latency.mean() / 1e3,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "p9999": at(0.9999),
        "max": latency.max() as f64 / 1e3,
    })
}

fn series_point(point: &Point, second: usize) -> Value {
    let at = |quantile| {
        let latency = point.latency.as_ref()?;
        Some(latency.value_at_quantile(quantile) as f64 / 1e3)
    };
    json!({
        "second": second,
        "produced_bytes": point.produced_bytes,
        "consumed_bytes": point.consumed_bytes,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "max_us": at(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::Options;
    use crate::load::window::Window;
    use clap::Parser;
    use std::time::{Duration, Instant};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn plan(words: &str) -> Plan {
        let words = ["load"].into_iter().chain(words.split_whitespace());
        Plan::new(Command::parse_from(words).options).unwrap()
    }

    fn tally() -> Tally {
        let start = Instant::now();
        let until = Some(start + Duration::from_secs(2));
        let from = start;
        let mut tally = Tally::new(Window { start, from, until }, true);
        let counts = Counts {
            records: 10,
            bytes: 1000,
            requests: 2,
        };
        for second in 0..2 {
            let due = start + Duration::from_secs(second);
            let now = due + Duration::from_millis(3);
            tally.produced(now, due, counts);
            tally.consumed(now, Some(due), counts);
            tally.caught_up(now, counts);
            tally.latency(now, due, Duration::ZERO, 10);
        }
        tally
    }

    fn outcome<'a>(plan: &'a Plan, tally: &'a Tally, broker: Option<Taken>) -> Outcome<'a> {
        Outcome {
            plan,
            server: "127.0.0.1:9092",
            seconds: 2.0,
            from_unix_ms: 1000,
            tally,
            client_cpu_seconds: 1.0,
            broker,
        }
    }

    /// Other programs rely on exactly these names.
    #[test]
    fn the_object_has_its_shape() {
        let plan = plan("mixed --cores 1,2 --broker-pid 5 --seconds 2");
        let taken = Taken {
            cpu_seconds: 0.5,
            resident_bytes: 7,
            read_bytes: None,
            written_bytes: Some(9),
            voluntary_switches: 3,
            involuntary_switches: 4,
        };
        let tally = tally();
        let told = outcome(&plan, &tally, Some(taken)).to_json();
        let names = |value: &Value| {
            let object = value.as_object().unwrap();
            object.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(&told),
            "broker catch_up client connections_opened consumed latency latency_us measured \
             options produced series server workload"
        );
        assert_eq!(
            names(&told["measured"]),
            "from_unix_ms seconds until_unix_ms"
        );
        assert_eq!(told["measured"]["until_unix_ms"], 3000);
        let produced = json!({"records": 20, "bytes": 2000, "requests": 4, "errors": 0});
        assert_eq!(told["produced"], produced);
        assert_eq!(told["consumed"], produced);
        assert_eq!(told["connections_opened"], Value::Null);
        assert_eq!(told["latency"], "from due");
        assert_eq!(
            names(&told["latency_us"]),
            "count max mean p50 p90 p99 p999 p9999"
        );
        assert_eq!(told["latency_us"]["count"], 20);
        let p50 = told["latency_us"]["p50"].as_f64().unwrap();
        assert!((2990.0..3010.0).contains(&p50), "{p50}");
        assert_eq!(names(&told["catch_up"]), "bytes records seconds");
        let second = &told["series"][1];
        assert_eq!(
            names(second),
            "consumed_bytes max_us p50_us p99_us produced_bytes second"
        );
        assert_eq!(
            (&second["second"], &second["produced_bytes"]),
            (&json!(2), &json!(1000))
        );
        assert_eq!(
            told["client"],
            json!({"cores": [1, 2], "cpu_seconds": 1.0, "busy": 0.25})
        );
        let broker = json!({
            "pid": 5, "cpu_seconds": 0.5, "busy": 0.25, "resident_bytes": 7, "read_bytes": null,
            "written_bytes": 9, "voluntary_switches": 3, "involuntary_switches": 4,
        });
        assert_eq!(told["broker"], broker);
    }

    #[test]
    fn what_a_workload_does_not_have_is_null() {
        let tally = tally();
        let plan = plan("consume");
        let told = outcome(&plan, &tally, None).to_json();
        for name in [
            "produced",
            "connections_opened",
            "latency",
            "latency_us",
            "catch_up",
            "broker",
        ] {
            assert_eq!(told[name], Value::Null, "{name}");
        }
        assert_eq!(told["consumed"]["records"], 20);
        assert_eq!(told["client"]["busy"], 0.5);
    }

    #[test]
    fn the_table_has_what_was_measured() {
        let tally = tally();
        let plan = plan("end-to-end");
        let table = outcome(&plan, &tally, None).to_table();
        assert!(
            table.contains("Produced             20 records, 10 a second"),
            "{table}"
        );
        assert!(table.contains("Latency from due     p50 3.0"), "{table}");
        assert!(!table.contains("Broker"), "{table}");
    }
}
