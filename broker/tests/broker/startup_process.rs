//! `millstreamd` as a process of its own, in surroundings that lack something.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// In which a start must succeed or fail.
const STARTING: Duration = Duration::from_secs(5);

/// In which a node must stop when it is told to.
const STOPPING: Duration = Duration::from_secs(20);

/// How long a test waits for an answer or an end; one that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon with its data in `dir`.
pub fn millstreamd(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstreamd"));
    command
        .arg("--set")
        .arg(format!("log.dirs={}", dir.display()));
    command.args(["--set", "shards=1"]);
    command
}

/// Runs a daemon that must refuse to start; gives what it says to that.
#[track_caller]
pub fn refusal(command: &mut Command) -> String {
    let mut child = spawn(command);
    let mut stderr = child.stderr.take().expect("it is piped");
    let (said, hear) = mpsc::channel();
    thread::spawn(move || {
        let mut message = String::new();
        let read = stderr.read_to_string(&mut message);
        // Nobody listens any more if it took too long.
        let _ = said.send(read.map(|_| message));
    });
    let Ok(message) = hear.recv_timeout(STARTING) else {
        child.kill().expect("it runs");
        panic!("it neither ended nor closed its output within {STARTING:?}");
    };
    let message = message.expect("its words are UTF-8");
    let status = child.wait().expect("it has ended");
    assert_eq!(status.code(), Some(1), "{message}");
    message
}

/// A daemon that runs.
pub struct Daemon {
    child: Child,
    /// What it says on its standard error.
    log: JoinHandle<String>,
    /// Where it listens.
    pub address: String,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    #[track_caller]
    pub fn start(command: &mut Command) -> Daemon {
        let mut child = spawn(command);
        let stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let address = rest.split(' ').next().unwrap_or_default().to_owned();
                    let _ = said.send(address);
                }
            }
        });
        // Drained, so that the daemon never waits for its reader.
        let words = thread::spawn(move || {
            let mut words = String::new();
            let _ = stderr.read_to_string(&mut words);
            words
        });
        match hear.recv_timeout(STARTING) {
            Ok(address) => Daemon {
                child,
                log: words,
                address,
            },
            Err(_) => {
                let _ = child.kill();
                panic!("it is not ready:\n{}", words.join().unwrap_or_default());
            }
        }
    }

    /// A connection to it, on which no read waits for ever.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        stream
    }

    /// Tells it to stop, and waits until it has; gives its log.
    #[track_caller]
    pub fn stop(mut self) -> String {
        let pid = i32::try_from(self.child.id()).expect("process ids are small");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            let _ = ended.send(self.child.wait());
        });
        let Ok(status) = end.recv_timeout(STOPPING) else {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
            panic!("it did not stop within {STOPPING:?}");
        };
        let status = status.expect("it is our child");
        let log = self.log.join().expect("it only reads");
        assert!(status.success(), "it stopped with {status}:\n{log}");
        log
    }
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env_remove("MILLSTREAM_LOG").env("NO_COLOR", "1");
    let program = command.get_program().to_owned();
    command
        .spawn()
        .unwrap_or_else(|cause| panic!("{program:?} does not start: {cause}"))
}

/// `inner`, run by another program: `program arguments… inner`.
pub fn run_by(program: &str, arguments: &[impl AsRef<OsStr>], inner: &Command) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(inner.get_program())
        .args(inner.get_args());
    command
}

/// Runs its arguments under a seccomp filter. Perl is there on every Debian, and can make system
/// calls by number.
const SECCOMP: &str = r#"
my ($prctl, $errno, @command) = @ARGV;
sub prctl { syscall($prctl + 0, @_, 0, 0) == 0 or die "prctl: $!" }
prctl(38, 1, 0);                                # PR_SET_NO_NEW_PRIVS
my $filter = pack("(SCCL)4",
    0x20, 0, 0, 0,                              # the system call's number
    0x15, 0, 1, 425,                            # io_uring_setup?
    0x06, 0, 0, 0x00050000 | $errno,            # fails
    0x06, 0, 0, 0x7fff0000);                    # all else is allowed
my $program = pack("S x![P] P", 4, $filter);
prctl(22, 2, $program);                         # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
exec { $command[0] } @command or die "exec: $!";
"#;

/// The daemon where `io_uring_setup` fails with `errno`, by a filter as containers have them.
pub fn with_io_uring_refused(errno: u32, daemon: &Command) -> Command {
    let prctl = match std::env::consts::ARCH {
        "x86_64" => "157",
        "aarch64" => "167",
        other => panic!("what is prctl's number on {other}?"),
    };
    run_by("perl", &["-e", SECCOMP, prctl, &errno.to_string()], daemon)
}

/// The daemon with limits on locked memory that it has no privilege to raise.
pub fn with_little_memlock(limits: &str, daemon: &Command) -> Command {
    let limits = format!("--memlock={limits}");
    if !Uid::effective().is_root() {
        return run_by("prlimit", &[limits], daemon);
    }
    let dropped = "-sys_resource,-ipc_lock";
    let bounding = format!("--bounding-set={dropped}");
    let inherited = format!("--inh-caps={dropped}");
    run_by(
        "prlimit",
        &[&limits, "setpriv", &bounding, &inherited],
        daemon,
    )
}

/// How a namespace of one's own is made.
pub type Namespace = &'static [&'static str];

/// How this user makes a mount namespace. `None`, loudly, where that is not allowed; in CI, where
/// every test counts, a failure.
#[track_caller]
pub fn own_mount_namespace(wanted: &str) -> Option<Namespace> {
    const ROOT: Namespace = &["--mount"];
    const USER: Namespace = &["--user", "--map-root-user", "--mount"];
    let works = |namespace: Namespace| {
        let status = Command::new("unshare").args(namespace).arg("true").status();
        status.is_ok_and(|status| status.success())
    };
    let found = [ROOT, USER].into_iter().find(|namespace| works(namespace));
    if found.is_none() {
        let words = format!("NOT TESTED: this user may not {wanted}; run the tests as root");
        assert!(std::env::var_os("CI").is_none(), "{words}");
        eprintln!("{words}");
    }
    found
}

/// The daemon with a ramfs, which has no O_DIRECT, mounted at `dir` for itself alone.
pub fn with_ramfs_at(dir: &Path, namespace: Namespace, daemon: &Command) -> Command {
    let script = r#"mount -t ramfs ramfs "$0" && exec "$@""#;
    let mut arguments: Vec<&OsStr> = namespace.iter().map(OsStr::new).collect();
    arguments.extend(["sh", "-c", script].map(OsStr::new));
    arguments.push(dir.as_os_str());
    run_by("unshare", &arguments, daemon)
}
