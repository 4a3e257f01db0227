//! One file of a disk: what it holds now, what of that is durable, and the changes in between.
//!
//! ```text
//! durable image ── change, change, change … ──► current image        (completed writes)
//!                  oldest            newest
//! ```
//!
//! A sync makes a prefix of the changes durable. A crash keeps, for each sector, some prefix of
//! the changes to that sector, and some prefix of the changes of the size: a sector is as it was
//! at one point of its history, but different sectors at different points.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::super::node::KeepUnsynced;
use super::super::random::Random;
use super::image::{Image, SECTOR, sectors};

/// Changes and bytes of them that a file holds before the oldest are written back, as a kernel
/// does by itself.
const MAX_UNSYNCED_CHANGES: usize = 8192;
const MAX_UNSYNCED_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Content {
    current: Image,
    durable: Image,
    unsynced: VecDeque<(u64, Change)>,
    unsynced_bytes: usize,
    /// Held by every handle of the file, so that one removed lives until it is closed.
    pub(super) open: Arc<()>,
    /// The handle that holds the lock.
    pub(super) locked_by: Weak<()>,
}

enum Change {
    Write { position: u64, data: Bytes },
    Zeros { position: u64, len: u64 },
    Size(u64),
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Write { data, .. } => data.len(),
            Change::Zeros { .. } | Change::Size(_) => 0,
        }
    }

    fn apply(&self, image: &mut Image) {
        match self {
            Change::Write { position, data } => image.write(*position, data),
            Change::Zeros { position, len } => image.zero(*position, *len),
            Change::Size(size) => image.set_size(*size),
        }
    }
}

impl Content {
    /// A file that is durable from the start.
    pub(super) fn planted(content: &[u8]) -> Content {
        let mut image = Image::default();
        image.write(0, content);
        image.set_size(content.len() as u64);
        Content {
            current: image.clone(),
            durable: image,
            ..Content::default()
        }
    }

    pub(super) fn current(&self) -> &Image {
        &self.current
    }

    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    /// A completed write, the change with the number `sequence`.
    pub(super) fn write(&mut self, sequence: u64, position: u64, data: Bytes) {
        let end = position + data.len() as u64;
        self.change(sequence, Change::Write { position, data });
        self.grow(sequence, end);
    }

    pub(super) fn write_zeros(&mut self, sequence: u64, position: u64, len: u64) {
        self.change(sequence, Change::Zeros { position, len });
        self.grow(sequence, position + len);
    }

    pub(super) fn set_size(&mut self, sequence: u64, size: u64) {
        if size != self.current.size() {
            self.change(sequence, Change::Size(size));
        }
    }

    /// Makes the changes numbered below `end` durable.
    pub(super) fn sync(&mut self, end: u64) {
        while let Some((_, change)) = self.pop_below(end) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that failed: the kernel takes the changes for written, though only some are. They
    /// are still read, and no later sync writes them.
    pub(super) fn fail_sync(&mut self, end: u64, random: &mut Random) {
        let mut lost = Vec::new();
        while let Some(entry) = self.pop_below(end) {
            lost.push(entry);
        }
        tear(
            &mut self.durable,
            lost.iter().map(|(_, change)| change),
            random,
        );
    }

    /// Flips bits of one byte, on the device and in memory.
    pub(super) fn corrupt(&mut self, position: u64, xor: u8) {
        assert!(
            position < self.current.size(),
            "byte {position} of {}",
            self.current.size()
        );
        for image in [&mut self.current, &mut self.durable] {
            let mut byte = [0];
            image.read(position, &mut byte);
            image.write(position, &[byte[0] ^ xor]);
        }
    }

    /// Loses what is not durable.
    pub(super) fn crash(&mut self, keep: KeepUnsynced, random: &mut Random) {
        self.open = Arc::default();
        self.locked_by = Weak::new();
        if keep == KeepUnsynced::All {
            return;
        }
        let changes = std::mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        if keep == KeepUnsynced::Random {
            let changes = changes.iter().map(|(_, change)| change);
            tear(&mut self.durable, changes, random);
        }
        // What was written above the size is not found again.
        self.durable.set_size(self.durable.size());
        self.current = self.durable.clone();
    }

    fn grow(&mut self, sequence: u64, end: u64) {
        if end > self.current.size() {
            self.change(sequence, Change::Size(end));
        }
    }

    fn change(&mut self, sequence: u64, change: Change) {
        change.apply(&mut self.current);
        self.unsynced_bytes += change.bytes();
        self.unsynced.push_back((sequence, change));
        if self.unsynced.len() > MAX_UNSYNCED_CHANGES || self.unsynced_bytes > MAX_UNSYNCED_BYTES {
            let middle = self.unsynced[self.unsynced.len() / 2].0;
            self.sync(middle + 1);
        }
    }

    fn pop_below(&mut self, end: u64) -> Option<(u64, Change)> {
        let (sequence, _) = self.unsynced.front()?;
        if *sequence >= end {
            return None;
        }
        let entry = self.unsynced.pop_front()?;
        self.unsynced_bytes -= entry.1.bytes();
        Some(entry)
    }
}

/// Applies some of `changes`: a prefix of those of each sector, a prefix of those of the size.
fn tear<'a>(
    image: &mut Image,
    changes: impl Iterator<Item = &'a Change> + Clone,
    random: &mut Random,
) {
    // The extremes find other bugs than the middle does.
    let probability = [0.0, 0.1, 0.5, 0.9, 1.0][random.index(5)];
    let sizes = changes
        .clone()
        .filter(|change| matches!(change, Change::Size(_)))
        .count();
    let mut sizes_left = random.index(sizes + 1);
    // Sectors whose history has ended.
    let mut ended = BTreeSet::new();
    let mut keeps = |position: u64| {
        let sector = position / SECTOR;
        if ended.contains(&sector) {
            return false;
        }
        let kept = random.chance(probability);
        if !kept {
            ended.insert(sector);
        }
        kept
    };
    for change in changes {
        match change {
            Change::Write { position, data } => {
                for (position, range) in sectors(*position, data.len()) {
                    if keeps(position) {
                        image.write(position, &data[range]);
                    }
                }
            }
            Change::Zeros { position, len } => {
                for (position, len) in image.held_sectors(*position, *len) {
                    if keeps(position) {
                        image.zero(position, len);
                    }
                }
            }
            Change::Size(size) if sizes_left > 0 => {
                sizes_left -= 1;
                image.set_size(*size);
            }
            Change::Size(_) => {}
        }
    }
}
