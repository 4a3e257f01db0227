//! Which log of a shard is cleaned next, and the file that says how far each was.
//!
//! A shard writes `millstream-cleaner-<shard>`, in Kafka's text format for offsets, after each
//! cleaning. At start they are merged into Kafka's `cleaner-offset-checkpoint`, and at a clean stop
//! that is written anew.

use std::rc::{Rc, Weak};
use std::time::Duration;

use millstream_reactor::Reactor;

use crate::checkpoint_file::{OffsetCheckpoint, shard_cleaner_file};
use crate::error::StorageError;
use crate::log::Log;
use crate::store::ShardStore;

/// Whatever the settings say: a core does not only look for what is dirty.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl ShardStore {
    /// Cleans the log with the largest part of dirty bytes of those that are due. Whether there was
    /// one that got any further.
    pub async fn clean_dirtiest(self: &Rc<Self>) -> bool {
        let now_ms = self.reactor.wall_clock_ms();
        let mut dirtiest: Option<(Rc<Log>, super::dirty_range::DirtyRange)> = None;
        for log in self.open_logs() {
            if log.unusable().is_some() || log.disk_full().is_some() {
                continue;
            }
            let range = match log.dirty_range(now_ms).await {
                Ok(range) => range.filter(|range| range.is_due),
                Err(error) => {
                    log.give_up_cleaning(&error);
                    continue;
                }
            };
            if let Some(range) = range
                && dirtiest
                    .as_ref()
                    .is_none_or(|(_, most)| range.ratio > most.ratio)
            {
                dirtiest = Some((log, range));
            }
        }
        let Some((log, range)) = dirtiest else {
            return false;
        };
        let before = log.size();
        let config = self.cleaner.borrow().clone();
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
                true
            }
            Ok(false) => false,
            Err(error) => {
                log.give_up_cleaning(&error);
                false
            }
        }
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
