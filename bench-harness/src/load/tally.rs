//! What one core has seen of a run: counts, latencies, and both second by second.
//!
//! Throughput counts at the time at which a request is answered, or records arrive; with a
//! schedule, records count by when they were due, so that a broker that stalls does not lose
//! those that had to wait. Latency always goes by when a record was due, or was sent where there
//! is no schedule.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::window::Window;

/// What takes longer counts as this.
const LONGEST_NS: u64 = 600_000_000_000;
/// Points that the series has at most.
const SERIES_MAX: usize = 3600;

/// Records and what they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Requests with records in them.
    pub requests: u64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: Counts) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.requests += other.requests;
    }
}

/// A second of the measured time.
pub struct Point {
    /// Bytes whose request was answered in it.
    pub produced_bytes: u64,
    /// Bytes that arrived in it.
    pub consumed_bytes: u64,
    /// Nanoseconds that records took which were due in it.
    pub latency: Option<Histogram<u64>>,
}

/// One core's counts, or those of all cores together.
pub struct Tally {
    window: Window,
    scheduled: bool,
    /// When the last of what counts has come.
    last_progress: Instant,
    /// Records that the broker has taken.
    pub produced: Counts,
    /// Records that have arrived.
    pub consumed: Counts,
    /// Records that the reader from the beginning has got.
    pub catch_up: Counts,
    /// How long that reader has read.
    pub catch_up_time: Duration,
    /// Connections that were opened, used and closed.
    pub connections_opened: u64,
    /// Nanoseconds that records took.
    pub latency: Histogram<u64>,
    /// The seconds of the measured time.
    pub series: Vec<Point>,
}

impl Tally {
    /// Nothing has happened yet. `scheduled` says whether records are due at times of their own.
    pub fn new(window: Window, scheduled: bool) -> Tally {
        Tally {
            window,
            scheduled,
            last_progress: window.from,
            produced: Counts::default(),
            consumed: Counts::default(),
            catch_up: Counts::default(),
            catch_up_time: Duration::ZERO,
            connections_opened: 0,
            latency: Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds in order"),
            series: Vec::new(),
        }
    }

    /// A request was answered whose first record was due at `due`.
    pub fn produced(&mut self, now: Instant, due: Instant, counts: Counts) {
        if self.counts(now, due) {
            self.produced.add(counts);
            self.progress(now);
        }
        if let Some(point) = self.point(now) {
            point.produced_bytes += counts.bytes;
        }
    }

    /// Records have arrived of which the first was due at `due`, where that is known.
    pub fn consumed(&mut self, now: Instant, due: Option<Instant>, counts: Counts) {
        if self.counts(now, due.unwrap_or(now)) {
            self.consumed.add(counts);
            self.progress(now);
        }
        if let Some(point) = self.point(now) {
            point.consumed_bytes += counts.bytes;
        }
    }

    /// The reader from the beginning has got records.
    pub fn caught_up(&mut self, now: Instant, counts: Counts) {
        if self.window.contains(now) {
            self.catch_up.add(counts);
            self.catch_up_time = self.catch_up_time.max(self.window.measured(now));
        }
    }

    /// A connection was opened, used and closed.
    pub fn opened(&mut self, now: Instant, due: Instant) {
        if self.counts(now, due) {
            self.connections_opened += 1;
        }
    }

