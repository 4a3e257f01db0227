//! The time in which a run is measured.

use std::time::{Duration, Instant};

/// From when until when what happens counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When the load begins.
    pub start: Instant,
    /// The end of the warm-up.
    pub from: Instant,
    /// The end of the run; none where a number of records bounds it.
    pub until: Option<Instant>,
}

impl Window {
    /// Whether what happens at `moment` counts.
    pub fn contains(&self, moment: Instant) -> bool {
        moment >= self.from && !self.is_past(moment)
    }

    /// Whether the run is over at `moment`.
    pub fn is_past(&self, moment: Instant) -> bool {
        self.until.is_some_and(|until| moment >= until)
    }

    /// The time from the end of the warm-up to `moment`.
    pub fn measured(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.from)
    }
}
