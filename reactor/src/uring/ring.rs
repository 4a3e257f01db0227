//! The ring: submissions, completions, and a slot for each operation in flight.
//!
//! Invariants:
//!
//! * a slot, with the memory and descriptors its operation names, lives until the operation's
//!   last completion, whether or not anybody still waits for it;
//! * `user_data` is the slot's key and a generation, so that a late cancel cannot hit the next
//!   operation in the same slot;
//! * completions nobody takes are given back: descriptors are closed, buffers returned.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::{io, mem};

use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode, types};
use nix::libc;
use nix::sched::CpuSet;
use slab::Slab;

use super::buffer_pool::{BufferPool, Chunk};
use super::operation::{Keep, Operation, Outcome, Yields};

/// Submissions held before they must be handed to the kernel.
const SUBMISSIONS: u32 = 256;

/// Completions the kernel can post before it has to keep them aside.
const COMPLETIONS: u32 = 4096;

/// Kernel threads for blocking operations of one shard: regular files, and all else (splices).
const WORKERS: [u32; 2] = [8, 64];

/// How long a closing ring waits for the kernel to let go of memory.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// `user_data` of submissions whose completion says nothing.
const UNTRACKED: u64 = u64::MAX;

/// `user_data` of the poll on the eventfd that other threads write to wake this one.
const WAKE: u64 = u64::MAX - 1;

/// One thread's ring.
pub(super) struct Ring {
    state: RefCell<State>,
    pool: Rc<BufferPool>,
    wake_event: Arc<OwnedFd>,
}

struct State {
    uring: IoUring,
    slots: Slab<Slot>,
    generation: u32,
    /// Slots whose last completion has not come.
    in_flight: usize,
    /// Submissions that found the queue full.
    backlog: VecDeque<Entry>,
    closed: bool,
}

struct Slot {
    generation: u32,
    outcomes: Outcomes,
    /// No further completion comes.
    finished: bool,
    /// Nobody waits any more; the slot goes with the last completion.
    abandoned: bool,
    cancelled: bool,
    /// Results that may lie untaken before a repeating operation is stopped.
    limit: usize,
    yields: Yields,
    /// Who waits for the next completion, and whether anybody does: the waker is kept for the next
    /// time, since making one and dropping it costs more than looking at it.
    waker: Option<Waker>,
    waited_for: bool,
    keep: Keep,
    _descriptor: Option<Arc<OwnedFd>>,
}

/// Untaken results: the usual one without an allocation.
#[derive(Default)]
struct Outcomes {
    first: Option<Outcome>,
    more: VecDeque<Outcome>,
}

impl Outcomes {
    fn push(&mut self, outcome: Outcome) {
        if self.first.is_none() {
            self.first = Some(outcome);
        } else {
            self.more.push_back(outcome);
        }
    }

    fn pop(&mut self) -> Option<Outcome> {
        let outcome = self.first.take();
        if outcome.is_some() && !self.more.is_empty() {
            self.first = self.more.pop_front();
        }
        outcome
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}

impl Ring {
    /// A ring for the calling thread, woken by `wake_event`, its kernel threads on `workers`.
    pub(super) fn new(wake_event: Arc<OwnedFd>, workers: &CpuSet) -> io::Result<Rc<Ring>> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let pool = BufferPool::new();
        // SAFETY: the ring is closed, and its receives have ended, before the pool is dropped: see
        // `close`.
        unsafe { pool.register(&uring)? };
        limit_workers(&uring, workers);
        let ring = Rc::new(Ring {
            state: RefCell::new(State {
                uring,
                slots: Slab::with_capacity(256),
                generation: 0,
                in_flight: 0,
                backlog: VecDeque::new(),
                closed: false,
            }),
            pool,
            wake_event,
        });
        ring.watch_wake_event(&mut ring.state.borrow_mut());
        Ok(ring)
    }

    /// Queues an operation on `descriptor`.
    ///
    /// # Safety
    /// All memory that `entry` names must be owned by `keep` and stay in place when `keep` is
    /// moved; all descriptors must be `descriptor` or be owned by `keep`.
    pub(super) unsafe fn start(
        self: &Rc<Self>,
        entry: Entry,
        descriptor: Option<Arc<OwnedFd>>,
        keep: Keep,
        yields: Yields,
        limit: usize,
    ) -> Operation {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.generation = state.generation.wrapping_add(1);
        let generation = state.generation;
        let mut outcomes = Outcomes::default();
        if state.closed {
            outcomes.push(Outcome {
                result: -libc::ECANCELED,
                flags: 0,
            });
        }
        let key = state.slots.insert(Slot {
            generation,
            outcomes,
            finished: state.closed,
            abandoned: false,
            cancelled: false,
            limit,
            yields,
            waker: None,
            waited_for: false,
            keep,
            _descriptor: descriptor,
        });
        if !state.closed {
            state.in_flight += 1;
            // SAFETY: the slot owns what the entry names, until the last completion.
            unsafe { state.push(entry.user_data(user_data(key, generation))) };
        }
        Operation::new(self.clone(), key)
    }

