//! One line on a terminal that says how far a run is, written over and over.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::window::Window;

/// How often the line changes.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// The line; nothing at all unless a person sees it.
pub struct Progress {
    shown: bool,
    next: Instant,
    /// When it was last drawn, and the bytes produced and consumed until then.
    last: Option<(Instant, u64, u64)>,
}

impl Progress {
    /// A line that is not there yet.
    pub fn new() -> Progress {
        Progress {
            shown: io::stderr().is_terminal(),
            next: Instant::now(),
            last: None,
        }
    }

    /// Whether somebody sees it.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Draws it if it is time to.
    pub fn update(&mut self, now: Instant, window: &Window, shared: &Shared) {
        if !self.shown || now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let (produced, consumed) = shared.bytes();
        if let Some((then, was_produced, was_consumed)) = self.last {
            let seconds = (now - then).as_secs_f64();
            let rate = |bytes: u64| bytes as f64 / 1e6 / seconds;
            let rates = (rate(produced - was_produced), rate(consumed - was_consumed));
            let mut stderr = io::stderr().lock();
            // A line that cannot be drawn is no reason to stop.
            let _ = write!(stderr, "\r{}\x1b[K", line(now, window, rates));
            let _ = stderr.flush();
        }
        self.last = Some((now, produced, consumed));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.last.is_some() {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K");
            let _ = stderr.flush();
        }
    }
}

fn line(now: Instant, window: &Window, (produced, consumed): (f64, f64)) -> String {
    let time = if now < window.from {
        let left = (window.from - now).as_secs_f64().ceil();
        format!("warm-up, {left:.0} s left")
    } else {
        let passed = window.measured(now).as_secs();
        match window.until {
            Some(until) => format!("{passed} of {} s", window.measured(until).as_secs()),
            None => format!("{passed} s"),
        }
    };
    format!("{time}: produced {produced:.1} MB/s, consumed {consumed:.1} MB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_a_run_is() {
        let start = Instant::now();
        let from = start + Duration::from_secs(5);
        let until = Some(from + Duration::from_secs(20));
        let window = Window { start, from, until };
        assert_eq!(
            line(start + Duration::from_secs(2), &window, (1.0, 2.04)),
            "warm-up, 3 s left: produced 1.0 MB/s, consumed 2.0 MB/s"
        );
        let now = from + Duration::from_millis(3500);
        assert!(line(now, &window, (0.0, 0.0)).starts_with("3 of 20 s: "));
        let endless = Window {
            until: None,
            ..window
        };
        assert!(line(now, &endless, (0.0, 0.0)).starts_with("3 s: "));
    }
}
