//! What processes have taken of the machine: the load itself, and the broker by its pid.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

use crate::failure::Failure;

/// CPU seconds that this process has used so far, its threads in the kernel included.
pub fn own_cpu_seconds() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|cause| Failure::System(format!("the CPU time of this process: {cause}")))?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

/// What a process had taken at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    cpu_seconds: f64,
    resident_bytes: u64,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    /// Voluntary and involuntary switches of each thread.
    switches: BTreeMap<u32, (u64, u64)>,
}

/// What a process has taken between two moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// Resident memory at the later moment.
    pub resident_bytes: u64,
    /// Bytes read from disks; none where the process belongs to somebody else.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks, likewise.
    pub written_bytes: Option<u64>,
    /// How often threads waited for something. Those that have ended in between do not count.
    pub voluntary_switches: u64,
    /// How often threads had to make room.
    pub involuntary_switches: u64,
}

impl Sample {
    /// What a process has taken until now.
    pub fn of(pid: u32) -> Result<Sample, Failure> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path)
                .map_err(|cause| Failure::System(format!("{}: {cause}", path.display())))
        };
        let unclear = |name: &str| Failure::System(format!("/proc/{pid}/{name} is not understood"));
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(|| unclear("stat"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let status = read("status")?;
        let resident = field(&status, "VmRSS:").ok_or_else(|| unclear("status"))?;
        // Only its owner may see this.
        let io = read("io").unwrap_or_default();
        let mut switches = BTreeMap::new();
        let tasks = fs::read_dir(folder.join("task"))
            .map_err(|cause| Failure::System(format!("/proc/{pid}/task: {cause}")))?;
        for task in tasks.flatten() {
            // A thread may have ended meanwhile.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let id = task.file_name().to_string_lossy().parse();
            let voluntary = field(&status, "voluntary_ctxt_switches:");
            let involuntary = field(&status, "nonvoluntary_ctxt_switches:");
            if let (Ok(id), Some(voluntary), Some(involuntary)) = (id, voluntary, involuntary) {
                switches.insert(id, (voluntary, involuntary));
            }
        }
        Ok(Sample {
            cpu_seconds: ticks as f64 / per_second as f64,
            resident_bytes: resident * 1024,
            read_bytes: field(&io, "read_bytes:"),
            written_bytes: field(&io, "write_bytes:"),
            switches,
        })
    }

    /// What was taken from this moment until `later`.
    pub fn until(&self, later: &Sample) -> Taken {
        let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let (mut voluntary, mut involuntary) = (0, 0);
        for (thread, (later_voluntary, later_involuntary)) in &later.switches {
            let (was_voluntary, was_involuntary) =
                self.switches.get(thread).copied().unwrap_or_default();
            voluntary += later_voluntary.saturating_sub(was_voluntary);
            involuntary += later_involuntary.saturating_sub(was_involuntary);
        }
        Taken {
            cpu_seconds: later.cpu_seconds - self.cpu_seconds,
            resident_bytes: later.resident_bytes,
            read_bytes: between(self.read_bytes, later.read_bytes),
            written_bytes: between(self.written_bytes, later.written_bytes),
            voluntary_switches: voluntary,
            involuntary_switches: involuntary,
        }
    }
}

/// User and system time in `/proc/PID/stat`. The name, in brackets, may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number after a name that stands at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let before = Sample::of(std::process::id()).unwrap();
        let spent = own_cpu_seconds().unwrap();
        while own_cpu_seconds().unwrap() < spent + 0.05 {}
        let taken = before.until(&Sample::of(std::process::id()).unwrap());
        assert!(taken.cpu_seconds >= 0.03, "{taken:?}");
        assert!(taken.resident_bytes > 1 << 18, "{taken:?}");
        assert!(taken.read_bytes.is_some() && taken.written_bytes.is_some());
        assert!(Sample::of(u32::MAX).is_err());
    }

    #[test]
    fn the_fields_of_proc_are_found() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S"), None);
        let status = "Name:\tx\nVmRSS:\t  12 kB\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(field(status, "VmRSS:"), Some(12));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(3));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(4));
        assert_eq!(field(status, "VmSwap:"), None);
    }
}
