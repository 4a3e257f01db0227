//! What a shard does for its logs by the clock: removing what is too old or too much, compaction,
//! and forgetting silent producers.
//!
//! The tasks run from the first open log to the store's close and look at one log at a time.

use std::rc::{Rc, Weak};
use std::time::Duration;

use millstream_reactor::{Reactor, TaskQueue};

use crate::cleaner::clean_regularly;
use crate::store::ShardStore;

impl ShardStore {
    /// Removes segments by the settings of their logs, now. How many went.
    pub async fn apply_retention(&self) -> usize {
        let mut removed = 0;
        for log in self.open_logs() {
            let now_ms = self.reactor.wall_clock_ms();
            match log.apply_retention(now_ms).await {
                Ok(count) => removed += count,
                Err(_) if log.unusable().is_some() => (),
                Err(error) => {
                    let (topic, partition) = log.name();
                    tracing::warn!(
                        topic,
                        partition = partition.0,
                        "segments that should go stay until the next time: {error}"
                    );
                }
            }
            self.reactor.yield_now().await;
        }
        removed
    }

    /// Starts the tasks, once.
    pub(crate) fn keep_house(self: &Rc<Self>) {
        if self.keeps_house.replace(true) {
            return;
        }
        let store = Rc::downgrade(self);
        let retention = remove_regularly(store.clone(), self.reactor.clone());
        self.reactor
            .spawn(TaskQueue::Background, retention)
            .detach();
        let cleaning = clean_regularly(store.clone(), self.reactor.clone());
        self.reactor.spawn(TaskQueue::Background, cleaning).detach();
        let expiration = expire_regularly(store, self.reactor.clone());
        self.reactor
            .spawn(TaskQueue::Background, expiration)
            .detach();
    }
}

async fn remove_regularly(store: Weak<ShardStore>, reactor: Reactor) {
    let mut pause = match store.upgrade() {
        Some(store) => store.config.initial_task_delay,
        None => return,
    };
    while let Some(store) = open_after(&store, &reactor, pause).await {
        store.apply_retention().await;
        pause = store.config.retention_check_interval;
    }
}

async fn expire_regularly(store: Weak<ShardStore>, reactor: Reactor) {
    let pause = match store.upgrade() {
        Some(store) => store.config.producer_check_interval,
        None => return,
    };
    while let Some(store) = open_after(&store, &reactor, pause).await {
        for log in store.open_logs() {
            log.expire_producers(reactor.wall_clock_ms());
        }
    }
}

/// The store after a pause, unless it was closed.
async fn open_after(
    store: &Weak<ShardStore>,
    reactor: &Reactor,
    pause: Duration,
) -> Option<Rc<ShardStore>> {
    reactor.sleep(pause).await;
    store.upgrade().filter(|store| !store.is_closed())
}
