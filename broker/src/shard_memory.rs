//! What the memory of a shard is for, and how much of it there is.

use std::fs;
use std::path::Path;

use crate::config::BrokerConfig;

/// Share of a shard's memory that requests under way may hold; the rest is for tails.
const REQUEST_SHARE: usize = 2;
/// Share of the machine's memory that the shards together may grow to, unless it is set.
const SHARE_OF_MACHINE: u64 = 4;

/// The memory of one shard, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardMemory {
    /// For requests under way.
    pub requests: usize,
    /// For the newest records.
    pub tails: usize,
    /// For the newest records while consumers of them are behind.
    pub tails_behind: usize,
}

impl ShardMemory {
    /// That of each of so many shards.
    pub fn new(config: &BrokerConfig, shards: usize) -> ShardMemory {
        let part = || config.machine_memory_bytes / SHARE_OF_MACHINE / shards as u64;
        let most = config.shard_memory_max_bytes.unwrap_or_else(part);
        ShardMemory::divide(config.shard_memory_bytes, most)
    }

    fn divide(bytes: u64, most: u64) -> ShardMemory {
        let [bytes, most] = [bytes, most].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let requests = bytes / REQUEST_SHARE;
        ShardMemory {
            requests,
            tails: bytes - requests,
            tails_behind: most.max(bytes) - requests,
        }
    }
}

/// Bytes of memory that the machine has, or the control group of this process (version 2) if that
/// may have less. 0 where the kernel does not say.
pub fn machine_memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = allowed_memory(Path::new("/sys/fs/cgroup"), &groups);
    machine.unwrap_or(0).min(allowed.unwrap_or(u64::MAX))
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least that the group of `groups`, as `/proc/self/cgroup` has it, or one above it may have.
fn allowed_memory(root: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(group);
    let folders = folder.ancestors().take_while(|path| path.starts_with(root));
    let limits = folders.filter_map(|path| {
        let limit = fs::read_to_string(path.join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shard_may_grow_to_is_for_records() {
        for (most, tails_behind) in [(1_000, 950), (100, 50), (0, 50)] {
            let expected = ShardMemory {
                requests: 50,
                tails: 50,
                tails_behind,
            };
            assert_eq!(ShardMemory::divide(100, most), expected, "{most}");
        }
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(machine_memory() > 0);
    }

    #[test]
    fn the_total_is_in_kib() {
        let meminfo = "MemTotal:       24696300 kB\nMemFree:  1 kB\n";
        assert_eq!(total_memory(meminfo), Some(24_696_300 << 10));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_group_may_have_what_all_above_it_may() {
        let root = tempfile::tempdir().expect("a folder");
        let service = root.path().join("system.slice/broker.service");
        fs::create_dir_all(&service).expect("folders");
        let groups = "1:cpu:/x\n0::/system.slice/broker.service\n";
        assert_eq!(allowed_memory(root.path(), groups), None);
        fs::write(service.join("memory.max"), "max\n").expect("written");
        assert_eq!(allowed_memory(root.path(), groups), None);
        fs::write(root.path().join("system.slice/memory.max"), "5000\n").expect("written");
        assert_eq!(allowed_memory(root.path(), groups), Some(5_000));
        fs::write(service.join("memory.max"), "7000\n").expect("written");
        assert_eq!(allowed_memory(root.path(), groups), Some(5_000));
        assert_eq!(allowed_memory(root.path(), "1:memory:/\n"), None);
    }
}
