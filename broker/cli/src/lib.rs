//! `millstream`, the admin command: topics, records, groups, settings, the cluster and log files.
//!
//! It runs on one shard of the reactor and speaks Kafka's protocol, so it works with any Kafka
//! cluster. What needs no cluster needs no shard either.

pub mod arguments;
mod base64;
mod cluster;
mod config;
mod consume;
pub mod doctor;
mod duration;
mod failure;
mod group;
mod log;
mod output;
mod produce;
mod progress;
mod record_format;
mod timestamp;
mod topic;

use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;
use millstream_client::{Client, ClientConfig};
use millstream_packaging::write_reference;
use millstream_reactor::Reactor;

use crate::arguments::{Arguments, ClusterCommand, Command, DEFAULT_BOOTSTRAP_SERVER, LogCommand};
pub use crate::failure::Failure;
pub use crate::output::Output;

/// Does what needs no cluster; `None` if the command needs one.
pub fn run_alone(arguments: &Arguments, output: &Output) -> Option<Result<(), Failure>> {
    match &arguments.command {
        Command::Log(LogCommand::Dump(arguments)) => Some(log::dump(arguments, output)),
        Command::Log(LogCommand::Verify(arguments)) => Some(log::verify(arguments, output)),
        Command::Completions { shell } => Some(completions(*shell, output)),
        Command::WriteReference { share } => {
            Some(write_reference(&Arguments::command(), share).map_err(Failure::from))
        }
        _ => None,
    }
}

/// Does what needs a cluster.
pub async fn run(reactor: &Reactor, arguments: Arguments, output: &Output) -> Result<(), Failure> {
    if let Some(done) = run_alone(&arguments, output) {
        return done;
    }
    let config = client_config(&arguments)?;
    if let Command::Doctor(arguments) = &arguments.command {
        let findings = doctor::look_at_machine(arguments, output)?;
        return doctor::look_at_cluster(reactor, arguments, config, findings, output).await;
    }
    let client = Client::connect(reactor, config).await?;
    match arguments.command {
        Command::Topic(command) => topic::run(&client, command, output).await,
        Command::Produce(arguments) => produce::produce(client, arguments, output).await,
        Command::Consume(arguments) => consume::consume(client, arguments, output).await,
        Command::Group(command) => group::run(&client, command, output).await,
        Command::Config(command) => config::run(&client, command, output).await,
        Command::Cluster(ClusterCommand::Info { apis }) => {
            cluster::info(&client, apis, output).await
        }
        Command::Log(_)
        | Command::Doctor(_)
        | Command::Completions { .. }
        | Command::WriteReference { .. } => unreachable!("these have been done above"),
    }
}

/// How the cluster is reached.
fn client_config(arguments: &Arguments) -> Result<ClientConfig, Failure> {
    let servers = arguments
        .bootstrap_server
        .clone()
        .or_else(|| std::env::var("MILLSTREAM_BOOTSTRAP_SERVER").ok())
        .unwrap_or_else(|| DEFAULT_BOOTSTRAP_SERVER.to_owned());
    let mut config = ClientConfig::new(&servers);
    if config.bootstrap_servers.is_empty() {
        return Err(Failure::Usage(
            "--bootstrap-server names no address: write host:port".to_owned(),
        ));
    }
    let timeout = Duration::from_secs(arguments.timeout);
    config.api_timeout = timeout;
    "millstream-cli".clone_into(&mut config.connection.client_id);
    config.connection.connect_timeout = config.connection.connect_timeout.min(timeout);
    config.connection.request_timeout = config.connection.request_timeout.min(timeout);
    Ok(config)
}

fn completions(shell: Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(shell, &mut command, "millstream", &mut script);
    output.write(&script)
}
