//! A service manager is told when the daemon is ready and when it stops, as `sd_notify(3)` has it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use crate::startup_process::{Daemon, PATIENCE, millstreamd};

fn folder() -> tempfile::TempDir {
    // On the file system of the build, which is a disk; /tmp may be memory.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made")
}

fn daemon(dir: &Path, notify_socket: &str) -> Command {
    let mut command = millstreamd(dir);
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", notify_socket);
    command
}

fn said(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = socket.recv(&mut message).expect("a message comes");
    String::from_utf8(message[..length].to_vec()).expect("text")
}

#[track_caller]
fn assert_told(socket: &UnixDatagram, name: &str) {
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("it is a socket");
    let dir = folder();
    let running = Daemon::start(&mut daemon(dir.path(), name));
    assert_eq!(said(socket), "READY=1");
    socket.set_nonblocking(true).expect("it is a socket");
    assert!(
        socket.recv(&mut [0]).is_err(),
        "it says nothing while it runs"
    );
    let log = running.stop();
    // It has ended, so everything was said.
    assert_eq!(said(socket), "STOPPING=1");
    assert!(socket.recv(&mut [0]).is_err(), "each is said once");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn at_a_path() {
    let dir = folder();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("it is free");
    assert_told(&socket, path.to_str().expect("it is UTF-8"));
}

#[test]
fn in_the_abstract_namespace() {
    let dir = folder();
    let name = dir
        .path()
        .to_str()
        .expect("it is UTF-8")
        .trim_start_matches('/');
    let address = SocketAddr::from_abstract_name(name).expect("it is short");
    let socket = UnixDatagram::bind_addr(&address).expect("nobody has this name");
    assert_told(&socket, &format!("@{name}"));
}

#[test]
fn one_that_is_not_there_is_warned_of_and_the_daemon_runs() {
    let dir = folder();
    for (name, words) in [
        ("/nowhere/notify", "could not be told READY=1"),
        ("notify", "neither a path nor an @name"),
    ] {
        let log = Daemon::start(&mut daemon(dir.path(), name)).stop();
        assert!(log.contains(words), "{log}");
    }
}
