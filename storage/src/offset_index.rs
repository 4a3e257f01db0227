//! The format of `.index` files: where in the segment's `.log` file the batch of an offset lies.
//!
//! Entries of 8 bytes, big endian: `offset − base offset` u32 (the batch's last offset), then the
//! batch's position u32. Both rise strictly. Space made ahead is zero and holds no entry; a
//! position is never 0, because the first batch gets none.

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 8;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// The last offset of a batch, from the segment's base offset.
    pub relative_offset: u32,
    /// The position of that batch.
    pub position: u32,
}

impl OffsetEntry {
    /// The entry's bytes.
    pub fn encode(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes[4..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }
}

/// The entries at the start of a file's bytes.
#[derive(Clone, Copy)]
pub struct OffsetIndexView<'a> {
    bytes: &'a [u8],
}

impl<'a> OffsetIndexView<'a> {
    /// All whole entries of `bytes`, which must be known to hold nothing else.
    pub fn trusted(bytes: &'a [u8]) -> OffsetIndexView<'a> {
        let len = bytes.len() - bytes.len() % ENTRY_LEN;
        OffsetIndexView {
            bytes: &bytes[..len],
        }
    }

    /// The entries up to the first that does not rise.
    pub fn checked(bytes: &'a [u8]) -> OffsetIndexView<'a> {
        let view = OffsetIndexView::trusted(bytes);
        let mut last: Option<OffsetEntry> = None;
        for index in 0..view.len() {
            let entry = view.entry(index);
            let rises = match last {
                None => entry.position > 0,
                Some(last) => {
                    entry.relative_offset > last.relative_offset && entry.position > last.position
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
    pub fn first(self, count: usize) -> OffsetIndexView<'a> {
        OffsetIndexView {
            bytes: &self.bytes[..self.bytes.len().min(count * ENTRY_LEN)],
        }
    }

    /// How many entries.
    pub fn len(self) -> usize {
        self.bytes.len() / ENTRY_LEN
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One entry.
    pub fn entry(self, index: usize) -> OffsetEntry {
        let word = |at: usize| {
            let at = index * ENTRY_LEN + at;
            u32::from_be_bytes(
                *self.bytes[at..]
                    .first_chunk()
                    .expect("an entry has two words"),
            )
        };
        OffsetEntry {
            relative_offset: word(0),
            position: word(4),
        }
    }

    /// The last entry for which `below` holds; it must hold for a prefix of the entries.
    pub fn last_where(self, below: impl Fn(OffsetEntry) -> bool) -> Option<OffsetEntry> {
        let count = self.count_where(below);
        count.checked_sub(1).map(|index| self.entry(index))
    }

    /// How many entries at the start `below` holds for.
    pub fn count_where(self, below: impl Fn(OffsetEntry) -> bool) -> usize {
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

    fn bytes(entries: &[(u32, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|&(relative_offset, position)| {
                OffsetEntry {
                    relative_offset,
                    position,
                }
                .encode()
            })
            .collect()
    }

    #[test]
    fn bytes_are_kafkas() {
        assert_eq!(bytes(&[(5, 4_200)]), [0, 0, 0, 5, 0, 0, 0x10, 0x68],);
    }

    #[test]
    fn what_does_not_rise_is_cut_off() {
        let valid = |entries: &[(u32, u32)]| OffsetIndexView::checked(&bytes(entries)).len();
        assert_eq!(valid(&[(5, 100), (9, 200), (12, 300)]), 3);
        assert_eq!(valid(&[(5, 100), (5, 200), (12, 300)]), 1);
        assert_eq!(valid(&[(5, 100), (9, 100), (12, 300)]), 1);
        assert_eq!(valid(&[(0, 0), (9, 200)]), 0);
    }

    #[test]
    fn lookups() {
        let bytes = bytes(&[(5, 100), (9, 200), (12, 300)]);
        let view = OffsetIndexView::trusted(&bytes);
        let at = |offset| {
            view.last_where(|entry| entry.relative_offset <= offset)
                .map(|entry| entry.position)
        };
        assert_eq!(
            [4, 5, 8, 9, 99].map(at),
            [None, Some(100), Some(100), Some(200), Some(300)]
        );
    }

    #[test]
    fn zeros_and_disorder_end_the_entries() {
        let mut zeros = bytes(&[(5, 100), (9, 200)]);
        zeros.resize(100, 0);
        assert_eq!(OffsetIndexView::checked(&zeros).len(), 2);
        assert!(!OffsetIndexView::checked(&zeros).is_empty());
        assert!(OffsetIndexView::checked(&[0; 64]).is_empty());
        assert_eq!(OffsetIndexView::checked(&[0; 64]).len(), 0);
        let disorder = bytes(&[(5, 100), (9, 90), (12, 300)]);
        assert_eq!(OffsetIndexView::checked(&disorder).len(), 1);
        // The first entry may be for the segment's first offset.
        assert_eq!(OffsetIndexView::checked(&bytes(&[(0, 70)])).len(), 1);
    }
}
