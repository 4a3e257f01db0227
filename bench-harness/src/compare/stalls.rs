//! What the machine itself adds to latencies: how long a core is taken from a thread that never
//! sleeps, by the host of a virtual machine or by what else runs there.
//!
//! The thread looks at the clock over and over; a gap between two looks is a time in which it stood
//! still. An event at a random instant waits for the rest of the gap it falls into. So the wait that
//! one event in a hundred exceeds is what the p99 of a broker that needs no time at all would be.

use std::time::{Duration, Instant};

/// Shorter gaps are the loop itself.
const SHORTEST_GAP: Duration = Duration::from_micros(50);

/// The gaps in a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Stalls {
    gaps: Vec<Duration>,
    whole: Duration,
}

impl Stalls {
    /// Looks at the clock for `seconds`, on this thread's core.
    pub fn watch(seconds: Duration) -> Stalls {
        let began = Instant::now();
        let mut last = began;
        let mut gaps = Vec::new();
        while last - began < seconds {
            let now = Instant::now();
            if now - last >= SHORTEST_GAP {
                gaps.push(now - last);
            }
            last = now;
        }
        Stalls {
            gaps,
            whole: last - began,
        }
    }

    /// The wait that this part of events at random instants exceeds.
    pub fn wait_exceeded_by(&self, part: f64) -> Duration {
        let mut gaps: Vec<f64> = self.gaps.iter().map(Duration::as_secs_f64).collect();
        gaps.sort_by(|left, right| right.total_cmp(left));
        let excess = part * self.whole.as_secs_f64();
        let mut sum = 0.0;
        // Events that wait longer than `wait` fall into the beginnings of the gaps longer than it,
        // which come to the sum of these gaps less `wait` for each.
        for (index, gap) in gaps.iter().enumerate() {
            sum += gap;
            let wait = (sum - excess) / (index + 1) as f64;
            let next = gaps.get(index + 1).copied().unwrap_or(0.0);
            if wait >= next {
                return Duration::from_secs_f64(wait.max(0.0));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalls(gaps: &[u64], whole: u64) -> Stalls {
        Stalls {
            gaps: gaps.iter().copied().map(Duration::from_millis).collect(),
            whole: Duration::from_millis(whole),
        }
    }

    fn micros(stalls: &Stalls, part: f64) -> u128 {
        let wait = stalls.wait_exceeded_by(part);
        (wait.as_secs_f64() * 1e6).round() as u128
    }

    #[test]
    fn an_event_waits_for_the_rest_of_its_gap() {
        // One gap of 30 ms in a second: one event in a hundred falls into its first 10 ms.
        let one = stalls(&[30], 1000);
        assert_eq!(micros(&one, 0.01), 20_000);
        assert_eq!(micros(&one, 0.03), 0);
        assert_eq!(micros(&one, 0.5), 0);
    }

    #[test]
    fn gaps_add_up() {
        // Above 8 ms: the first 2 ms of one gap and the first 4 ms of two others.
        let several = stalls(&[1, 12, 10, 12, 7], 1000);
        assert_eq!(micros(&several, 0.01), 8_000);
        assert_eq!(micros(&several, 0.004), 10_000);
        assert_eq!(micros(&stalls(&[], 1000), 0.01), 0);
    }

    #[test]
    fn a_thread_that_watches_sees_no_more_than_the_time_that_passed() {
        let seen = Stalls::watch(Duration::from_millis(20));
        assert!(seen.whole >= Duration::from_millis(20));
        assert!(seen.gaps.iter().sum::<Duration>() <= seen.whole);
        assert!(seen.gaps.iter().all(|gap| *gap >= SHORTEST_GAP));
    }
}
