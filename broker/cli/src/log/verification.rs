//! `millstream log verify`: whether partitions on disk are what a broker wrote.
//!
//! Checked are the CRC of each batch, that its records can be read and are as many as it says, that
//! offsets and leader epochs rise within segments and from one to the next, and that indexes lead
//! where they must. Files are only read. What a crash may leave at the end of the last segment is
//! told, but is no damage: a broker cuts it off when it starts.

use std::fs;
use std::path::{Path, PathBuf};

use millstream_storage::segment_dump::{DumpedBatch, SegmentDump};
use millstream_storage::{LeaderEpochCache, StorageError};
use serde_json::json;

use super::index_check::{BatchPlace, IndexFault, check_offset_index, check_time_index};
use crate::arguments::LogVerifyArguments;
use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::progress::Progress;

/// Folders in a data folder that hold no partition to be checked: our controller's log has a
/// format of its own, and the others wait to be deleted or taken over.
const PASSED_OVER: [&str; 4] = ["__cluster_metadata-0", "-delete", "-stray", "-future"];

/// Checks the partitions that are named.
pub fn verify(arguments: &LogVerifyArguments, output: &Output) -> Result<(), Failure> {
    let mut folders = Vec::new();
    for path in &arguments.paths {
        folders.extend(partition_folders(path)?);
    }
    let mut total = 0;
    for folder in &folders {
        for segment in segments(folder)? {
            let size = fs::metadata(&segment).map_err(|source| Failure::file(&segment, source))?;
            total += size.len();
        }
    }
    let mut verification = Verification {
        output,
        progress: Progress::of_bytes(output, total),
        segments: 0,
        batches: 0,
        records: 0,
        damaged: 0,
        notes: 0,
    };
    for folder in &folders {
        verification.partition(folder)?;
    }
    verification.finish(folders.len())
}

/// A partition's folder itself, or those in a data folder.
fn partition_folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !segments(path)?.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| Failure::file(path, source))? {
        let folder = entry.map_err(|source| Failure::file(path, source))?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let passed_over = PASSED_OVER.iter().any(|end| name.ends_with(end));
        if folder.is_dir() && !passed_over && !segments(&folder)?.is_empty() {
            folders.push(folder);
        }
    }
    if folders.is_empty() {
        return Err(Failure::NotFound {
            what: format!("{} holds no partition", path.display()),
            mend: "name a data folder, or a partition's folder such as DATA/orders-0".to_owned(),
        });
    }
    folders.sort();
    Ok(folders)
}

