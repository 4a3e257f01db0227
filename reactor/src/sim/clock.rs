//! Virtual time, and the events that are due at some point of it.
//!
//! Time stands still while tasks run and jumps to the next event when none is ready.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::world::World;

/// What is done when an event is due.
pub(super) type Action = Box<dyn FnOnce(&Rc<World>)>;

pub(super) enum Event {
    /// A timer of a task.
    Wake(Waker),
    /// Something of the network's, or of the disk of the node named by its index.
    Run { node: Option<usize>, action: Action },
}

/// When an event is due; the number keeps events of one instant in the order they were made.
pub(super) type EventKey = (Duration, u64);

#[derive(Default)]
pub(super) struct Clock {
    elapsed: Cell<Duration>,
    next_event: Cell<u64>,
    events: RefCell<BTreeMap<EventKey, Event>>,
}

impl Clock {
    /// Time since the simulation began.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    pub(super) fn set_elapsed(&self, elapsed: Duration) {
        assert!(elapsed >= self.elapsed.get(), "time goes forward");
        self.elapsed.set(elapsed);
    }

    pub(super) fn schedule(&self, at: Duration, event: Event) -> EventKey {
        let number = self.next_event.get();
        self.next_event.set(number + 1);
        let key = (at.max(self.elapsed.get()), number);
        self.events.borrow_mut().insert(key, event);
        key
    }

    /// Changes the waker of a timer. Whether the timer is still to come.
    pub(super) fn rearm(&self, key: EventKey, waker: &Waker) -> bool {
        match self.events.borrow_mut().get_mut(&key) {
            Some(Event::Wake(known)) => {
                known.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    pub(super) fn cancel(&self, key: EventKey) {
        // Dropped after the borrow ends: a waker may own anything.
        let event = self.events.borrow_mut().remove(&key);
        drop(event);
    }

    /// When the next event is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let events = self.events.borrow();
        events.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next event that is due now.
    pub(super) fn take_due(&self) -> Option<(EventKey, Event)> {
        let mut events = self.events.borrow_mut();
        let entry = events.first_entry()?;
        (entry.key().0 <= self.elapsed.get()).then(|| entry.remove_entry())
    }

    /// Forgets what the disk of a node was about to complete.
    pub(super) fn forget_node(&self, index: usize) {
        let forgotten: Vec<(EventKey, Event)> = self
            .events
            .borrow_mut()
            .extract_if(
                ..,
                |_, event| matches!(event, Event::Run { node: Some(node), .. } if *node == index),
            )
            .collect();
        drop(forgotten);
    }

    /// Takes all events away.
    pub(super) fn clear(&self) -> bool {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        !events.is_empty()
    }
}
