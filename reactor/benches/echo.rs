//! Round trips a second of three echo servers: this crate's ring, glommio's `TcpStream`, epoll.
//!
//! `cargo bench -p millstream-reactor --bench echo [-- ROUNDS]`
//!
//! Each server runs on one core, the load on another: 32 connections, each with one message of 256
//! bytes under way. The servers take turns within each round, so that what else the machine does
//! hits all of them; the ratios are medians over the rounds. The load sleeps when it has nothing to
//! read, as clients do. Its own round trip costs about what the ring's does: where both cores are
//! busy, no server could be faster. Congestion control is CUBIC for the time of the run, if root
//! runs it: BBR's pacing costs all three the same, and hides what they differ in. Fails when the
//! ring is below 1.6 times glommio or 0.9 times epoll.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use futures::AsyncReadExt as _;
use millstream_reactor::TaskQueue;
use millstream_reactor::uring::{ShardOptions, start_shard};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::TcpCongestion;
use nix::unistd::{Pid, gettid};

const CONNECTIONS: usize = 32;
const MESSAGE_LEN: usize = 256;
const ROUNDS: usize = 41;
const WARM_UP: Duration = Duration::from_millis(30);
const MEASURED: Duration = Duration::from_millis(120);

/// Least ratios of round trips: ring to glommio, ring to epoll.
const GLOMMIO_BAR: f64 = 1.6;
const EPOLL_BAR: f64 = 0.9;

/// What TCP connections are opened with from now on, in this network namespace.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Where a server listens and which thread it is.
type Started = (SocketAddr, Pid);

struct Contender {
    name: &'static str,
    thread: Pid,
    connections: Vec<TcpStream>,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    round_trips_per_s: f64,
    server_us_per_round_trip: f64,
    /// Share of the measured time that the server was on its core.
    server_busy: f64,
    /// And the load on its.
    load_busy: f64,
}

fn main() -> ExitCode {
    let rounds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(ROUNDS);
    let cpus = allowed_cpus();
    let [server_cpu, load_cpu, ..] = cpus[..] else {
        eprintln!("two cores are needed: one for the server, one for the load");
        return ExitCode::FAILURE;
    };
    let cubic = Cubic::set();
    let mut contenders = [
        start("ring", move |started| serve_ring(server_cpu, started)),
        start("glommio", move |started| {
            serve_glommio(server_cpu, started);
        }),
        start("epoll", move |started| {
            pin(server_cpu);
            serve_epoll(&started).expect("the epoll server runs");
        }),
    ];
    drop(cubic);
    pin(load_cpu);
    println!(
        "{CONNECTIONS} connections, {MESSAGE_LEN} bytes, server on core {server_cpu}, \
         load on core {load_cpu}, {rounds} rounds of {} ms, congestion control {}",
        MEASURED.as_millis(),
        contenders[0].congestion_control()
    );
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            // Who goes first changes from round to round.
            let place = (round + turn) % contenders.len();
            let contender = &mut contenders[place];
            let sample = load(contender).expect("the load runs");
            contender.samples.push(sample);
        }
    }
    report(&contenders)
}

impl Contender {
    fn congestion_control(&self) -> String {
        let name = getsockopt(&self.connections[0], TcpCongestion).expect("a TCP option");
        name.to_string_lossy().trim_end_matches('\0').to_owned()
    }
}

/// Sets CUBIC for the connections that are opened while this lives, where the process may.
struct Cubic {
    before: Option<String>,
}

impl Cubic {
    fn set() -> Self {
        let before = std::fs::read_to_string(CONGESTION_CONTROL).ok();
        let set = std::fs::write(CONGESTION_CONTROL, "cubic");
        Self {
            before: before.filter(|_| set.is_ok()),
        }
    }
}

impl Drop for Cubic {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            std::fs::write(CONGESTION_CONTROL, before).expect("as it was set before");
        }
    }
}