/// The `.log` files of a folder, in the order of offsets.
fn segments(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| Failure::file(folder, source))? {
        let file = entry
            .map_err(|source| Failure::file(folder, source))?
            .path();
        if file.extension().is_some_and(|extension| extension == "log") {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

struct Verification<'a> {
    output: &'a Output,
    progress: Progress,
    segments: usize,
    batches: usize,
    records: usize,
    damaged: usize,
    notes: usize,
}

/// What the batches so far say about those to come.
struct Expected {
    next_offset: i64,
    leader_epoch: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Damaged,
    Note,
}

impl Verification<'_> {
    fn partition(&mut self, folder: &Path) -> Result<(), Failure> {
        let segments = segments(folder)?;
        let mut expected = Expected {
            next_offset: 0,
            // Batches from before there were epochs say −1.
            leader_epoch: -1,
        };
        for (index, segment) in segments.iter().enumerate() {
            let is_last = index + 1 == segments.len();
            self.segment(segment, is_last, &mut expected)?;
        }
        self.leader_epochs(&folder.join("leader-epoch-checkpoint"))
    }

    fn segment(
        &mut self,
        path: &Path,
        is_last: bool,
        expected: &mut Expected,
    ) -> Result<(), Failure> {
        self.segments += 1;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let Ok(base) = name.parse::<i64>() else {
            let reason = "the name is not the offset of its first record";
            return self.found(Level::Damaged, path, None, reason);
        };
        if base < expected.next_offset {
            let reason = format!(
                "the segment begins at offset {base}, but the one before it ends at {}",
                expected.next_offset - 1
            );
            self.found(Level::Damaged, path, None, &reason)?;
        }
        expected.next_offset = expected.next_offset.max(base);
        let batches = self.batches(path, is_last, expected)?;
        let check = |extension: &str, check: fn(&[u8], i64, &[BatchPlace]) -> Vec<IndexFault>| {
            let index = path.with_extension(extension);
            match fs::read(&index) {
                Ok(bytes) => Ok((index, check(&bytes, base, &batches))),
                // A broker makes a missing index anew.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Ok((index, Vec::new()))
                }
                Err(source) => Err(Failure::file(&index, source)),
            }
        };
        let offsets = check("index", check_offset_index)?;
        let times = check("timeindex", check_time_index)?;
        for (index, faults) in [offsets, times] {
            for fault in faults {
                self.found(Level::Damaged, &index, Some(fault.position), &fault.reason)?;
            }
        }
        Ok(())
    }

    /// Checks the batches of a segment, and says where they lie.
    fn batches(
        &mut self,
        path: &Path,
        is_last: bool,
        expected: &mut Expected,
    ) -> Result<Vec<BatchPlace>, Failure> {
        let mut places = Vec::new();
        let opened = SegmentDump::open(path);
        let mut dump = opened.map_err(|error| unreadable(path, &error))?;
        let size = dump.size();
        while let Some(batch) = dump.next() {
            match batch {
                Ok(batch) => {
                    let end = dump.position();
                    self.progress.add(end - batch.position);
                    let torn = is_last && !batch.crc_ok && only_zeros_after(path, end)?;
                    if torn {
                        let reason =
                            "the last batch is not whole; a broker that starts cuts it off";
                        self.found(Level::Note, path, Some(batch.position), reason)?;
                        break;
                    }
                    self.batch(path, &batch, expected)?;
                    places.push(BatchPlace {
                        position: batch.position,
                        base_offset: batch.header.base_offset.0,
                        last_offset: batch.header.last_offset().0,
                        max_timestamp: batch.header.max_timestamp,
                    });
                }
                Err(StorageError::Damaged {
                    position, reason, ..
                }) => {
                    let rest = size - position;
                    let (level, end) = match is_last {
                        true => (Level::Note, "; a broker that starts cuts the end off"),
                        false => (Level::Damaged, ", and what follows cannot be read"),
                    };
                    let reason = format!("{reason}, {rest} bytes before the end{end}");
                    self.found(level, path, Some(position), &reason)?;
                }
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
        Ok(places)
    }

    fn batch(
        &mut self,
        path: &Path,
        batch: &DumpedBatch,
        expected: &mut Expected,
    ) -> Result<(), Failure> {
        self.batches += 1;
        let header = &batch.header;
        let (base, last) = (header.base_offset.0, header.last_offset().0);
        let mut reasons = Vec::new();
        if base < expected.next_offset {
            reasons.push(format!(
                "the batch begins at offset {base}, where {} or later is due",
                expected.next_offset
            ));
        }
        let epoch = header.partition_leader_epoch.0;
        if epoch < expected.leader_epoch {
            reasons.push(format!(
                "the batch at offset {base} has leader epoch {epoch}, the one before it {}",
                expected.leader_epoch
            ));
        }
        if batch.crc_ok {
            reasons.extend(self.records(batch));
        } else {
            reasons.push(format!(
                "the CRC of the batch of offsets {base} to {last} is wrong: its bytes have changed"
            ));
        }
        for reason in reasons {
            self.found(Level::Damaged, path, Some(batch.position), &reason)?;
        }
        expected.next_offset = expected.next_offset.max(last.saturating_add(1));
        expected.leader_epoch = expected.leader_epoch.max(epoch);
        Ok(())
    }

    /// What is wrong with the records of a batch.
    fn records(&mut self, batch: &DumpedBatch) -> Option<String> {
        let header = &batch.header;
        let (base, last) = (header.base_offset.0, header.last_offset().0);
        let (mut count, mut next, mut strayed) = (0_usize, base, None);
        let read = batch.for_each_record(|record| {
            let offset = record.offset.0;
            if (offset < next || offset > last) && strayed.is_none() {
                strayed = Some(offset);
            }
            next = offset.saturating_add(1);
            count += 1;
        });
        self.records += count;
        if let Err(error) = read {
            return Some(match error {
                StorageError::Damaged { reason, .. } => format!("{reason} (offset {base})"),
                error => error.to_string(),
            });
        }
        if let Some(offset) = strayed {
            return Some(format!(
                "a record has offset {offset}, out of order in a batch of {base} to {last}"
            ));
        }
        let announced = usize::try_from(header.records_count).unwrap_or(0);
        (count != announced).then(|| {
            format!("the batch at offset {base} has {count} records, and says {announced}")
        })
    }

    fn leader_epochs(&mut self, path: &Path) -> Result<(), Failure> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Failure::file(path, source)),
        };
        match LeaderEpochCache::parse(&text) {
            Ok(_) => Ok(()),
            Err(error) => self.found(Level::Damaged, path, None, &error.to_string()),
        }
    }

    fn found(
        &mut self,
        level: Level,
        path: &Path,
        position: Option<u64>,
        reason: &str,
    ) -> Result<(), Failure> {
        self.progress.clear();
        match level {
            Level::Damaged => self.damaged += 1,
            Level::Note => self.notes += 1,
        }
        let name = match level {
            Level::Damaged => "damaged",
            Level::Note => "note",
        };
        let file = path.display().to_string();
        self.output.print(
            || json!({"level": name, "file": file, "position": position, "problem": reason}),
            || {
                let place = position.map_or(String::new(), |position| format!(" at {position}"));
                let label = match level {
                    Level::Damaged => self.output.wrong(name),
                    Level::Note => self.output.doubtful(name),
                };
                format!("{label}  {file}{place}: {reason}\n")
            },
        )
    }

    fn finish(mut self, partitions: usize) -> Result<(), Failure> {
        self.progress.clear();
        self.output.print(
            || {
                json!({
                    "partitions": partitions,
                    "segments": self.segments,
                    "batches": self.batches,
                    "records": self.records,
                    "damaged": self.damaged,
                    "notes": self.notes,
                })
            },
            || {
                format!(
                    "{}, {}, {} batches, {}: {}\n",
                    counted(partitions, "partition"),
                    counted(self.segments, "segment"),
                    self.batches,
                    counted(self.records, "record"),
                    match self.damaged {
                        0 => self.output.right("in order"),
                        _ => self.output.wrong("damaged"),
                    }
                )
            },
        )?;
        match self.damaged {
            0 => Ok(()),
            count => Err(Failure::Findings(format!(
                "{} found: take the partition from another replica or a backup, or let a broker \
                 open the folder to make indexes anew",
                counted(count, "damaged place")
            ))),
        }
    }
}

