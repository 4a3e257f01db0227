//! The files at the root of the folder: what the last run left there, and what a clean stop
//! leaves.
//!
//! Kafka's recovery points and our checkpoints exclude each other: ours are removed at a clean
//! stop, after Kafka's are written; Kafka's are removed at start, after ours are. So if Kafka's are
//! there, then Kafka, or a clean stop of ours, was the last to write, and ours are out of date.
//!
//! The marker `.kafka_cleanshutdown` holds `{"version":0,"brokerEpoch":<epoch>}`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use millstream_protocol::{Offset, PartitionIndex, TopicId};
use millstream_reactor::{FileSystem, Reactor, TaskQueue};

use crate::checkpoint_file::{
    CLEANER_OFFSET_FILE, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE, OffsetCheckpoint,
    RECOVERY_POINT_FILE, is_shard_cleaner_file,
};
use crate::closing::DELETE_SUFFIX;
use crate::error::StorageError;
use crate::recovery_checkpoint::{
    self, CheckpointEntries, CheckpointEntry, LogName, START_FILE, is_checkpoint,
};

const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// What the last run left at the root of the folder. Taken once in a process, before any log is
/// opened, and cloned to every shard.
#[derive(Debug, Clone, Default)]
pub struct StartState {
    clean: bool,
    broker_epoch: Option<i64>,
    entries: CheckpointEntries,
    /// Up to where logs were compacted.
    first_dirty: OffsetCheckpoint,
}

/// What the logs of a shard were when it closed.
#[derive(Debug, Clone, Default)]
pub struct ClosedShard {
    /// Every log that was open.
    pub logs: Vec<(LogName, CheckpointEntry)>,
    /// Whether all of them closed cleanly.
    pub clean: bool,
    /// Up to where they were compacted, of those that were.
    pub first_dirty: OffsetCheckpoint,
}

impl StartState {
    /// Reads and merges what is there, takes the marker of a clean stop away, and begins to remove
    /// the folders of deleted logs.
    pub async fn take(reactor: &Reactor, root: &Path) -> Result<StartState, StorageError> {
        let fs = reactor.fs();
        fs.create_dir_all(root)
            .await
            .map_err(|cause| StorageError::io("make", root, cause))?;
        let entries = fs
            .read_dir(root)
            .await
            .map_err(|cause| StorageError::io("list", root, cause))?;
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        let mut state = StartState::default();
        let ours: Vec<&str> = entries
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| is_checkpoint(name))
            .collect();
        if has(RECOVERY_POINT_FILE) {
            state.entries = read_kafkas(&fs, root).await?;
        } else {
            state.entries = read_ours(&fs, root, &ours).await?;
        }
        if has(CLEAN_SHUTDOWN_FILE) {
            let text = read(&fs, &root.join(CLEAN_SHUTDOWN_FILE)).await?;
            state.clean = has(RECOVERY_POINT_FILE);
            state.broker_epoch = text.as_deref().and_then(parse_marker);
        }
        if has(CLEANER_OFFSET_FILE) {
            state.first_dirty = read_offsets(&fs, root, CLEANER_OFFSET_FILE).await?;
        }
        let compacted: Vec<&str> = entries
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| is_shard_cleaner_file(name))
            .collect();
        for name in &compacted {
            let of_shard = read_offsets(&fs, root, name).await?;
            state.first_dirty.offsets.extend(of_shard.offsets);
        }
        if !compacted.is_empty() {
            let text = state.first_dirty.to_text();
            write(&fs, &root.join(CLEANER_OFFSET_FILE), text).await?;
        }
        for name in &compacted {
            remove(&fs, &root.join(name)).await?;
        }
        let text = recovery_checkpoint::to_text(&state.entries);
        write(&fs, &root.join(START_FILE), text).await?;
        for name in ours.iter().filter(|name| **name != START_FILE) {
            remove(&fs, &root.join(name)).await?;
        }
        remove(&fs, &root.join(CLEAN_SHUTDOWN_FILE)).await?;
        remove(&fs, &root.join(RECOVERY_POINT_FILE)).await?;
        fs.sync_dir(root)
            .await
            .map_err(|cause| StorageError::io("flush", root, cause))?;

        for entry in entries {
            if entry.is_dir && entry.name.ends_with(DELETE_SUFFIX) {
                let (fs, path) = (fs.clone(), root.join(entry.name));
                let removal = async move {
                    if let Err(cause) = fs.remove_dir_all(&path).await {
                        tracing::warn!(path = %path.display(), "cannot remove it: {cause}");
                    }
                };
                reactor.spawn(TaskQueue::Background, removal).detach();
            }
        }
        Ok(state)
    }

    /// Whether the last run ended with a clean stop.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// The broker epoch in the marker of a clean stop.
    pub fn clean_broker_epoch(&self) -> Option<i64> {
        self.broker_epoch
    }

    /// Up to where a log was compacted.
    pub(crate) fn first_dirty(&self, topic: &str, partition: PartitionIndex) -> Option<i64> {
        self.first_dirty
            .get(topic, partition)
            .map(|offset| offset.0)
    }

    /// What is known of a log, unless it is that of another topic with the same name.
    pub(crate) fn entry(
        &self,
        topic: &str,
        partition: PartitionIndex,
        topic_id: TopicId,
    ) -> Option<CheckpointEntry> {
        let entry = self.entries.get(&(topic.to_owned(), partition))?;
        let same = entry.topic_id.is_none_or(|known| known == topic_id);
        same.then(|| entry.clone())
    }
}

