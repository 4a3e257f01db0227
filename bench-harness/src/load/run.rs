//! The main thread's part of a run: it starts the cores, samples both sides at the borders of the
//! measured time, and puts together what was seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_reactor::uring::{ShardHandle, ShardOptions, start_shard};
use millstream_reactor::{Sender, mailbox};

use super::options::Options;
use super::outcome::Outcome;
use super::plan::Plan;
use super::process::{Sample, own_cpu_seconds};
use super::progress::{INTERVAL, Progress};
use super::shared::Shared;
use super::stamp::RunClock;
use super::tally::Tally;
use super::topic::{self, Target};
use super::window::Window;
use super::worker::{Share, Start, work};
use crate::failure::Failure;

/// From when all connections are open until the load begins.
const START_DELAY: Duration = Duration::from_millis(50);
/// How often the main thread looks whether the cores have ended, when nobody sees the progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a load on the broker at `address`, and prints what it has found.
pub fn run(server: &str, address: SocketAddr, options: Options) -> Result<(), Failure> {
    let mut plan = Plan::new(options)?;
    // What cannot be sampled is told before anything is done.
    Moment::sample(&plan)?;
    let target = prepare(address, &plan)?;
    plan.partitions = i32::try_from(target.partitions.len()).unwrap_or(i32::MAX);
    plan.consumers = plan.consumers.min(target.partitions.len());
    let plan = Arc::new(plan);
    let mut cores = Cores::start(&plan, &target)?;
    let window = cores.begin(&plan)?;
    let (samples, tally) = cores.finish(&plan, &window)?;
    let seconds = match window.until {
        Some(until) if !samples.is_early => window.measured(until),
        _ => window.measured(tally.last_progress()),
    };
    if seconds.is_zero() {
        let why = "nothing was left to measure after the warm-up";
        return Err(Failure::System(why.to_owned()));
    }
    let outcome = Outcome {
        plan: &plan,
        server,
        seconds: seconds.as_secs_f64(),
        from_unix_ms: unix_ms(window.from),
        tally: &tally,
        client_cpu_seconds: samples.to.cpu_seconds - samples.from.cpu_seconds,
        broker: samples.broker(),
    };
    if plan.prints_table() {
        print!("{}", outcome.to_table());
    } else {
        println!("{}", outcome.to_json());
    }
    Ok(())
}

/// Makes and looks up the topic, on the first of the load's cores.
fn prepare(address: SocketAddr, plan: &Plan) -> Result<Target, Failure> {
    let asked = plan.clone();
    let shard = start_shard(shard_options(plan, 0), async move |reactor| {
        topic::prepare(&reactor, address, &asked).await
    });
    shard.map_err(system)?.join()
}

fn shard_options(plan: &Plan, number: usize) -> ShardOptions {
    ShardOptions {
        name: format!("load-{number}"),
        cpu: plan.options.cores.get(number).copied(),
    }
}

fn system(cause: std::io::Error) -> Failure {
    Failure::System(cause.to_string())
}

/// The time of day of a moment.
fn unix_ms(moment: Instant) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    ms(now) - ms(moment.elapsed()) + ms(moment.saturating_duration_since(Instant::now()))
}

/// The cores of a run and the lines to them.
struct Cores {
    handles: Vec<ShardHandle<Result<Tally, Failure>>>,
    starts: Vec<Sender<Window>>,
    ready: mpsc::Receiver<()>,
    shared: Arc<Shared>,
}

impl Cores {
    fn start(plan: &Arc<Plan>, target: &Target) -> Result<Cores, Failure> {
        let shares = Share::deal(plan, target, plan.options.cores.len().max(1));
        let producing = shares.iter().map(Share::producing).sum();
        let shared = Arc::new(Shared::new(producing));
        let run = (std::process::id() << 16) ^ unix_ms(Instant::now()) as u32;
        let clock = RunClock::new(run);
        let (tell, ready) = mpsc::channel();
        let mut cores = Cores {
            handles: Vec::new(),
            starts: Vec::new(),
            ready,
            shared: shared.clone(),
        };
        for (number, share) in shares.into_iter().enumerate() {
            let (sender, window) = mailbox(1);
            let start = Start {
                plan: plan.clone(),
                share,
                shared: shared.clone(),
                clock,
                ready: tell.clone(),
                window,
            };
            let options = shard_options(plan, number);
            let started = start_shard(options, async move |reactor| work(reactor, start).await);
            cores.handles.push(started.map_err(system)?);
            cores.starts.push(sender);
        }
        Ok(cores)
    }

