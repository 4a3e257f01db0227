//! Arguments of `millstream group`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::duration::parse_duration;
use crate::timestamp::Moment;

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List the groups
    List {
        /// Only groups in this state, such as Empty or Stable; may be repeated
        #[arg(long, value_name = "STATE")]
        state: Vec<String>,
    },
    /// Show members, committed offsets and lag of groups
    Describe {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Let a group without members go on from elsewhere; shows what it would do, unless --execute
    ResetOffsets(ResetArguments),
    /// Delete groups without members, and all their offsets
    Delete {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Forget what a group has committed for some topics
    DeleteOffsets {
        /// The group
        #[arg(value_name = "GROUP")]
        group: String,
        /// A topic, or some of its partitions as in orders:0,2; may be repeated
        #[arg(short, long = "topic", required = true, value_name = "TOPIC[:N,...]")]
        topics: Vec<PartitionChoice>,
    },
}

/// Which offsets of a group change, and how.
#[derive(Debug, Args)]
pub struct ResetArguments {
    /// The group
    #[arg(value_name = "GROUP")]
    pub group: String,
    /// Which offsets change.
    #[command(flatten)]
    pub scope: ResetScope,
    /// Where reading goes on.
    #[command(flatten)]
    pub target: ResetTarget,
    /// Do it, instead of only showing it
    #[arg(long)]
    pub execute: bool,
    /// Only show what would be done, as is done without --execute
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,
}

/// Which offsets change.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ResetScope {
    /// A topic, or some of its partitions as in orders:0,2; may be repeated
    #[arg(short, long = "topic", value_name = "TOPIC[:N,...]")]
    pub topics: Vec<PartitionChoice>,
    /// All topics for which the group has committed offsets
    #[arg(long)]
    pub all_topics: bool,
}

/// Where reading goes on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ResetTarget {
    /// At the first record that is kept
    #[arg(long)]
    pub to_earliest: bool,
    /// After the last record
    #[arg(long)]
    pub to_latest: bool,
    /// Where it is, or at the nearest record that is kept
    #[arg(long)]
    pub to_current: bool,
    /// At an offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// At the first record of this time or later: milliseconds since the epoch,
    /// 2026-01-31T23:59:00Z, or a while ago as in -90m
    #[arg(
        long,
        visible_alias = "to-datetime",
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub to_time: Option<Moment>,
    /// At the first record that is at most so old, as in 1h30m or PT1H30M
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub by_duration: Option<i64>,
    /// So many records on, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
}

/// A topic, or some of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChoice {
    /// The topic.
    pub topic: String,
    /// The partitions; none for all.
    pub partitions: Option<Vec<i32>>,
}

impl FromStr for PartitionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<PartitionChoice, String> {
        let wrong = || "write a topic, or a topic and partitions as in orders:0,2".to_owned();
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, partitions)) => {
                let numbers = partitions
                    .split(',')
                    .map(|number| number.trim().parse().ok().filter(|number| *number >= 0));
                let numbers: Option<Vec<i32>> = numbers.collect();
                (topic, Some(numbers.ok_or_else(wrong)?))
            }
        };
        match topic.is_empty() {
            true => Err(wrong()),
            false => Ok(PartitionChoice {
                topic: topic.to_owned(),
                partitions,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_chosen() {
        let chosen = |text: &str| {
            text.parse::<PartitionChoice>()
                .map(|c| (c.topic, c.partitions))
        };
        assert_eq!(chosen("orders"), Ok(("orders".to_owned(), None)));
        let some = Some(vec![0, 2]);
        assert_eq!(chosen("orders:0,2"), Ok(("orders".to_owned(), some)));
        for wrong in ["", ":0", "orders:", "orders:-1", "orders:0,x"] {
            assert!(chosen(wrong).is_err(), "{wrong}");
        }
    }
}
