//! The agent for rskafka: answers the commands of ../README.md. Takes the bootstrap address.
//!
//! Owns the framing and the kinds of error; what a command does is the agent's.

mod agent;
mod record;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use rskafka::client::error::Error as ClientError;
use serde_json::{Value, json};

use crate::agent::Agent;

/// Why a command was not carried out.
enum Failure {
    /// What rskafka says.
    Client(ClientError),
    /// A command that this agent cannot read.
    Command(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Command(text)
    }
}

impl Failure {
    fn answer(&self) -> Value {
        match self {
            Self::Client(error) => {
                json!({"ok": false, "error": error.to_string(), "code": code(error)})
            }
            Self::Command(text) => json!({"ok": false, "error": text, "code": null}),
        }
    }
}

/// The code of Kafka's protocol. rskafka keeps names alone; a name is looked up among all codes.
fn code(error: &ClientError) -> Option<i16> {
    let ClientError::ServerError { protocol_error, .. } = error else {
        return None;
    };
    (-1..=200).find(|code| {
        rskafka::client::error::ProtocolError::new(*code).as_ref() == Some(protocol_error)
    })
}

fn main() -> ExitCode {
    let Some(bootstrap) = std::env::args().nth(1) else {
        eprintln!("usage: rskafka-agent HOST:PORT");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rskafka-agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(bootstrap)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rskafka-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(bootstrap: String) -> io::Result<()> {
    let mut agent = Agent::new(bootstrap);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = match agent.carry_out(&command).await {
            Ok(mut answer) => {
                answer["ok"] = json!(true);
                answer
            }
            Err(failure) => failure.answer(),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
        if command["do"] == "quit" {
            break;
        }
    }
    Ok(())
}
