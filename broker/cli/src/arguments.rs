//! What the command line says.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::timestamp::parse_timestamp;

/// The address used when none is given.
pub const DEFAULT_BOOTSTRAP_SERVER: &str = "127.0.0.1:9092";

/// Talk to Millstream, or to any other Kafka cluster.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Arguments {
    /// Addresses of some brokers; by default $MILLSTREAM_BOOTSTRAP_SERVER, or 127.0.0.1:9092
    #[arg(short, long, global = true, value_name = "HOST:PORT[,...]")]
    pub bootstrap_server: Option<String>,

    /// How results are printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: OutputFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or one for each record.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Write records: lines of standard input or of a file
    Produce(ProduceArguments),
    /// Read records, alone or as a member of a group
    Consume(ConsumeArguments),
    /// List and describe consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Look into log files without a broker
    #[command(subcommand)]
    Log(LogCommand),
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create(TopicCreateArguments),
    /// List the topics
    List {
        /// Kafka's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Show partitions, leaders, offsets and settings of topics
    Describe {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Delete topics and all their records
    Delete {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Succeed where there is no such topic
        #[arg(long)]
        if_exists: bool,
    },
}

/// A topic to be made.
#[derive(Debug, Args)]
pub struct TopicCreateArguments {
    /// Its name
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// How many partitions; the broker's num.partitions if not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many replicas of each; the broker's default.replication.factor if not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A setting of the topic, such as retention.ms=3600000; may be repeated
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub configs: Vec<(String, String)>,
    /// Succeed if the topic is there already, whatever it is like
    #[arg(long)]
    pub if_not_exists: bool,
}

/// Where records come from and how they are written.
#[derive(Debug, Args)]
pub struct ProduceArguments {
    /// The topic
    #[arg(short, long)]
    pub topic: String,
    /// Read lines from this file instead of standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The partition; by the key if not given, and without a key any
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// What stands between key and value in each line; without it lines are values alone
    #[arg(short, long, value_name = "SEPARATOR", value_parser = parse_separator)]
    pub key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub headers: Vec<(String, String)>,
    /// Write an empty value as null, which deletes the key in a compacted topic
    #[arg(long)]
    pub empty_as_null: bool,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t)]
    pub codec: CodecName,
    /// Who must have a record before it counts as written
    #[arg(long, value_enum, default_value_t)]
    pub acks: AcksName,
}

/// A compression codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CodecName {
    /// No compression.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Who must have a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AcksName {
    /// Every replica that is in sync
    #[default]
    #[value(name = "all", alias = "-1")]
    All,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// Nobody: no answer is waited for
    #[value(name = "0")]
    None,
}

/// Which records are read and how they are printed.
#[derive(Debug, Args)]
pub struct ConsumeArguments {
    /// The topic
    #[arg(short, long)]
    pub topic: String,
    /// Only this partition; may be repeated
    #[arg(
        short, long = "partition", value_name = "N", conflicts_with = "group",
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    pub partitions: Vec<i32>,
    /// Where to begin; with a group, where it has no offset yet
    #[arg(
        short,
        long,
        default_value = "beginning",
        allow_hyphen_values = true,
        value_name = "beginning|end|OFFSET|-LAST|@TIME"
    )]
    #[arg(
        long_help = "Where to begin; with a group, where it has no offset yet:\n\
        beginning  the first record that is kept\n\
        end        records that come from now on\n\
        1234       this offset (not with a group)\n\
        -10        the last 10 records of each partition (not with a group)\n\
        @TIME      the first record of this time or later, in milliseconds since the epoch\n\
        \u{20}          or as 2026-01-31T23:59:00Z"
    )]
    pub offset: Start,
    /// Share the topic with the other members of this group, and commit what was read
    #[arg(short, long)]
    pub group: Option<String>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop at what was the end when reading began
    #[arg(short, long)]
    pub exit_at_end: bool,
    /// How a record is printed; not with --output json
    #[arg(short, long, default_value = "%s\\n")]
    #[arg(long_help = "How a record is printed (not with --output json):\n\
        %t topic, %p partition, %o offset, %T timestamp in ms, %D timestamp as a date,\n\
        %k key, %K its length (-1 for null), %s value, %S its length (-1 for null),\n\
        %h headers as name=value with commas between, %% a percent sign,\n\
        \\n a new line, \\t a tab, \\0 a zero byte, \\\\ a backslash")]
    pub format: String,
    /// Read records of transactions that are not committed too
    #[arg(long)]
    pub read_uncommitted: bool,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is kept.
    Beginning,
    /// After the last record.
    End,
    /// At an offset.
    Offset(i64),
    /// So many records before the end.
    Last(i64),
    /// At a time, in milliseconds since the epoch.
    Timestamp(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        let number = |digits: &str| -> Result<i64, String> {
            digits
                .parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)
                .ok_or_else(|| "write beginning, end, an offset, -COUNT or @TIME".to_owned())
        };
        match text {
            "beginning" | "earliest" | "start" => Ok(Start::Beginning),
            "end" | "latest" => Ok(Start::End),
            _ => {
                if let Some(time) = text.strip_prefix('@') {
                    parse_timestamp(time).map(Start::Timestamp)
                } else if let Some(count) = text.strip_prefix('-') {
                    number(count).map(Start::Last)
                } else {
                    number(text).map(Start::Offset)
                }
            }
        }
    }
}

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List the groups
    List,
    /// Show members, committed offsets and lag of a group
    Describe {
        /// The group
        group: String,
    },
}

/// What to do with log files.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the batches of .log files, or of all of a partition's folder
    Dump(LogDumpArguments),
}

/// Which log files are printed.
#[derive(Debug, Args)]
pub struct LogDumpArguments {
    /// .log files, or folders with them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The records of each batch too
    #[arg(short, long)]
    pub records: bool,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value".to_owned()),
    }
}

fn parse_separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a separator has at least one character".to_owned()),
        "\\t" => Ok("\t".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn starts_are_understood() {
        for (text, start) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("0", Start::Offset(0)),
            ("42", Start::Offset(42)),
            ("-7", Start::Last(7)),
            ("@1000", Start::Timestamp(1000)),
            ("@1970-01-01T00:00:01Z", Start::Timestamp(1000)),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        for wrong in ["", "middle", "--1", "@", "1.5", "@yesterday"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong}");
        }
    }
}
