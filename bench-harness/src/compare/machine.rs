//! The machine: what it is, which cores who gets, and what is set on it for the time of a run.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::CompareError;

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
const PAGE_SIZE: usize = 4096;
/// A load average for each core that is more than what idle machines have.
const BUSY_LOAD: f64 = 0.4;

/// What was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that the run may use.
    pub cores: usize,
    /// Memory.
    pub memory_gb: f64,
    /// The kernel's release.
    pub kernel: String,
    /// Cores of the brokers.
    pub broker_cores: Vec<usize>,
    /// Cores of the load.
    pub load_cores: Vec<usize>,
    /// TCP congestion control during the run.
    pub congestion_control: String,
}

impl Machine {
    /// This one.
    pub fn describe(broker_cores: &[usize], load_cores: &[usize]) -> Machine {
        let first = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key).map(str::to_owned));
            line.map(|line| line.trim_matches([' ', '\t', ':']).to_owned())
        };
        let memory_kb = first("/proc/meminfo", "MemTotal:")
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        Machine {
            processor: first("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: available_cores().len(),
            memory_gb: memory_kb.unwrap_or(0.0) * 1024.0 / 1e9,
            kernel: trimmed("/proc/sys/kernel/osrelease"),
            broker_cores: broker_cores.to_vec(),
            load_cores: load_cores.to_vec(),
            congestion_control: trimmed(CONGESTION_CONTROL),
        }
    }
}

/// The cores that this process may run on.
pub fn available_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return vec![0];
    };
    let inside = |core: &usize| set.is_set(*core).unwrap_or(false);
    (0..CpuSet::count()).filter(inside).collect()
}

/// Binds the calling thread, and what it starts, to these cores.
///
/// # Errors
/// There are no such cores for this process.
pub fn bind_thread(cores: &[usize]) -> Result<(), CompareError> {
    let refused = |cause| CompareError::Machine(format!("cores {cores:?}: {cause}"));
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).map_err(refused)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(refused)
}

/// Congestion control of TCP while this lives; restored after it.
pub struct CongestionControl {
    wanted: Option<String>,
    earlier: Option<String>,
}

impl CongestionControl {
    /// Sets it where one is wanted and that is allowed.
    pub fn set(wanted: Option<&str>) -> CongestionControl {
        let earlier = trimmed(CONGESTION_CONTROL);
        let other = wanted.filter(|wanted| !earlier.is_empty() && *wanted != earlier);
        let changed = other.is_some_and(|wanted| fs::write(CONGESTION_CONTROL, wanted).is_ok());
        CongestionControl {
            wanted: wanted.map(str::to_owned),
            earlier: changed.then_some(earlier),
        }
    }

    /// What a reader ought to know of it, once all is measured.
    pub fn note(&self, at_first: &str) -> String {
        let now = trimmed(CONGESTION_CONTROL);
        if now != at_first {
            return format!("Somebody changed TCP congestion control from {at_first} to {now}.");
        }
        match (&self.earlier, &self.wanted) {
            (Some(earlier), _) => format!(
                "TCP congestion control was {now} for the run ({earlier} before and after)."
            ),
            (None, Some(wanted)) if *wanted != now => format!(
                "TCP congestion control was {now} and could not be set to {wanted}; with BBR one \
                 loopback stream is bounded."
            ),
            (None, _) => format!("TCP congestion control was {now}."),
        }
    }
}

impl Drop for CongestionControl {
    fn drop(&mut self) {
        if let Some(earlier) = &self.earlier
            && let Err(cause) = fs::write(CONGESTION_CONTROL, earlier)
        {
            eprintln!("cannot restore {CONGESTION_CONTROL} to {earlier}: {cause}");
        }
    }
}

/// What a reader ought to know of other work on the machine.
pub fn note_of_load(cores: usize) -> Option<String> {
    let text = trimmed("/proc/loadavg");
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    let busy = load >= BUSY_LOAD * cores as f64;
    busy.then(|| format!("The machine had other work: its load was {load:.1} at the start."))
}

/// Drops the page cache; whether that was allowed.
pub fn drop_page_cache() -> bool {
    nix::unistd::sync();
    fs::write(DROP_CACHES, "3").is_ok()
}

/// Touches memory, so that a hypervisor backs it before something is measured. At most half of
/// what is available.
pub fn touch_memory(gb: f64) {
    let available = available_memory().unwrap_or(0) / 2;
    let bytes = ((gb * 1e9) as u64).min(available);
    let mut memory = vec![0_u8; usize::try_from(bytes).unwrap_or(0)];
    for page in memory.chunks_mut(PAGE_SIZE) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The resident memory of a process.
pub fn resident_bytes(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// Bytes that can still be written where the folder is.
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let space = nix::sys::statvfs::statvfs(folder).ok()?;
    let block = space.fragment_size();
    Some(space.blocks_available().saturating_mul(block))
}

fn trimmed(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::describe(&[0], &[1]);
        assert!(machine.cores >= 1 && machine.memory_gb > 0.1, "{machine:?}");
        assert!(!machine.kernel.is_empty());
        assert!(resident_bytes(std::process::id()).unwrap() > 1e5);
        assert!(available_memory().unwrap() > 1 << 20);
        assert!(free_disk_bytes(&std::env::temp_dir()).is_some());
    }

    #[test]
    fn a_thread_is_bound_with_what_it_starts() {
        let core = available_cores()[0];
        std::thread::spawn(move || {
            bind_thread(&[core]).unwrap();
            assert_eq!(available_cores(), [core]);
            assert!(bind_thread(&[CpuSet::count()]).is_err());
        })
        .join()
        .unwrap();
    }
}
