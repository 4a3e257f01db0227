//! What the daemon logs, and how that is changed while it runs.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use millstream_broker::log_levels::MODULES;
use millstream_protocol::frame::{decode_response, encode_request};
use millstream_protocol::messages::IncrementalAlterConfigsRequest;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::text;
use crate::startup_process::{Daemon, millstreamd, run_by};

const BROKER_LOGGER: i8 = 8;
const VERSION: i16 = 1;

/// The least that a pipe holds.
const PIPE_BYTES: i32 = 4096;

/// Opens a connection and ends it; when this returns, the daemon has logged that or never will.
fn come_and_go(daemon: &Daemon) -> SocketAddr {
    let mut stream = daemon.connect();
    let address = stream.local_addr().expect("connected");
    stream.shutdown(Shutdown::Write).expect("connected");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it closes its side");
    assert!(rest.is_empty());
    address
}

/// Whether the end of the connection was logged.
fn tells_end(log: &str, peer: SocketAddr) -> bool {
    let ended = format!("peer={peer}");
    let mut lines = log.lines();
    lines.any(|line| line.contains("closed: ") && line.contains(&ended))
}

/// Changes the level of a logger; `None` takes its own away.
fn set_level(daemon: &Daemon, logger: &str, level: Option<&str>) {
    let config = AlterableConfig::default()
        .with_name(text(logger))
        .with_config_operation(if level.is_some() { 0 } else { 1 })
        .with_value(level.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER_LOGGER)
        .with_resource_name(text("1"))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let frame = encode_request(1, None, VERSION, &request).expect("a request");
    let mut stream = daemon.connect();
    stream.write_all(&frame).expect("connected");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("the whole answer");
    let answer = decode_response::<IncrementalAlterConfigsRequest>(VERSION, Bytes::from(answer))
        .expect("an answer to the request");
    let changed = &answer.responses[0];
    assert_eq!(changed.error_code, 0, "{:?}", changed.error_message);
}

#[test]
fn a_changed_level_takes_effect_on_what_is_logged() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut command = millstreamd(dir.path());
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    let daemon = Daemon::start(&mut command);
    let logger = "millstream_net::connection";
    let before = come_and_go(&daemon);
    set_level(&daemon, logger, Some("DEBUG"));
    let meanwhile = come_and_go(&daemon);
    set_level(&daemon, "millstream_net", Some("ERROR"));
    let own_level = come_and_go(&daemon);
    set_level(&daemon, logger, None);
    let after = come_and_go(&daemon);
    let log = daemon.stop();
    for (peer, wanted) in [
        (before, false),
        (meanwhile, true),
        (own_level, true),
        (after, false),
    ] {
        assert_eq!(tells_end(&log, peer), wanted, "{peer}\n{log}");
    }
}

#[test]
fn levels_that_cannot_be_read_are_told_and_the_usual_ones_taken() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut command = millstreamd(dir.path());
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    let levels = ["MILLSTREAM_LOG=info,millstream_net=loud"];
    let daemon = Daemon::start(&mut run_by("env", &levels, &command));
    let log = daemon.stop();
    assert!(
        log.contains("MILLSTREAM_LOG is `info,millstream_net=loud`"),
        "{log}"
    );
    assert!(log.contains("stopped"), "info is logged:\n{log}");
}

#[test]
fn a_log_that_nobody_reads_holds_no_request_up_and_loses_no_line() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let pipe = dir.path().join("log");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("a named pipe");
    let both_ends = OpenOptions::new().read(true).write(true).open(&pipe);
    let both_ends = both_ends.expect("it waits for no other end");
    let size = fcntl(&both_ends, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).expect("a pipe");
    assert_eq!(size, PIPE_BYTES);
    let mut command = millstreamd(&dir.path().join("data"));
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    let script = format!(
        r#"MILLSTREAM_LOG=debug exec "$0" "$@" 2>'{}'"#,
        pipe.display()
    );
    let daemon = Daemon::start(&mut run_by("sh", &["-c", &script], &command));
    let mut read_end = File::open(&pipe).expect("the daemon has the other end");
    drop(both_ends);
    let peers: Vec<SocketAddr> = (0..100).map(|_| come_and_go(&daemon)).collect();
    let reader = thread::spawn(move || {
        let mut log = String::new();
        read_end.read_to_string(&mut log).map(|_| log)
    });
    daemon.stop();
    let log = reader.join().expect("it only reads").expect("UTF-8");
    assert!(log.len() > 2 * PIPE_BYTES as usize, "it fits into the pipe");
    for peer in peers {
        assert!(tells_end(&log, peer), "{peer}\n{log}");
    }
}

/// Folders of sources that the daemon is made of, and their crates.
const CRATES: &[(&str, &str)] = &[
    ("broker/coordinator/src", "millstream_coordinator"),
    ("broker/src", "millstream_broker"),
    ("controller/metadata/src", "millstream_metadata"),
    ("controller/raft/src", "millstream_raft"),
    ("controller/src", "millstream_controller"),
    ("net/protocol/src", "millstream_protocol"),
    ("net/src", "millstream_net"),
    ("reactor/src", "millstream_reactor"),
    ("replication/src", "millstream_replication"),
    ("storage/src", "millstream_storage"),
];

/// The path of the module in a file of a crate; nothing for the simulator, which no daemon has.
fn module(crate_name: &str, file: &Path) -> Option<String> {
    let name = file.with_extension("");
    let mut parts: Vec<&str> = name.iter().filter_map(|part| part.to_str()).collect();
    let crate_name = match parts[..] {
        ["sim", ..] if crate_name == "millstream_reactor" => return None,
        // These two belong to the program.
        ["main"] => return Some("millstreamd".into()),
        ["service_manager"] => "millstreamd",
        _ => crate_name,
    };
    if matches!(parts.last(), Some(&"mod" | &"lib")) {
        parts.pop();
    }
    parts.insert(0, crate_name);
    Some(parts.join("::"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn logs(source: &str) -> bool {
    let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let mut code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.any(|line| {
        macros.iter().any(|name| {
            let before = line.find(name).map(|at| &line[..at]);
            before
                .is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    })
}

#[test]
fn every_module_that_logs_has_a_logger() {
    let mut found = BTreeSet::new();
    for (folder, crate_name) in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder);
        let mut files = Vec::new();
        sources(&root, &mut files);
        assert!(!files.is_empty(), "{folder} has no sources");
        for file in files {
            let source = std::fs::read_to_string(&file).expect("a source file is UTF-8");
            let inside = file.strip_prefix(&root).expect("it was found there");
            if logs(&source) {
                found.extend(module(crate_name, inside));
            }
        }
    }
    let known: BTreeSet<_> = MODULES.iter().map(|module| (*module).to_owned()).collect();
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "add to MODULES in log_levels.rs: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "they log no more: {gone:?}");
}
