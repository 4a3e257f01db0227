//! What `millstreamd` refuses to start on, each with the real cause: it ends at once, says what is
//! wrong and how to mend it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::startup_process::{
    Daemon, millstreamd, own_mount_namespace, refusal, with_io_uring_refused, with_little_memlock,
    with_ramfs_at,
};

/// The daemon with a data folder, on a free port.
fn on(dir: &tempfile::TempDir) -> Command {
    let mut command = millstreamd(dir.path());
    command
        .arg("--set")
        .arg("listeners=PLAINTEXT://127.0.0.1:0");
    command
}

fn folder() -> tempfile::TempDir {
    // On the file system of the build, which is a disk; /tmp may be memory.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made")
}

#[track_caller]
fn assert_refused(command: &mut Command, words: &[&str]) {
    let message = refusal(command);
    for word in words {
        assert!(message.contains(word), "`{word}` is not in:\n{message}");
    }
    let last = message.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("millstreamd: "),
        "the cause comes last:\n{message}"
    );
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let address = taken.local_addr().expect("it is bound");
    let dir = folder();
    let mut command = millstreamd(dir.path());
    command
        .arg("--set")
        .arg(format!("listeners=PLAINTEXT://{address}"));
    assert_refused(
        &mut command,
        &[&format!("{address} is taken"), "--set listeners="],
    );
}

#[test]
fn the_port_of_another_node() {
    let (dir, other) = (folder(), folder());
    let running = Daemon::start(&mut on(&dir));
    let mut command = millstreamd(other.path());
    command
        .arg("--set")
        .arg(format!("listeners=PLAINTEXT://{}", running.address));
    let words = format!("{} is taken", running.address);
    assert_refused(&mut command, &[&words, "--set listeners="]);
    running.stop();
}

#[test]
fn a_locked_data_folder() {
    let dir = folder();
    let running = Daemon::start(&mut on(&dir));
    assert_refused(
        &mut on(&dir),
        &["in use by another process", "set log.dirs"],
    );
    running.stop();
    Daemon::start(&mut on(&dir)).stop();
}

#[test]
fn the_data_folder_of_another_node() {
    let dir = folder();
    Daemon::start(&mut on(&dir)).stop();
    let words = [
        "belongs to node.id 1, and this is node.id 7",
        "set log.dirs",
    ];
    assert_refused(on(&dir).args(["--set", "node.id=7"]), &words);
}

#[test]
fn the_data_folder_of_apache_kafka() {
    let dir = folder();
    let meta = "version=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\nnode.id=1\n";
    fs::write(dir.path().join("meta.properties"), meta).expect("written");
    assert_refused(&mut on(&dir), &["Apache Kafka", "set log.dirs"]);
    let kept = fs::read_to_string(dir.path().join("meta.properties")).expect("it is left alone");
    assert_eq!(kept, meta);
}

#[test]
fn a_folder_with_other_things_in_it() {
    let dir = folder();
    fs::write(dir.path().join("photo.jpg"), "x").expect("written");
    assert_refused(
        &mut on(&dir),
        &["is not empty (it has photo.jpg)", "set log.dirs"],
    );
}

#[test]
fn a_kernel_without_io_uring_or_a_container_that_hides_it() {
    const ENOSYS: u32 = 38;
    let dir = folder();
    let words = ["not there", "seccomp", "CONFIG_IO_URING"];
    assert_refused(&mut with_io_uring_refused(ENOSYS, &on(&dir)), &words);
}

#[test]
fn a_container_that_forbids_io_uring() {
    const EPERM: u32 = 1;
    let dir = folder();
    let words = ["forbidden to this process", "seccomp"];
    assert_refused(&mut with_io_uring_refused(EPERM, &on(&dir)), &words);
}

#[test]
fn too_little_memory_that_may_be_locked() {
    let dir = folder();
    let words = [
        "only 65536 bytes of memory may be locked",
        "ulimit -l",
        "LimitMEMLOCK=",
    ];
    assert_refused(&mut with_little_memlock("65536:65536", &on(&dir)), &words);
}

#[test]
fn a_soft_limit_on_locked_memory_is_raised() {
    let dir = folder();
    Daemon::start(&mut with_little_memlock("65536:", &on(&dir))).stop();
}

#[test]
fn a_file_system_without_direct_io() {
    let Some(namespace) = own_mount_namespace("mount a ramfs") else {
        return;
    };
    let dir = folder();
    let words = ["has no O_DIRECT", "--allow-buffered-io", "set log.dirs"];
    assert_refused(&mut with_ramfs_at(dir.path(), namespace, &on(&dir)), &words);
    let mut allowed = on(&dir);
    allowed.arg("--allow-buffered-io");
    Daemon::start(&mut with_ramfs_at(dir.path(), namespace, &allowed)).stop();
}

#[test]
fn a_data_folder_that_cannot_be_made() {
    let dir = folder();
    fs::write(dir.path().join("file"), "x").expect("written");
    let mut command = millstreamd(&dir.path().join("file/data"));
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    assert_refused(
        &mut command,
        &["file/data", "Not a directory", "set log.dirs"],
    );
}

#[test]
fn an_unknown_key() {
    let dir = folder();
    let words = ["num.partitons", "did you mean `num.partitions`?"];
    assert_refused(on(&dir).args(["--set", "num.partitons=3"]), &words);
    let file = dir.path().join("server.properties");
    fs::write(&file, "# a comment\nlog.retention.housr=1\n").expect("written");
    let words = ["server.properties", "did you mean `log.retention.hours`?"];
    assert_refused(on(&dir).arg("--config").arg(&file), &words);
}

#[test]
fn a_value_out_of_range() {
    let dir = folder();
    let words = ["num.partitions", "0", "at least 1"];
    assert_refused(on(&dir).args(["--set", "num.partitions=0"]), &words);
    let words = ["--set durability=sometimes", "fsync", "written", "memory"];
    assert_refused(on(&dir).args(["--set", "durability=sometimes"]), &words);
}

#[test]
fn a_settings_file_that_is_not_there() {
    let dir = folder();
    let words = ["cannot read /nowhere/server.properties", "No such file"];
    assert_refused(
        on(&dir).args(["--config", "/nowhere/server.properties"]),
        &words,
    );
}
