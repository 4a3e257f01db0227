//! A shard whose thread the kernel lets wait at the worst moments.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, process};

use futures::StreamExt;
use futures::channel::mpsc::unbounded;
use millstream_reactor::uring::start_shard;

use crate::options;

/// Says to the test's own process that it is the one that is held up.
const HELD_UP: &str = "MILLSTREAM_TEST_HELD_UP";

/// How long an answer may take, of which the shard is held up for some tenths of a second.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_shard_that_is_held_up_goes_on() {
    if env::var_os(HELD_UP).is_some() {
        return answers_while_held_up();
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let library = dir.path().join("hold_up.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/uring/hold_up.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(compiled.expect("there is a C compiler").success());
    let held_up = Command::new(env::current_exe().expect("this program has a path"))
        .args(["--exact", "--nocapture"])
        .arg("uring::held_up::a_shard_that_is_held_up_goes_on")
        .env("LD_PRELOAD", &library)
        .env(HELD_UP, "1")
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&held_up.stderr);
    assert!(held_up.status.success(), "{error}");
    let said = String::from_utf8_lossy(&held_up.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

fn answers_while_held_up() {
    let (requests, mut request) = unbounded();
    let (answer, answers) = mpsc::channel();
    let shard = start_shard(options("held up"), |_| async move {
        while let Some(number) = request.next().await {
            answer.send(number).expect("is received");
        }
    })
    .expect("a shard starts");
    for number in 0..20 {
        requests.unbounded_send(number).expect("is received");
        if answers.recv_timeout(PATIENCE) != Ok(number) {
            // The shard's thread would never end.
            eprintln!("request {number} is not answered");
            process::exit(1);
        }
    }
    drop(requests);
    shard.join();
}
