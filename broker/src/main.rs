//! `millstreamd`: reads the settings, checks the machine, starts a node and says where it is.

mod service_manager;

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser, ValueEnum};
use futures::executor::block_on;
use millstream_broker::config::{BrokerConfig, Endpoint, Settings};
use millstream_broker::log_levels::{Levels, LogLevels};
use millstream_broker::log_writer::LogWriter;
use millstream_broker::{BoundListener, Node, NodeError, machine_memory, reference};
use millstream_packaging::write_reference;
use millstream_reactor::uring::{
    PortReservation, ShardHandle, ShardOptions, catch_terminate_signals, probe, reserve_port,
    start_shard, supports_direct_io,
};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use tracing::{info, warn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::service_manager::ServiceManager;
use millstream_net::port_owner;

/// How long the end of the process waits for lines of the log that are not written yet.
const LOG_END_WAIT: Duration = Duration::from_secs(1);

/// What the help says after the options.
const AFTER_HELP: &str = "\
MILLSTREAM_LOG in the environment says what is logged to standard error: error, warn, info (the
default), debug or trace, also by module, such as info,millstream_storage=debug. While the node
runs, kafka-configs --entity-type broker-loggers shows and changes the levels.
SIGTERM and SIGINT stop the node: requests under way are answered and the logs closed.
Exit codes: 0 stopped or printed, 1 failed, 2 wrong usage.";

/// Apache Kafka's job on today's Linux. With no options it runs a node in ./millstream-data that
/// listens on 127.0.0.1:9092.
#[derive(Debug, Parser)]
#[command(name = "millstreamd", version, after_help = AFTER_HELP)]
struct Options {
    /// Settings in Kafka's own format, server.properties.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, stronger than the file's; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Go through the page cache where the file system has no O_DIRECT.
    #[arg(long)]
    allow_buffered_io: bool,
    /// Print every setting with its default and what it does, and exit.
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    list_settings: Option<SettingsFormat>,
    /// Write the man page and completions of shells under DIR, as /usr/share has them, and exit.
    #[arg(long, value_name = "DIR", hide = true)]
    write_reference: Option<PathBuf>,
}

/// How the settings are listed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SettingsFormat {
    /// For a terminal.
    Text,
    /// docs/configuration.md.
    Markdown,
}

/// Why the process ends, in words for the person who started it.
type Failure = String;

fn main() -> ExitCode {
    let started = Instant::now();
    let options = Options::parse();
    if let Some(done) = print_reference(&options) {
        return done;
    }
    finish(start_log().and_then(|(log_levels, log)| {
        let result = run(&options, log_levels, started);
        log.flush(LOG_END_WAIT);
        result
    }))
}

/// Begins to log to standard error, at the levels of `MILLSTREAM_LOG`.
fn start_log() -> Result<(LogLevels, LogWriter), Failure> {
    let writer = LogWriter::start(io::stderr())
        .map_err(|cause| format!("cannot start the thread of the log: {cause}"))?;
    flush_before_panics(writer.clone());
    let wanted = std::env::var("MILLSTREAM_LOG").ok();
    let wanted = wanted.filter(|text| !text.trim().is_empty()).map(|text| {
        let levels = text.parse::<Levels>();
        (text, levels)
    });
    let (levels, fault) = match wanted {
        None => (Levels::default(), None),
        Some((_, Ok(levels))) => (levels, None),
        Some((text, Err(cause))) => (Levels::default(), Some((text, cause))),
    };
    let (filter, levels) = LogLevels::new(levels);
    let lines = fmt::layer()
        .with_writer(writer.clone())
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    if let Some((text, cause)) = fault {
        warn!("MILLSTREAM_LOG is `{text}`, which cannot be read ({cause}): info is logged");
    }
    Ok((levels, writer))
}

/// Makes a panic's message the last of what the log says.
fn flush_before_panics(log: LogWriter) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        log.flush(LOG_END_WAIT);
        report(panic);
    }));
}

/// What needs no node, if it was asked for.
fn print_reference(options: &Options) -> Option<ExitCode> {
    let printed = match options.list_settings {
        Some(SettingsFormat::Text) => print(&reference::settings_text()),
        Some(SettingsFormat::Markdown) => print(&reference::settings_page()),
        None => {
            let share = options.write_reference.as_ref()?;
            write_reference(&Options::command(), share).map_err(|error| error.to_string())
        }
    };
    Some(finish(printed))
}

