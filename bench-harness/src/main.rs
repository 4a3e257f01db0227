//! `millstream-bench` measures a broker that speaks Kafka's protocol: Millstream or Apache Kafka.
//!
//! The same comparison with the tools of others is `scripts/bench-witness`; what a broker costs that
//! does little is `scripts/bench-standing`.

mod compare;
mod failure;
mod first_answer;
mod load;
mod report;

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
    /// Puts a load on the broker and tells what it took: throughput, latency from the time at which
    /// each record was due (so that a broker that stalls cannot hide those that had to wait), and
    /// the CPU time of both sides.
    Load(Box<load::Options>),
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
    let server = arguments.bootstrap_server;
    match arguments.command {
        Command::WriteReference { share } => write_pages(&share),
        Command::Compare(options) => Ok(compare::run(&options)?),
        Command::Report(options) => Ok(report::run(&options)?),
        Command::FirstAnswer { seconds } => {
            let (address, within) = (reachable(&server)?, Duration::from_secs(seconds));
            on_a_reactor(async move |reactor| first_answer::wait(&reactor, address, within).await)
        }
        Command::Load(options) => load::run(&server, reachable(&server)?, *options),
    }
}

/// The address of the broker, on a machine that can measure it.
fn reachable(server: &str) -> Result<SocketAddr, Failure> {
    let address = resolve(server)?;
    probe().map_err(|lack| Failure::System(lack.to_string()))?;
    Ok(address)
}

fn on_a_reactor<T: Send + 'static>(
    main: impl AsyncFnOnce(Reactor) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let options = ShardOptions {
        name: "millstream-bench".to_owned(),
        ..ShardOptions::default()
    };
    let shard = start_shard(options, async move |reactor| main(reactor).await);
    shard
        .map_err(|cause| Failure::System(cause.to_string()))?
        .join()
}

fn write_pages(share: &Path) -> Result<(), Failure> {
    Ok(write_reference(&Arguments::command(), share)?)
}

fn resolve(server: &str) -> Result<SocketAddr, Failure> {
    let unknown = || Failure::Address(server.to_owned());
    let mut addresses = server.to_socket_addrs().map_err(|_| unknown())?;
    addresses.next().ok_or_else(unknown)
}