    /// Starts an operation with one result; the future gives that, and back what was kept. The
    /// entry does not lie in the future, which moves.
    ///
    /// # Safety
    /// As for [`Self::start`].
    pub(super) unsafe fn run(
        self: &Rc<Self>,
        entry: Entry,
        descriptor: Option<Arc<OwnedFd>>,
        keep: Keep,
    ) -> impl Future<Output = (Outcome, Keep)> + use<> {
        // SAFETY: passed on to the caller.
        unsafe { self.start(entry, descriptor, keep, Yields::Count, 1) }.finish()
    }

    /// The bytes of a completed receive from the pool.
    pub(super) fn chunk(&self, outcome: Outcome) -> Option<Chunk> {
        let len = usize::try_from(outcome.result).ok()?;
        let id = cqueue::buffer_select(outcome.flags)?;
        Some(self.pool.take(id, len))
    }

    pub(super) fn poll_outcome(&self, key: usize, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let mut state = self.state.borrow_mut();
        let slot = &mut state.slots[key];
        if let Some(outcome) = slot.outcomes.pop() {
            return Poll::Ready(Some(outcome));
        }
        if slot.finished {
            return Poll::Ready(None);
        }
        slot.waited_for = true;
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Frees the slot of an operation all of whose results were taken.
    pub(super) fn release(&self, key: usize) {
        let slot = self.state.borrow_mut().slots.remove(key);
        assert!(slot.finished, "released an operation in flight");
    }

    /// What a plain operation kept, once its result was taken.
    pub(super) fn take_kept(&self, key: usize) -> Keep {
        let mut state = self.state.borrow_mut();
        if state.slots[key].finished {
            state.slots.remove(key).keep
        } else {
            state.slots[key].abandoned = true;
            Keep::Nothing
        }
    }

    /// Asks the kernel to end an operation.
    pub(super) fn cancel(&self, key: usize) {
        self.state.borrow_mut().cancel(key);
    }

    /// Nobody waits for the operation any more.
    pub(super) fn abandon(&self, key: usize) {
        let mut state = self.state.borrow_mut();
        let slot = &mut state.slots[key];
        slot.waker = None;
        slot.abandoned = true;
        while let Some(outcome) = slot.outcomes.pop() {
            discard(&self.pool, slot.yields, outcome);
        }
        if slot.finished {
            let slot = state.slots.remove(key);
            drop(state);
            drop(slot);
        } else {
            state.cancel(key);
        }
    }

    /// Takes all completions that are there, waking who waits for them.
    pub(super) fn reap(&self) {
        let mut state = self.state.borrow_mut();
        let mut watch_again = false;
        loop {
            let Some(entry) = state.uring.completion().next() else {
                break;
            };
            match entry.user_data() {
                UNTRACKED => {}
                WAKE => watch_again |= !cqueue::more(entry.flags()),
                user_data => self.complete(&mut state, user_data, &entry),
            }
        }
        if watch_again && !state.closed {
            self.watch_wake_event(&mut state);
        }
    }

    fn complete(&self, state: &mut State, user_data: u64, entry: &cqueue::Entry) {
        let key = user_data as u32 as usize;
        let slot = &mut state.slots[key];
        assert_eq!(
            slot.generation,
            (user_data >> 32) as u32,
            "a completion for an operation that has ended"
        );
        let flags = entry.flags();
        let outcome = Outcome {
            result: entry.result(),
            flags,
        };
        if !cqueue::more(flags) {
            slot.finished = true;
            state.in_flight -= 1;
        }
        // The notification of a zero-copy send only says that its memory is free.
        if !cqueue::notif(flags) {
            if slot.abandoned {
                discard(&self.pool, slot.yields, outcome);
            } else {
                slot.outcomes.push(outcome);
            }
        }
        if mem::take(&mut slot.waited_for)
            && let Some(waker) = &slot.waker
        {
            waker.wake_by_ref();
        }
        if slot.finished && slot.abandoned {
            state.slots.remove(key);
        } else if !slot.finished && slot.outcomes.len() >= slot.limit {
            state.cancel(key);
        }
    }

    /// Whether [`Self::submit`] has anything to do.
    pub(super) fn wants_submit(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let submissions = state.uring.submission();
        !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow()
    }

    /// Hands queued submissions to the kernel, without waiting.
    pub(super) fn submit(&self) {
        self.state.borrow_mut().submit();
    }

    /// Hands queued submissions to the kernel and sleeps until a completion, at most `timeout`.
    pub(super) fn submit_and_wait(&self, timeout: Option<Duration>) {
        let mut state = self.state.borrow_mut();
        state.flush_backlog();
        let submitter = state.uring.submitter();
        let result = match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec))
            }
        };
        check_enter(result);
    }

    /// Ends all operations and waits until the kernel has let go of their memory.
    pub(super) fn close(&self) {
        {
            let mut state = self.state.borrow_mut();
            if mem::replace(&mut state.closed, true) {
                return;
            }
        }
        let deadline = Instant::now() + CLOSE_WAIT;
        loop {
            self.reap();
            let mut state = self.state.borrow_mut();
            let now = Instant::now();
            if state.in_flight == 0 {
                return;
            }
            if now >= deadline {
                tracing::error!(
                    operations = state.in_flight,
                    "operations did not end; their memory is leaked"
                );
                // The kernel may still write to it.
                mem::forget(mem::take(&mut state.slots));
                mem::forget(self.pool.clone());
                return;
            }
            let any = types::CancelBuilder::any();
            let cancel = opcode::AsyncCancel2::new(any).build().user_data(UNTRACKED);
            // SAFETY: a cancel names no memory.
            unsafe { state.push(cancel) };
            drop(state);
            self.submit_and_wait(Some(Duration::from_millis(10)));
        }
    }

    fn watch_wake_event(&self, state: &mut State) {
        let entry =
            opcode::PollAdd::new(types::Fd(self.wake_event.as_raw_fd()), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(WAKE);
        // SAFETY: the ring owns the eventfd.
        unsafe { state.push(entry) };
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// # Safety
    /// As for [`Ring::start`], with the slot in place of `keep`.
    unsafe fn push(&mut self, entry: Entry) {
        if self.uring.submission().is_full() {
            self.submit();
        }
        // SAFETY: passed on to the caller.
        if !self.backlog.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    fn cancel(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.finished || mem::replace(&mut slot.cancelled, true) {
            return;
        }
        let cancel = opcode::AsyncCancel::new(user_data(key, slot.generation));
        // SAFETY: a cancel names no memory.
        unsafe { self.push(cancel.build().user_data(UNTRACKED)) };
    }

    fn flush_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if self.uring.submission().is_full() {
                check_enter(self.uring.submit());
            }
            // SAFETY: the entry was accepted by `push` under the same contract.
            if unsafe { self.uring.submission().push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    fn submit(&mut self) {
        self.flush_backlog();
        check_enter(self.uring.submit());
    }
}

fn user_data(key: usize, generation: u32) -> u64 {
    let key = u32::try_from(key).expect("fewer than 2^32 operations are in flight");
    u64::from(generation) << 32 | u64::from(key)
}

/// Gives back what an untaken result holds.
fn discard(pool: &Rc<BufferPool>, yields: Yields, outcome: Outcome) {
    match yields {
        Yields::Count => {}
        Yields::Descriptor if outcome.result >= 0 => {
            // SAFETY: the kernel made this descriptor for an operation that nobody waits for.
            drop(unsafe { OwnedFd::from_raw_fd(outcome.result) });
        }
        Yields::Descriptor => {}
        Yields::Buffer => {
            if let Some(id) = cqueue::buffer_select(outcome.flags) {
                pool.give_back(id);
            }
        }
    }
}

/// Passes over the ways in which a submission may end early.
fn check_enter(result: io::Result<usize>) {
    match result {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY)
            ) => {}
        Err(error) => panic!("io_uring_enter failed: {error}"),
    }
}

/// Keeps the kernel's threads few and on the process's cores. Only a tuning: errors are passed
/// over.
fn limit_workers(uring: &IoUring, cpus: &CpuSet) {
    let _ = uring
        .submitter()
        .register_iowq_max_workers(&mut WORKERS.clone());
    // SAFETY: all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in 0..CpuSet::count() {
        if cpus.is_set(cpu).unwrap_or(false) {
            // SAFETY: `cpu` is below the size of the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
    }
    let _ = uring.submitter().register_iowq_aff(&set);
}
