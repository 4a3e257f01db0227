//! A broker for the time of a round: started with an empty folder on its cores, paused while others
//! have their turns, stopped at the end, and killed when the round breaks off.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child::{self, Interruption};
use super::error::CompareError;
use super::suite::{Contender, Kind};

/// How long a broker may take to start or to stop.
const START_WITHIN: Duration = Duration::from_secs(150);
const STOP_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// More than any pause takes.
const SESSION_MS: u32 = 6 * 60 * 60 * 1000;
/// How much of a failed broker's log is told.
const LOG_LINES: usize = 8;

/// What brokers are started with.
#[derive(Debug, Clone)]
pub struct Programs {
    /// This program, which is its own load.
    pub bench: PathBuf,
    /// Millstream.
    pub millstreamd: PathBuf,
    /// The script that starts Apache Kafka.
    pub kafka: PathBuf,
    /// The folder of the witnesses, a program of Python's.
    pub witness: PathBuf,
}

/// Where the scripts lie that are not named, in a folder above this one or above the program.
const KAFKA: &str = "scripts/peers/kafka";
const WITNESS: &str = "bench-harness/witness";

impl Programs {
    /// Those beside this one; scripts from the folder above that has them, unless they are named.
    ///
    /// # Errors
    /// This program cannot tell where it is.
    pub fn find(
        kafka: Option<PathBuf>,
        witness: Option<PathBuf>,
    ) -> Result<Programs, CompareError> {
        let bench = std::env::current_exe()
            .map_err(|cause| CompareError::file("the running program", cause))?;
        let folder = bench.parent().unwrap_or(Path::new("/")).to_owned();
        // A test's program lies in a folder below.
        let beside = [Some(folder.as_path()), folder.parent()];
        let daemons = beside
            .into_iter()
            .flatten()
            .map(|folder| folder.join("millstreamd"));
        let millstreamd = daemons.clone().find(|path| path.exists());
        let from_here = std::env::current_dir().unwrap_or_default();
        let above = |name: &str| {
            let folders = from_here.ancestors().chain(bench.ancestors());
            let mut paths = folders.map(|folder| folder.join(name));
            let found = paths.find(|path| path.exists());
            found.unwrap_or_else(|| PathBuf::from(name))
        };
        Ok(Programs {
            millstreamd: millstreamd.unwrap_or_else(|| folder.join("millstreamd")),
            kafka: kafka.unwrap_or_else(|| above(KAFKA)),
            witness: witness.unwrap_or_else(|| above(WITNESS)),
            bench,
        })
    }

    /// The version that a broker of this kind tells of itself.
    pub fn version(&self, kind: Kind) -> Option<String> {
        let (program, argument) = match kind {
            Kind::Millstream => (&self.millstreamd, "--version"),
            Kind::Kafka => (&self.kafka, "version"),
            Kind::Running => return None,
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.trim().trim_start_matches("millstreamd ");
        (output.status.success() && !version.is_empty()).then(|| version.to_owned())
    }
}

/// A broker that runs.
pub struct Broker {
    /// Where it serves.
    pub address: String,
    /// Its process, where that is known.
    pub pid: Option<u32>,
    /// The folder of its data, where that is known.
    pub data: Option<PathBuf>,
    process: Process,
}

enum Process {
    Millstream { child: Child, log: PathBuf },
    Kafka { script: PathBuf, folder: PathBuf },
    Elsewhere,
    Stopped,
}

impl Broker {
    /// Starts it in `folder` on `cores`, and waits until it answers.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub fn start(
        contender: &Contender,
        folder: &Path,
        cores: &[usize],
        programs: &Programs,
        interruption: &Interruption,
    ) -> Result<Broker, CompareError> {
        let broker = match contender.kind {
            Kind::Millstream => start_millstream(contender, folder, cores, programs)?,
            Kind::Kafka => start_kafka(contender, folder, cores, programs, interruption)?,
            Kind::Running => Broker {
                address: contender.address.clone().unwrap_or_default(),
                pid: None,
                data: None,
                process: Process::Elsewhere,
            },
        };
        let mut first = Command::new(&programs.bench);
        first.args(["-b", &broker.address, "first-answer", "--seconds", "60"]);
        let within = Duration::from_secs(90);
        match child::run(cores, &mut first, within, interruption, &mut || ()) {
            Ok(_) => Ok(broker),
            Err(CompareError::Failed { said, .. }) => Err(CompareError::Failed {
                program: contender.label.clone(),
                said: format!("{said}; {}", broker.end_of_log()),
            }),
            Err(other) => Err(other),
        }
    }

