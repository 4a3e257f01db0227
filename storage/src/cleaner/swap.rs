//! Putting a cleaned segment in the place of those it was made of, by Kafka's names.
//!
//! ```text
//! 1  <base>.*.cleaned   written and flushed           a crash before 2 is through: removed
//! 2  renamed to .swap   flushed: it counts from here  a crash after: the rest is done at open
//! 3  old files renamed to .deleted, flushed
//! 4  .swap taken off the log, then off its indexes, flushed
//! ```
//!
//! Readers of what is swapped wait from 2 to the end; those who hold an old file read on in it.

use std::path::Path;
use std::rc::Rc;

use millstream_reactor::OpenOptions;

use super::cleaning::Source;
use crate::error::StorageError;
use crate::log::Log;
use crate::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, Segment, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, path_of,
};
use crate::segment_scan::Window;
use crate::store::ShardStore;

pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
const SWAP_SUFFIX: &str = ".swap";

/// The files of a cleaned segment; the log comes first where they become its files.
const SWAPPED: [&str; 3] = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX];
const ALL: [&str; 4] = [
    LOG_SUFFIX,
    INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
];

impl Log {
    /// Replaces segments by a cleaned one. Not if the log changed meanwhile.
    pub(super) async fn swap_in(
        self: &Rc<Self>,
        group: &[Source],
        cleaned: Segment,
    ) -> Result<bool, StorageError> {
        let _files = self.files.lock().await;
        if self.unusable().is_some() || !self.still_has(group) {
            return Ok(false);
        }
        let end = group.last().expect("a group has segments").next;
        self.state.borrow_mut().begin_change_below(end);
        let result = self.swap_files(group).await;
        {
            let mut state = self.state.borrow_mut();
            state.end_change();
            if result.is_ok() {
                let first = state
                    .segment_index(cleaned.base_offset)
                    .expect("looked at before, and the files are locked");
                state.segments.splice(first..first + group.len(), [cleaned]);
                state.hints.clear();
                while let Some(chunk) = state.tail.chunks.pop_front_if(|c| c.segment < end) {
                    self.store.give_back(chunk.buffer);
                }
            }
        }
        for source in group {
            self.store.forget_segment(self.id, source.base);
        }
        if let Err(error) = &result {
            // What the next open makes of the files is not what is known here.
            self.go_offline(error.clone());
        }
        self.progress.notify_waiters();
        self.remove_later(result?);
        self.remove_snapshots_of(&group[1..]).await;
        Ok(true)
    }

    /// Whether these are closed segments as they were when they were listed.
    fn still_has(&self, group: &[Source]) -> bool {
        let closed = self.sources();
        group.iter().all(|source| closed.contains(source))
    }

    async fn swap_files(&self, group: &[Source]) -> Result<Vec<std::path::PathBuf>, StorageError> {
        let base = group[0].base;
        let dir = self.dir.borrow().clone();
        self.store.sync_dir(&dir).await?;
        for suffix in SWAPPED {
            let from = format!("{suffix}{CLEANED_SUFFIX}");
            let to = format!("{suffix}{SWAP_SUFFIX}");
            rename(&self.store, &dir, base, &from, &to).await?;
        }
        self.store.sync_dir(&dir).await?;
        let mut retired = Vec::new();
        for source in group {
            for suffix in ALL {
                retired.extend(self.retire_file(source.base, suffix).await?);
            }
        }
        self.store.sync_dir(&dir).await?;
        finish(&self.store, &dir, base).await?;
        Ok(retired)
    }

    /// A segment that became part of another needs no snapshot at its start.
    async fn remove_snapshots_of(&self, merged: &[Source]) {
        let used = {
            let state = self.state.borrow();
            let place = state.checkpoint.place;
            [state.snapshot, place.map(|place| place.snapshot)]
        };
        for source in merged {
            if !used.contains(&Some(source.base)) {
                self.remove_snapshot(source.base).await;
            }
        }
    }