    /// `count` records are through, of which the first was due at `due` and each other one a
    /// `step` later.
    pub fn latency(&mut self, now: Instant, due: Instant, step: Duration, count: u64) {
        if step.is_zero() {
            return self.latency_of(now, due, count);
        }
        for record in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            self.latency_of(now, due + step * record, 1);
        }
    }

    fn latency_of(&mut self, now: Instant, due: Instant, count: u64) {
        if !self.counts(now, due) {
            return;
        }
        let taken = now.saturating_duration_since(due).as_nanos();
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(taken, count);
        let moment = self.moment(now, due);
        if let Some(point) = self.point(moment) {
            let latency = point.latency.get_or_insert_with(|| {
                Histogram::new_with_bounds(1000, LONGEST_NS, 2).expect("bounds in order")
            });
            latency.saturating_record_n(taken, count);
        }
    }

    /// Takes over what another core has seen.
    pub fn merge(&mut self, other: Tally) {
        self.progress(other.last_progress);
        self.produced.add(other.produced);
        self.consumed.add(other.consumed);
        self.catch_up.add(other.catch_up);
        self.catch_up_time = self.catch_up_time.max(other.catch_up_time);
        self.connections_opened += other.connections_opened;
        self.latency
            .add(other.latency)
            .expect("the bounds are the same");
        for (second, point) in other.series.into_iter().enumerate() {
            let own = self.second(second);
            own.produced_bytes += point.produced_bytes;
            own.consumed_bytes += point.consumed_bytes;
            match (&mut own.latency, point.latency) {
                (Some(own), Some(latency)) => own.add(latency).expect("the bounds are the same"),
                (own @ None, latency) => *own = latency,
                (Some(_), None) => {}
            }
        }
    }

    /// When the last of what counts has come; the end of the warm-up if nothing has.
    pub fn last_progress(&self) -> Instant {
        self.last_progress
    }

    fn progress(&mut self, now: Instant) {
        self.last_progress = self.last_progress.max(now);
    }

    fn counts(&self, now: Instant, due: Instant) -> bool {
        self.window.contains(self.moment(now, due))
    }

    fn moment(&self, now: Instant, due: Instant) -> Instant {
        if self.scheduled { due } else { now }
    }

    /// The second in which `moment` is; none if it is not measured.
    fn point(&mut self, moment: Instant) -> Option<&mut Point> {
        if !self.window.contains(moment) {
            return None;
        }
        let second = usize::try_from(self.window.measured(moment).as_secs()).ok()?;
        (second < SERIES_MAX).then(|| self.second(second))
    }

    fn second(&mut self, second: usize) -> &mut Point {
        if self.series.len() <= second {
            self.series.resize_with(second + 1, || Point {
                produced_bytes: 0,
                consumed_bytes: 0,
                latency: None,
            });
        }
        &mut self.series[second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Counts = Counts {
        records: 1,
        bytes: 100,
        requests: 1,
    };

    fn window(warm_up: u64, seconds: u64) -> Window {
        let start = Instant::now();
        let from = start + Duration::from_secs(warm_up);
        Window {
            start,
            from,
            until: Some(from + Duration::from_secs(seconds)),
        }
    }

    /// A broker that takes nothing for one second costs each record that was due in it, not only
    /// the one that was under way.
    #[test]
    fn a_stall_counts_for_all_that_had_to_wait() {
        let window = window(1, 2);
        let mut tally = Tally::new(window, true);
        let step = Duration::from_millis(10);
        for second in 0..3 {
            // The middle second's records come through together at its end.
            let begin = window.start + Duration::from_secs(second);
            if second == 1 {
                tally.latency(begin + Duration::from_secs(1), begin, step, 100);
                continue;
            }
            for n in 0..100 {
                let due = begin + step * n;
                tally.latency(due + Duration::from_millis(1), due, step, 1);
            }
        }
        assert_eq!(tally.latency.len(), 200, "the warm-up does not count");
        let p75 = tally.latency.value_at_quantile(0.75);
        assert!((480_000_000..530_000_000).contains(&p75), "{p75}");
        assert_eq!(tally.series.len(), 2);
        let medians: Vec<u64> = tally
            .series
            .iter()
            .map(|point| point.latency.as_ref().unwrap().value_at_quantile(0.5))
            .collect();
        assert!(
            medians[0] > 400_000_000 && medians[1] < 1_100_000,
            "{medians:?}"
        );
    }

    #[test]
    fn counts_go_by_the_schedule_where_there_is_one() {
        let window = window(1, 1);
        let late = window.until.unwrap() + Duration::from_millis(1);
        for (scheduled, records) in [(true, 1), (false, 0)] {
            let mut tally = Tally::new(window, scheduled);
            tally.produced(late, window.from, RECORD);
            tally.consumed(late, Some(window.from), RECORD);
            tally.produced(window.from, window.start, RECORD);
            assert_eq!(tally.consumed.records, records);
            // One was due in the window, the other answered in it.
            assert_eq!(tally.produced.records, 1);
        }
    }

    #[test]
    fn cores_are_added_up() {
        let window = window(0, 5);
        let at = |second: u64| window.start + Duration::from_secs(second);
        let mut all = Tally::new(window, false);
        for core in 0..2 {
            let mut tally = Tally::new(window, false);
            tally.produced(at(core), at(core), RECORD);
            tally.latency(at(core), at(core), Duration::ZERO, 3);
            tally.consumed(at(2), None, RECORD);
            tally.caught_up(at(4), RECORD);
            tally.opened(at(1), at(1));
            all.merge(tally);
        }
        assert_eq!(all.produced.records, 2);
        assert_eq!((all.consumed.bytes, all.catch_up.requests), (200, 2));
        assert_eq!((all.latency.len(), all.connections_opened), (6, 2));
        assert_eq!(all.catch_up_time, Duration::from_secs(4));
        assert_eq!(all.last_progress(), at(2));
        let bytes: Vec<(u64, u64)> = all
            .series
            .iter()
            .map(|point| (point.produced_bytes, point.consumed_bytes))
            .collect();
        assert_eq!(bytes, [(100, 0), (100, 0), (0, 200)]);
    }
}
