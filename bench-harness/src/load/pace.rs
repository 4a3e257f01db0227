//! When records are due: an open loop in which record `n` of a connection is due at
//! `start + offset + n × step`, whatever has become of the earlier ones.

use std::time::{Duration, Instant};

/// The schedule of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    first: Instant,
    step_seconds: f64,
}

impl Pace {
    /// The schedule of connection `index` of `count` that share `rate` records a second evenly:
    /// each takes its turn.
    pub fn share(start: Instant, rate: f64, index: usize, count: usize) -> Pace {
        let step_seconds = count as f64 / rate;
        let offset = step_seconds * index as f64 / count as f64;
        Pace {
            first: start + Duration::from_secs_f64(offset),
            step_seconds,
        }
    }

    /// When record `n` is due.
    pub fn due(&self, n: u64) -> Instant {
        self.first + Duration::from_secs_f64(self.step_seconds * n as f64)
    }

    /// How many records are due before `moment`.
    pub fn due_before(&self, moment: Instant) -> u64 {
        match moment.checked_duration_since(self.first) {
            None => 0,
            Some(passed) => (passed.as_secs_f64() / self.step_seconds).ceil() as u64,
        }
    }

    /// From one record to the next.
    pub fn step(&self) -> Duration {
        Duration::from_secs_f64(self.step_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns() {
        let start = Instant::now();
        let paces: Vec<Pace> = (0..4)
            .map(|index| Pace::share(start, 1000.0, index, 4))
            .collect();
        let mut due: Vec<Duration> = paces
            .iter()
            .flat_map(|pace| (0..250).map(|n| pace.due(n) - start))
            .collect();
        due.sort();
        for (n, due) in due.iter().enumerate() {
            let expected = n as f64 / 1000.0;
            assert!((due.as_secs_f64() - expected).abs() < 1e-6);
        }
        let end = start + Duration::from_secs(1);
        assert_eq!(
            paces.iter().map(|pace| pace.due_before(end)).sum::<u64>(),
            1000
        );
        assert_eq!(paces[0].due_before(start), 0);
        assert_eq!(paces[0].due_before(start + Duration::from_nanos(1)), 1);
        assert_eq!(paces[0].step(), Duration::from_millis(4));
    }
}