    /// Removes what was written and is not needed.
    pub(super) async fn remove_cleaned(&self, base: i64) {
        for suffix in SWAPPED {
            let path = self.segment_path(base, &format!("{suffix}{CLEANED_SUFFIX}"));
            if let Err(cause) = self.store.fs().remove_file(&path).await
                && cause.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), "cannot remove it: {cause}");
            }
        }
    }
}

/// Finishes or undoes the compaction that was under way when the last run ended, of a folder with
/// these files. Whether there was one.
pub(crate) async fn settle_swaps(
    store: &ShardStore,
    dir: &Path,
    names: &[String],
) -> Result<bool, StorageError> {
    let with = |suffix: &'static str| -> Vec<(i64, String)> {
        names
            .iter()
            .filter(|name| name.ends_with(suffix))
            .filter_map(|name| Some((name.get(..20)?.parse().ok()?, name.clone())))
            .collect()
    };
    let (cleaned, swapped) = (with(CLEANED_SUFFIX), with(SWAP_SUFFIX));
    if cleaned.is_empty() && swapped.is_empty() {
        return Ok(false);
    }
    let undone_from = cleaned.iter().map(|(base, _)| *base).min();
    let (undone, counting): (Vec<_>, Vec<_>) = swapped
        .into_iter()
        .partition(|(base, _)| undone_from.is_some_and(|from| *base >= from));
    for (_, name) in &undone {
        remove(store, &dir.join(name)).await?;
    }
    // The others say that these do not count: they go only after them.
    store.sync_dir(dir).await?;
    for (_, name) in &cleaned {
        remove(store, &dir.join(name)).await?;
    }
    store.sync_dir(dir).await?;
    for (base, name) in &counting {
        if name.ends_with(&format!("{LOG_SUFFIX}{SWAP_SUFFIX}")) {
            let next = next_offset(store, &dir.join(name), *base).await?;
            let in_place = names.iter().filter(|name| {
                let suffix = ALL.iter().find(|suffix| name.ends_with(**suffix));
                let old = suffix.and_then(|suffix| crate::segment::offset_in_name(name, suffix));
                old.is_some_and(|old| (*base..next).contains(&old))
            });
            for name in in_place {
                remove(store, &dir.join(name)).await?;
            }
            tracing::info!(path = %dir.join(name).display(), "a compaction is finished");
        }
    }
    store.sync_dir(dir).await?;
    for (base, _) in &counting {
        finish(store, dir, *base).await?;
    }
    Ok(true)
}

/// Takes the suffix off the files of a segment, as far as they have it.
async fn finish(store: &ShardStore, dir: &Path, base: i64) -> Result<(), StorageError> {
    for suffix in SWAPPED {
        rename(store, dir, base, &format!("{suffix}{SWAP_SUFFIX}"), suffix).await?;
        if suffix == LOG_SUFFIX {
            // While the log has the suffix, indexes in its place are taken for the old ones.
            store.sync_dir(dir).await?;
        }
    }
    store.sync_dir(dir).await
}

async fn rename(
    store: &ShardStore,
    dir: &Path,
    base: i64,
    from: &str,
    to: &str,
) -> Result<(), StorageError> {
    let (from, to) = (path_of(dir, base, from), path_of(dir, base, to));
    match store.fs().rename(&from, &to).await {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(StorageError::io("rename", &from, cause)),
    }
}

async fn remove(store: &ShardStore, path: &Path) -> Result<(), StorageError> {
    let removed = store.fs().remove_file(path).await;
    removed.map_err(|cause| StorageError::io("remove", path, cause))
}

/// The offset after the last batch of a file; `base` if it has none.
async fn next_offset(store: &ShardStore, path: &Path, base: i64) -> Result<i64, StorageError> {
    let file = store.open_file(path, OpenOptions::default()).await?;
    let size = file
        .size()
        .await
        .map_err(|cause| StorageError::io("look at", path, cause))?;
    let (mut position, mut next) = (0, base);
    let mut window = Window::default();
    while position < size {
        let header = window.batch(&file, path, position, size).await?;
        let header =
            header.ok_or_else(|| StorageError::damaged(path, position, "a batch is not whole"))?;
        next = header.next_offset().0;
        position += header.size_in_bytes() as u64;
    }
    Ok(next)
}
