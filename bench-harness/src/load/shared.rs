//! What the cores of a run and the main thread tell each other while it goes on.
//!
//! Every count is only ever added to, once for each request, and read for the progress line and to
//! know when the run is over; what is reported comes from each core's own tally.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts over all cores.
#[derive(Debug, Default)]
pub struct Shared {
    /// Somebody has failed: nobody need go on.
    stopped: AtomicBool,
    /// Connections that still produce.
    producing: AtomicU64,
    produced_records: AtomicU64,
    produced_bytes: AtomicU64,
    consumed_records: AtomicU64,
    consumed_bytes: AtomicU64,
    /// Records of this run that have arrived.
    own_records: AtomicU64,
}

impl Shared {
    /// A run in which so many connections produce.
    pub fn new(producing: usize) -> Shared {
        Shared {
            producing: AtomicU64::new(producing as u64),
            ..Shared::default()
        }
    }

    /// Ends the run on all cores.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has failed.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A connection has produced all that it was to.
    pub fn has_produced(&self) {
        // What was produced before is seen by whoever sees this.
        self.producing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether any connection still produces.
    pub fn is_producing(&self) -> bool {
        self.producing.load(Ordering::Acquire) > 0
    }

    /// Records were taken by the broker.
    pub fn produced(&self, records: u64, bytes: u64) {
        self.produced_records.fetch_add(records, Ordering::Relaxed);
        self.produced_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records have arrived; `own` of them are of this run.
    pub fn consumed(&self, records: u64, bytes: u64, own: u64) {
        self.consumed_records.fetch_add(records, Ordering::Relaxed);
        self.consumed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.own_records.fetch_add(own, Ordering::Relaxed);
    }

    /// Records that have arrived so far.
    pub fn consumed_records(&self) -> u64 {
        self.consumed_records.load(Ordering::Relaxed)
    }

    /// Whether all that was produced has arrived.
    pub fn all_arrived(&self) -> bool {
        self.own_records.load(Ordering::Relaxed) >= self.produced_records.load(Ordering::Relaxed)
    }

    /// Bytes produced and consumed so far.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.produced_bytes.load(Ordering::Relaxed),
            self.consumed_bytes.load(Ordering::Relaxed),
        )
    }
}