/// Prints a text; a reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(cause.to_string()),
        _ => Ok(()),
    }
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("millstreamd: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, log_levels: LogLevels, started: Instant) -> Result<(), Failure> {
    let mut config = read_config(options)?;
    probe().map_err(|lack| lack.to_string())?;
    config.direct_io = check_direct_io(&config, options.allow_buffered_io)?;
    config.machine_memory_bytes = machine_memory();
    let (listeners, mut reservations) = bind(&config)?;
    let metrics = bind_metrics(&config)?.map(|(address, reservation)| {
        reservations.push(reservation);
        address
    });
    // From here on a node that is told to stop closes its data folder properly.
    catch_terminate_signals().map_err(|cause| format!("cannot watch for signals: {cause}"))?;
    let cpus = affinity()?;
    let shards = if config.shards == 0 {
        cpus.len()
    } else {
        config.shards
    };
    let config = Arc::new(config);
    let node = Node::new(
        config.clone(),
        shards,
        listeners.clone(),
        metrics,
        random_uuid(),
        log_levels,
    );

    let controller = node.controller;
    let controller = spawn("controller".into(), None, move |reactor| {
        controller.run(reactor)
    })?;
    let mut threads = Vec::with_capacity(shards);
    for (id, shard) in node.shards.into_iter().enumerate() {
        let cpu = (shards <= cpus.len()).then(|| cpus[id]);
        threads.push(spawn(format!("shard-{id}"), cpu, move |reactor| {
            shard.run(reactor)
        })?);
    }
    let mut supervisor = node.supervisor;
    block_on(supervisor.start()).map_err(|error| error.to_string())?;
    announce(&config, &listeners, metrics, shards, started);
    let service_manager = ServiceManager::from_environment();
    service_manager.tell("READY=1");

    block_on(supervisor.stopping()).map_err(|error| error.to_string())?;
    service_manager.tell("STOPPING=1");
    block_on(supervisor.finish()).map_err(|error| error.to_string())?;
    threads.into_iter().for_each(ShardHandle::join);
    controller
        .join()
        .map_err(|error: NodeError| error.to_string())?;
    info!("stopped");
    Ok(())
}

fn spawn<T, F, Main>(name: String, cpu: Option<usize>, main: F) -> Result<ShardHandle<T>, Failure>
where
    T: Send + 'static,
    F: FnOnce(millstream_reactor::Reactor) -> Main + Send + 'static,
    Main: Future<Output = T> + 'static,
{
    let options = ShardOptions {
        name: name.clone(),
        cpu,
    };
    start_shard(options, main).map_err(|cause| format!("cannot start the thread {name}: {cause}"))
}

fn read_config(options: &Options) -> Result<BrokerConfig, Failure> {
    let mut settings = Settings::default();
    if let Some(path) = &options.config {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        settings
            .take_properties(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for pair in &options.settings {
        settings
            .take_pair(pair)
            .map_err(|error| format!("--set {pair}: {error}"))?;
    }
    let config = BrokerConfig::new(settings).map_err(|error| error.to_string())?;
    for notice in config.settings.notices() {
        info!("{notice}");
    }
    Ok(config)
}

/// Whether the data folder's file system takes writes past the page cache.
fn check_direct_io(config: &BrokerConfig, allow_buffered: bool) -> Result<bool, Failure> {
    let dir = &config.log_dir;
    std::fs::create_dir_all(dir)
        .map_err(|cause| format!("cannot make {}: {cause}; set log.dirs", dir.display()))?;
    let supported = supports_direct_io(dir)
        .map_err(|cause| format!("cannot write to {}: {cause}; set log.dirs", dir.display()))?;
    match (supported, allow_buffered) {
        (true, _) => Ok(true),
        (false, true) => {
            warn!(
                "{} has no O_DIRECT: records go through the page cache",
                dir.display()
            );
            Ok(false)
        }
        (false, false) => Err(format!(
            "the file system of {} has no O_DIRECT; set log.dirs to a folder on a disk, or start \
             with --allow-buffered-io",
            dir.display()
        )),
    }
}

/// Takes the ports, so that a second process is refused, and finds the addresses.
fn bind(config: &BrokerConfig) -> Result<(Vec<BoundListener>, Vec<PortReservation>), Failure> {
    let (mut bound, mut reservations) = (Vec::new(), Vec::new());
    for (listener, advertised) in config.listeners.iter().zip(&config.advertised) {
        let (address, reservation) = reserve(listener)?;
        reservations.push(reservation);
        let told_port = if advertised.port == 0 {
            address.port()
        } else {
            advertised.port
        };
        bound.push(BoundListener {
            name: listener.name.clone(),
            address,
            advertised_host: match advertised.host.as_str() {
                "" | "0.0.0.0" | "::" => host_name(),
                host => host.to_owned(),
            },
            advertised_port: told_port,
        });
    }
    Ok((bound, reservations))
}

fn reserve(listener: &Endpoint) -> Result<(SocketAddr, PortReservation), Failure> {
    let Endpoint { name, host, port } = listener;
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let address = resolve(host, *port)
        .ok_or_else(|| format!("listeners: the host {host} of {name} has no address"))?;
    reserve_when_free(address).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is taken by {}; stop that one, or listen elsewhere, such as \
             --set listeners={name}://{host}:{}",
            owner_of(address),
            port.wrapping_add(1)
        ),
        _ => format!("cannot listen on {address} ({name} of listeners): {cause}"),
    })
}