    /// Starts the load on all cores at once, when all have opened their connections.
    fn begin(&mut self, plan: &Plan) -> Result<Window, Failure> {
        let mut waiting = self.handles.len();
        while waiting > 0 {
            match self.ready.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => waiting -= 1,
                Err(RecvTimeoutError::Timeout) if !self.shared.is_stopped() => {}
                // A core has failed: joining it says why, and the others do not begin.
                Err(_) => {
                    self.starts.clear();
                    return Err(self.failure());
                }
            }
        }
        let start = Instant::now() + START_DELAY;
        let from = start + Duration::from_secs(plan.warm_up);
        let window = Window {
            start,
            from,
            until: plan
                .seconds
                .map(|seconds| from + Duration::from_secs(seconds)),
        };
        for start in &mut self.starts {
            // A core that has gone says so when it is joined.
            let _ = start.try_send(window);
        }
        Ok(window)
    }

    /// Samples at the borders of the window, shows the progress, and gathers the tallies.
    fn finish(mut self, plan: &Plan, window: &Window) -> Result<(Samples, Tally), Failure> {
        let mut progress = Progress::new();
        let interval = if progress.is_shown() {
            INTERVAL
        } else {
            LOOK_INTERVAL
        };
        let (mut from, mut to) = (None, None);
        loop {
            let now = Instant::now();
            if from.is_none() && now >= window.from {
                from = Some(Moment::sample(plan)?);
            }
            if to.is_none() && window.is_past(now) {
                to = Some(Moment::sample(plan)?);
            }
            if self.handles.iter().all(ShardHandle::is_finished) {
                break;
            }
            progress.update(now, window, &self.shared);
            let border = [Some(window.from).filter(|_| from.is_none()), window.until];
            let next = border
                .into_iter()
                .flatten()
                .filter(|border| *border > now)
                .min();
            let wait = next.map_or(interval, |next| (next - now).min(interval));
            std::thread::sleep(wait);
        }
        drop(progress);
        let mut tally = Tally::new(*window, plan.is_scheduled());
        for handle in self.handles.drain(..) {
            tally.merge(handle.join()?);
        }
        let is_early = to.is_none();
        let samples = Samples {
            from: match from {
                Some(from) => from,
                None => Moment::sample(plan)?,
            },
            to: match to {
                Some(to) => to,
                None => Moment::sample(plan)?,
            },
            is_early,
        };
        Ok((samples, tally))
    }

    /// Why a core has ended before its time.
    fn failure(&mut self) -> Failure {
        let mut failures = Vec::new();
        for handle in self.handles.drain(..) {
            failures.extend(handle.join().err());
        }
        // Those that were only stopped are `System`; the one that failed is another if it can be.
        let cause = failures
            .iter()
            .position(|failure| !matches!(failure, Failure::System(_)));
        failures.swap_remove(cause.unwrap_or(0))
    }
}

/// Both sides at the borders of the measured time.
struct Samples {
    from: Moment,
    to: Moment,
    /// Whether the run ended before its time was over.
    is_early: bool,
}

impl Samples {
    fn broker(&self) -> Option<super::process::Taken> {
        let (from, to) = (self.from.broker.as_ref()?, self.to.broker.as_ref()?);
        Some(from.until(to))
    }
}

struct Moment {
    cpu_seconds: f64,
    broker: Option<Sample>,
}

impl Moment {
    fn sample(plan: &Plan) -> Result<Moment, Failure> {
        Ok(Moment {
            cpu_seconds: own_cpu_seconds()?,
            broker: plan.options.broker_pid.map(Sample::of).transpose()?,
        })
    }
}
