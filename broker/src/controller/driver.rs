//! The task that drives the controller: requests and time in, files, answers and images out.
//!
//! Requests that come while the log is being flushed wait, and are then decided together and made
//! durable by one flush. On a full disk all wait: what the log asks for is written with room that
//! was kept back, or tried again until there is room.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use millstream_controller::{
    ApiError, ConfigRules, Controller, ControllerFault, ControllerResponse, ControllerSettings,
    Input, Output, RequestId,
};
use millstream_reactor::Reactor;

use super::handle::{Ask, ControllerInbox, PublicationSender, Question};
use super::metadata_log::{MetadataLog, MetadataLogError};
use super::publisher::Publisher;
use crate::disk_reserve::DiskReserve;

/// Between two ticks of the quorum's clock.
const TICK: Duration = Duration::from_millis(100);

/// How long a write for which the disk has no room waits before it is tried again.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// How often room that was kept back is put back.
const RESERVE_PAUSE: Duration = Duration::from_secs(10);

/// Requests that are decided before a flush.
const MAX_BATCH: usize = 1024;

/// Why the controller stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Its log on disk failed or is damaged.
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    /// What the log says cannot be.
    #[error(transparent)]
    Fault(#[from] ControllerFault),
}

/// Runs the controller on this reactor until all its handles are dropped, or it fails. The log is
/// in `dir`, which is made if missing, and which the caller has locked.
///
/// # Panics
/// When the quorum has other voters than this node: nodes do not talk to each other.
pub async fn run_controller(
    reactor: Reactor,
    dir: &Path,
    settings: ControllerSettings,
    rules: Box<dyn ConfigRules>,
    mut inbox: ControllerInbox,
    publications: Vec<PublicationSender>,
) -> Result<(), ControllerError> {
    assert_eq!(settings.voters, [settings.node_id], "a quorum of one");
    let (log, recovered) = MetadataLog::open(&reactor.fs(), dir).await?;
    let seed = reactor.random_u64();
    let root = dir.parent().unwrap_or(dir);
    let reserve = DiskReserve::open(&reactor.fs(), root).await;
    let mut driver = Driver {
        reserve,
        next_filling: reactor.now() + RESERVE_PAUSE,
        controller: Controller::start(reactor.now(), settings, rules, recovered, seed)?,
        reactor,
        log,
        publisher: Publisher::new(publications),
        answers: BTreeMap::new(),
        next_id: 0,
    };
    driver.drain().await?;
    let mut next_tick = driver.reactor.now() + TICK;
    loop {
        let wait = next_tick.saturating_duration_since(driver.reactor.now());
        let asked = driver.reactor.timeout(wait, inbox.next()).await;
        match asked {
            Ok(Some(ask)) => {
                driver.ask(ask);
                for _ in 1..MAX_BATCH {
                    let Some(ask) = inbox.try_next() else {
                        break;
                    };
                    driver.ask(ask);
                }
            }
            Ok(None) => return Ok(()),
            Err(_elapsed) => {}
        }
        driver.tick_until_now(&mut next_tick);
        driver.drain().await?;
        driver.fill_reserve().await;
    }
}

struct Driver {
    controller: Controller,
    reactor: Reactor,
    log: MetadataLog,
    reserve: DiskReserve,
    /// When to look next whether the reserve can be put back.
    next_filling: Instant,
    publisher: Publisher,
    answers: BTreeMap<RequestId, oneshot::Sender<Result<ControllerResponse, ApiError>>>,
    next_id: u64,
}

impl Driver {
    fn ask(&mut self, ask: Ask) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.answers.insert(id, ask.answer);
        let input = match ask.question {
            Question::Decide(request) => Input::Request {
                id,
                request,
                entropy: [self.reactor.random_u64(), self.reactor.random_u64()],
            },
            Question::DescribeQuorum => Input::DescribeQuorum { id },
        };
        self.controller.handle(self.reactor.now(), input);
    }

    /// One tick at most: after a stall there is nothing to catch up with.
    fn tick_until_now(&mut self, next_tick: &mut Instant) {
        let now = self.reactor.now();
        if now >= *next_tick {
            self.controller.handle(now, Input::Tick);
            self.publisher.flush();
            *next_tick = now + TICK;
        }
    }

    async fn drain(&mut self) -> Result<(), ControllerError> {
        while let Some(output) = self.controller.poll_output()? {
            match output {
                Output::Persist(persist) => {
                    let mut tries = 0;
                    while let Err(error) = self.log.persist(&persist).await {
                        self.wait_for_room(error, &mut tries).await?;
                    }
                    let input = Input::Persisted(persist.number);
                    self.controller.handle(self.reactor.now(), input);
                }
                Output::StoreSnapshot(snapshot) => {
                    let mut tries = 0;
                    while let Err(error) = self.log.store_snapshot(&snapshot).await {
                        self.wait_for_room(error, &mut tries).await?;
                    }
                    let input = Input::SnapshotStored(snapshot.index);
                    self.controller.handle(self.reactor.now(), input);
                }
                Output::Respond { id, response } => {
                    let answer = self
                        .answers
                        .remove(&id)
                        .expect("each request is answered once");
                    // Whoever asked may have gone.
                    let _ = answer.send(response);
                }
                Output::Publish { image, delta } => self.publisher.publish(&image, &delta),
                Output::Send(message) => {
                    unreachable!("a quorum of one sent a message to {}", message.to());
                }
            }
        }
        Ok(())
    }

    /// Makes room on a full disk, or waits for it; any other error is the end. The same bytes then
    /// go to the same place, and nobody was told that they are there.
    async fn wait_for_room(
        &mut self,
        error: MetadataLogError,
        tries: &mut u32,
    ) -> Result<(), MetadataLogError> {
        if !error.is_full() {
            return Err(error);
        }
        if self.reserve.give().await {
            return Ok(());
        }
        if *tries == 0 {
            tracing::error!("metadata cannot change until there is room: {error}");
        }
        *tries += 1;
        self.reactor.sleep(FULL_DISK_PAUSE).await;
        Ok(())
    }

    async fn fill_reserve(&mut self) {
        let now = self.reactor.now();
        if self.reserve.is_short() && now >= self.next_filling {
            self.reserve.fill().await;
            self.next_filling = now + RESERVE_PAUSE;
        }
    }
}
