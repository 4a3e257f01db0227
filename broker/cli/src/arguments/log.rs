//! Arguments of `millstream log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with log files.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the batches of .log files, or of all of a partition's folder
    Dump(LogDumpArguments),
    /// Check partitions: CRCs, offsets, records, indexes
    Verify(LogVerifyArguments),
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

/// Which partitions are checked.
#[derive(Debug, Args)]
pub struct LogVerifyArguments {
    /// Folders of partitions, or a data folder with all of them
    #[arg(required = true, value_name = "FOLDER")]
    pub paths: Vec<PathBuf>,
}
