//! How far long work has come, on a terminal: one line that is written over and over.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::output::Output;

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(100);
/// Work that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(400);
/// How wide the bar is.
const WIDTH: usize = 30;

/// A bar on standard error; nothing at all unless a person sees it.
pub struct Progress {
    shown: bool,
    total: u64,
    done: u64,
    began: Instant,
    next: Instant,
    drawn: bool,
}

impl Progress {
    /// Work on so many bytes.
    pub fn of_bytes(output: &Output, total: u64) -> Progress {
        let began = Instant::now();
        Progress {
            shown: output.may_tell() && total > 0,
            total,
            done: 0,
            began,
            next: began + PATIENCE,
            drawn: false,
        }
    }

    /// So many more are done.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.shown {
            return;
        }
        let now = Instant::now();
        if now >= self.next {
            self.next = now + INTERVAL;
            self.drawn = true;
            let line = line(self.done, self.total, now - self.began);
            let mut stderr = io::stderr().lock();
            // A bar that cannot be drawn is no reason to stop the work.
            let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
        }
    }

    /// Takes the line away, before something else is printed.
    pub fn clear(&mut self) {
        if self.drawn {
            self.drawn = false;
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let fraction = (done as f64 / total as f64).min(1.0);
    let filled = (fraction * WIDTH as f64) as usize;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "[{:<WIDTH$}] {:3.0}%  {} of {}  {}/s",
        "#".repeat(filled),
        fraction * 100.0,
        size(done as f64),
        size(total as f64),
        size(rate),
    )
}

/// Bytes in the unit that fits, such as `1.5 MB`.
pub fn size(bytes: f64) -> String {
    let mut bytes = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if bytes < 1000.0 {
            return match unit {
                "B" => format!("{bytes:.0} B"),
                _ => format!("{bytes:.1} {unit}"),
            };
        }
        bytes /= 1000.0;
    }
    format!("{bytes:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_much_is_done_and_how_fast() {
        let half = line(500_000, 1_000_000, Duration::from_secs(1));
        let bar = "#".repeat(15) + &" ".repeat(15);
        assert_eq!(
            half,
            format!("[{bar}]  50%  500.0 kB of 1.0 MB  500.0 kB/s")
        );
        // A file may grow while it is read.
        assert!(line(3, 2, Duration::ZERO).contains("100%"));
    }

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let output = Output::in_memory(crate::arguments::OutputFormat::Text);
        let mut progress = Progress::of_bytes(&output, 10);
        progress.add(10);
        assert!(!progress.drawn && output.taken().is_empty());
    }
}
