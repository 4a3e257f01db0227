//! Finding places by the index of offsets, and making one anew that leads astray.

use bytes::Bytes;

use crate::error::StorageError;
use crate::log::{Log, LogState};
use crate::offset_index::{OffsetEntry, OffsetIndexView};
use crate::reader::Walker;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, offset_in_name};

impl Log {
    /// The start of a batch at or before the one that holds `offset`.
    pub(crate) async fn floor_of_offset(
        &self,
        segment: i64,
        offset: i64,
    ) -> Result<u64, StorageError> {
        if let Some(position) = {
            let state = self.state.borrow();
            let in_tail = state.tail.floor_of_offset(segment, offset);
            in_tail.or_else(|| state.floor_in_pending(segment, |last| last.0 <= offset))
        } {
            return Ok(position);
        }
        let index = self.index_entries(segment).await?;
        let entry = OffsetIndexView::trusted(&index)
            .last_where(|entry| segment + i64::from(entry.relative_offset) <= offset);
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// The start of a batch at or before `position`.
    pub(crate) async fn floor_of_position(
        &self,
        segment: i64,
        position: u64,
    ) -> Result<u64, StorageError> {
        if let Some(floor) = {
            let state = self.state.borrow();
            let in_tail = state.tail.floor_of_position(segment, position);
            in_tail.or_else(|| state.floor_in_pending(segment, |last| last.1 <= position))
        } {
            return Ok(floor);
        }
        let index = self.index_entries(segment).await?;
        let entry = OffsetIndexView::trusted(&index)
            .last_where(|entry| u64::from(entry.position) <= position);
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// As [`Self::floor_of_offset`], and a batch is known to begin there.
    pub(crate) async fn checked_floor(
        &self,
        segment: i64,
        offset: i64,
    ) -> Result<u64, StorageError> {
        let position = self.floor_of_offset(segment, offset).await?;
        if position == 0 {
            return Ok(0);
        }
        let error = match Walker::new(self, segment).at(position).await {
            Ok(Some(found)) if found.header.base_offset.0 <= offset => return Ok(position),
            Ok(_) => self.misled(segment),
            Err(error) => error,
        };
        self.mend_index(&error).await?;
        Ok(0)
    }

    /// What is wrong when an index entry leads beyond what was looked for.
    pub(crate) fn misled(&self, segment: i64) -> StorageError {
        let path = self.segment_path(segment, INDEX_SUFFIX);
        StorageError::damaged(&path, 0, "an entry leads too far")
    }

    /// Makes the index of a segment anew after a search that ended with `error`, if there is one
    /// that may have led it astray. Whether another search may do better.
    pub(crate) async fn mend_index(&self, error: &StorageError) -> Result<bool, StorageError> {
        let StorageError::Damaged { path, .. } = error else {
            return Ok(false);
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let segment = name.and_then(|name| {
            offset_in_name(name, LOG_SUFFIX).or_else(|| offset_in_name(name, INDEX_SUFFIX))
        });
        let Some(segment) = segment else {
            return Ok(false);
        };
        let known = self.index_entries(segment).await?;
        let Some(rebuilt) = self.rebuild_index(segment, &known).await else {
            return Ok(false);
        };
        tracing::warn!("the offset index of segment {segment} was made anew: {error}");
        let weight = rebuilt.len() + 64;
        let key = (self.id, segment);
        self.store.indexes.borrow_mut().insert(key, weight, rebuilt);
        self.state.borrow_mut().hints.clear();
        Ok(true)
    }

    /// The entries that a segment's batches give, up to the first that cannot be read; none if
    /// those that are known so far lead to batches, too. What lies behind damage is found by them.
    async fn rebuild_index(&self, segment: i64, known: &[u8]) -> Option<Bytes> {
        let interval = u64::from(self.state.borrow().config.index_interval_bytes);
        let known = OffsetIndexView::trusted(known);
        let mut entries = Vec::new();
        let (mut position, mut last, mut true_ones) = (0, 0, 0);
        let mut walker = Walker::new(self, segment);
        while let Ok(Some(found)) = walker.at(position).await {
            if true_ones < known.len() {
                let entry = known.entry(true_ones);
                let offset = segment + i64::from(entry.relative_offset);
                let leads_here = u64::from(entry.position) == position;
                true_ones += usize::from(leads_here && found.header.base_offset.0 <= offset);
            }
            if position - last > interval {
                let entry = OffsetEntry {
                    relative_offset: (found.header.last_offset().0 - segment) as u32,
                    position: position as u32,
                };
                entries.extend_from_slice(&entry.encode());
                last = position;
            }
            position += found.header.size_in_bytes() as u64;
        }
        let told = known.count_where(|entry| u64::from(entry.position) < position);
        (true_ones < told).then(|| entries.into())
    }

    /// The entries of a segment's index file.
    async fn index_entries(&self, segment: i64) -> Result<Bytes, StorageError> {
        let key = (self.id, segment);
        if let Some(entries) = self.store.indexes.borrow_mut().get(key) {
            return Ok(entries);
        }
        let path = self.segment_path(segment, INDEX_SUFFIX);
        let generation = self.state.borrow().generation;
        let bytes = match self.store.fs().read(&path).await {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Bytes::new(),
            Err(cause) => return Err(StorageError::io("read", &path, cause)),
        };
        let state = self.state.borrow();
        let mut view = OffsetIndexView::checked(&bytes);
        if let Some(index) = state.segment_index(segment) {
            let size = state.segments[index].size;
            view = view.first(view.count_where(|entry| u64::from(entry.position) < size));
            if index + 1 == state.segments.len() {
                // The file may end with entries that recovery threw away.
                view = view.first(state.segments[index].index.offsets_in_file as usize);
            }
        }
        let entries = bytes.slice(..view.len() * crate::offset_index::ENTRY_LEN);
        let weight = entries.len() + 64;
        if state.generation == generation {
            let mut indexes = self.store.indexes.borrow_mut();
            indexes.insert(key, weight, entries.clone());
        }
        Ok(entries)
    }
}

impl LogState {
    /// The position in the last pending entry of which `below` holds, told its offset and
    /// position.
    fn floor_in_pending(&self, segment: i64, below: impl Fn((i64, u64)) -> bool) -> Option<u64> {
        let index = &self.segments[self.segment_index(segment)?].index;
        let count = index.pending_offsets.partition_point(|entry| {
            below((
                segment + i64::from(entry.relative_offset),
                u64::from(entry.position),
            ))
        });
        let entry = index.pending_offsets[count.checked_sub(1)?];
        Some(u64::from(entry.position))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::LogConfig;
    use crate::maintenance::Spare;
    use crate::reader::tests::{append, with_log};

    /// Bytes of a batch of one record of 100 bytes.
    const LEN: u64 = 170;

    /// Segments of ten batches, an index entry for every third.
    fn ten_batches() -> LogConfig {
        LogConfig {
            segment_bytes: 10 * LEN as u32,
            index_interval_bytes: 2 * LEN as u32,
            ..LogConfig::default()
        }
    }

    async fn fill(log: &Rc<Log>) {
        for _ in 0..20 {
            assert_eq!(append(log, 1, 100).await, LEN);
        }
        assert_eq!(log.segment_base_offsets(), [0, 10]);
    }

    fn index(segment: i64) -> String {
        format!("/data/t-0/{segment:020}.index")
    }

    fn entry(relative_offset: u32, position: u64) -> [u8; 8] {
        let position = position as u32;
        OffsetEntry {
            relative_offset,
            position,
        }
        .encode()
    }

    /// Of a closed segment in its file, of the last one in memory, then in its file, too.
    #[test]
    fn a_place_is_found_from_the_nearest_entry_below() {
        with_log(ten_batches(), |_, log| async move {
            fill(&log).await;
            log.release_written_chunks(usize::MAX, Spare::Nothing);
            for rested in [false, true] {
                if rested {
                    log.rest().await.expect("the disk is well");
                }
                for (segment, batch) in (0..10).flat_map(|batch| [(0, batch), (10, batch)]) {
                    let floor = batch / 3 * 3 * LEN;
                    let by_offset = log.floor_of_offset(segment, segment + batch as i64).await;
                    assert_eq!(by_offset.expect("readable"), floor, "{batch} of {segment}");
                    for position in [batch * LEN, (batch + 1) * LEN - 1] {
                        let by_position = log.floor_of_position(segment, position).await;
                        assert_eq!(by_position.expect("readable"), floor, "{position}");
                    }
                }
            }
        });
    }

    #[test]
    fn an_index_is_made_anew_as_it_was_and_only_if_it_lies() {
        with_log(ten_batches(), |node, log| async move {
            fill(&log).await;
            log.rest().await.expect("the disk is well");
            for segment in [0, 10] {
                let sound = node.read_current(index(segment)).expect("there");
                assert_eq!(sound.len(), 3 * 8);
                for lie in [
                    entry(3, 3 * LEN + 1),
                    entry(2, 3 * LEN),
                    entry(200, 3 * LEN - 1),
                ] {
                    let rebuilt = log.rebuild_index(segment, &lie).await;
                    assert_eq!(rebuilt.as_deref(), Some(&sound[..]), "{lie:?}");
                    let lie = [&sound[..8], &lie[..], &sound[8..]].concat();
                    assert!(log.rebuild_index(segment, &lie).await.is_some());
                }
                // What leads to batches may be sparse, as an index of Kafka's.
                for known in [&sound[..], &sound[..8], &sound[16..], &[]] {
                    let rebuilt = log.rebuild_index(segment, known).await;
                    assert!(rebuilt.is_none(), "{known:?}");
                }
            }
        });
    }

    #[test]
    fn entries_that_are_about_nothing_in_the_log_are_left_out() {
        with_log(ten_batches(), |node, log| async move {
            fill(&log).await;
            log.rest().await.expect("the disk is well");
            // One from before a crash, and one behind the end.
            for (segment, left_out) in [(10, entry(20, 9 * LEN + 1)), (0, entry(20, 10 * LEN))] {
                let sound = node.read_current(index(segment)).expect("there");
                node.plant_file(index(segment), &[&sound[..], &left_out[..]].concat());
                log.store.forget_index(log.id, segment);
                let entries = log.index_entries(segment).await.expect("readable");
                assert_eq!(entries, sound);
            }
        });
    }
}
