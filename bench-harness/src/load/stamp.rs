//! The mark at the start of the first value of each batch whose latency is measured at its
//! consumer: it tells when each of the batch's records was due.
//!
//! ```text
//! run u32 | step u32 | due u64, all big-endian
//! ```
//!
//! `due` is nanoseconds from the run's epoch, which all its cores know, to the first record; the
//! next ones follow after `step` nanoseconds each. Records of other runs have another `run`.

use std::time::{Duration, Instant};

/// What a batch says about its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    run: u32,
    step_ns: u32,
    due_ns: u64,
}

impl Stamp {
    /// Bytes of a stamp.
    pub const SIZE: usize = 16;

    /// The stamp of a batch whose first record is due at `due`.
    pub fn new(clock: &RunClock, due: Instant, step: Duration) -> Stamp {
        Stamp {
            run: clock.run,
            step_ns: u32::try_from(step.as_nanos()).unwrap_or(u32::MAX),
            due_ns: clock.nanos(due),
        }
    }

    /// Writes it to the start of a value.
    ///
    /// # Panics
    /// If the value is shorter than a stamp.
    pub fn write(&self, value: &mut [u8]) {
        value[0..4].copy_from_slice(&self.run.to_be_bytes());
        value[4..8].copy_from_slice(&self.step_ns.to_be_bytes());
        value[8..16].copy_from_slice(&self.due_ns.to_be_bytes());
    }

    /// Reads it from the start of a value; none if the value is of another run.
    pub fn read(clock: &RunClock, value: &[u8]) -> Option<Stamp> {
        let value: &[u8; Stamp::SIZE] = value.first_chunk()?;
        let (run, rest) = value.split_first_chunk::<4>()?;
        let (step, due) = rest.split_first_chunk::<4>()?;
        let stamp = Stamp {
            run: u32::from_be_bytes(*run),
            step_ns: u32::from_be_bytes(*step),
            due_ns: u64::from_be_bytes(*due.first_chunk()?),
        };
        (stamp.run == clock.run).then_some(stamp)
    }

    /// When the batch's first record was due.
    pub fn due(&self, clock: &RunClock) -> Instant {
        clock.epoch + Duration::from_nanos(self.due_ns)
    }

    /// From one of its records to the next.
    pub fn step(&self) -> Duration {
        Duration::from_nanos(u64::from(self.step_ns))
    }
}

/// What tells one run from another, and what its times count from.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    run: u32,
    epoch: Instant,
}

impl RunClock {
    /// A run that begins to count now.
    pub fn new(run: u32) -> RunClock {
        RunClock {
            run,
            epoch: Instant::now(),
        }
    }

    fn nanos(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_come_back_to_their_own_run() {
        let clock = RunClock::new(7);
        let due = clock.epoch + Duration::from_micros(1234);
        let stamp = Stamp::new(&clock, due, Duration::from_micros(5));
        let mut value = [0; 20];
        stamp.write(&mut value);
        assert_eq!(Stamp::read(&clock, &value), Some(stamp));
        assert_eq!(
            (stamp.due(&clock), stamp.step()),
            (due, Duration::from_micros(5))
        );
        assert_eq!(Stamp::read(&RunClock::new(8), &value), None);
        assert_eq!(Stamp::read(&clock, &value[..15]), None);
    }
}
