//! What a run does: the options, completed by the workload's preset and checked.

use std::time::Duration;

use serde_json::{Value, json};

use super::batch::Shape;
use super::options::{Options, OutputFormat, StartAt, Workload};
use super::size::Sizes;
use super::stamp::Stamp;
use crate::failure::Failure;

/// The largest batch where batches are to be large: within Kafka's default for a topic.
const LARGE_BATCH: u32 = 1_000_000;
/// The largest batch of a default Java producer.
const JAVA_BATCH: u32 = 16_384;
/// The largest request of a default Java producer.
const JAVA_REQUEST: u32 = 1 << 20;
/// Requests that an idempotent producer may have under way.
const IDEMPOTENT_IN_FLIGHT: u32 = 5;

/// A run, complete.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was asked for; where it is used, the fields below stand for it.
    pub options: Options,
    /// Partitions of the topic when it is made.
    pub partitions: i32,
    /// Connections that produce (or open and close).
    pub producers: usize,
    /// Connections that consume.
    pub consumers: usize,
    /// What batches are like.
    pub shape: Shape,
    /// The largest request.
    pub request_bytes: u32,
    /// The most batches of a request.
    pub request_batches: usize,
    /// How long a batch waits.
    pub linger: Duration,
    /// Records a second; none for as many as possible.
    pub rate: Option<f64>,
    /// What is measured; none if `records` bounds the run.
    pub seconds: Option<u64>,
    /// What goes before it.
    pub warm_up: u64,
}

/// What differs between workloads.
struct Preset {
    partitions: i32,
    connections: u32,
    size: usize,
    batch_bytes: u32,
    request_bytes: u32,
    linger_ms: u32,
    rate: f64,
}

impl Preset {
    fn of(workload: Workload) -> Preset {
        let base = Preset {
            partitions: 1,
            connections: 1,
            size: 1024,
            batch_bytes: JAVA_BATCH,
            request_bytes: JAVA_REQUEST,
            linger_ms: 0,
            rate: 0.0,
        };
        match workload {
            Workload::Produce => Preset {
                batch_bytes: LARGE_BATCH,
                linger_ms: 5,
                ..base
            },
            Workload::Consume => base,
            Workload::EndToEnd => Preset {
                rate: 1000.0,
                ..base
            },
            Workload::Mixed => Preset {
                linger_ms: 5,
                rate: 50_000.0,
                ..base
            },
            Workload::ManyPartitions => Preset {
                partitions: 1000,
                connections: 16,
                ..base
            },
            Workload::ManyConnections => Preset {
                partitions: 12,
                connections: 1000,
                size: 256,
                rate: 10_000.0,
                ..base
            },
            Workload::SmallBatches => Preset {
                partitions: 12,
                connections: 64,
                size: 256,
                request_bytes: JAVA_BATCH,
                ..base
            },
            Workload::OpenClose => Preset {
                connections: 4,
                size: 100,
                ..base
            },
        }
    }
}

impl Plan {
    /// Completes and checks the options.
    pub fn new(options: Options) -> Result<Plan, Failure> {
        let preset = Preset::of(options.workload);
        let partitions = options.partitions.unwrap_or(preset.partitions);
        let connections = options.connections.unwrap_or(preset.connections);
        let batch_bytes = options.batch_bytes.unwrap_or(preset.batch_bytes);
        let request_bytes = options.request_bytes.unwrap_or(preset.request_bytes);
        let rate = options.rate.unwrap_or(preset.rate);
        let batch_records = match options.workload {
            Workload::OpenClose => 1,
            _ => options.batch_records.unwrap_or(u32::MAX),
        };
        let linger_ms = options.linger_ms.unwrap_or(preset.linger_ms);
        let by_default = options.records.is_none();
        // What is there may be read before a warm-up is over.
        let ends_by_itself =
            options.workload == Workload::Consume && options.from != StartAt::End && !options.again;
        let plan = Plan {
            partitions,
            producers: match options.workload {
                Workload::Consume => 0,
                _ => connections as usize,
            },
            consumers: match options.workload {
                Workload::Consume => connections as usize,
                Workload::EndToEnd | Workload::Mixed => {
                    let most = u32::try_from(partitions).unwrap_or(1);
                    options.consumers.unwrap_or(connections.min(most)) as usize
                }
                _ => 0,
            },
            shape: Shape {
                sizes: options.size.clone().unwrap_or(Sizes::fixed(preset.size)),
                keys: options.keys,
                codec: options.codec,
                ratio: options.compressible,
                batch_bytes: batch_bytes as usize,
                batch_records: batch_records as usize,
                stamped: matches!(options.workload, Workload::EndToEnd | Workload::Mixed),
            },
            request_bytes,
            request_batches: (request_bytes / batch_bytes).max(1) as usize,
            linger: Duration::from_millis(u64::from(linger_ms)),
            rate: (rate > 0.0).then_some(rate),
            seconds: by_default.then_some(options.seconds.unwrap_or(20)),
            warm_up: match by_default && !ends_by_itself {
                true => options.warm_up.unwrap_or(5),
                false => options.warm_up.unwrap_or(0),
            },
            options,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), Failure> {
        let options = &self.options;
        let refuse = |why: String| Err(Failure::Usage(why));
        let rate = options.rate.unwrap_or(0.0);
        if !(0.0..=1e9).contains(&rate) {
            return refuse("--rate is from 0 to 1000000000".to_owned());
        }
        if self.shape.stamped && self.shape.sizes.smallest() < Stamp::SIZE {
            return refuse(format!(
                "{} needs values of at least {} bytes, for the time at which they are due",
                options.workload.name(),
                Stamp::SIZE
            ));
        }
        if options.idempotent && options.in_flight > IDEMPOTENT_IN_FLIGHT {
            return refuse(format!(
                "--idempotent allows --in-flight up to {IDEMPOTENT_IN_FLIGHT}"
            ));
        }
        if options.idempotent && options.acks != -1 {
            return refuse("--idempotent needs --acks all".to_owned());
        }
        if options.consumers.is_some() && !self.shape.stamped {
            return refuse("--consumers is for end-to-end and mixed".to_owned());
        }
        if options.workload == Workload::OpenClose && (options.acks == 0 || options.idempotent) {
            return refuse("open-close waits for an answer, and is not idempotent".to_owned());
        }
        if options.again && options.from == StartAt::End {
            return refuse("--again needs --from beginning or -N".to_owned());
        }
        if self.partitions < i32::try_from(self.consumers).unwrap_or(i32::MAX)
            && options.partitions.is_some()
        {
            return refuse(format!(
                "{} connections cannot consume {} partitions",
                self.consumers, self.partitions
            ));
        }
        Ok(())
    }

    /// Whether records are due at times of their own.
    pub fn is_scheduled(&self) -> bool {
        self.rate.is_some()
    }

    /// What latency is counted from, if it is measured.
    pub fn latency(&self) -> Option<&'static str> {
        let measured = match self.options.workload {
            Workload::Consume => false,
            Workload::EndToEnd | Workload::Mixed | Workload::OpenClose => true,
            _ => self.options.acks != 0,
        };
        let from = match self.is_scheduled() {
            true => "from due",
            false => "from send",
        };
        measured.then_some(from)
    }

