//! Arguments of `millstream config`.

use clap::{Args, Subcommand};

use super::parse_pair;

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings: those that differ from their defaults, or those that are named
    Get(ConfigGetArguments),
    /// Give settings a value
    Set(ConfigSetArguments),
    /// Take settings back: what stands behind them counts again
    Unset(ConfigUnsetArguments),
    /// Say what a setting does, what it is by default and where its value comes from
    Explain(ConfigExplainArguments),
}

/// Whose settings.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ResourceArguments {
    /// Of a topic
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Of one broker, by its id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(0..))]
    pub broker: Option<i32>,
    /// Of all brokers that have no setting of their own
    #[arg(long, visible_alias = "all-brokers")]
    pub cluster: bool,
    /// Of a group
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Which settings are shown.
#[derive(Debug, Args)]
pub struct ConfigGetArguments {
    /// Whose.
    #[command(flatten)]
    pub resource: ResourceArguments,
    /// These
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// All, also those that nobody has set
    #[arg(long, conflicts_with = "keys")]
    pub all: bool,
}

/// Which settings get which value.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct ConfigSetArguments {
    /// Whose.
    #[command(flatten)]
    pub resource: ResourceArguments,
    /// Settings and their values
    #[arg(value_name = "KEY=VALUE", value_parser = parse_pair, group = "change")]
    pub pairs: Vec<(String, String)>,
    /// An entry that a list shall have too; may be repeated
    #[arg(long, value_name = "KEY=ENTRY", value_parser = parse_pair, group = "change")]
    pub append: Vec<(String, String)>,
    /// An entry that a list shall have no more; may be repeated
    #[arg(long, value_name = "KEY=ENTRY", value_parser = parse_pair, group = "change")]
    pub subtract: Vec<(String, String)>,
    /// Only let the broker check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which settings are taken back.
#[derive(Debug, Args)]
pub struct ConfigUnsetArguments {
    /// Whose.
    #[command(flatten)]
    pub resource: ResourceArguments,
    /// These
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// Only let the broker check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which setting is explained.
#[derive(Debug, Args)]
pub struct ConfigExplainArguments {
    /// The setting
    #[arg(value_name = "KEY")]
    pub key: String,
    /// As it is for a topic
    #[arg(short, long, value_name = "TOPIC", group = "resource")]
    pub topic: Option<String>,
    /// As it is for this broker; for any broker without one of these options
    #[arg(
        long, value_name = "ID", group = "resource",
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    pub broker: Option<i32>,
    /// As it is for a group
    #[arg(short, long, value_name = "GROUP", group = "resource")]
    pub group: Option<String>,
}
