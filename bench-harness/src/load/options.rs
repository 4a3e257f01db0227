//! The options of `millstream-bench load`. What is not given comes from the workload's preset.

use clap::{Args, ValueEnum};
use millstream_protocol::compression::Codec;

use super::size::Sizes;

/// What is done to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Produces, as fast as the broker answers or at a rate.
    Produce,
    /// Consumes what is there, or what comes.
    Consume,
    /// Produces and consumes together; measures each record until its consumer has it.
    EndToEnd,
    /// As end-to-end, beside a reader that goes through the topic from the beginning.
    Mixed,
    /// Produces to 1,000 partitions evenly.
    ManyPartitions,
    /// Produces through 1,000 connections.
    ManyConnections,
    /// Produces batches of 16 KiB, one a request, through 64 connections.
    SmallBatches,
    /// Connects, asks for versions and metadata, produces a record, and closes.
    OpenClose,
}

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Produce => "produce",
            Workload::Consume => "consume",
            Workload::EndToEnd => "end-to-end",
            Workload::Mixed => "mixed",
            Workload::ManyPartitions => "many-partitions",
            Workload::ManyConnections => "many-connections",
            Workload::SmallBatches => "small-batches",
            Workload::OpenClose => "open-close",
        }
    }
}

/// How the outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// One object on one line.
    Json,
}

/// Where consumers begin in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record.
    Beginning,
    /// At the end: only what is still to come.
    End,
    /// So many records before the end.
    BeforeEnd(i64),
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<StartAt, String> {
        match text {
            "beginning" => Ok(StartAt::Beginning),
            "end" => Ok(StartAt::End),
            _ => match text.strip_prefix('-').map(str::parse) {
                Some(Ok(count)) if count > 0 => Ok(StartAt::BeforeEnd(count)),
                _ => Err("beginning, end, or -N for N records before the end".to_owned()),
            },
        }
    }
}

impl std::fmt::Display for StartAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartAt::Beginning => f.write_str("beginning"),
            StartAt::End => f.write_str("end"),
            StartAt::BeforeEnd(count) => write!(f, "-{count}"),
        }
    }
}

/// What to do, and with what. Options that are not given have the workload's own defaults.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What is done to the broker.
    #[arg(value_enum)]
    pub workload: Workload,
    /// The topic; made if it is not there.
    #[arg(long, default_value = "millstream-bench", value_name = "NAME")]
    pub topic: String,
    /// Partitions of the topic when it is made; one that is there must have as many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    pub partitions: Option<i32>,
    /// Replicas of each partition when the topic is made.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub replication: i16,
    /// A setting of the topic when it is made; may be given many times.
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = pair)]
    pub topic_configs: Vec<(String, String)>,
    /// Connections that produce, or consume if nothing is produced, to each broker.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: Option<u32>,
    /// Connections that consume beside those that produce; at most as many as partitions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub consumers: Option<u32>,
    /// The cores of the load, with a reactor on each that has its share of the connections. One
    /// reactor on any core if not given.
    #[arg(long, value_name = "CORE,…", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Bytes of a value: N, A..B evenly, or several such with weights, as 100:9,4000..5000:1.
    #[arg(long, value_name = "SIZES")]
    pub size: Option<Sizes>,
    /// Gives each record one of so many keys.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keys: u64,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value_t = Codec::None, value_name = "CODEC")]
    pub codec: Codec,
    /// By how much values can be compressed, about.
    #[arg(long, default_value_t = 3.0, value_name = "RATIO", value_parser = ratio)]
    pub compressible: f64,
    /// 0, 1 or all.
    #[arg(long, default_value = "all", allow_hyphen_values = true, value_parser = acks)]
    pub acks: i16,
    /// Produces as an idempotent producer.
    #[arg(long)]
    pub idempotent: bool,
    /// The largest batch, before compression.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    pub batch_bytes: Option<u32>,
    /// The most records of a batch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_records: Option<u32>,
    /// The largest request: it has several batches, each of another partition, if they fit.
    #[arg(long, value_name = "BYTES")]
    pub request_bytes: Option<u32>,
    /// How long a batch that is not full waits for more records.
    #[arg(long, value_name = "MS")]
    pub linger_ms: Option<u32>,
    /// Requests under way on a connection.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub in_flight: u32,
    /// Records a second on all connections together, on schedule whatever the answers do; 0 for
    /// as fast as the broker answers.
    #[arg(long, value_name = "RECORDS")]
    pub rate: Option<f64>,
    /// Seconds that are measured: 20.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Seconds before that, which are not: 5, and none where what is there is consumed once.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub warm_up: Option<u64>,
    /// Ends after so many records, instead of by time and without a warm-up.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "warm_up"],
          value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
    /// Where the workload consume begins: beginning, end, or -N for N records before the end of
    /// each partition. From elsewhere than the end, it ends where the end was when it began.
    #[arg(long, default_value_t = StartAt::Beginning, allow_hyphen_values = true, value_name = "WHERE")]
    pub from: StartAt,
    /// Consumes from where it began again when all was consumed, for as long as the run is.
    #[arg(long)]
    pub again: bool,
    /// Bytes that are asked for in one fetch.
    #[arg(long, default_value_t = 50 << 20, value_name = "BYTES")]
    pub fetch_bytes: u32,
    /// Bytes that are asked for of one partition in one fetch.
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    pub partition_fetch_bytes: u32,
    /// Checks the CRC of each batch that is consumed.
    #[arg(long)]
    pub verify: bool,
    /// The process of the broker on this machine: what it takes is reported.
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// How the outcome is printed.
    #[arg(long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (1.0..=1000.0).contains(&ratio) => Ok(ratio),
        _ => Err("a number from 1 to 1000".to_owned()),
    }
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("0, 1 or all".to_owned()),
    }
}
