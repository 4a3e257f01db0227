//! A node of this process, on a free port, with its data in a folder that goes with it.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use futures::executor::block_on;
use millstream_broker::config::{BrokerConfig, Settings};
use millstream_broker::log_levels::LogLevels;
use millstream_broker::{BoundListener, Node as Parts, NodeError, Supervisor};
use millstream_reactor::Reactor;
use millstream_reactor::uring::{
    PortReservation, ShardHandle, ShardOptions, probe, reserve_port, start_shard,
    supports_direct_io,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// A running node; it stops when it is dropped.
pub struct Node {
    address: SocketAddr,
    supervisor: Option<Supervisor>,
    shards: Vec<ShardHandle<()>>,
    controller: Option<ShardHandle<Result<(), NodeError>>>,
    _port: PortReservation,
    _folder: TempDir,
}

impl Node {
    /// Starts a node of so many shards.
    pub fn start(shards: usize) -> Node {
        probe().expect("this machine can run a node");
        // On the file system of the build, which is a disk; /tmp may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let (address, port) = reserve_port(any).expect("some port is free");
        let mut settings = Settings::default();
        for pair in [
            format!("log.dirs={}", folder.path().display()),
            format!("listeners=PLAINTEXT://{address}"),
            "durability=written".to_owned(),
        ] {
            settings.take_pair(&pair).expect("a known setting");
        }
        let mut config = BrokerConfig::new(settings).expect("settings that fit");
        config.direct_io = supports_direct_io(folder.path()).expect("the folder can be written");
        let listener = BoundListener {
            name: "PLAINTEXT".into(),
            address,
            advertised_host: address.ip().to_string(),
            advertised_port: address.port(),
        };
        let levels = LogLevels::unconnected();
        let config = Arc::new(config);
        let id = Uuid::new_v4();
        let parts = Parts::new(config, shards, vec![listener], None, id, levels);
        let controller = parts.controller;
        let controller = spawn(async move |reactor| controller.run(reactor).await);
        let shards = parts.shards.into_iter();
        let shards = shards.map(|shard| spawn(async move |reactor| shard.run(reactor).await));
        let shards = shards.collect();
        let mut supervisor = parts.supervisor;
        block_on(supervisor.start()).expect("the node starts");
        Node {
            address,
            supervisor: Some(supervisor),
            shards,
            controller: Some(controller),
            _port: port,
            _folder: folder,
        }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs `millstream-bench` on it: whether it succeeded, what it printed, and what it said.
    pub fn bench(&self, words: &str) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream-bench"));
        command.args(["--bootstrap-server", &self.address.to_string()]);
        let output = command.args(words.split_whitespace()).output();
        let output = output.expect("the program can be run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// What a load prints that succeeds.
    #[track_caller]
    pub fn load(&self, words: &str) -> Value {
        let (success, printed, said) = self.bench(&format!("load {words} --output json"));
        assert!(success, "{words}: {said}");
        assert_eq!(said, "", "{words}: nobody watches the progress");
        serde_json::from_str(&printed).expect("one object")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut supervisor = self.supervisor.take().expect("it is stopped once");
        supervisor.stop();
        let stopped = block_on(supervisor.finish());
        if std::thread::panicking() {
            return;
        }
        stopped.expect("the node stops");
        self.shards.drain(..).for_each(ShardHandle::join);
        let controller = self.controller.take().expect("it is stopped once");
        controller.join().expect("the controller stops");
    }
}

fn spawn<T: Send + 'static>(
    main: impl AsyncFnOnce(Reactor) -> T + Send + 'static,
) -> ShardHandle<T> {
    let options = ShardOptions::default();
    let started = start_shard(options, async move |reactor| main(reactor).await);
    started.expect("a thread can be started")
}
