//! The format of `.timeindex` files: up to which offset which timestamp was the largest.
//!
//! Entries of 12 bytes, big endian: timestamp i64, then `offset − base offset` u32 of the last
//! record of the batch that has it. Timestamps rise strictly. Space made ahead is zero.

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 12;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// The largest timestamp so far.
    pub timestamp: i64,
    /// The last offset of the batch that has it, from the segment's base offset.
    pub relative_offset: u32,
}

impl TimeEntry {
    /// The entry's bytes.
    pub fn encode(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes
    }
}

/// The entries at the start of a file's bytes.
#[derive(Clone, Copy)]
pub struct TimeIndexView<'a> {
    bytes: &'a [u8],
}

impl<'a> TimeIndexView<'a> {
    /// The entries up to the first that does not rise.
    pub fn checked(bytes: &'a [u8]) -> TimeIndexView<'a> {
        let view = TimeIndexView { bytes };
        let mut last: Option<TimeEntry> = None;
        for index in 0..view.len() {
            let entry = view.entry(index);
            let rises = match last {
                None => entry.timestamp > 0 || entry.relative_offset > 0,
                Some(last) => {
                    entry.timestamp > last.timestamp
                        && entry.relative_offset >= last.relative_offset
                }
            };
            if !rises {
                return view.first(index);
            }
            last = Some(entry);
        }
        view
    }

    /// The first `count` entries.
    pub fn first(self, count: usize) -> TimeIndexView<'a> {
        TimeIndexView {
            bytes: &self.bytes[..self.bytes.len().min(count * ENTRY_LEN)],
        }
    }

    /// How many entries.
    pub fn len(self) -> usize {
        self.bytes.len() / ENTRY_LEN
    }

    /// One entry.
    pub fn entry(self, index: usize) -> TimeEntry {
        let bytes = &self.bytes[index * ENTRY_LEN..];
        TimeEntry {
            timestamp: i64::from_be_bytes(*bytes.first_chunk().expect("an entry has 12 bytes")),
            relative_offset: u32::from_be_bytes(
                *bytes[8..].first_chunk().expect("an entry has 12 bytes"),
            ),
        }
    }

    /// The last entry.
    pub fn last(self) -> Option<TimeEntry> {
        self.len().checked_sub(1).map(|index| self.entry(index))
    }

    /// How many entries at the start `below` holds for; it must hold for a prefix of the entries.
    pub fn count_where(self, below: impl Fn(TimeEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if below(self.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kafkas() {
        let entry = TimeEntry {
            timestamp: 1_700_000_000_000,
            relative_offset: 7,
        };
        assert_eq!(
            entry.encode(),
            [0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 7]
        );
    }

    fn bytes(entries: &[(i64, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|&(timestamp, relative_offset)| {
                TimeEntry {
                    timestamp,
                    relative_offset,
                }
                .encode()
            })
            .collect()
    }

    #[test]
    fn zeros_and_disorder_end_the_entries() {
        let mut zeros = bytes(&[(10, 3), (20, 3)]);
        zeros.resize(120, 0);
        let view = TimeIndexView::checked(&zeros);
        assert_eq!(view.len(), 2);
        assert_eq!(view.count_where(|entry| entry.timestamp < 20), 1);
        assert_eq!(TimeIndexView::checked(&[0; 60]).len(), 0);
        for (entries, len) in [
            (&[(20, 3), (10, 5)][..], 1),
            (&[(20, 3), (20, 5)], 1),
            (&[(20, 3), (30, 2), (40, 5)], 1),
            // Only one that is all zeros is none.
            (&[(0, 3), (20, 3)], 2),
            (&[(20, 0), (30, 3)], 2),
            (&[(0, 0), (20, 3)], 0),
        ] {
            let view = TimeIndexView::checked(&bytes(entries)).len();
            assert_eq!(view, len, "{entries:?}");
        }
    }

    #[test]
    fn an_entry_that_is_cut_short_is_none() {
        let mut cut = bytes(&[(10, 3), (20, 3)]);
        cut.pop();
        let view = TimeIndexView::checked(&cut);
        assert_eq!(view.len(), 1);
        let first = TimeEntry {
            timestamp: 10,
            relative_offset: 3,
        };
        assert_eq!(view.last(), Some(first));
        assert_eq!(view.count_where(|_| true), 1);
    }
}
