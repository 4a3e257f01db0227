//! The Raft log and its snapshots on disk, in `<log.dir>/__cluster_metadata-0`.
//!
//! ```text
//! <number, 20 digits>.raftlog                      segments, from the oldest that is needed
//! <index, 20 digits>-<term, 20 digits>.snapshot    one frame
//! ```
//!
//! A snapshot ends a segment: the next one begins with what must outlive the old ones, and those
//! that hold nothing after the snapshot are removed, once both are durable. Whatever returns has
//! been flushed. After an error nothing is known of what is on disk: the log must be opened again.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use millstream_controller::raft::{
    CodecError, Entry, HardState, Persist, Recovered, SNAPSHOT_FORMAT_VERSION, Snapshot,
    decode_snapshot, encode_snapshot,
};
use millstream_metadata::frame::{self, FrameError};
use millstream_reactor::{File, FileSystem, OpenOptions};

use super::log_segment::{SegmentDamage, SegmentHeader, encode_batch, scan_segment};

/// The frame kind of a snapshot's file.
const SNAPSHOT_KIND: u16 = 4;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataLogError {
    /// The disk or the file system failed.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A flush failed: what is on the disk is not known.
    #[error("cannot flush {path}: {cause}")]
    Flush {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A segment is damaged.
    #[error("{path}: at byte {position}: {cause}")]
    Segment {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        cause: SegmentDamage,
    },
    /// A snapshot's frame is damaged.
    #[error("{path}: at byte 0: {cause}")]
    SnapshotFrame {
        /// The snapshot's file.
        path: PathBuf,
        /// What is wrong.
        cause: FrameError,
    },
    /// A snapshot's frame is good, its payload is not.
    #[error("{path}: at byte {}: {cause}", frame::HEADER_LEN)]
    Snapshot {
        /// The snapshot's file.
        path: PathBuf,
        /// What is wrong.
        cause: CodecError,
    },
    /// A file that this program does not write there.
    #[error("{path} is not a file of Millstream's metadata log; the folder may be Apache Kafka's")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Files are missing.
    #[error("{path}: {what}")]
    Gap {
        /// The folder or file.
        path: PathBuf,
        /// What does not fit together.
        what: String,
    },
}

impl MetadataLogError {
    /// Whether the disk had no room for what was to be written: it may be tried again.
    pub fn is_full(&self) -> bool {
        match self {
            MetadataLogError::Io { cause, .. } => cause.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

/// The log, open for appending.
pub struct MetadataLog {
    fs: FileSystem,
    dir: PathBuf,
    /// The oldest first; the last is written to.
    segments: VecDeque<Segment>,
    file: File,
    position: u64,
    /// Index and term of the last entry.
    last: (u64, u64),
    hard_state: HardState,
}

#[derive(Debug, Clone)]
struct Segment {
    number: u64,
    path: PathBuf,
    /// The highest index of any entry in it.
    max_index: u64,
}

/// The names in the folder.
struct Listing {
    /// Numbers of segments, in order.
    segments: Vec<u64>,
    /// Indexes and terms of snapshots, in order.
    snapshots: Vec<(u64, u64)>,
}

/// What the segments hold together.
struct Replay {
    segments: VecDeque<Segment>,
    base: (u64, u64),
    entries: Vec<Entry>,
    hard_state: HardState,
    /// Where the good bytes of the last segment end.
    end: u64,
}

impl MetadataLog {
    /// Opens the log in `dir`, made if missing, and gives back what it holds. A write that a crash
    /// cut short is removed; any other damage is an error, and nothing is changed.
    pub async fn open(
        fs: &FileSystem,
        dir: &Path,
    ) -> Result<(MetadataLog, Recovered), MetadataLogError> {
        let listing = list(fs, dir).await?;
        let snapshot = match listing.snapshots.last() {
            Some(id) => Some(read_snapshot(fs, &snapshot_path(dir, *id)).await?),
            None => None,
        };
        let replay = replay_segments(fs, dir, &listing.segments).await?;
        let Some(mut replay) = replay else {
            if let Some(snapshot) = snapshot {
                let index = snapshot.index;
                let what = format!("there is a snapshot at index {index}, but no log");
                return Err(gap(dir, what));
            }
            let log = MetadataLog::begin(fs, dir, 1, (0, 0), HardState::default()).await?;
            return Ok((log, Recovered::default()));
        };
        let kept = connect(dir, snapshot.as_ref(), &mut replay)?;
        let last = replay.entries.last().map_or_else(
            || {
                snapshot
                    .as_ref()
                    .map_or(replay.base, |snapshot| (snapshot.index, snapshot.term))
            },
            |entry| (entry.index, entry.term),
        );
        let hard_state = replay.hard_state;
        let mut log = MetadataLog::reopen(fs, dir, replay.segments, replay.end, last).await?;
        log.hard_state = hard_state;
        if !kept {
            // What is in the segments does not lead on from the snapshot.
            log.roll(last).await?;
        }
        if let Some(snapshot) = &snapshot {
            log.prune(snapshot.index).await?;
            log.prune_snapshots(&listing.snapshots, (snapshot.index, snapshot.term))
                .await?;
        }
        Ok((
            log,
            Recovered {
                snapshot,
                entries: replay.entries,
                hard_state,
            },
        ))
    }

    /// Makes durable what Raft asks for.
    pub async fn persist(&mut self, persist: &Persist) -> Result<(), MetadataLogError> {
        self.hard_state = persist.hard_state;
        if let Some(snapshot) = &persist.snapshot {
            self.write_snapshot(snapshot).await?;
            self.last = (snapshot.index, snapshot.term);
            self.roll(self.last).await?;
            self.prune_all().await?;
        }
        let active = self
            .segments
            .back_mut()
            .expect("there is always an active segment");
        let batch = encode_batch(active.number, self.position, persist);
        let len = batch.len() as u64;
        self.file
            .write_at(self.position, batch)
            .await
            .map_err(io_at(&active.path))?;
        self.file
            .sync_data()
            .await
            .map_err(flush_of(&active.path))?;
        self.position += len;
        if let Some(entry) = persist.entries.last() {
            self.last = (entry.index, entry.term);
            active.max_index = active.max_index.max(entry.index);
        }
        Ok(())
    }

    /// Makes a snapshot durable, and removes what it takes the place of.
    pub async fn store_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), MetadataLogError> {
        self.write_snapshot(snapshot).await?;
        self.roll(self.last).await?;
        self.prune(snapshot.index).await?;
        let listing = list(&self.fs, &self.dir).await?;
        self.prune_snapshots(&listing.snapshots, (snapshot.index, snapshot.term))
            .await
    }

    async fn begin(
        fs: &FileSystem,
        dir: &Path,
        number: u64,
        base: (u64, u64),
        hard_state: HardState,
    ) -> Result<MetadataLog, MetadataLogError> {
        let path = segment_path(dir, number);
        let options = OpenOptions {
            write: true,
            create: true,
            truncate: true,
            ..OpenOptions::default()
        };
        let file = fs.open(&path, options).await.map_err(io_at(&path))?;
        let header = SegmentHeader {
            number,
            base,
            hard_state,
        }
        .encode();
        let position = header.len() as u64;
        file.write_at(0, header).await.map_err(io_at(&path))?;
        file.sync_data().await.map_err(flush_of(&path))?;
        fs.sync_dir(dir).await.map_err(io_at(dir))?;
        Ok(MetadataLog {
            fs: fs.clone(),
            dir: dir.to_owned(),
            segments: VecDeque::from([Segment {
                number,
                path,
                max_index: 0,
            }]),
            file,
            position,
            last: base,
            hard_state,
        })
    }

    async fn reopen(
        fs: &FileSystem,
        dir: &Path,
        segments: VecDeque<Segment>,
        end: u64,
        last: (u64, u64),
    ) -> Result<MetadataLog, MetadataLogError> {
        let path = &segments.back().expect("a replay has a segment").path;
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = fs.open(path, options).await.map_err(io_at(path))?;
        if file.size().await.map_err(io_at(path))? > end {
            tracing::info!(path = %path.display(), end, "an unfinished write was removed");
            file.set_len(end).await.map_err(io_at(path))?;
            file.sync_data().await.map_err(io_at(path))?;
        }
        Ok(MetadataLog {
            fs: fs.clone(),
            dir: dir.to_owned(),
            file,
            position: end,
            last,
            hard_state: HardState::default(),
            segments,
        })
    }

    /// Goes on in a new segment.
    async fn roll(&mut self, base: (u64, u64)) -> Result<(), MetadataLogError> {
        let number = self.segments.back().map_or(0, |segment| segment.number) + 1;
        let begun = MetadataLog::begin(&self.fs, &self.dir, number, base, self.hard_state).await?;
        self.segments.extend(begun.segments);
        self.file = begun.file;
        self.position = begun.position;
        Ok(())
    }

    async fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), MetadataLogError> {
        let mut out = BytesMut::new();
        let payload = encode_snapshot(snapshot);
        frame::seal(
            SNAPSHOT_KIND,
            SNAPSHOT_FORMAT_VERSION,
            0,
            &payload,
            &mut out,
        );
        let path = snapshot_path(&self.dir, (snapshot.index, snapshot.term));
        self.fs
            .write_atomic(&path, out.freeze())
            .await
            .map_err(io_at(&path))
    }

    /// Removes the oldest segments, as far as they hold nothing after `index`.
    async fn prune(&mut self, index: u64) -> Result<(), MetadataLogError> {
        while self.segments.len() > 1 && self.segments[0].max_index <= index {
            self.remove_oldest().await?;
        }
        self.fs.sync_dir(&self.dir).await.map_err(io_at(&self.dir))
    }

    /// Removes all segments but the active one.
    async fn prune_all(&mut self) -> Result<(), MetadataLogError> {
        while self.segments.len() > 1 {
            self.remove_oldest().await?;
        }
        self.fs.sync_dir(&self.dir).await.map_err(io_at(&self.dir))
    }

    async fn remove_oldest(&mut self) -> Result<(), MetadataLogError> {
        let segment = self
            .segments
            .pop_front()
            .expect("the caller leaves the active one");
        self.fs
            .remove_file(&segment.path)
            .await
            .map_err(io_at(&segment.path))
    }

    async fn prune_snapshots(
        &self,
        snapshots: &[(u64, u64)],
        kept: (u64, u64),
    ) -> Result<(), MetadataLogError> {
        for id in snapshots.iter().filter(|id| **id < kept) {
            let path = snapshot_path(&self.dir, *id);
            self.fs.remove_file(&path).await.map_err(io_at(&path))?;
        }
        self.fs.sync_dir(&self.dir).await.map_err(io_at(&self.dir))
    }
}

/// Lists the folder, made if missing, and removes what an atomic write left behind.
async fn list(fs: &FileSystem, dir: &Path) -> Result<Listing, MetadataLogError> {
    if !fs.exists(dir).await.map_err(io_at(dir))? {
        fs.create_dir_all(dir).await.map_err(io_at(dir))?;
        if let Some(parent) = dir.parent() {
            fs.sync_dir(parent).await.map_err(io_at(parent))?;
        }
    }
    let mut listing = Listing {
        segments: Vec::new(),
        snapshots: Vec::new(),
    };
    for entry in fs.read_dir(dir).await.map_err(io_at(dir))? {
        let path = dir.join(&entry.name);
        if entry.name.ends_with(".snapshot.tmp") {
            fs.remove_file(&path).await.map_err(io_at(&path))?;
        } else if let Some(number) = segment_number(&entry.name) {
            listing.segments.push(number);
        } else if let Some(id) = snapshot_id(&entry.name) {
            listing.snapshots.push(id);
        } else {
            return Err(MetadataLogError::Foreign { path });
        }
    }
    listing.segments.sort_unstable();
    listing.snapshots.sort_unstable();
    Ok(listing)
}

async fn read_snapshot(fs: &FileSystem, path: &Path) -> Result<Snapshot, MetadataLogError> {
    let bytes = fs.read(path).await.map_err(io_at(path))?;
    let frame =
        frame::open(SNAPSHOT_KIND, 0, &bytes).map_err(|cause| MetadataLogError::SnapshotFrame {
            path: path.to_owned(),
            cause,
        })?;
    decode_snapshot(frame.version, bytes.slice_ref(frame.payload)).map_err(|cause| {
        MetadataLogError::Snapshot {
            path: path.to_owned(),
            cause,
        }
    })
}

/// Reads all segments; `None` when no segment was ever begun.
async fn replay_segments(
    fs: &FileSystem,
    dir: &Path,
    numbers: &[u64],
) -> Result<Option<Replay>, MetadataLogError> {
    let mut replay: Option<Replay> = None;
    for (at, number) in numbers.iter().enumerate() {
        let path = segment_path(dir, *number);
        let bytes = fs.read(&path).await.map_err(io_at(&path))?;
        let is_last = at + 1 == numbers.len();
        let scanned = scan_segment(*number, &bytes, is_last).map_err(|(position, cause)| {
            MetadataLogError::Segment {
                path: path.clone(),
                position,
                cause,
            }
        })?;
        let Some(contents) = scanned else {
            fs.remove_file(&path).await.map_err(io_at(&path))?;
            fs.sync_dir(dir).await.map_err(io_at(dir))?;
            break;
        };
        let replay = replay.get_or_insert_with(|| Replay {
            segments: VecDeque::new(),
            base: contents.header.base,
            entries: Vec::new(),
            hard_state: HardState::default(),
            end: 0,
        });
        if replay
            .segments
            .back()
            .is_some_and(|previous| previous.number + 1 != *number)
        {
            return Err(gap(&path, "the segment before it is missing".to_owned()));
        }
        replay.segments.push_back(Segment {
            number: *number,
            path: path.clone(),
            max_index: 0,
        });
        replay.end = contents.end;
        replay.hard_state = contents.header.hard_state;
        if replay.last() != contents.header.base {
            // Begun with a snapshot of the leader's, which took the place of the log so far.
            replay.base = contents.header.base;
            replay.entries.clear();
        }
        for batch in contents.batches {
            replay.hard_state = batch.hard_state;
            replay
                .append(batch.entries)
                .map_err(|what| gap(&path, what))?;
        }
    }
    Ok(replay)
}

impl Replay {
    /// Index and term of the last entry.
    fn last(&self) -> (u64, u64) {
        self.entries
            .last()
            .map_or(self.base, |entry| (entry.index, entry.term))
    }

    /// Appends; what has the same index, and all after it, is replaced.
    fn append(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        if first.index <= self.base.0 || first.index > self.last().0 + 1 {
            let (index, end) = (first.index, self.last().0);
            return Err(format!("entry {index} in a log that ends at {end}"));
        }
        let segment = self
            .segments
            .back_mut()
            .expect("entries come from a segment");
        segment.max_index = segment.max_index.max(last.index);
        let kept = usize::try_from(first.index - self.base.0 - 1).expect("the log fits in memory");
        self.entries.truncate(kept);
        self.entries.extend(entries);
        Ok(())
    }
}

/// Leaves in `replay` the entries that lead on from the snapshot. Whether the segments themselves
/// lead on from it: not if the log was another one than the leader's that sent the snapshot.
fn connect(
    dir: &Path,
    snapshot: Option<&Snapshot>,
    replay: &mut Replay,
) -> Result<bool, MetadataLogError> {
    let Some(snapshot) = snapshot else {
        return if replay.base == (0, 0) {
            Ok(true)
        } else {
            let what = format!(
                "the log begins after index {}, without a snapshot",
                replay.base.0
            );
            Err(gap(dir, what))
        };
    };
    let Some(covered) = snapshot.index.checked_sub(replay.base.0) else {
        let (base, index) = (replay.base.0, snapshot.index);
        let what = format!("the log begins after index {base}, the snapshot ends at {index}");
        return Err(gap(dir, what));
    };
    let covered = usize::try_from(covered).unwrap_or(usize::MAX);
    let term = match covered.checked_sub(1) {
        None => Some(replay.base.1),
        Some(position) => replay.entries.get(position).map(|entry| entry.term),
    };
    if term == Some(snapshot.term) {
        replay.entries.drain(..covered);
        Ok(true)
    } else {
        replay.entries.clear();
        Ok(false)
    }
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.raftlog"))
}

fn segment_number(name: &str) -> Option<u64> {
    digits(name.strip_suffix(".raftlog")?)
}

fn snapshot_path(dir: &Path, (index, term): (u64, u64)) -> PathBuf {
    dir.join(format!("{index:020}-{term:020}.snapshot"))
}

fn snapshot_id(name: &str) -> Option<(u64, u64)> {
    let (index, term) = name.strip_suffix(".snapshot")?.split_once('-')?;
    Some((digits(index)?, digits(term)?))
}

fn digits(text: &str) -> Option<u64> {
    (text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> MetadataLogError {
    let path = path.to_owned();
    move |cause| MetadataLogError::Io { path, cause }
}

fn flush_of(path: &Path) -> impl FnOnce(io::Error) -> MetadataLogError {
    let path = path.to_owned();
    move |cause| MetadataLogError::Flush { path, cause }
}

fn gap(path: &Path, what: String) -> MetadataLogError {
    MetadataLogError::Gap {
        path: path.to_owned(),
        what,
    }
}