    /// Whether the run prints a table.
    pub fn prints_table(&self) -> bool {
        self.options.output == OutputFormat::Table
    }

    /// All options as they are used.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let configs: serde_json::Map<String, Value> = options
            .topic_configs
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        let batch_records = match self.shape.batch_records as u64 {
            most if most >= u64::from(u32::MAX) => None,
            most => Some(most),
        };
        json!({
            "topic": options.topic,
            "partitions": self.partitions,
            "replication": options.replication,
            "topic_configs": configs,
            "connections": self.producers.max(self.consumers),
            "producers": self.producers,
            "consumers": self.consumers,
            "cores": options.cores,
            "size": self.shape.sizes.to_string(),
            "keys": self.shape.keys,
            "codec": self.shape.codec.name(),
            "compressible": self.shape.ratio,
            "acks": if options.acks == -1 { json!("all") } else { json!(options.acks) },
            "idempotent": options.idempotent,
            "batch_bytes": self.shape.batch_bytes,
            "batch_records": batch_records,
            "request_bytes": self.request_bytes,
            "linger_ms": self.linger.as_millis() as u64,
            "in_flight": options.in_flight,
            "rate": self.rate,
            "seconds": self.seconds,
            "warm_up": self.warm_up,
            "records": options.records,
            "from": options.from.to_string(),
            "again": options.again,
            "fetch_bytes": options.fetch_bytes,
            "partition_fetch_bytes": options.partition_fetch_bytes,
            "verify": options.verify,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn plan(words: &str) -> Result<Plan, String> {
        let words = ["load"].into_iter().chain(words.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::new(command.options).map_err(|failure| failure.to_string())
    }

    #[test]
    fn presets_fill_what_is_not_given() {
        let produce = plan("produce").unwrap();
        assert_eq!(
            (produce.producers, produce.consumers, produce.partitions),
            (1, 0, 1)
        );
        assert_eq!((produce.rate, produce.request_batches), (None, 1));
        assert_eq!(produce.latency(), Some("from send"));
        let mixed = plan("mixed --connections 4 --partitions 3").unwrap();
        assert_eq!((mixed.producers, mixed.consumers), (4, 3));
        assert_eq!(mixed.latency(), Some("from due"));
        let many = plan("many-partitions --seconds 3").unwrap();
        assert_eq!((many.partitions, many.request_batches), (1000, 64));
        assert_eq!((many.seconds, many.warm_up), (Some(3), 5));
        assert_eq!(plan("consume").unwrap().warm_up, 0);
        assert_eq!(plan("consume --again").unwrap().warm_up, 5);
        assert_eq!(plan("small-batches").unwrap().request_batches, 1);
        let bound = plan("consume --records 10 --from -100").unwrap();
        assert_eq!(
            (bound.seconds, bound.warm_up, bound.producers),
            (None, 0, 0)
        );
        assert_eq!(
            (bound.options.from, bound.latency()),
            (StartAt::BeforeEnd(100), None)
        );
        assert_eq!(plan("end-to-end --rate 0").unwrap().rate, None);
        assert_eq!(plan("produce --acks 0").unwrap().latency(), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "produce --records 5 --seconds 3",
            "end-to-end --size 10",
            "produce --idempotent --in-flight 6",
            "produce --idempotent --acks 1",
            "produce --consumers 2",
            "end-to-end --partitions 2 --consumers 3",
            "produce --rate -5",
            "produce --codec zip",
            "produce --compressible 0.5",
            "consume --from -0",
            "consume --from end --again",
            "open-close --acks 0",
        ] {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_are_told_as_they_are_used() {
        let told = plan("many-connections --size 100..200 --acks 1")
            .unwrap()
            .to_json();
        assert_eq!(told["connections"], 1000);
        assert_eq!(
            (&told["size"], &told["acks"]),
            (&json!("100..200"), &json!(1))
        );
        assert_eq!(
            (&told["rate"], &told["batch_records"]),
            (&json!(10_000.0), &Value::Null)
        );
        assert_eq!(
            (&told["from"], &told["seconds"]),
            (&json!("beginning"), &json!(20))
        );
    }
}