fn unreadable(path: &Path, error: &StorageError) -> Failure {
    let source = match error {
        StorageError::Io { cause, .. } => std::io::Error::new(cause.kind(), cause.to_string()),
        error => std::io::Error::other(error.to_string()),
    };
    Failure::file(path, source)
}

/// Whether nothing but space made ahead follows.
fn only_zeros_after(path: &Path, position: u64) -> Result<bool, Failure> {
    use std::io::{Read, Seek, SeekFrom};
    let failed = |source| Failure::file(path, source);
    let mut file = fs::File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(position)).map_err(failed)?;
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(true),
            read if chunk[..read].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;
    use millstream_protocol::{LeaderEpoch, Offset};

    use super::*;
    use crate::arguments::OutputFormat;

    fn batch(base: i64) -> Bytes {
        let mut batch = BatchBuilder::new(Codec::None)
            .base_offset(Offset(base))
            .leader_epoch(LeaderEpoch(1));
        for _ in 0..2 {
            batch.push(
                1_000 + base,
                Some(b"k"),
                Some(b"a value of some length"),
                &[],
            );
        }
        batch.build().expect("small")
    }

    /// A partition of two segments, of two batches and of one.
    fn partition() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let first = [batch(0), batch(2)].concat();
        let mut index = 3_u32.to_be_bytes().to_vec();
        let position = u32::try_from(batch(0).len()).expect("small");
        index.extend_from_slice(&position.to_be_bytes());
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).expect("written");
        };
        write("00000000000000000000.log", &first);
        write("00000000000000000000.index", &index);
        write("00000000000000000004.log", &batch(4));
        write("leader-epoch-checkpoint", b"0\n1\n1 0\n");
        folder
    }

    fn verified(folder: &Path) -> (String, bool) {
        let output = Output::in_memory(OutputFormat::Text);
        let paths = vec![folder.to_owned()];
        let result = verify(&LogVerifyArguments { paths }, &output);
        assert!(
            result.is_ok() || matches!(result, Err(Failure::Findings(_))),
            "{result:?}"
        );
        (
            String::from_utf8(output.taken()).expect("text"),
            result.is_ok(),
        )
    }

    fn change(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = folder.join(name);
        let mut bytes = fs::read(&path).expect("there");
        change(&mut bytes);
        fs::write(&path, bytes).expect("written");
    }

    #[test]
    fn a_whole_partition_is_in_order() {
        let folder = partition();
        let (text, ok) = verified(folder.path());
        assert!(ok, "{text}");
        assert_eq!(
            text,
            "1 partition, 2 segments, 3 batches, 6 records: in order\n"
        );
    }

    #[test]
    fn a_flipped_bit_is_named_with_file_and_position() {
        let folder = partition();
        let at = batch(0).len();
        change(folder.path(), "00000000000000000000.log", |bytes| {
            bytes[at + 70] ^= 1
        });
        let (text, ok) = verified(folder.path());
        assert!(!ok);
        let place = format!("00000000000000000000.log at {at}: the CRC");
        assert!(text.contains(&place), "{text}");
    }

    #[test]
    fn what_a_crash_leaves_at_the_end_is_no_damage() {
        for torn in [30, 61, batch(4).len() - 2] {
            let folder = partition();
            change(folder.path(), "00000000000000000004.log", |bytes| {
                bytes[torn..].fill(0);
                bytes.resize(8192, 0);
            });
            let (text, ok) = verified(folder.path());
            assert!(ok && text.contains("note"), "{torn}: {text}");
            // The same in an earlier segment is.
            let folder = partition();
            change(folder.path(), "00000000000000000000.log", |bytes| {
                bytes.truncate(batch(0).len() + torn);
            });
            assert!(!verified(folder.path()).1, "{torn}");
        }
    }

    #[test]
    fn indexes_and_names_that_lead_astray_are_found() {
        let folder = partition();
        change(folder.path(), "00000000000000000000.index", |bytes| {
            bytes[7] ^= 1
        });
        let (text, ok) = verified(folder.path());
        assert!(!ok && text.contains(".index at 0: "), "{text}");

        let folder = partition();
        let name = |base: i64| folder.path().join(format!("{base:020}.log"));
        fs::rename(name(4), name(3)).expect("renamed");
        let (text, ok) = verified(folder.path());
        assert!(!ok && text.contains("begins at offset 3"), "{text}");
    }

    #[test]
    fn a_data_folder_is_checked_partition_by_partition() {
        let data = tempfile::tempdir().expect("a folder");
        let moved = partition();
        fs::rename(moved.path(), data.path().join("orders-0")).expect("moved");
        let other = partition();
        fs::rename(other.path(), data.path().join("old-0.x-delete")).expect("moved");
        let (text, ok) = verified(data.path());
        assert!(ok && text.starts_with("1 partition,"), "{text}");
        let empty = tempfile::tempdir().expect("a folder");
        let output = Output::in_memory(OutputFormat::Text);
        let paths = vec![empty.path().to_owned()];
        let result = verify(&LogVerifyArguments { paths }, &output);
        assert!(matches!(result, Err(Failure::NotFound { .. })));
    }
}
