//! The process `millstream`: takes the command line apart, starts a shard if need be, and turns
//! the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use millstream_cli::arguments::{Arguments, Command};
use millstream_cli::{Failure, Output, doctor, run, run_alone};
use millstream_reactor::uring::{ShardOptions, Unsupported, probe, start_shard};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.output);
    if let Some(done) = run_alone(&arguments, &output) {
        return finish(&output, done);
    }
    // The limit on locked memory is raised on the way.
    if let Err(unsupported) = probe() {
        let failed = match &arguments.command {
            // Saying so is its very task.
            Command::Doctor(arguments) => doctor::report_machine(arguments, &output),
            _ => Err(Failure::Unsupported(unsupported)),
        };
        return finish(&output, failed);
    }
    let options = ShardOptions {
        name: "millstream".to_owned(),
        ..ShardOptions::default()
    };
    let printing = output.clone();
    let shard = start_shard(options, async move |reactor| {
        let result = run(&reactor, arguments, &printing).await;
        exit_code(&printing, result)
    });
    match shard {
        Ok(shard) => ExitCode::from(shard.join()),
        Err(error) => finish(&output, Err(Failure::Unsupported(Unsupported::Io(error)))),
    }
}

fn finish(output: &Output, result: Result<(), Failure>) -> ExitCode {
    ExitCode::from(exit_code(output, result))
}

fn exit_code(output: &Output, result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            output.print_failure(&failure);
            failure.exit_code()
        }
    }
}
