//! Where an offset lies: a lookup in an offset index that is in memory.
//!
//! `cargo bench -p millstream-storage --bench index_lookup`

use divan::{Bencher, black_box};
use millstream_storage::offset_index::{OffsetEntry, OffsetIndexView};

/// Bytes of the log between two entries, and records there.
const INTERVAL_BYTES: u32 = 4096;
const INTERVAL_RECORDS: u32 = 4;

fn main() {
    divan::main();
}

fn index(entries: u32) -> Vec<u8> {
    let entry = |n: u32| OffsetEntry {
        relative_offset: n * INTERVAL_RECORDS,
        position: n * INTERVAL_BYTES,
    };
    (1..=entries).flat_map(|n| entry(n).encode()).collect()
}

/// The last is the index of a full segment of 1 GiB.
const ENTRIES: &[u32] = &[100, 10_000, 262_143];

#[divan::bench(args = ENTRIES)]
fn lookup(bencher: Bencher<'_, '_>, entries: u32) {
    let bytes = index(entries);
    let mut offset = 0_u32;
    bencher.bench_local(|| {
        // Far from the one before, as lookups are that no cache has seen.
        offset = offset.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wanted = offset % (entries * INTERVAL_RECORDS);
        let view = OffsetIndexView::trusted(black_box(&bytes));
        view.last_where(|entry| entry.relative_offset <= wanted)
    });
}

#[divan::bench(args = ENTRIES)]
fn check(bencher: Bencher<'_, '_>, entries: u32) {
    let bytes = index(entries);
    bencher.bench(|| OffsetIndexView::checked(black_box(&bytes)).len());
}
