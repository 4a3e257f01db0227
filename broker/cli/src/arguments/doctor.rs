//! Arguments of `millstream doctor`.

use std::path::PathBuf;

use clap::Args;

/// What is looked at.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// The broker's server.properties: its folder and its listeners are looked at
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder in which a broker shall keep its data; the current one if not known
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Look at this machine only, and dial nobody
    #[arg(long, conflicts_with = "remote")]
    pub local: bool,
    /// Look at the cluster only: this machine shall run no broker
    #[arg(long)]
    pub remote: bool,
}
