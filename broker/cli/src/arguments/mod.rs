//! What the command line says.

mod config;
mod doctor;
mod group;
mod log;
mod records;
mod topic;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use config::{
    ConfigCommand, ConfigExplainArguments, ConfigGetArguments, ConfigSetArguments,
    ConfigUnsetArguments, ResourceArguments,
};
pub use doctor::DoctorArguments;
pub use group::{GroupCommand, PartitionChoice, ResetArguments, ResetScope, ResetTarget};
pub use log::{LogCommand, LogDumpArguments, LogVerifyArguments};
pub use records::{AcksName, CodecName, ConsumeArguments, InputFormat, ProduceArguments, Start};
pub use topic::{
    AddPartitionsArguments, DeleteRecordsArguments, DeletionBound, TopicAlterArguments,
    TopicCommand, TopicCreateArguments,
};

/// The address used when none is given.
pub const DEFAULT_BOOTSTRAP_SERVER: &str = "127.0.0.1:9092";

/// Talk to Millstream, or to any other Kafka cluster.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 a topic, group, setting or the \
                  like does not exist;\n4 no broker answers; 5 something that was checked is not \
                  in order."
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

    /// How many seconds a question may take with all its attempts
    #[arg(
        long, global = true, default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub timeout: u64,

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
    /// Create, list, describe, change and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Write records: lines of standard input or of a file
    Produce(ProduceArguments),
    /// Read records, alone or as a member of a group
    Consume(ConsumeArguments),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show, change and explain settings of topics, brokers and groups
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look into log files without a broker
    #[command(subcommand)]
    Log(LogCommand),
    /// Look for what keeps brokers and clients from working, and say how to mend it
    Doctor(DoctorArguments),
    /// Print a script that completes this command in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write man pages and completions of shells, laid out as in /usr/share
    #[command(hide = true)]
    WriteReference {
        /// The folder
        #[arg(value_name = "DIR")]
        share: PathBuf,
    },
}

/// What to show of the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show nodes, controllers and features
    Info {
        /// The versions of each API that each broker speaks too
        #[arg(long)]
        apis: bool,
    },
}

/// A pair `name=value`.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value".to_owned()),
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

    /// What stands in blocks of code, one command a line, with continued lines joined.
    fn commands(page: &str) -> Vec<String> {
        let blocks = page.split("```sh\n").skip(1);
        let code = blocks.filter_map(|rest| rest.split("\n```").next());
        let joined = code.map(|block| block.replace("\\\n", " "));
        let lines = joined.flat_map(|block| {
            let commands = block.split(['\n', '|']).map(|line| line.trim().to_owned());
            commands.collect::<Vec<_>>()
        });
        lines
            .filter(|line| line.starts_with("millstream "))
            .collect()
    }

    #[test]
    fn the_commands_of_the_guide_are_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut count = 0;
        for page in [
            "README.md",
            "docs/getting-started.md",
            "docs/coming-from-kafka.md",
            "docs/operating.md",
        ] {
            let text = std::fs::read_to_string(root.join(page)).expect("a page of the guide");
            for command in commands(&text) {
                let words = command.split(" #").next().unwrap_or_default();
                let words = words
                    .split_whitespace()
                    .map(|word| word.trim_matches(['\'', '"']));
                if let Err(error) = Arguments::try_parse_from(words) {
                    panic!("{page}: {command}\n{error}");
                }
                count += 1;
            }
        }
        assert!(count > 8, "only {count} commands were found");
    }
}
