//! One core's share of the load: its connections, opened before the common start, and what ends
//! them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use millstream_reactor::{Reactor, Receiver, Task, TaskQueue};

use super::batch::Template;
use super::churn::{self, ChurnLink};
use super::consumer::{self, ConsumerLink, Purpose};
use super::options::{StartAt, Workload};
use super::plan::Plan;
use super::producer::{self, ProducerLink};
use super::shared::Shared;
use super::stamp::RunClock;
use super::tally::Tally;
use super::topic::{Place, Target};
use super::window::Window;
use super::wire;
use crate::failure::Failure;

/// How often a core looks whether the run is over.
const TICK: Duration = Duration::from_millis(20);
/// How long what was produced may take to arrive, and what was asked for to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Share {
    producers: Vec<ProducerLink>,
    consumers: Vec<ConsumerLink>,
    churners: Vec<ChurnLink>,
}

impl Share {
    /// Deals the connections of a run out to `cores` cores.
    pub fn deal(plan: &Plan, target: &Target, cores: usize) -> Vec<Share> {
        let mut shares: Vec<Share> = (0..cores).map(|_| Share::default()).collect();
        let mut next = (0..cores).cycle();
        let mut share = || next.next().expect("there is a core");
        if plan.options.workload == Workload::OpenClose {
            for index in 0..plan.producers {
                let place = target.partitions[index % target.partitions.len()];
                shares[share()].churners.push(ChurnLink {
                    index,
                    leader: place.leader,
                    partition: place.index,
                });
            }
            return shares;
        }
        let leaders = by_leader(target.partitions.iter().copied());
        let links = plan.producers * leaders.len();
        let mut indices = 0..links;
        for slot in 0..plan.producers {
            for (leader, places) in &leaders {
                shares[share()].producers.push(ProducerLink {
                    index: indices.next().expect("as many as links"),
                    links,
                    leader: *leader,
                    partitions: places.iter().map(|place| place.index).collect(),
                    identity: target.identities.get(slot).copied(),
                });
            }
        }
        for slot in 0..plan.consumers {
            let own = target.partitions.iter().skip(slot).step_by(plan.consumers);
            for (leader, places) in by_leader(own.copied()) {
                shares[share()].consumers.push(ConsumerLink {
                    leader,
                    purpose: Purpose::Measured,
                    ranges: places.iter().map(|place| range(plan, place)).collect(),
                });
            }
        }
        if plan.options.workload == Workload::Mixed {
            for (leader, places) in leaders {
                shares[share()].consumers.push(ConsumerLink {
                    leader,
                    purpose: Purpose::CatchUp,
                    ranges: places
                        .iter()
                        .map(|place| (place.index, place.first..place.end))
                        .collect(),
                });
            }
        }
        shares
    }

    /// How many of its connections produce.
    pub fn producing(&self) -> usize {
        self.producers.len() + self.churners.len()
    }
}

fn by_leader(places: impl Iterator<Item = Place>) -> BTreeMap<SocketAddr, Vec<Place>> {
    let mut leaders: BTreeMap<SocketAddr, Vec<Place>> = BTreeMap::new();
    for place in places {
        leaders.entry(place.leader).or_default().push(place);
    }
    leaders
}

/// What a measured consumer reads of a partition: what is there, or what comes.
fn range(plan: &Plan, place: &Place) -> (i32, std::ops::Range<i64>) {
    let start = match plan.options.from {
        _ if plan.shape.stamped => place.end,
        StartAt::Beginning => place.first,
        StartAt::End => place.end,
        StartAt::BeforeEnd(count) => place.end.saturating_sub(count).max(place.first),
    };
    (place.index, start..place.end)
}

/// What the tasks of a core share.
pub struct Context {
    /// The core's reactor.
    pub reactor: Reactor,
    /// The run.
    pub plan: Arc<Plan>,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// The run's name and time.
    pub clock: RunClock,
    /// When it is measured.
    pub window: Window,
    /// What batches are made from.
    pub templates: Vec<Template>,
    /// What this core has seen.
    pub tally: RefCell<Tally>,
    /// Requests that wait for an answer which must come soon.
    pub waiting: Cell<usize>,
    /// When something last came.
    pub last_progress: Cell<Instant>,
}

