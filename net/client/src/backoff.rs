//! How long to wait between attempts.

use std::time::{Duration, Instant};

use millstream_reactor::Reactor;

const FIRST: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(1);

/// Waits that double from attempt to attempt, spread at random, until a deadline.
pub(crate) struct Backoff {
    reactor: Reactor,
    wait: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Attempts until `timeout` from now.
    pub(crate) fn new(reactor: &Reactor, timeout: Duration) -> Backoff {
        Backoff {
            reactor: reactor.clone(),
            wait: FIRST,
            deadline: reactor.now() + timeout,
        }
    }

    /// Waits before the next attempt; `false` at once if there is no time for one.
    pub(crate) async fn wait(&mut self) -> bool {
        // Between four and six fifths, so that clients that failed together spread out.
        let fifths = 800 + u32::try_from(self.reactor.random_u64() % 401).unwrap_or(0);
        let wait = self.wait * fifths / 1000;
        if self.reactor.now() + wait >= self.deadline {
            return false;
        }
        self.wait = (self.wait * 2).min(MAX);
        self.reactor.sleep(wait).await;
        true
    }
}
