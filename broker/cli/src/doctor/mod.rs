//! `millstream doctor`: what keeps brokers and clients from working, and how to mend it.
//!
//! Nothing is changed anywhere; the machine is looked at, and the cluster is asked what any client
//! asks.

mod listeners;
mod machine;
mod network;

use millstream_client::ClientConfig;
use millstream_reactor::Reactor;
use serde_json::json;

use crate::arguments::DoctorArguments;
use crate::failure::Failure;
use crate::output::{Output, counted};

/// What has been found so far.
#[derive(Debug, Default)]
pub struct Findings {
    errors: usize,
    warnings: usize,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    subject: &'static str,
    text: String,
    mend: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            level: Level::Ok,
            subject,
            text: text.into(),
            mend: None,
        }
    }

    fn warning(subject: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            level: Level::Warning,
            subject,
            text: text.into(),
            mend: Some(mend.into()),
        }
    }

    fn error(subject: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            level: Level::Error,
            subject,
            text: text.into(),
            mend: Some(mend.into()),
        }
    }
}

/// Looks at this machine, unless `--remote` forbids it.
pub fn look_at_machine(arguments: &DoctorArguments, output: &Output) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    if !arguments.remote {
        for finding in machine::findings(arguments)? {
            findings.tell(&finding, output)?;
        }
    }
    Ok(findings)
}

/// Looks at this machine alone: it has nothing with which to dial anybody.
pub fn report_machine(arguments: &DoctorArguments, output: &Output) -> Result<(), Failure> {
    look_at_machine(arguments, output)?.finish(output)
}

/// Looks at the cluster, unless `--local` forbids it, and sums up.
pub async fn look_at_cluster(
    reactor: &Reactor,
    arguments: &DoctorArguments,
    config: ClientConfig,
    mut findings: Findings,
    output: &Output,
) -> Result<(), Failure> {
    if !arguments.local {
        for finding in network::findings(reactor, config).await {
            findings.tell(&finding, output)?;
        }
    }
    findings.finish(output)
}

impl Findings {
    fn tell(&mut self, finding: &Finding, output: &Output) -> Result<(), Failure> {
        let name = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        match finding.level {
            Level::Ok => {}
            Level::Warning => self.warnings += 1,
            Level::Error => self.errors += 1,
        }
        output.print(
            || {
                json!({
                    "level": name,
                    "subject": finding.subject,
                    "finding": finding.text,
                    "mend": finding.mend,
                })
            },
            || {
                let padded = format!("{name:<7}");
                let label = match finding.level {
                    Level::Ok => output.right(&padded),
                    Level::Warning => output.doubtful(&padded),
                    Level::Error => output.wrong(&padded),
                };
                let mut text = format!("{label}  {}: {}\n", finding.subject, finding.text);
                if let Some(mend) = &finding.mend {
                    text.push_str(&format!("         {mend}\n"));
                }
                text
            },
        )
    }

    fn finish(self, output: &Output) -> Result<(), Failure> {
        if self.errors > 0 {
            return Err(Failure::Findings(format!(
                "{}, {}",
                counted(self.errors, "error"),
                counted(self.warnings, "warning")
            )));
        }
        if output.is_json() {
            return Ok(());
        }
        let text = match self.warnings {
            0 => "all is well\n".to_owned(),
            count => format!("no errors, {}\n", counted(count, "warning")),
        };
        output.write(text.as_bytes())
    }
}
