//! The memory of a burst of requests goes back to the kernel when the burst is over.
//!
//! The allocator keeps what lies between pieces still in use, and that can be more than all else
//! the node has. To look for it takes milliseconds for each hundred megabytes, so it is done once
//! after each burst, when there is little else to do.

use std::rc::Rc;
use std::time::Duration;

use millstream_reactor::TaskQueue;

use super::Shard;

/// How often the traffic is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Bytes that went in and out in one interval: so many are a burst, so few its end.
const BURST_BYTES: u64 = 64 << 20;
const QUIET_BYTES: u64 = 4 << 20;

/// The traffic of a shard, interval by interval.
#[derive(Debug, Default)]
struct Traffic {
    bytes: u64,
    burst: bool,
}

impl Traffic {
    /// Takes in the bytes there were so far; says whether a burst has ended.
    fn look(&mut self, bytes: u64) -> bool {
        let new = bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes));
        if new >= BURST_BYTES {
            self.burst = true;
        }
        new <= QUIET_BYTES && std::mem::take(&mut self.burst)
    }
}

impl Shard {
    /// Keeps the heap small between bursts, as long as the shard runs.
    pub fn watch_heap(self: &Rc<Self>) {
        let (reactor, counters) = (self.reactor.clone(), self.counters.clone());
        let watch = async move {
            let mut traffic = Traffic::default();
            loop {
                reactor.sleep(INTERVAL).await;
                if traffic.look(counters.bytes_received.get() + counters.bytes_sent.get()) {
                    reactor.trim_heap();
                }
            }
        };
        let watch = self.reactor.spawn(TaskQueue::Background, watch);
        self.tasks.borrow_mut().push(watch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_burst_is_seen_once() {
        let mut traffic = Traffic::default();
        let mut total = 0;
        let mut ended = |new: u64| {
            total += new;
            traffic.look(total)
        };
        assert!(!ended(QUIET_BYTES));
        assert!(!ended(BURST_BYTES - 1));
        assert!(!ended(0), "that was none");
        assert!(!ended(BURST_BYTES));
        assert!(!ended(QUIET_BYTES + 1), "it goes on");
        assert!(ended(QUIET_BYTES));
        assert!(!ended(0), "once");
    }
}
