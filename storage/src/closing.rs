//! The end of a log's use: a clean close, after which it opens without a scan, and its deletion.

use std::rc::Rc;

use bytes::Bytes;
use millstream_protocol::Offset;
use millstream_reactor::TaskQueue;

use crate::error::StorageError;
use crate::log::Log;
use crate::producer_snapshot;
use crate::recovery_checkpoint::LogName;
use crate::segment::SNAPSHOT_SUFFIX;

/// The longest name of a folder.
const MAX_NAME_LEN: usize = 255;
/// What the name of a folder ends with whose log is being deleted.
pub(crate) const DELETE_SUFFIX: &str = "-delete";

impl Log {
    /// Flushes everything and leaves the files as Kafka leaves them: cut to their length, indexes
    /// complete, a snapshot of the producers. The log takes and gives nothing afterwards.
    pub async fn close(self: &Rc<Self>) -> Result<(), StorageError> {
        if self.state.borrow().closed {
            return Ok(());
        }
        self.files.set_truncating(true);
        let result = self.close_cleanly().await;
        let mut state = self.state.borrow_mut();
        state.closed = true;
        state.generation += 1;
        state.writer.file = None;
        while let Some(chunk) = state.tail.chunks.pop_front() {
            self.store.give_back(chunk.buffer);
        }
        drop(state);
        self.store.forget_log_files(self.id);
        self.progress.notify_waiters();
        result
    }

    async fn close_cleanly(self: &Rc<Self>) -> Result<(), StorageError> {
        self.flush().await?;
        self.hold_writer().await;
        let _files = self.files.lock().await;
        if let Some(error) = self.offline() {
            return Err(error);
        }
        let end = self.state.borrow().end();
        if self.state.borrow().touched {
            self.trim_and_flush(end).await?;
        }
        self.state.borrow_mut().active_mut().add_time_entry();
        self.write_indexes(end.segment, u64::MAX).await?;
        let (epochs, snapshot) = {
            let mut state = self.state.borrow_mut();
            let epochs = state.epochs_are_due().then(|| state.epochs.to_text());
            state.epochs_dirty = false;
            // Without a snapshot Kafka reads the log again from the one before.
            let wanted = state.snapshot.is_none() || (state.touched && end.offset > 0);
            let snapshot = wanted.then(|| Bytes::from(producer_snapshot::encode(&state.producers)));
            (epochs, snapshot)
        };
        if let Some(epochs) = epochs {
            self.write_epochs(epochs).await?;
        }
        if let Some(snapshot) = snapshot {
            let path = self.segment_path(end.offset, SNAPSHOT_SUFFIX);
            self.store.write_atomic(&path, snapshot).await?;
            let obsolete = {
                let state = self.state.borrow();
                let last = state.checkpoint.place.map(|place| place.snapshot);
                last.filter(|&last| last >= 0 && last != end.offset)
                    .filter(|&last| state.segment_index(last).is_none())
            };
            if let Some(obsolete) = obsolete {
                self.remove_snapshot(obsolete).await;
            }
        }
        let mut state = self.state.borrow_mut();
        state.checkpoint.recovery_point = Offset(end.offset);
        state.checkpoint.place = None;
        Ok(())
    }

    /// Removes the log. Its folder has another name when this returns; its files go afterwards.
    pub async fn delete(self: &Rc<Self>) -> Result<(), StorageError> {
        self.files.set_truncating(true);
        self.hold_writer().await;
        let _files = self.files.lock().await;
        {
            let mut state = self.state.borrow_mut();
            state.closed = true;
            state.generation += 1;
            state.writer.file = None;
            while let Some(chunk) = state.tail.chunks.pop_front() {
                self.store.give_back(chunk.buffer);
            }
        }
        self.store.unregister(self);
        self.store.forget_log_files(self.id);
        self.progress.notify_waiters();

        let from = self.dir.borrow().to_path_buf();
        let random = std::array::from_fn(|_| self.store.reactor.random_u64());
        let to = self
            .store
            .config
            .root
            .join(deleted_name(&self.name, random));
        let fs = self.store.fs();
        fs.rename(&from, &to)
            .await
            .map_err(|cause| StorageError::io("rename", &from, cause))?;
        self.store.sync_dir(&self.store.config.root).await?;
        *self.dir.borrow_mut() = to.clone().into();
        let removal = async move {
            if let Err(cause) = fs.remove_dir_all(&to).await {
                tracing::warn!(path = %to.display(), "cannot remove a deleted log: {cause}");
            }
        };
        self.store
            .reactor
            .spawn(TaskQueue::Background, removal)
            .detach();
        Ok(())
    }
}

/// As Kafka names it: `<topic>-<partition>.<random>-delete`, cut to what a name may have.
fn deleted_name((topic, partition): &LogName, random: [u64; 2]) -> String {
    let suffix = format!(".{:016x}{:016x}{DELETE_SUFFIX}", random[0], random[1]);
    let mut name = format!("{topic}-{partition}");
    name.truncate(MAX_NAME_LEN - suffix.len());
    name.push_str(&suffix);
    name
}

#[cfg(test)]
mod tests {
    use millstream_protocol::PartitionIndex;

    use super::*;

    #[test]
    fn a_deleted_folder_has_kafkas_name_as_far_as_that_fits() {
        let name = |len| deleted_name(&("t".repeat(len), PartitionIndex(7)), [1, 0xab]);
        let suffix = ".000000000000000100000000000000ab-delete";
        assert_eq!(name(1), format!("t-7{suffix}"));
        // The longest topic that Kafka allows.
        let longest = name(249);
        assert_eq!(longest.len(), 255);
        assert_eq!(longest, format!("{}{suffix}", "t".repeat(215)));
    }
}
