//! Which core the disk interrupts.

use std::fs;
use std::path::Path;

use millstream_reactor::uring::{ShardOptions, start_shard};

use super::disk::small_writes;

/// Small writes by which the disk's interrupts are found.
const SMALL_WRITES: u64 = 500;

/// The core that gets the interrupts of the disk of `folder`; none where that does not show.
pub fn interrupted_core(folder: &Path) -> Option<usize> {
    let path = folder.join("interrupt-probe");
    let before = interrupts()?;
    let wanted = path.clone();
    let options = ShardOptions {
        name: "probe".to_owned(),
        ..ShardOptions::default()
    };
    let shard = start_shard(options, async move |reactor| {
        small_writes(&reactor, &wanted, SMALL_WRITES).await
    });
    let written = shard.ok().map(|shard| shard.join());
    // What is left behind goes with the folder.
    let _ = fs::remove_file(&path);
    written?.ok()?;
    most_interrupted(&before, &interrupts()?)
}

/// For each interrupt of a device, by name: how often each core had it.
type Interrupts = Vec<(String, Vec<u64>)>;

fn interrupts() -> Option<Interrupts> {
    Some(parse_interrupts(
        &fs::read_to_string("/proc/interrupts").ok()?,
    ))
}

fn parse_interrupts(text: &str) -> Interrupts {
    let mut lines = text.lines();
    let cores = lines.next().unwrap_or_default().split_whitespace().count();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.strip_suffix(':')?.to_owned();
        name.parse::<u32>().ok()?;
        let counts = words.map_while(|word| word.parse().ok()).take(cores);
        Some((name, counts.collect()))
    };
    lines.filter_map(row).collect()
}

fn most_interrupted(before: &Interrupts, after: &Interrupts) -> Option<usize> {
    let mut most = (0, None);
    for (name, counts) in after {
        let earlier = before.iter().find(|(other, _)| other == name);
        for (core, count) in counts.iter().enumerate() {
            let then = earlier.and_then(|(_, counts)| counts.get(core)).copied();
            let grown = count.saturating_sub(then.unwrap_or(0));
            if grown > most.0 {
                most = (grown, Some(core));
            }
        }
    }
    most.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_with_the_most_new_interrupts_is_found() {
        let text = |second: u32| {
            format!(
                "           CPU0       CPU1\n  1:   900000          2   IO-APIC   1-edge  i8042\n \
                 36:          5   {second}   PCI-MSIX-0000:00:02.0   1-edge   virtio1-req.0\n\
                 LOC:    5000000    6000000   Local timer interrupts\n"
            )
        };
        let (before, after) = (parse_interrupts(&text(100)), parse_interrupts(&text(620)));
        assert_eq!(before[1], ("36".to_owned(), vec![5, 100]));
        assert_eq!(before.len(), 2);
        assert_eq!(most_interrupted(&before, &after), Some(1));
        assert_eq!(most_interrupted(&before, &before), None);
    }
}