impl Context {
    /// Something has come.
    pub fn progress(&self, now: Instant) {
        self.last_progress.set(now);
    }
}

/// What a core is started with.
pub struct Start {
    /// The run.
    pub plan: Arc<Plan>,
    /// Its share of the connections.
    pub share: Share,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// The run's name and time.
    pub clock: RunClock,
    /// Told when all connections are open.
    pub ready: mpsc::Sender<()>,
    /// Tells when the run begins.
    pub window: Receiver<Window>,
}

/// Does a core's share of the run.
pub async fn work(reactor: Reactor, start: Start) -> Result<Tally, Failure> {
    let shared = start.shared.clone();
    let done = run(reactor, start).await;
    if done.is_err() {
        shared.stop();
    }
    done
}

async fn run(reactor: Reactor, mut start: Start) -> Result<Tally, Failure> {
    let plan = start.plan;
    let templates = Template::prepare(&plan.shape)?;
    let mut producers = Vec::new();
    for link in start.share.producers {
        let stream = wire::connect(&reactor, link.leader).await?;
        producers.push((link, stream));
    }
    let mut consumers = Vec::new();
    for link in start.share.consumers {
        let stream = wire::connect(&reactor, link.leader).await?;
        consumers.push((link, stream));
    }
    // Whoever started the run has ended it if nobody hears this or says when to start.
    let _ = start.ready.send(());
    let stopped = || Failure::System("the run was stopped before its start".to_owned());
    let window = start.window.recv().await.ok_or_else(stopped)?;
    let context = Rc::new(Context {
        reactor: reactor.clone(),
        tally: RefCell::new(Tally::new(window, plan.is_scheduled())),
        plan,
        shared: start.shared,
        clock: start.clock,
        window,
        templates,
        waiting: Cell::new(0),
        last_progress: Cell::new(window.start),
    });
    reactor.sleep_until(window.start).await;
    let tasks = FuturesUnordered::new();
    for (link, stream) in consumers {
        let consuming = consumer::consume(context.clone(), link, stream);
        tasks.push(reactor.spawn(TaskQueue::Requests, consuming));
    }
    for (link, stream) in producers {
        let producing = producer::produce(context.clone(), link, stream);
        tasks.push(reactor.spawn(TaskQueue::Requests, producing));
    }
    for link in start.share.churners {
        let churning = churn::churn(context.clone(), link);
        tasks.push(reactor.spawn(TaskQueue::Requests, churning));
    }
    supervise(&context, tasks).await?;
    let tally = Tally::new(window, context.plan.is_scheduled());
    Ok(context.tally.replace(tally))
}

/// Waits until all tasks have ended, one has failed, or the run is over.
async fn supervise(
    context: &Context,
    mut tasks: FuturesUnordered<Task<Result<(), Failure>>>,
) -> Result<(), Failure> {
    let mut produced_at = None;
    loop {
        let tick = pin!(context.reactor.sleep(TICK));
        match select(tasks.next(), tick).await {
            Either::Left((None, _)) => return Ok(()),
            Either::Left((Some(ended), _)) => ended.expect("nobody cancels the tasks")?,
            Either::Right(((), _)) => {
                let now = context.reactor.now();
                if context.shared.is_stopped() || is_over(context, now, &mut produced_at)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether what is still under way need not be waited for.
fn is_over(
    context: &Context,
    now: Instant,
    produced_at: &mut Option<Instant>,
) -> Result<bool, Failure> {
    let late = |what, within| Err(Failure::Late { what, within });
    let idle = now.saturating_duration_since(context.last_progress.get());
    if context.waiting.get() > 0 && idle > ANSWER_TIMEOUT {
        return late("an answer", ANSWER_TIMEOUT);
    }
    if context.plan.producers == 0 {
        if context.plan.options.records.is_some() && idle > PATIENCE {
            return late("the next record", PATIENCE);
        }
        return Ok(context.window.is_past(now));
    }
    if !context.plan.shape.stamped || context.shared.is_producing() {
        return Ok(false);
    }
    if context.shared.all_arrived() {
        return Ok(true);
    }
    let produced_at = *produced_at.get_or_insert(now);
    if now - produced_at > PATIENCE {
        return late("the last record", PATIENCE);
    }
    Ok(false)
}
