//! What is being measured right now: one live line on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Tells on standard error what is being measured.
pub struct Progress {
    live: bool,
    what: String,
    began: Instant,
    expected: f64,
    /// Seconds that come after what is being measured.
    behind: f64,
    next: Instant,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Progress {
        let now = Instant::now();
        Progress {
            live: io::stderr().is_terminal(),
            what: String::new(),
            began: now,
            expected: 0.0,
            behind: 0.0,
            next: now,
        }
    }

    /// Something begins that takes about so many seconds, with so many behind it.
    pub fn begin(&mut self, what: String, expected: f64, behind: f64) {
        self.what = what;
        self.began = Instant::now();
        self.expected = expected;
        self.behind = behind;
        self.next = self.began;
        if self.live {
            self.tick();
        } else {
            eprintln!("{}; {} left", self.what, duration(expected + behind));
        }
    }

    /// Time goes by.
    pub fn tick(&mut self) {
        let now = Instant::now();
        if !self.live || now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let elapsed = (now - self.began).as_secs_f64();
        let left = (self.expected - elapsed).max(0.0) + self.behind;
        let mut stderr = io::stderr().lock();
        // A line that cannot be drawn is no reason to stop measuring.
        let _ = write!(
            stderr,
            "\r{}  {elapsed:.0} s of {:.0}, {} left\x1b[K",
            self.what,
            self.expected.max(elapsed),
            duration(left),
        )
        .and_then(|()| stderr.flush());
    }

    /// Something that ought to stay on the screen.
    pub fn say(&mut self, text: &str) {
        let start = if self.live { "\r" } else { "" };
        let end = if self.live { "\x1b[K" } else { "" };
        eprintln!("{start}{text}{end}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.live {
            // As above.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Seconds for people.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_for_people() {
        assert_eq!(duration(0.4), "0 s");
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(3725.0), "1 h 2 min");
        assert_eq!(duration(-3.0), "0 s");
    }
}
