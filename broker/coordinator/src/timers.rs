//! The coordinator's timers: at most one for each key, in order of their deadlines, and in the
//! order of their setting where those are equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_protocol::StrBytes;

/// What a timer is for; setting it again under the same key replaces it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A member's session, or the time a pending member has to join.
    Session {
        /// The group's id.
        group: StrBytes,
        /// The member's id.
        member: StrBytes,
    },
    /// The end of a group's join phase.
    Join {
        /// The group's id.
        group: StrBytes,
    },
    /// The end of the time a generation's members have to sync.
    Sync {
        /// The group's id.
        group: StrBytes,
    },
    /// The next look for expired offsets.
    Expiration,
}

/// What happens when a timer fires, beyond what its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// The session is over.
    SessionExpired,
    /// The members that have not rejoined are given up.
    JoinTimeout,
    /// A group that was empty has waited `delay` for more members and may wait `remaining` more.
    InitialDelay {
        /// How long the wait was.
        delay: Duration,
        /// How much longer it may be.
        remaining: Duration,
    },
    /// The members of the generation that have not synced are given up.
    SyncTimeout,
    /// Expired offsets are looked for.
    ExpirationDue,
}

/// The number of timers set so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerCount(u64);

#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Instant, u64), (TimerKey, TimerEvent)>,
    places: BTreeMap<TimerKey, (Instant, u64)>,
    set: u64,
}

impl Timers {
    pub(crate) fn schedule(&mut self, key: TimerKey, deadline: Instant, event: TimerEvent) {
        self.cancel(&key);
        let place = (deadline, self.set);
        self.set += 1;
        self.places.insert(key.clone(), place);
        self.queue.insert(place, (key, event));
    }

    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        if let Some(place) = self.places.remove(key) {
            self.queue.remove(&place);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn count(&self) -> TimerCount {
        TimerCount(self.set)
    }

    /// Takes the next timer that is due, passing over those set after `set_before`: a timer that
    /// sets itself again without delay fires once for each look at the clock.
    pub(crate) fn pop_due(
        &mut self,
        now: Instant,
        set_before: TimerCount,
    ) -> Option<(TimerKey, TimerEvent)> {
        let place = self
            .queue
            .range(..=(now, u64::MAX))
            .map(|(place, _)| *place)
            .find(|(_, set)| *set < set_before.0)?;
        let (key, event) = self.queue.remove(&place).expect("the place was just found");
        self.places.remove(&key);
        Some((key, event))
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &'static str) -> TimerKey {
        TimerKey::Join {
            group: StrBytes::from_static_str(group),
        }
    }

    #[test]
    fn fires_in_order_of_deadline_and_not_before() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.schedule(join("late"), start + 2 * second, TimerEvent::JoinTimeout);
        timers.schedule(join("early"), start + second, TimerEvent::JoinTimeout);
        let all = timers.count();
        assert_eq!(timers.next_deadline(), Some(start + second));
        assert_eq!(timers.pop_due(start, all), None);
        let later = start + 3 * second;
        assert_eq!(
            timers.pop_due(later, all),
            Some((join("early"), TimerEvent::JoinTimeout))
        );
        assert_eq!(
            timers.pop_due(later, all),
            Some((join("late"), TimerEvent::JoinTimeout))
        );
        assert_eq!(timers.pop_due(later, all), None);
    }

    #[test]
    fn setting_again_replaces_and_waits_for_the_next_look() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.schedule(join("g"), start, TimerEvent::JoinTimeout);
        let before = timers.count();
        timers.schedule(join("g"), start, TimerEvent::JoinTimeout);
        assert_eq!(timers.pop_due(start, before), None);
        assert!(timers.pop_due(start, timers.count()).is_some());
        assert_eq!(timers.next_deadline(), None);
    }
}
