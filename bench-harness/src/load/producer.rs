//! A connection that produces: requests leave as fast as answers make room, or on schedule.
//!
//! With a schedule, a batch has the records that are due, as a producer with `linger.ms` makes it:
//! it leaves when it is full or its first record has waited that long. While as many requests are
//! under way as may be, records wait, and what has become due meanwhile goes with them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join;
use millstream_protocol::frame::{decode_response, response_correlation_id};
use millstream_protocol::messages::ProduceRequest;
use millstream_protocol::record_batch::increment_sequence;
use millstream_reactor::{Notify, Stream};

use super::batch::{Identity, Label};
use super::pace::Pace;
use super::payload::Random;
use super::produce_frame::{PRODUCE_VERSION, ProduceFrame, check_produced};
use super::stamp::Stamp;
use super::tally::Counts;
use super::wire::{self, Answers};
use super::worker::Context;
use crate::failure::Failure;

/// A connection that is to produce.
#[derive(Debug)]
pub struct ProducerLink {
    /// Its number among all that produce.
    pub index: usize,
    /// How many produce.
    pub links: usize,
    /// The broker.
    pub leader: SocketAddr,
    /// Its partitions, written in turns.
    pub partitions: Vec<i32>,
    /// Who it is, if it is idempotent.
    pub identity: Option<Identity>,
}

impl ProducerLink {
    /// Its part of so many records.
    fn part(&self, records: u64) -> u64 {
        let (links, index) = (self.links as u64, self.index as u64);
        records / links + u64::from(index < records % links)
    }
}

/// A request that was sent.
struct Sent {
    correlation_id: i32,
    /// When the first of its records was due.
    due: Instant,
    /// From one record to the next.
    step: Duration,
    counts: Counts,
}

/// The requests under way.
#[derive(Default)]
struct Flight {
    sent: RefCell<VecDeque<Sent>>,
    changed: Notify,
    finished: Cell<bool>,
}

/// Records that may leave.
struct Due {
    first: Instant,
    step: Duration,
    count: u64,
}

/// Produces until the run is over and everything was answered.
pub async fn produce(
    context: Rc<Context>,
    link: ProducerLink,
    stream: Stream,
) -> Result<(), Failure> {
    let flight = Flight::default();
    let mut sender = Sender::new(&context, link);
    if context.plan.options.acks == 0 {
        sender.send_unanswered(&stream).await?;
    } else {
        let receiving = receive(&context, &stream, &flight);
        try_join(sender.send(&stream, &flight), receiving).await?;
    }
    context.shared.has_produced();
    Ok(())
}

struct Sender<'a> {
    context: &'a Context,
    link: ProducerLink,
    pace: Option<Pace>,
    /// Records it sends in all, and sends before the end of the warm-up.
    records: u64,
    warm_up_records: u64,
    next_record: u64,
    next_partition: usize,
    next_template: usize,
    /// The next sequence number of each partition.
    sequences: Vec<i32>,
    frame: ProduceFrame,
    random: Random,
}