/// Writes Kafka's checkpoint files and, if all logs closed cleanly, the marker of a clean stop.
/// Called once in a process, with what every shard's close returned. Whether the stop was clean.
pub async fn finish_clean_shutdown(
    reactor: &Reactor,
    root: &Path,
    start: &StartState,
    shards: &[ClosedShard],
    broker_epoch: i64,
) -> Result<bool, StorageError> {
    let fs = reactor.fs();
    let mut logs: CheckpointEntries = BTreeMap::new();
    let mut clean = shards.iter().all(|shard| shard.clean);
    for shard in shards {
        logs.extend(shard.logs.iter().cloned());
    }
    // Logs that nobody opened are as they were found.
    for (name, entry) in &start.entries {
        let dir = root.join(format!("{}-{}", name.0, name.1));
        let exists = fs
            .exists(&dir)
            .await
            .map_err(|cause| StorageError::io("look for", &dir, cause))?;
        if exists && !logs.contains_key(name) {
            clean &= start.clean;
            logs.insert(name.clone(), entry.clone());
        }
    }
    if !clean {
        return Ok(false);
    }
    let offsets = |of: fn(&CheckpointEntry) -> Offset| {
        let offsets = logs.iter().map(|(name, entry)| (name.clone(), of(entry)));
        let checkpoint = OffsetCheckpoint {
            offsets: offsets.collect(),
        };
        checkpoint.to_text()
    };
    let starts = offsets(|entry| entry.log_start_offset);
    let high_watermarks = offsets(|entry| entry.high_watermark);
    let recovery_points = offsets(|entry| entry.recovery_point);
    let mut first_dirty = OffsetCheckpoint::default();
    for (name, first) in &start.first_dirty.offsets {
        if logs.contains_key(name) {
            first_dirty.offsets.insert(name.clone(), *first);
        }
    }
    for shard in shards {
        first_dirty
            .offsets
            .extend(shard.first_dirty.offsets.clone());
    }
    if !first_dirty.offsets.is_empty() {
        let text = first_dirty.to_text();
        write(&fs, &root.join(CLEANER_OFFSET_FILE), text).await?;
    }
    write(&fs, &root.join(LOG_START_OFFSET_FILE), starts).await?;
    write(&fs, &root.join(HIGH_WATERMARK_FILE), high_watermarks).await?;
    write(&fs, &root.join(RECOVERY_POINT_FILE), recovery_points).await?;
    let marker = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    write(&fs, &root.join(CLEAN_SHUTDOWN_FILE), marker).await?;
    let entries = fs
        .read_dir(root)
        .await
        .map_err(|cause| StorageError::io("list", root, cause))?;
    for entry in entries.iter().filter(|entry| is_checkpoint(&entry.name)) {
        remove(&fs, &root.join(&entry.name)).await?;
    }
    Ok(true)
}

