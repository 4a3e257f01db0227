//! `millstream-bench` measures a broker that speaks Kafka's protocol: Millstream or Apache Kafka.
//!
//! What only compares when both are measured alike (throughput by Kafka's own tools, CPU, memory,
//! start) is put together by `scripts/bench-beside-kafka`.

mod compare;
mod failure;
mod fill;
mod first_answer;
mod latency;
mod report;
mod topic;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use millstream_packaging::write_reference;
use millstream_reactor::Reactor;
use millstream_reactor::uring::{ShardOptions, probe, start_shard};

use crate::failure::Failure;

#[derive(Debug, Parser)]
#[command(name = "millstream-bench", version, about)]
struct Arguments {
    /// The broker.
    #[arg(
        short = 'b',
        long,
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    bootstrap_server: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Waits for the broker's first Metadata answer.
    FirstAnswer {
        /// Gives up after so many seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Fills a topic as fast as one connection does.
    Fill(fill::Options),
    /// Sends records at a steady rate and measures each until a consumer has it: from the time at
    /// which it was due, so that a broker that stalls cannot hide the records that had to wait.
    Latency(latency::Options),
    /// Measures brokers in turns on the same loads, and writes a report.
    Compare(compare::Options),
    /// Writes the report of a comparison again.
    Report(report::Options),
    /// Writes the man page and completions of shells, laid out as in /usr/share.
    #[command(hide = true)]
    WriteReference {
        /// The folder.
        #[arg(value_name = "DIR")]
        share: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("millstream-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::WriteReference { share } => return write_pages(share),
        Command::Compare(options) => return Ok(compare::run(options)?),
        Command::Report(options) => return Ok(report::run(options)?),
        _ => {}
    }
    let address = resolve(&arguments.bootstrap_server)?;
    probe().map_err(|lack| Failure::System(lack.to_string()))?;
    let options = ShardOptions {
        name: "millstream-bench".to_owned(),
        ..ShardOptions::default()
    };
    let command = arguments.command;
    let shard = start_shard(options, async move |reactor| {
        measure(&reactor, address, command).await
    });
    shard
        .map_err(|cause| Failure::System(cause.to_string()))?
        .join()
}

async fn measure(reactor: &Reactor, address: SocketAddr, command: Command) -> Result<(), Failure> {
    match command {
        Command::FirstAnswer { seconds } => {
            first_answer::wait(reactor, address, Duration::from_secs(seconds)).await
        }
        Command::Fill(options) => fill::fill(reactor, address, options).await,
        Command::Latency(options) => latency::measure(reactor, address, options).await,
        Command::Compare(_) | Command::Report(_) | Command::WriteReference { .. } => {
            unreachable!("done without a broker")
        }
    }
}

fn write_pages(share: &Path) -> Result<(), Failure> {
    Ok(write_reference(&Arguments::command(), share)?)
}

fn resolve(server: &str) -> Result<SocketAddr, Failure> {
    let unknown = || Failure::Address(server.to_owned());
    let mut addresses = server.to_socket_addrs().map_err(|_| unknown())?;
    addresses.next().ok_or_else(unknown)
}
