//! `millstream`, the admin command: topics, records, groups and log files.
//!
//! It runs on one shard of the reactor and speaks Kafka's protocol, so it works with any Kafka
//! cluster.

mod arguments;
mod base64;
mod consume;
mod failure;
mod group;
mod log_dump;
mod output;
mod produce;
mod record_format;
mod timestamp;
mod topic;

use std::process::ExitCode;

use clap::Parser;
use millstream_client::{Client, ClientConfig};
use millstream_reactor::Reactor;
use millstream_reactor::uring::{ShardOptions, Unsupported, probe, start_shard};

use crate::arguments::{Arguments, Command, DEFAULT_BOOTSTRAP_SERVER, LogCommand};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.output);
    if let Command::Log(LogCommand::Dump(dump)) = &arguments.command {
        return finish(output, log_dump::dump(dump, output));
    }
    // The limit on locked memory is raised on the way.
    if let Err(unsupported) = probe() {
        return finish(output, Err(Failure::Unsupported(unsupported)));
    }
    let options = ShardOptions {
        name: "millstream".to_owned(),
        ..ShardOptions::default()
    };
    let shard = start_shard(options, async move |reactor| {
        let result = run(&reactor, arguments, output).await;
        exit_code(output, result)
    });
    match shard {
        Ok(shard) => ExitCode::from(shard.join()),
        Err(error) => finish(output, Err(Failure::Unsupported(Unsupported::Io(error)))),
    }
}

async fn run(reactor: &Reactor, arguments: Arguments, output: Output) -> Result<(), Failure> {
    let servers = arguments
        .bootstrap_server
        .or_else(|| std::env::var("MILLSTREAM_BOOTSTRAP_SERVER").ok())
        .unwrap_or_else(|| DEFAULT_BOOTSTRAP_SERVER.to_owned());
    let mut config = ClientConfig::new(&servers);
    "millstream-cli".clone_into(&mut config.connection.client_id);
    if config.bootstrap_servers.is_empty() {
        return Err(Failure::Usage(
            "--bootstrap-server names no address".to_owned(),
        ));
    }
    let client = Client::connect(reactor, config).await?;
    match arguments.command {
        Command::Topic(command) => topic::run(&client, command, output).await,
        Command::Produce(arguments) => produce::produce(client, arguments, output).await,
        Command::Consume(arguments) => consume::consume(client, arguments, output).await,
        Command::Group(command) => group::run(&client, command, output).await,
        Command::Log(LogCommand::Dump(arguments)) => log_dump::dump(&arguments, output),
    }
}

fn finish(output: Output, result: Result<(), Failure>) -> ExitCode {
    ExitCode::from(exit_code(output, result))
}

fn exit_code(output: Output, result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            output.print_failure(&failure);
            failure.exit_code()
        }
    }
}