/// Checkpoints of Kafka's. Log start offsets are only there for logs that lost their beginning.
async fn read_kafkas(fs: &FileSystem, root: &Path) -> Result<CheckpointEntries, StorageError> {
    let recovery_points = read_offsets(fs, root, RECOVERY_POINT_FILE).await?;
    let starts = read_offsets(fs, root, LOG_START_OFFSET_FILE).await?;
    let high_watermarks = read_offsets(fs, root, HIGH_WATERMARK_FILE).await?;
    let entries = recovery_points.offsets.into_iter();
    Ok(entries
        .map(|(name, recovery_point)| {
            let known = |of: &OffsetCheckpoint| of.get(&name.0, name.1).unwrap_or(Offset(0));
            let entry = CheckpointEntry {
                topic_id: None,
                recovery_point,
                place: None,
                log_start_offset: known(&starts),
                high_watermark: known(&high_watermarks),
            };
            (name, entry)
        })
        .collect())
}

/// A checkpoint of Kafka's; nothing if it is missing or cannot be read, which costs a longer
/// recovery.
async fn read_offsets(
    fs: &FileSystem,
    root: &Path,
    name: &str,
) -> Result<OffsetCheckpoint, StorageError> {
    let path = root.join(name);
    let Some(text) = read(fs, &path).await? else {
        return Ok(OffsetCheckpoint::default());
    };
    Ok(OffsetCheckpoint::parse(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), "the checkpoint is not used: {error}");
        OffsetCheckpoint::default()
    }))
}

/// Checkpoints of ours: those of the shards are newer than the one they started from.
async fn read_ours(
    fs: &FileSystem,
    root: &Path,
    names: &[&str],
) -> Result<CheckpointEntries, StorageError> {
    let mut merged = CheckpointEntries::new();
    let (start, shards): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| **name == START_FILE);
    for name in start.into_iter().chain(shards) {
        let path = root.join(name);
        let Some(text) = read(fs, &path).await? else {
            continue;
        };
        match recovery_checkpoint::parse(&text) {
            Some(entries) => merged.extend(entries),
            None => {
                tracing::warn!(path = %path.display(), "the checkpoint is damaged and not used");
            }
        }
    }
    Ok(merged)
}

/// The broker epoch in the text of a marker.
fn parse_marker(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("\"brokerEpoch\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = value
        .find(|character: char| !character.is_ascii_digit() && character != '-')
        .unwrap_or(value.len());
    value[..end].parse().ok()
}

async fn read(fs: &FileSystem, path: &Path) -> Result<Option<Bytes>, StorageError> {
    match fs.read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StorageError::io("read", path, cause)),
    }
}

async fn write(fs: &FileSystem, path: &Path, text: String) -> Result<(), StorageError> {
    fs.write_atomic(path, text.into())
        .await
        .map_err(|cause| StorageError::io("write", path, cause))
}

async fn remove(fs: &FileSystem, path: &Path) -> Result<(), StorageError> {
    match fs.remove_file(path).await {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(StorageError::io("remove", path, cause)),
    }
}

#[cfg(test)]
mod tests {
    use millstream_reactor::sim::{DiskFault, DiskOperation, Node, Simulation};

    use super::*;

    const ROOT: &str = "/data";

    fn path(name: &str) -> String {
        format!("{ROOT}/{name}")
    }

    fn name(topic: &str) -> LogName {
        (topic.to_owned(), PartitionIndex(0))
    }

    /// Topics, and the recovery point of each.
    fn entries(of: &[(&str, i64)]) -> CheckpointEntries {
        let entry = |recovery_point| CheckpointEntry {
            topic_id: None,
            recovery_point: Offset(recovery_point),
            place: None,
            log_start_offset: Offset(0),
            high_watermark: Offset(0),
        };
        of.iter()
            .map(|&(topic, recovery_point)| (name(topic), entry(recovery_point)))
            .collect()
    }

    /// A node with these files at its root.
    fn node(files: &[(&str, &str)]) -> (Simulation, Node) {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("broker");
        node.make_dir(ROOT);
        for (name, text) in files {
            node.plant_file(path(name), text.as_bytes());
        }
        (simulation, node)
    }