/// Takes the port of `metrics.listener`. A node whose settings do not name one starts without when
/// the usual one is taken, by another node say.
fn bind_metrics(config: &BrokerConfig) -> Result<Option<(SocketAddr, PortReservation)>, Failure> {
    let Some(listener) = &config.metrics_listener else {
        return Ok(None);
    };
    let address = listener
        .rsplit_once(':')
        .and_then(|(host, port)| resolve(host.trim_matches(['[', ']']), port.parse().ok()?))
        .ok_or_else(|| {
            format!("metrics.listener: `{listener}` is no address; write it as host:port")
        })?;
    let named = config.settings.given("metrics.listener").is_some();
    let reserved = if named {
        reserve_when_free(address)
    } else {
        reserve_port(address)
    };
    match reserved {
        Ok(reserved) => Ok(Some(reserved)),
        Err(_) if !named => {
            let owner = owner_of(address);
            info!("no metrics: {address} is taken by {owner}; set metrics.listener");
            Ok(None)
        }
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => Err(format!(
            "{address} of metrics.listener is taken by {}; stop that one, or name another",
            owner_of(address)
        )),
        Err(cause) => Err(format!(
            "cannot listen on {address} (metrics.listener): {cause}"
        )),
    }
}

fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    (host, port).to_socket_addrs().ok()?.next()
}

fn owner_of(address: SocketAddr) -> String {
    port_owner(address).map_or_else(|| "another process".to_owned(), |owner| owner.to_string())
}

/// How long a port is waited for that nobody has who can be seen: the kernel closes the listeners
/// of a killed process in the background, when it has taken its io_uring apart.
const PORT_WAIT: Duration = Duration::from_secs(10);

fn reserve_when_free(address: SocketAddr) -> io::Result<(SocketAddr, PortReservation)> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match reserve_port(address) {
            Err(cause)
                if cause.kind() == io::ErrorKind::AddrInUse
                    && port_owner(address).is_none()
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            reserved => return reserved,
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The cores that the process may run on.
fn affinity() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|cause| format!("no cores: {cause}"))?;
    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

fn announce(
    config: &BrokerConfig,
    listeners: &[BoundListener],
    metrics: Option<SocketAddr>,
    shards: usize,
    started: Instant,
) {
    let took = started.elapsed().as_millis();
    println!(
        "millstreamd {} is ready after {took} ms",
        env!("CARGO_PKG_VERSION")
    );
    for listener in listeners {
        println!("  listening on {} ({})", listener.address, listener.name);
    }
    if let Some(address) = metrics {
        println!("  metrics at http://{address}/metrics");
    }
    println!("  data in {}", config.log_dir.display());
    println!(
        "  {shards} shards, durability={}",
        config.settings.text("durability")
    );
    if let Some(listener) = listeners.first() {
        let address = (listener.advertised_host.as_str(), listener.advertised_port);
        println!(
            "try: millstream --bootstrap-server {}:{} topic create hello",
            address.0, address.1
        );
    }
}
