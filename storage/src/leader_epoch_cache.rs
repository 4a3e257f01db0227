//! Which leader epoch began at which offset, and the file `leader-epoch-checkpoint`.
//!
//! Kafka's text format: a line with the version `0`, a line with the number of entries, then
//! `epoch start-offset` for each. Epochs and offsets rise strictly from entry to entry.

use millstream_protocol::{LeaderEpoch, Offset};

use crate::checkpoint_file::{CheckpointError, parse_lines, write_lines};

/// The name of the file in a partition's folder.
pub const FILE_NAME: &str = "leader-epoch-checkpoint";

/// One leader epoch that wrote to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset of its first record.
    pub start_offset: Offset,
}

/// The epochs of a log, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochCache {
    /// Reads the file's text.
    pub fn parse(text: &[u8]) -> Result<LeaderEpochCache, CheckpointError> {
        let mut cache = LeaderEpochCache::default();
        for line in parse_lines(text)? {
            let mut fields = line.split_whitespace();
            let entry = (|| {
                let epoch = fields.next()?.parse().ok()?;
                let start_offset = fields.next()?.parse().ok()?;
                fields.next().is_none().then_some(EpochEntry {
                    epoch: LeaderEpoch(epoch),
                    start_offset: Offset(start_offset),
                })
            })();
            let entry = entry.ok_or_else(|| CheckpointError::malformed(line))?;
            cache.assign(entry.epoch, entry.start_offset);
        }
        Ok(cache)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        write_lines(
            self.entries
                .iter()
                .map(|entry| format!("{} {}", entry.epoch, entry.start_offset)),
        )
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start_offset`; entries that contradict it give way. Whether
    /// anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if epoch.0 < 0 || start_offset.0 < 0 {
            return false;
        }
        if let Some(last) = self.entries.last()
            && last.epoch == epoch
            && start_offset >= last.start_offset
        {
            return false;
        }
        while self
            .entries
            .last()
            .is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry {
            epoch,
            start_offset,
        });
        true
    }

    /// The largest epoch up to `requested` and where it ends; `(-1, -1)` when nothing is known.
    pub fn end_offset_for(
        &self,
        requested: LeaderEpoch,
        log_end_offset: Offset,
    ) -> (LeaderEpoch, Offset) {
        const UNDEFINED: (LeaderEpoch, Offset) = (LeaderEpoch(-1), Offset(-1));
        let Some(latest) = self.latest() else {
            return UNDEFINED;
        };
        if requested.0 < 0 {
            return UNDEFINED;
        }
        if requested == latest.epoch {
            return (requested, log_end_offset);
        }
        let above = self
            .entries
            .partition_point(|entry| entry.epoch <= requested);
        let Some(next) = self.entries.get(above) else {
            return UNDEFINED;
        };
        match above.checked_sub(1) {
            Some(floor) => (self.entries[floor].epoch, next.start_offset),
            None => (requested, next.start_offset),
        }
    }

    /// The epoch that wrote the record at `offset`.
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Forgets epochs that begin at or after `end_offset`. Whether anything changed.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// Forgets epochs that end at or before `start_offset`; the one that covers it now begins
    /// there. Whether anything changed.
    pub fn truncate_from_start(&mut self, start_offset: Offset) -> bool {
        let covering = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(covering) = covering.checked_sub(1) else {
            return false;
        };
        if covering == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..covering);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::default();
        for &(epoch, offset) in entries {
            cache.assign(LeaderEpoch(epoch), Offset(offset));
        }
        cache
    }

    #[test]
    fn text_is_kafkas() {
        let cache = cache(&[(0, 0), (2, 10)]);
        assert_eq!(cache.to_text(), "0\n2\n0 0\n2 10\n");
        assert_eq!(LeaderEpochCache::parse(b"0\n2\n0 0\n2 10\n"), Ok(cache));
        assert!(LeaderEpochCache::parse(b"0\n2\n0 0\n").is_err());
        assert!(LeaderEpochCache::parse(b"0\n1\n0 0 7\n").is_err());
        assert_eq!(
            LeaderEpochCache::parse(b""),
            Ok(LeaderEpochCache::default())
        );
    }

    #[test]
    fn end_offsets_of_epochs() {
        let cache = cache(&[(2, 10), (4, 20), (5, 30)]);
        let end = |epoch| {
            let (epoch, offset) = cache.end_offset_for(LeaderEpoch(epoch), Offset(40));
            (epoch.0, offset.0)
        };
        assert_eq!(end(5), (5, 40));
        assert_eq!(end(4), (4, 30));
        assert_eq!(end(3), (2, 20));
        assert_eq!(end(1), (1, 10));
        assert_eq!(end(6), (-1, -1));
        assert_eq!(end(-1), (-1, -1));
    }

    #[test]
    fn later_entries_replace_what_contradicts_them() {
        let mut epochs = cache(&[(1, 0), (2, 10), (3, 20)]);
        assert!(epochs.assign(LeaderEpoch(4), Offset(10)));
        assert_eq!(epochs, cache(&[(1, 0), (4, 10)]));
        assert!(!epochs.assign(LeaderEpoch(4), Offset(15)));
        assert!(epochs.assign(LeaderEpoch(4), Offset(5)));
        assert_eq!(epochs, cache(&[(1, 0), (4, 5)]));
    }

    #[test]
    fn neither_epochs_nor_offsets_are_negative() {
        let mut epochs = cache(&[(1, 10)]);
        assert!(!epochs.assign(LeaderEpoch(-1), Offset(20)));
        assert!(!epochs.assign(LeaderEpoch(2), Offset(-1)));
        assert_eq!(epochs, cache(&[(1, 10)]));
    }

    #[test]
    fn truncation() {
        let mut epochs = cache(&[(1, 0), (2, 10), (3, 20)]);
        assert!(epochs.truncate_from_start(Offset(12)));
        assert_eq!(epochs, cache(&[(2, 12), (3, 20)]));
        assert!(!epochs.truncate_from_start(Offset(12)));
        assert!(epochs.truncate_from_end(Offset(20)));
        assert_eq!(epochs, cache(&[(2, 12)]));
        assert_eq!(epochs.epoch_for_offset(Offset(15)), Some(LeaderEpoch(2)));
        assert_eq!(epochs.epoch_for_offset(Offset(11)), None);
    }
}