fn report(contenders: &[Contender; 3]) -> ExitCode {
    println!(
        "{:<10}{:>16}{:>22}{:>13}{:>11}",
        "server", "round trips/s", "server µs/round trip", "server busy", "load busy"
    );
    for contender in contenders {
        let of = |field: fn(&Sample) -> f64| median(contender.samples.iter().map(field));
        println!(
            "{:<10}{:>16.0}{:>22.2}{:>12.0}%{:>10.0}%",
            contender.name,
            of(|sample| sample.round_trips_per_s),
            of(|sample| sample.server_us_per_round_trip),
            100.0 * of(|sample| sample.server_busy),
            100.0 * of(|sample| sample.load_busy),
        );
    }
    let [ring, glommio, epoll] = contenders;
    let mut passed = true;
    for (other, bar) in [(glommio, GLOMMIO_BAR), (epoll, EPOLL_BAR)] {
        let pairs = ring.samples.iter().zip(&other.samples);
        let ratio =
            median(pairs.map(|(ring, other)| ring.round_trips_per_s / other.round_trips_per_s));
        let verdict = if ratio >= bar { "ok" } else { "too slow" };
        println!(
            "ring / {:<8} {ratio:.2} (at least {bar:.1}: {verdict})",
            other.name
        );
        passed &= ratio >= bar;
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Starts a server, and connects to it.
fn start(name: &'static str, serve: impl FnOnce(Sender<Started>) + Send + 'static) -> Contender {
    let (started, start) = mpsc::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || serve(started))
        .expect("a thread starts");
    let (address, thread) = start.recv().expect("the server starts");
    let connections = (0..CONNECTIONS)
        .map(|_| {
            let connection = TcpStream::connect(address).expect("connects");
            connection.set_nodelay(true).expect("a TCP option");
            connection.set_nonblocking(true).expect("a socket option");
            connection
        })
        .collect();
    Contender {
        name,
        thread,
        connections,
        samples: Vec::new(),
    }
}

fn serve_ring(cpu: usize, started: Sender<Started>) {
    let options = ShardOptions {
        name: "ring".to_owned(),
        cpu: Some(cpu),
    };
    start_shard(options, move |reactor| async move {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = reactor.listen(address).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        started.send((address, gettid())).expect("is awaited");
        loop {
            let stream = listener.accept().await.expect("accepts");
            let echo = async move {
                loop {
                    let piece = stream.recv().await.expect("receives");
                    if piece.is_empty() {
                        return;
                    }
                    stream.send(vec![piece]).await.expect("sends");
                }
            };
            reactor.spawn(TaskQueue::Requests, echo).detach();
        }
    })
    .expect("a shard starts")
    .join()
}

fn serve_glommio(cpu: usize, started: Sender<Started>) {
    use futures::AsyncWriteExt as _;
    glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(cpu))
        .make()
        .expect("an executor starts")
        .run(async move {
            let listener = glommio::net::TcpListener::bind("127.0.0.1:0").expect("listens");
            let address = listener.local_addr().expect("has an address");
            started.send((address, gettid())).expect("is awaited");
            loop {
                let mut stream = listener.accept().await.expect("accepts");
                stream.set_nodelay(true).expect("a TCP option");
                glommio::spawn_local(async move {
                    let mut buffer = vec![0; 16 * 1024];
                    loop {
                        let len = stream.read(&mut buffer).await.expect("receives");
                        if len == 0 {
                            return;
                        }
                        stream.write_all(&buffer[..len]).await.expect("sends");
                    }
                })
                .detach();
            }
        });
}

fn serve_epoll(started: &Sender<Started>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let thread = gettid();
    started
        .send((listener.local_addr()?, thread))
        .expect("is awaited");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for index in 0..CONNECTIONS {
        let (connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        connection.set_nonblocking(true)?;
        epoll.add(&connection, readable(index))?;
        connections.push(connection);
    }
    let mut events = [EpollEvent::empty(); CONNECTIONS];
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let mut connection = &connections[event.data() as usize];
            match connection.read(&mut buffer) {
                Ok(0) => epoll.delete(connection.as_fd())?,
                Ok(len) => connection.write_all(&buffer[..len])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Keeps one message of each connection under way, and counts those that came back.
fn load(contender: &Contender) -> io::Result<Sample> {
    let connections = &contender.connections;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let message = [0x5a; MESSAGE_LEN];
    for (index, mut connection) in connections.iter().enumerate() {
        epoll.add(connection, readable(index))?;
        connection.write_all(&message)?;
    }
    let mut received = [0; CONNECTIONS];
    let mut buffer = [0; MESSAGE_LEN];
    let mut events = [EpollEvent::empty(); CONNECTIONS];
    let mut under_way = CONNECTIONS;
    let start = Instant::now() + WARM_UP;
    let end = start + MEASURED;
    let mut round_trips = 0_u64;
    let mut at_start = None;
    let mut sample = None;
    while under_way > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        let now = Instant::now();
        if now >= start && at_start.is_none() {
            at_start = Some((now, cpu_times(contender.thread)?));
            round_trips = 0;
        }
        if let (Some((since, [server, load])), true, None) = (at_start, now >= end, sample) {
            let elapsed = (now - since).as_secs_f64();
            let [server_now, load_now] = cpu_times(contender.thread)?;
            let server = (server_now - server).as_secs_f64();
            sample = Some(Sample {
                round_trips_per_s: round_trips as f64 / elapsed,
                server_us_per_round_trip: server * 1e6 / round_trips as f64,
                server_busy: server / elapsed,
                load_busy: (load_now - load).as_secs_f64() / elapsed,
            });
        }
        for event in &events[..ready] {
            let index = event.data() as usize;
            let mut connection = &connections[index];
            let room = MESSAGE_LEN - received[index];
            let len = connection.read(&mut buffer[..room])?;
            assert!(len > 0, "{} closed a connection", contender.name);
            assert_eq!(buffer[..len], message[..len]);
            received[index] += len;
            if received[index] == MESSAGE_LEN {
                received[index] = 0;
                round_trips += 1;
                if sample.is_none() {
                    connection.write_all(&message)?;
                } else {
                    under_way -= 1;
                }
            }
        }
    }
    Ok(sample.expect("taken before the messages under way run out"))
}

fn readable(index: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, index as u64)
}

/// CPU time that the server's thread and this one have used.
fn cpu_times(server: Pid) -> io::Result<[Duration; 2]> {
    Ok([cpu_time(server)?, cpu_time(gettid())?])
}

/// CPU time that a thread of this process has used.
fn cpu_time(thread: Pid) -> io::Result<Duration> {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let times = std::fs::read_to_string(path)?;
    let on_cpu = times
        .split_whitespace()
        .next()
        .and_then(|time| time.parse().ok());
    on_cpu
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other(format!("schedstat has no time: {times:?}")))
}

fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("the process has an affinity mask");
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a core of the mask");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a core of the mask");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
