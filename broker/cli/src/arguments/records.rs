//! Arguments of `millstream produce` and `millstream consume`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::parse_pair;
use crate::timestamp::Moment;

/// Where records come from and how they are written.
#[derive(Debug, Args)]
pub struct ProduceArguments {
    /// The topic
    #[arg(short, long)]
    pub topic: String,
    /// Read this file instead of standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What a record is in the input
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub input: InputFormat,
    /// The partition; by the key if not given, and without a key any
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// The key of every record
    #[arg(long, value_name = "KEY", conflicts_with = "key_separator")]
    pub key: Option<String>,
    /// What stands between key and value in each line; without it lines are values alone
    #[arg(short, long, value_name = "SEPARATOR", value_parser = parse_separator)]
    pub key_separator: Option<String>,
    /// What stands between records instead of the end of a line: one character
    #[arg(short = 'D', long, value_name = "SEPARATOR", value_parser = parse_record_separator)]
    pub record_separator: Option<u8>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub headers: Vec<(String, String)>,
    /// The time of every record instead of now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub timestamp: Option<Moment>,
    /// Write an empty value as null, which deletes the key in a compacted topic
    #[arg(short = 'Z', long)]
    pub empty_as_null: bool,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t)]
    pub codec: CodecName,
    /// Who must have a record before it counts as written
    #[arg(long, value_enum, default_value_t)]
    pub acks: AcksName,
}

/// What a record is in the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// A line is a value, or a key and a value
    #[default]
    Lines,
    /// A line is a JSON object, as `consume --output json` prints it; a partition, a timestamp
    /// and headers in it are kept
    Json,
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
        @TIME      the first record of this time or later: milliseconds since the epoch,\n\
        \u{20}          2026-01-31T23:59:00Z, or a while ago as in @-90m"
    )]
    pub offset: Start,
    /// Begin at the first record of this time or later, as --offset @TIME
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "offset"
    )]
    pub from: Option<Moment>,
    /// Stop in each partition before the first record of this time or later
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "group"
    )]
    pub until: Option<Moment>,
    /// Share the topic with the other members of this group, and commit what was read
    #[arg(short, long)]
    pub group: Option<String>,
    /// Stop after so many records
    #[arg(short = 'n', long, visible_short_alias = 'c', value_name = "N")]
    pub count: Option<u64>,
    /// Stop at what was the end when reading began
    #[arg(short, long)]
    pub exit_at_end: bool,
    /// How a record is printed; not with --output json
    #[arg(short, long, default_value = "%s\\n")]
    #[arg(
        long_help = "How a record is printed, as with kcat (not with --output json):\n\
        %t topic, %p partition, %o offset, %T timestamp in ms, %D timestamp as a date,\n\
        %k key, %K its length (-1 for null),\n\
        %s or %v value, %S its length (-1 for null), %R its length in 4 bytes, big endian,\n\
        %h headers as name=value with commas between, %% a percent sign,\n\
        \\n a new line, \\r a return, \\t a tab, \\0 a zero byte, \\x1f any byte, \\\\ a backslash"
    )]
    pub format: String,
    /// Print this where a key or value is null
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub null: String,
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
    /// At a time.
    Time(Moment),
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
                // kcat writes s@TIME.
                let time = text.strip_prefix("s@").or_else(|| text.strip_prefix('@'));
                if let Some(time) = time {
                    time.parse().map(Start::Time)
                } else if let Some(count) = text.strip_prefix('-') {
                    number(count).map(Start::Last)
                } else {
                    number(text).map(Start::Offset)
                }
            }
        }
    }
}

fn parse_separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a separator has at least one character".to_owned()),
        "\\t" => Ok("\t".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn parse_record_separator(text: &str) -> Result<u8, String> {
    match text {
        "\\n" => Ok(b'\n'),
        "\\t" => Ok(b'\t'),
        "\\0" => Ok(0),
        _ => match text.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err("write one character, or \\n, \\t or \\0".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_understood() {
        for (text, start) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("0", Start::Offset(0)),
            ("42", Start::Offset(42)),
            ("-7", Start::Last(7)),
            ("@1000", Start::Time(Moment::At(1000))),
            ("s@1000", Start::Time(Moment::At(1000))),
            ("@-5s", Start::Time(Moment::Ago(5000))),
            ("@1970-01-01T00:00:01Z", Start::Time(Moment::At(1000))),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        for wrong in ["", "middle", "--1", "@", "1.5", "@yesterday"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong}");
        }
    }
}
