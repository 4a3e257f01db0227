//! A whole node in the simulator, and the command run on another machine beside it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use millstream_broker::config::{BrokerConfig, Settings};
use millstream_broker::log_levels::LogLevels;
use millstream_broker::{BoundListener, Node, Supervisor};
use millstream_cli::arguments::{Arguments, OutputFormat};
use millstream_cli::{Output, run};
use millstream_reactor::sim::{Simulation, SimulationOptions};
use millstream_reactor::{Task, TaskQueue};
use serde_json::Value;
use uuid::Uuid;

const PORT: u16 = 9092;
const METRICS_PORT: u16 = 9404;

/// A simulated cluster of one broker, and a machine for people.
pub struct Cluster {
    sim: Simulation,
    desk: millstream_reactor::sim::Node,
    address: SocketAddr,
    _parts: Vec<Task<()>>,
    _supervisor: Supervisor,
}

/// What the command did.
pub struct Ran {
    pub exit_code: u8,
    pub text: String,
    /// Why it failed, and how to mend it.
    pub failure: String,
}

impl Cluster {
    /// A node with the defaults, started.
    pub fn new() -> Cluster {
        Cluster::advertising(None)
    }

    /// A node that sends clients to this host instead of its own.
    pub fn advertising(host: Option<&str>) -> Cluster {
        let sim = Simulation::new(SimulationOptions::default());
        let (broker, desk) = (sim.add_node("broker"), sim.add_node("desk"));
        let address = broker.address(PORT);
        let mut settings = Settings::default();
        let pairs = [
            "log.dirs=/data".to_owned(),
            format!("listeners=PLAINTEXT://{address}"),
        ];
        for pair in &pairs {
            settings.take_pair(pair).expect("a known setting");
        }
        let config = Arc::new(BrokerConfig::new(settings).expect("settings that fit"));
        let listener = BoundListener {
            name: "PLAINTEXT".into(),
            address,
            advertised_host: host.map_or_else(|| address.ip().to_string(), str::to_owned),
            advertised_port: PORT,
        };
        let metrics = Some(SocketAddr::new(address.ip(), METRICS_PORT));
        let (id, logs) = (Uuid::from_u128(1), LogLevels::unconnected());
        let node = Node::new(config, 2, vec![listener], metrics, id, logs);
        let reactor = broker.reactor();
        let controller = node.controller.run(reactor.clone());
        let mut parts = vec![reactor.spawn(TaskQueue::Requests, async move {
            controller.await.expect("the controller runs");
        })];
        for shard in node.shards {
            let reactor = broker.reactor();
            parts.push(reactor.spawn(TaskQueue::Requests, shard.run(reactor.clone())));
        }
        let mut supervisor = node.supervisor;
        sim.block_on(supervisor.start()).expect("the node starts");
        Cluster {
            sim,
            desk,
            address,
            _parts: parts,
            _supervisor: supervisor,
        }
    }

    /// Runs `millstream` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_at(&self.address.to_string(), arguments)
    }

    /// Runs `millstream` with these arguments against an address.
    pub fn run_at(&self, server: &str, arguments: &[&str]) -> Ran {
        let words = ["millstream", "--bootstrap-server", server];
        let parsed = Arguments::try_parse_from(words.iter().chain(arguments));
        let arguments = match parsed {
            Ok(arguments) => arguments,
            Err(error) => {
                return Ran {
                    exit_code: u8::try_from(error.exit_code()).expect("a small number"),
                    text: String::new(),
                    failure: error.to_string(),
                };
            }
        };
        let output = Output::in_memory(arguments.output);
        let printing = output.clone();
        let reactor = self.desk.reactor();
        let task = reactor.spawn(TaskQueue::Requests, {
            let reactor = reactor.clone();
            async move { run(&reactor, arguments, &printing).await }
        });
        let done = self.sim.block_on(task).expect("the machine does not crash");
        let (exit_code, failure) = match done {
            Ok(()) => (0, String::new()),
            Err(failure) => {
                let mend = failure.mend().unwrap_or_default();
                (failure.exit_code(), format!("{failure}\n{mend}"))
            }
        };
        Ran {
            exit_code,
            text: String::from_utf8_lossy(&output.taken()).into_owned(),
            failure,
        }
    }

    /// Runs `millstream` with these words, which succeeds; what it prints.
    pub fn text(&self, words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        let ran = self.run(&words);
        assert_eq!(ran.exit_code, 0, "{words:?}: {}", ran.failure);
        ran.text
    }

    /// Runs `millstream --output json` with these words, which succeeds; each value it prints.
    pub fn json_lines(&self, words: &str) -> Vec<Value> {
        let text = self.text(&format!("--output json {words}"));
        let values = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"));
        values.collect()
    }

    /// Like [`Cluster::json_lines`], for what prints one value.
    pub fn json(&self, words: &str) -> Value {
        let mut lines = self.json_lines(words);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// Runs `millstream` with these words, which fails; the exit code and the failure.
    pub fn failure(&self, words: &str) -> (u8, String) {
        let words: Vec<&str> = words.split_whitespace().collect();
        let ran = self.run(&words);
        assert_ne!(ran.exit_code, 0, "{words:?}: {}", ran.text);
        (ran.exit_code, ran.failure)
    }

    /// Produces the lines of a text.
    pub fn produce(&self, topic: &str, options: &[&str], lines: &str) -> Ran {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines");
        std::fs::write(&file, lines).expect("written");
        let mut words = vec!["produce", "--topic", topic, path(&file)];
        words.extend(options);
        self.run(&words)
    }
}

/// A command line that needs no cluster: the exit code and what it prints.
pub fn run_alone(words: &[&str]) -> (u8, String) {
    let arguments = Arguments::try_parse_from(["millstream"].iter().chain(words));
    let output = Output::in_memory(OutputFormat::Text);
    let done = millstream_cli::run_alone(&arguments.expect("right usage"), &output);
    let code = match done.expect("it needs no cluster") {
        Ok(()) => 0,
        Err(failure) => failure.exit_code(),
    };
    (code, String::from_utf8_lossy(&output.taken()).into_owned())
}

pub fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is text")
}
