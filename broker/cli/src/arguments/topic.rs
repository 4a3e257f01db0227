//! Arguments of `millstream topic`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::parse_pair;
use crate::timestamp::Moment;

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
    /// Change settings of a topic
    Alter(TopicAlterArguments),
    /// Delete topics and all their records
    Delete {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Succeed where there is no such topic
        #[arg(long)]
        if_exists: bool,
    },
    /// Give a topic more partitions; records stay where they are, keys may go elsewhere
    AddPartitions(AddPartitionsArguments),
    /// Delete the oldest records of a topic
    DeleteRecords(DeleteRecordsArguments),
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
    /// Only let the broker check whether it could be made
    #[arg(long)]
    pub dry_run: bool,
}

/// What shall be different about a topic.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct TopicAlterArguments {
    /// The topic
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// A setting and its value; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_pair, group = "change")]
    pub set: Vec<(String, String)>,
    /// A setting that shall follow the broker's again; may be repeated
    #[arg(short, long, value_name = "KEY", group = "change")]
    pub unset: Vec<String>,
    /// Only let the broker check whether it could be changed
    #[arg(long)]
    pub dry_run: bool,
}

/// How many partitions a topic shall have.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("count").required(true))]
pub struct AddPartitionsArguments {
    /// The topic
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// So many more than it has
    #[arg(
        long, value_name = "N", group = "count",
        value_parser = clap::value_parser!(i32).range(1..)
    )]
    pub add: Option<i32>,
    /// So many in all
    #[arg(
        long, value_name = "N", group = "count",
        value_parser = clap::value_parser!(i32).range(1..)
    )]
    pub total: Option<i32>,
    /// Only let the broker check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which records are deleted.
#[derive(Debug, Args)]
pub struct DeleteRecordsArguments {
    /// The topic
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Only of this partition; may be repeated
    #[arg(
        short, long = "partition", value_name = "N",
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    pub partitions: Vec<i32>,
    /// Delete the records before: end, an offset, or @TIME
    #[arg(long, value_name = "end|OFFSET|@TIME")]
    #[arg(long_help = "Delete the records before:\n\
        end    the end, which is all of them\n\
        1234   this offset\n\
        @TIME  the first record of this time or later: milliseconds since the epoch,\n\
        \u{20}      2026-01-31T23:59:00Z, or a while ago as in @-7d")]
    pub before: DeletionBound,
    /// Only show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

/// Up to where records are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionBound {
    /// All of them.
    End,
    /// Those before an offset.
    Offset(i64),
    /// Those before the first of this time or later.
    Time(Moment),
}

impl FromStr for DeletionBound {
    type Err = String;

    fn from_str(text: &str) -> Result<DeletionBound, String> {
        match text {
            "end" | "latest" => Ok(DeletionBound::End),
            _ => match text.strip_prefix('@') {
                Some(time) => time.parse().map(DeletionBound::Time),
                None => text
                    .parse::<i64>()
                    .ok()
                    .filter(|offset| *offset >= 0)
                    .map(DeletionBound::Offset)
                    .ok_or_else(|| "write end, an offset, or @TIME".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_bounds_are_understood() {
        assert_eq!("end".parse(), Ok(DeletionBound::End));
        assert_eq!("12".parse(), Ok(DeletionBound::Offset(12)));
        let week = Moment::Ago(7 * 24 * 3_600_000);
        assert_eq!("@-7d".parse(), Ok(DeletionBound::Time(week)));
        for wrong in ["", "-1", "@", "@soon", "1.5", "7d"] {
            assert!(wrong.parse::<DeletionBound>().is_err(), "{wrong}");
        }
    }
}
