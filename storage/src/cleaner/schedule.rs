//! Which log of a shard is cleaned next, and the file that says how far each was.
//!
//! A shard writes `millstream-cleaner-<shard>`, in Kafka's text format for offsets, after each
//! cleaning. At start they are merged into Kafka's `cleaner-offset-checkpoint`, and at a clean stop
//! that is written anew.

use std::rc::{Rc, Weak};
use std::time::Duration;

use millstream_reactor::Reactor;

use super::dirty_range::DirtyRange;
use crate::checkpoint_file::{OffsetCheckpoint, shard_cleaner_file};
use crate::error::StorageError;
use crate::log::Log;
use crate::store::ShardStore;

/// Whatever the settings say: a core does not only look for what is dirty.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl ShardStore {
    /// Cleans the log with the largest part of dirty bytes of those that are due, or the next one
    /// if that gets no further. Whether one got further.
    pub async fn clean_dirtiest(self: &Rc<Self>) -> bool {
        let config = self.cleaner.borrow().clone();
        for (log, range) in self.due_logs().await {
            let before = log.size();
            match log.clean(range, &config).await {
                Ok(true) => {
                    let (topic, partition) = log.name();
                    tracing::debug!(
                        topic,
                        partition = partition.0,
                        before,
                        after = log.size(),
                        "compacted"
                    );
                    if let Err(error) = self.write_cleaned_offsets().await {
                        // The next start cleans once more what is clean.
                        tracing::warn!("how far logs are compacted is not written down: {error}");
                    }
                    return true;
                }
                Ok(false) => (),
                Err(error) => log.give_up_cleaning(&error),
            }
        }
        false
    }

    /// The logs that are due, the dirtiest first.
    async fn due_logs(&self) -> Vec<(Rc<Log>, DirtyRange)> {
        let now_ms = self.reactor.wall_clock_ms();
        let mut due = Vec::new();
        for log in self.open_logs() {
            if log.unusable().is_some() || log.disk_full().is_some() {
                continue;
            }
            match log.unless_changed(log.dirty_range(now_ms)).await {
                Ok(range) => due.extend(range.flatten().map(|range| (log, range))),
                Err(error) => log.give_up_cleaning(&error),
            }
        }
        due.sort_by(|(_, one), (_, other)| other.ratio.total_cmp(&one.ratio));
        due
    }

    async fn write_cleaned_offsets(&self) -> Result<(), StorageError> {
        let mut checkpoint = OffsetCheckpoint::default();
        for log in self.open_logs() {
            if let Some(first) = log.first_dirty_offset() {
                checkpoint.offsets.insert(log.name().clone(), first);
            }
        }
        let path = self.config.root.join(shard_cleaner_file(self.config.shard));
        self.write_atomic(&path, checkpoint.to_text().into()).await
    }
}

impl Log {
    /// A log that cannot be read is left alone until the next start; a full disk may pass.
    fn give_up_cleaning(&self, error: &StorageError) {
        let (topic, partition) = self.name();
        if error.is_full() {
            tracing::warn!(topic, partition = partition.0, "not compacted: {error}");
            return;
        }
        if self.unusable().is_none() {
            tracing::error!(
                topic,
                partition = partition.0,
                "not compacted any more until the next start: {error}"
            );
        }
        self.state.borrow_mut().uncleanable = true;
    }
}

/// Cleans for as long as the store is open.
pub(crate) async fn clean_regularly(store: Weak<ShardStore>, reactor: Reactor) {
    loop {
        let pause = match store.upgrade() {
            Some(store) if store.config.cleaner.enabled => {
                store.cleaner.borrow().backoff.max(SHORTEST_PAUSE)
            }
            _ => return,
        };
        reactor.sleep(pause).await;
        loop {
            let Some(store) = store.upgrade().filter(|store| !store.is_closed()) else {
                return;
            };
            if !store.clean_dirtiest().await {
                break;
            }
            reactor.yield_now().await;
        }
    }
}
