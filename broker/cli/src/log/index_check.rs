//! Whether an index leads a reader where it must.
//!
//! An entry of `.index` (offset u32 from the segment's base, position u32) is right if a batch
//! begins at the position and nothing at or after the offset lies before it. An entry of
//! `.timeindex` (timestamp i64, offset u32) is right if no record before the offset is younger.
//! Zeros at the end are space made ahead.

/// Where batches lie in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace {
    /// The position of the batch.
    pub position: u64,
    /// Its first offset.
    pub base_offset: i64,
    /// Its last offset.
    pub last_offset: i64,
    /// Its largest timestamp.
    pub max_timestamp: i64,
}

/// Something wrong in an index, and where in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFault {
    /// The position in the index file.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

/// Faults in the bytes of an `.index` file.
pub fn check_offset_index(bytes: &[u8], base: i64, batches: &[BatchPlace]) -> Vec<IndexFault> {
    const ENTRY: usize = 8;
    let mut faults = Vec::new();
    let mut last: Option<(i64, u64)> = None;
    for (at, entry) in entries(bytes, ENTRY, &mut faults) {
        let offset = base.saturating_add(i64::from(word(entry, 0)));
        let position = u64::from(word(entry, 4));
        let mut fault = |reason: String| {
            faults.push(IndexFault {
                position: at,
                reason,
            })
        };
        if last.is_some_and(|last| offset <= last.0 || position <= last.1) {
            fault(format!(
                "the entry of offset {offset} does not rise above the one before it"
            ));
        }
        last = Some((offset, position));
        match batches.binary_search_by_key(&position, |batch| batch.position) {
            Err(_) => fault(format!(
                "offset {offset} points to {position}, where no batch begins"
            )),
            Ok(index) if batches[index].base_offset > offset => fault(format!(
                "offset {offset} points to {position}, behind the batch that has it"
            )),
            Ok(_) => {}
        }
    }
    faults
}

/// Faults in the bytes of a `.timeindex` file.
pub fn check_time_index(bytes: &[u8], base: i64, batches: &[BatchPlace]) -> Vec<IndexFault> {
    const ENTRY: usize = 12;
    let mut faults = Vec::new();
    let mut last: Option<(i64, i64)> = None;
    let (mut seen, mut youngest) = (0, i64::MIN);
    for (at, entry) in entries(bytes, ENTRY, &mut faults) {
        let timestamp = i64::from(word(entry, 0)) << 32 | i64::from(word(entry, 4));
        let offset = base.saturating_add(i64::from(word(entry, 8)));
        let mut fault = |reason: String| {
            faults.push(IndexFault {
                position: at,
                reason,
            })
        };
        if last.is_some_and(|last| timestamp < last.0 || offset < last.1) {
            fault(format!(
                "the entry of time {timestamp} does not rise above the one before it"
            ));
        }
        last = Some((timestamp, offset));
        if batches
            .last()
            .is_none_or(|batch| batch.last_offset < offset)
        {
            fault(format!(
                "time {timestamp} points to offset {offset}, beyond the segment's end"
            ));
        }
        while let Some(batch) = batches.get(seen)
            && batch.last_offset < offset
        {
            youngest = youngest.max(batch.max_timestamp);
            seen += 1;
        }
        if youngest > timestamp {
            fault(format!(
                "records before offset {offset} are as young as {youngest}, but the entry says \
                 {timestamp}: a look-up by time would miss them"
            ));
        }
    }
    faults
}

/// The entries and their positions, without the zeros at the end.
fn entries<'a>(bytes: &'a [u8], size: usize, faults: &mut Vec<IndexFault>) -> Vec<(u64, &'a [u8])> {
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let mut whole = used.next_multiple_of(size);
    if whole > bytes.len() {
        whole = bytes.len() - bytes.len() % size;
        faults.push(IndexFault {
            position: whole as u64,
            reason: format!("the last entry is cut short: entries have {size} bytes"),
        });
    }
    let chunks = bytes[..whole].chunks_exact(size).enumerate();
    chunks
        .map(|(index, entry)| ((index * size) as u64, entry))
        .collect()
}

fn word(entry: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(
        *entry[at..]
            .first_chunk()
            .expect("an entry is longer than its words"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: [BatchPlace; 3] = [
        BatchPlace {
            position: 0,
            base_offset: 10,
            last_offset: 14,
            max_timestamp: 100,
        },
        BatchPlace {
            position: 80,
            base_offset: 15,
            last_offset: 19,
            max_timestamp: 300,
        },
        BatchPlace {
            position: 160,
            base_offset: 20,
            last_offset: 24,
            max_timestamp: 200,
        },
    ];

    fn offset_entry(offset: u32, position: u32) -> Vec<u8> {
        [offset.to_be_bytes(), position.to_be_bytes()].concat()
    }

    fn time_entry(timestamp: i64, offset: u32) -> Vec<u8> {
        let mut entry = timestamp.to_be_bytes().to_vec();
        entry.extend_from_slice(&offset.to_be_bytes());
        entry
    }

    #[test]
    fn right_indexes_have_no_faults() {
        let mut offsets = [offset_entry(9, 80), offset_entry(14, 160)].concat();
        assert_eq!(check_offset_index(&offsets, 10, &BATCHES), []);
        offsets.resize(4096, 0);
        assert_eq!(check_offset_index(&offsets, 10, &BATCHES), []);
        let times = [time_entry(100, 4), time_entry(300, 9)].concat();
        assert_eq!(check_time_index(&times, 10, &BATCHES), []);
        assert_eq!(check_time_index(&[0; 24], 10, &BATCHES), []);
    }

    #[test]
    fn wrong_entries_are_named_with_their_position() {
        let places = |bytes: &[u8]| -> Vec<u64> {
            let faults = check_offset_index(bytes, 10, &BATCHES);
            faults.iter().map(|fault| fault.position).collect()
        };
        assert_eq!(
            places(&[offset_entry(9, 80), offset_entry(14, 161)].concat()),
            [8]
        );
        assert_eq!(
            places(&offset_entry(4, 80)),
            [0],
            "the batch of offset 14 lies before"
        );
        assert_eq!(
            places(&[offset_entry(14, 160), offset_entry(9, 80)].concat()),
            [8]
        );
        assert_eq!(places(&offset_entry(9, 80)[..7]), [0]);
    }

    #[test]
    fn times_that_would_hide_records_are_found() {
        let faults = |bytes: &[u8]| check_time_index(bytes, 10, &BATCHES).len();
        assert_eq!(
            faults(&time_entry(200, 14)),
            1,
            "offset 15 to 19 are younger"
        );
        assert_eq!(faults(&time_entry(300, 99)), 1);
        assert_eq!(
            faults(&[time_entry(300, 9), time_entry(100, 9)].concat()),
            1
        );
    }
}
