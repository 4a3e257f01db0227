//! How much memory there is for this process.

use std::fs;
use std::path::Path;

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