impl<'a> Sender<'a> {
    fn new(context: &'a Context, link: ProducerLink) -> Sender<'a> {
        let (plan, window) = (&context.plan, &context.window);
        let pace = plan
            .rate
            .map(|rate| Pace::share(window.start, rate, link.index, link.links));
        let bound = plan.options.records.map(|records| link.part(records));
        let due = pace.zip(window.until);
        let due = due.map(|(pace, until)| pace.due_before(until));
        Sender {
            records: bound.or(due).unwrap_or(u64::MAX),
            warm_up_records: pace.map_or(0, |pace| pace.due_before(window.from)),
            pace,
            next_record: 0,
            // Connections begin at different partitions.
            next_partition: link.index,
            next_template: link.index,
            sequences: vec![0; link.partitions.len()],
            frame: ProduceFrame::new(&plan.options.topic, plan.options.acks),
            random: Random::new(link.index as u64),
            context,
            link,
        }
    }

    /// Sends with a bounded number of requests under way.
    async fn send(&mut self, stream: &Stream, flight: &Flight) -> Result<(), Failure> {
        let most = self.context.plan.options.in_flight as usize;
        while self.wait_until_due().await {
            flight.wait_for_room(most).await;
            let Some(due) = self.due() else { break };
            let (sent, parts) = self.request(&due)?;
            flight.sent.borrow_mut().push_back(sent);
            flight.changed.notify_waiters();
            self.context.waiting.set(self.context.waiting.get() + 1);
            wire::send(stream, parts).await?;
        }
        flight.finished.set(true);
        flight.changed.notify_waiters();
        Ok(())
    }

    /// Sends requests that have no answer.
    async fn send_unanswered(&mut self, stream: &Stream) -> Result<(), Failure> {
        while self.wait_until_due().await {
            let Some(due) = self.due() else { break };
            let (sent, parts) = self.request(&due)?;
            wire::send(stream, parts).await?;
            self.context.has_arrived(&sent, self.context.reactor.now());
        }
        Ok(())
    }

    /// Waits until a batch may leave; false when all have left.
    async fn wait_until_due(&self) -> bool {
        if self.next_record >= self.records {
            return false;
        }
        if let Some(pace) = self.pace {
            let context = self.context;
            let template = &context.templates[self.next_template % context.templates.len()];
            let last = self.next_record + template.records_max() as u64 - 1;
            let lingered = pace.due(self.next_record) + context.plan.linger;
            context
                .reactor
                .sleep_until(lingered.min(pace.due(last)))
                .await;
        }
        true
    }

    /// What may leave now; none if the time is over.
    fn due(&self) -> Option<Due> {
        let now = self.context.reactor.now();
        let left = self.records - self.next_record;
        let Some(pace) = self.pace else {
            return (!self.context.window.is_past(now)).then_some(Due {
                first: now,
                step: Duration::ZERO,
                count: left,
            });
        };
        // A request has records of the warm-up or measured ones.
        let left = match self.warm_up_records.checked_sub(self.next_record) {
            None | Some(0) => left,
            Some(warm_up) => warm_up.min(left),
        };
        let due = pace.due_before(now).saturating_sub(self.next_record);
        Some(Due {
            first: pace.due(self.next_record),
            step: pace.step(),
            count: due.clamp(1, left),
        })
    }

    fn request(&mut self, due: &Due) -> Result<(Sent, Vec<Bytes>), Failure> {
        let Sender { context, .. } = *self;
        let plan = &context.plan;
        let time_ms = context.reactor.wall_clock_ms();
        let mut counts = Counts {
            requests: 1,
            ..Counts::default()
        };
        self.frame.begin();
        for _ in 0..plan.request_batches.min(self.link.partitions.len()) {
            let template = &context.templates[self.next_template % context.templates.len()];
            let slot = self.next_partition % self.link.partitions.len();
            self.next_template += 1;
            self.next_partition += 1;
            let left = due.count - counts.records;
            let count = template
                .records_max()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let first = due.first + due.step.mul_f64(counts.records as f64);
            let stamp = plan.shape.stamped;
            let stamp = stamp.then(|| Stamp::new(&context.clock, first, due.step));
            let label = Label {
                count,
                stamp,
                producer: self
                    .link
                    .identity
                    .map(|identity| (identity, self.sequences[slot])),
                time_ms,
            };
            let random = &mut self.random;
            self.frame.push(self.link.partitions[slot], |head| {
                template.write(&label, random, head)
            })?;
            let increment = i32::try_from(count).expect("a batch has fewer than 2³¹ records");
            self.sequences[slot] = increment_sequence(self.sequences[slot], increment);
            counts.records += count as u64;
            counts.bytes += template.content_bytes(count);
            if counts.records == due.count {
                break;
            }
        }
        self.next_record += counts.records;
        let (correlation_id, parts) = self.frame.finish();
        let sent = Sent {
            correlation_id,
            due: due.first,
            step: due.step,
            counts,
        };
        Ok((sent, parts))
    }
}

impl Flight {
    async fn wait_for_room(&self, most: usize) {
        loop {
            let changed = self.changed.notified();
            if self.sent.borrow().len() < most {
                return;
            }
            changed.await;
        }
    }

    /// Waits until an answer is due; false when no more will be.
    async fn wait_for_sent(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            if !self.sent.borrow().is_empty() {
                return true;
            }
            if self.finished.get() {
                return false;
            }
            changed.await;
        }
    }
}

async fn receive(context: &Context, stream: &Stream, flight: &Flight) -> Result<(), Failure> {
    let mut answers = Answers::default();
    while flight.wait_for_sent().await {
        let answer = answers.next(stream).await?;
        let now = context.reactor.now();
        let sent = flight.sent.borrow_mut().pop_front();
        let sent = sent.expect("an answer is due");
        check(&answer, sent.correlation_id)?;
        answers.recycle(answer);
        context.waiting.set(context.waiting.get() - 1);
        context.has_arrived(&sent, now);
        flight.changed.notify_waiters();
    }
    Ok(())
}

/// Whether each partition's batch was taken.
fn check(answer: &Bytes, correlation_id: i32) -> Result<(), Failure> {
    let malformed = |cause: String| Failure::malformed("the answer to Produce", cause);
    let found = response_correlation_id(answer).map_err(|error| malformed(error.to_string()))?;
    if found != correlation_id {
        return Err(malformed(format!(
            "it answers {found}, not {correlation_id}"
        )));
    }
    let answer = decode_response::<ProduceRequest>(PRODUCE_VERSION, answer.clone())
        .map_err(|error| malformed(error.to_string()))?;
    check_produced(&answer)
}

impl Context {
    /// A request's records are with the broker.
    fn has_arrived(&self, sent: &Sent, now: Instant) {
        self.progress(now);
        self.shared.produced(sent.counts.records, sent.counts.bytes);
        let mut tally = self.tally.borrow_mut();
        tally.produced(now, sent.due, sent.counts);
        if !self.plan.shape.stamped && self.plan.options.acks != 0 {
            tally.latency(now, sent.due, sent.step, sent.counts.records);
        }
    }
}
