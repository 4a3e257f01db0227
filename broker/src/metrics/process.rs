//! What the kernel says of this process, under the names that Prometheus' own clients use.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::exposition::Exposition;

/// Bytes of a page of memory, where the kernel does not say.
const PAGE_BYTES: u64 = 4096;

pub(super) fn render(text: &mut Exposition) {
    // Without /proc there is nothing to tell.
    if let Some(seconds) = cpu_seconds() {
        text.counter(
            "process_cpu_seconds_total",
            "Processor time used, in user and kernel.",
        )
        .sample(&[], format_args!("{seconds:.2}"));
    }
    if let Some(bytes) = resident_bytes() {
        text.gauge("process_resident_memory_bytes", "Resident memory.")
            .sample(&[], bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open file descriptors.")
            .sample(&[], files.count());
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process, in parentheses, may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some((user + system) as f64 / ticks as f64)
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    Some(
        pages
            * page
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(PAGE_BYTES),
    )
}
