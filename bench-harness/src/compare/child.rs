//! Programs that are run beside this one: bound to cores, for a bounded time, and ended when
//! somebody asks for the end.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millstream_reactor::uring::{
    ShardOptions, catch_terminate_signals, start_shard, terminate_signal,
};

use super::error::CompareError;
use super::machine::bind_thread;

/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The end of what a failed program said that is told.
const SAID_MAX: usize = 600;

/// Whether somebody has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interruption {
    asked: Arc<AtomicBool>,
}

impl Interruption {
    /// Learns of SIGINT and SIGTERM, which no longer kill the process, so that what was started
    /// and set can be stopped and restored.
    pub fn catch_signals() -> Result<Interruption, CompareError> {
        let refused = |cause: std::io::Error| CompareError::Machine(cause.to_string());
        catch_terminate_signals().map_err(refused)?;
        let interruption = Interruption::default();
        let asked = interruption.asked.clone();
        let options = ShardOptions {
            name: "signals".to_owned(),
            ..ShardOptions::default()
        };
        let watch = start_shard(options, async move |reactor| {
            let told = terminate_signal(&reactor).await;
            asked.store(true, Ordering::Relaxed);
            told
        });
        // It goes down with the process.
        drop(watch.map_err(refused)?);
        Ok(interruption)
    }

    /// # Errors
    /// Somebody has.
    pub fn check(&self) -> Result<(), CompareError> {
        if self.asked.load(Ordering::Relaxed) {
            Err(CompareError::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Starts a program on these cores.
///
/// # Errors
/// It cannot be started.
pub fn start(cores: &[usize], command: &mut Command) -> Result<Child, CompareError> {
    let program = program_name(command);
    // A thread passes its cores on to what it starts.
    let started = thread::scope(|scope| {
        let starting = scope.spawn(|| {
            bind_thread(cores)?;
            command.spawn().map_err(|cause| CompareError::Program {
                program: program.clone(),
                cause,
            })
        });
        starting.join()
    });
    started.expect("a program's start does not panic")
}

/// Runs a program to its end and gives what it printed. `tick` is called now and then.
///
/// # Errors
/// It cannot be started, fails, takes too long, or somebody asks for the end.
pub fn run(
    cores: &[usize],
    command: &mut Command,
    within: Duration,
    interruption: &Interruption,
    tick: &mut dyn FnMut(),
) -> Result<String, CompareError> {
    let program = program_name(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(cores, command)?;
    let output = drain(child.stdout.take());
    let errors = drain(child.stderr.take());
    let deadline = Instant::now() + within;
    let status = loop {
        let ended = child.try_wait().map_err(|cause| CompareError::Program {
            program: program.clone(),
            cause,
        })?;
        if let Some(status) = ended {
            break status;
        }
        let stop = if Instant::now() >= deadline {
            Some(CompareError::Late {
                program: program.clone(),
                within,
            })
        } else {
            interruption.check().err()
        };
        if let Some(reason) = stop {
            // It may have ended by itself in the meantime.
            let _ = child.kill();
            let _ = child.wait();
            return Err(reason);
        }
        tick();
        thread::sleep(LOOK_EVERY);
    };
    interruption.check()?;
    let said = |text: thread::JoinHandle<String>| text.join().unwrap_or_default();
    let (output, errors) = (said(output), said(errors));
    if status.success() {
        return Ok(output);
    }
    let mut text = errors;
    if text.trim().is_empty() {
        text = output;
    }
    let _ = write!(text, " ({status})");
    Err(CompareError::Failed {
        program,
        said: end_of(&text),
    })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is told all the same.
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn program_name(command: &Command) -> String {
    let arguments = command.get_args().take(3).map(OsStr::to_string_lossy);
    let program = std::path::Path::new(command.get_program());
    let mut name = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in arguments {
        name.push(' ');
        name.push_str(&argument);
    }
    name
}

fn end_of(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SAID_MAX);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::machine::available_cores;

    fn shell(script: &str, within: Duration, asked: bool) -> Result<String, CompareError> {
        let interruption = Interruption::default();
        interruption.asked.store(asked, Ordering::Relaxed);
        let cores = &available_cores()[..1];
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(cores, &mut command, within, &interruption, &mut || ())
    }

    #[test]
    fn a_program_says_what_it_found_or_why_not() {
        let minute = Duration::from_secs(60);
        assert_eq!(shell("echo found", minute, false).unwrap(), "found\n");
        let failed = shell("echo why not >&2; exit 3", minute, false);
        let failed = failed.unwrap_err().to_string();
        assert!(
            failed.contains("why not") && failed.contains('3'),
            "{failed}"
        );
        let cores = available_cores()[0].to_string();
        let bound = shell("grep Cpus_allowed_list /proc/self/status", minute, false);
        assert!(bound.unwrap().trim().ends_with(&cores));
    }

    #[test]
    fn a_program_is_ended_when_its_time_is_over_or_somebody_asks() {
        let late = shell("exec sleep 60", Duration::ZERO, false);
        assert!(matches!(late, Err(CompareError::Late { .. })), "{late:?}");
        let asked = shell("exec sleep 60", Duration::from_secs(60), true);
        assert!(matches!(asked, Err(CompareError::Interrupted)), "{asked:?}");
    }
}