    /// Takes its cores away until it has its next turn.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Gives them back.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let pid = i32::try_from(pid).expect("a pid is an int");
            // One that has ended answers no load, and that is told.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// It does not end, or ends badly.
    pub fn stop(mut self) -> Result<(), CompareError> {
        self.resume();
        match std::mem::replace(&mut self.process, Process::Stopped) {
            Process::Millstream { mut child, log } => {
                terminate(&child)?;
                let ended = wait(&mut child, STOP_WITHIN);
                if ended != Some(true) {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(CompareError::Failed {
                        program: "millstreamd".to_owned(),
                        said: format!("it did not stop well; {}", last_lines(&log)),
                    });
                }
                Ok(())
            }
            Process::Kafka { script, folder } => kafka_stop(&script, &folder, false),
            Process::Elsewhere | Process::Stopped => Ok(()),
        }
    }

    /// The last lines of its log, named as such, or nothing.
    pub fn end_of_log(&self) -> String {
        match &self.process {
            Process::Millstream { log, .. } => last_lines(log),
            Process::Kafka { folder, .. } => last_lines(&folder.join("kafka.log")),
            Process::Elsewhere | Process::Stopped => String::new(),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.process, Process::Stopped) {
            Process::Millstream { mut child, .. } => {
                // It may be gone already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Kafka { script, folder } => {
                if let Err(cause) = kafka_stop(&script, &folder, true) {
                    eprintln!("{cause}");
                }
            }
            Process::Elsewhere | Process::Stopped => {}
        }
    }
}

fn start_millstream(
    contender: &Contender,
    folder: &Path,
    cores: &[usize],
    programs: &Programs,
) -> Result<Broker, CompareError> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let (data, log) = (folder.join("data"), folder.join("log"));
    let output = File::create(&log).map_err(|cause| CompareError::file(&log, cause))?;
    let errors = output
        .try_clone()
        .map_err(|cause| CompareError::file(&log, cause))?;
    let mut command = Command::new(&programs.millstreamd);
    command
        .args(["--set", &format!("log.dirs={}", data.display())])
        .args(["--set", &format!("listeners=PLAINTEXT://{address}")])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    for setting in &contender.set {
        command.args(["--set", setting]);
    }
    let child = child::start(cores, &mut command)?;
    Ok(Broker {
        address,
        pid: Some(child.id()),
        data: Some(data),
        process: Process::Millstream { child, log },
    })
}

fn start_kafka(
    contender: &Contender,
    folder: &Path,
    cores: &[usize],
    programs: &Programs,
    interruption: &Interruption,
) -> Result<Broker, CompareError> {
    let node = folder.join("node");
    let mut command = Command::new(&programs.kafka);
    command.arg("start").arg("--dir").arg(&node);
    // Kafka's controller takes a broker that was paused for dead, for a moment.
    command.args(["--set", &format!("broker.session.timeout.ms={SESSION_MS}")]);
    for setting in &contender.set {
        command.args(["--set", setting]);
    }
    // Made first, so that a start that is broken off leaves no process behind.
    let mut broker = Broker {
        address: String::new(),
        pid: None,
        data: None,
        process: Process::Kafka {
            script: programs.kafka.clone(),
            folder: node,
        },
    };
    // Its output is a pipe that the broker does not inherit: the script redirects it.
    let said = child::run(cores, &mut command, START_WITHIN, interruption, &mut || ())?;
    let told = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_start_matches('=').to_owned())
    };
    broker.address = told("bootstrap").unwrap_or_default();
    broker.pid = told("pid").and_then(|pid| pid.parse().ok());
    broker.data = told("data").map(PathBuf::from);
    Ok(broker)
}

fn kafka_stop(script: &Path, folder: &Path, at_once: bool) -> Result<(), CompareError> {
    let mut command = Command::new(script);
    command
        .arg("stop")
        .arg(folder)
        .args(at_once.then_some("--kill"));
    let program = || "scripts/peers/kafka stop".to_owned();
    let output = command.output().map_err(|cause| CompareError::Program {
        program: program(),
        cause,
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(CompareError::Failed {
        program: program(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn terminate(child: &Child) -> Result<(), CompareError> {
    let pid = i32::try_from(child.id()).expect("a pid is an int");
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|cause| CompareError::Program {
        program: "kill".to_owned(),
        cause: cause.into(),
    })
}

/// Whether it ended well; none if it has not ended.
fn wait(child: &mut Child, within: Duration) -> Option<bool> {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(_) => return None,
        }
    }
    None
}

fn free_port() -> Result<u16, CompareError> {
    let port = |listener: TcpListener| -> io::Result<u16> { Ok(listener.local_addr()?.port()) };
    TcpListener::bind("127.0.0.1:0")
        .and_then(port)
        .map_err(|cause| CompareError::Machine(format!("no free port: {cause}")))
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    format!("the end of its log: {}", lines[first..].join(" | "))
}