    fn take(node: &Node) -> Result<StartState, StorageError> {
        let reactor = node.reactor();
        let taken = node.run(async move { StartState::take(&reactor, ROOT.as_ref()).await });
        taken.expect("no crash")
    }

    #[test]
    fn checkpoints_of_shards_replace_what_they_started_from() {
        let text = |of| recovery_checkpoint::to_text(&entries(of));
        let (_simulation, node) = node(&[
            (START_FILE, &text(&[("a", 1), ("b", 1), ("c", 1)])),
            ("millstream-checkpoint-0", &text(&[("a", 2)])),
            ("millstream-checkpoint-7", &text(&[("b", 3)])),
        ]);
        let merged = entries(&[("a", 2), ("b", 3), ("c", 1)]);
        assert_eq!(take(&node).expect("readable").entries, merged);
        let start = node.read_durable(path(START_FILE));
        let start = start.expect("it is there for the next start");
        assert_eq!(recovery_checkpoint::parse(&start), Some(merged));
        for shard in ["millstream-checkpoint-0", "millstream-checkpoint-7"] {
            assert_eq!(
                node.read_durable(path(shard)),
                None,
                "{shard} is out of date"
            );
        }
    }

    #[test]
    fn a_root_that_cannot_be_read_or_tidied_is_an_error() {
        let faults = [
            (DiskOperation::Read, "millstream-checkpoint-0"),
            (DiskOperation::Read, CLEAN_SHUTDOWN_FILE),
            (DiskOperation::Write, START_FILE),
            (DiskOperation::Directory, "millstream-checkpoint-0"),
            (DiskOperation::Directory, CLEAN_SHUTDOWN_FILE),
        ];
        for (operation, name) in faults {
            let shard = recovery_checkpoint::to_text(&entries(&[("a", 1)]));
            let marker = r#"{"version":0,"brokerEpoch":17}"#;
            let (_simulation, node) = node(&[
                ("millstream-checkpoint-0", &shard),
                (CLEAN_SHUTDOWN_FILE, marker),
            ]);
            node.inject(DiskFault::new(operation, path(name), 5));
            let error = take(&node).expect_err("it fails").to_string();
            assert!(error.contains(name), "{error}");
            let state = take(&node).expect("the fault is spent");
            assert_eq!(state.entries, entries(&[("a", 1)]));
        }
    }

    #[test]
    fn a_log_that_nobody_opened_is_as_clean_as_it_was_found() {
        let stop = |found_clean: bool, folder: bool| {
            let (_simulation, node) = node(&[]);
            if folder {
                node.make_dir(path("a-0"));
            }
            let start = StartState {
                clean: found_clean,
                entries: entries(&[("a", 4)]),
                ..StartState::default()
            };
            let shard = ClosedShard {
                logs: entries(&[("b", 6)]).into_iter().collect(),
                clean: true,
                ..ClosedShard::default()
            };
            let reactor = node.reactor();
            let finished = node.run(async move {
                finish_clean_shutdown(&reactor, ROOT.as_ref(), &start, &[shard], 1).await
            });
            let clean = finished
                .expect("no crash")
                .expect("the root can be written");
            let marked = node.read_durable(path(CLEAN_SHUTDOWN_FILE)).is_some();
            assert_eq!(marked, clean);
            let text = node.read_durable(path(RECOVERY_POINT_FILE));
            let offsets = text.map(|text| {
                let points = OffsetCheckpoint::parse(&text).expect("as it was written");
                let of = |topic| points.get(topic, PartitionIndex(0)).map(|offset| offset.0);
                (of("a"), of("b"))
            });
            (clean, offsets)
        };
        assert_eq!(stop(true, true), (true, Some((Some(4), Some(6)))));
        assert_eq!(stop(false, true), (false, None));
        assert_eq!(stop(false, false), (true, Some((None, Some(6)))));
    }

    #[test]
    fn markers() {
        assert_eq!(parse_marker(br#"{"version":0,"brokerEpoch":17}"#), Some(17));
        assert_eq!(parse_marker(br#"{"brokerEpoch" : -1, "x": 2}"#), Some(-1));
        assert_eq!(parse_marker(b""), None);
    }
}
