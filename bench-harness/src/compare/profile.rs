//! Where a broker's processor time goes: its stacks, sampled by `perf` while it has a load.
//!
//! A sampled broker is slower, so that samples are taken in a turn of their own behind the rounds.
//! The stacks are unwound by what the program's file tells of its frames, which `perf` copies from
//! the stack with each sample: no build of its own is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::child::{self, Interruption};
use super::error::CompareError;

/// Samples a second: few enough that copying the stacks stays a small part.
const SAMPLES_A_SECOND: &str = "499";
/// How much of the stack comes with each sample, in bytes.
const UNWIND: &str = "dwarf,16384";
/// How long `perf` may take to unwind what it recorded.
const UNWIND_WITHIN: Duration = Duration::from_secs(300);
/// What ends the name of a frame in the kernel, as other tools for folded stacks have it.
pub const KERNEL_MARK: &str = "_[k]";

/// What was sampled of a broker in a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The case.
    pub case: String,
    /// The broker.
    pub broker: String,
    /// Folded stacks: frames from the outermost on, with `;` between them, and how often each was
    /// met.
    pub stacks: BTreeMap<String, u64>,
}

/// A process that is being sampled.
pub struct Recording {
    perf: Child,
    file: PathBuf,
}

/// Looks whether there is `perf`.
///
/// # Errors
/// There is none, with what to install.
pub fn check() -> Result<(), CompareError> {
    let mut command = Command::new("perf");
    command.arg("version").stdout(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    found.then_some(()).ok_or_else(|| {
        let text = "--profile needs perf, in Debian's package linux-perf";
        CompareError::Machine(text.to_owned())
    })
}

impl Recording {
    /// Samples all threads of a process until [`Recording::finish`]; `file` is for `perf` alone.
    ///
    /// # Errors
    /// `perf` cannot be run.
    pub fn start(pid: u32, cores: &[usize], file: PathBuf) -> Result<Recording, CompareError> {
        let mut command = Command::new("perf");
        command
            .args(["record", "--quiet", "--event", "cpu-clock"])
            .args(["--freq", SAMPLES_A_SECOND, "--call-graph", UNWIND])
            .args(["--pid", &pid.to_string(), "--output"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let perf = child::start(cores, &mut command)?;
        Ok(Recording { perf, file })
    }

    /// Ends it and gives the stacks.
    ///
    /// # Errors
    /// `perf` fails or takes too long, or somebody asks for the end.
    pub fn finish(
        mut self,
        cores: &[usize],
        interruption: &Interruption,
        tick: &mut dyn FnMut(),
    ) -> Result<BTreeMap<String, u64>, CompareError> {
        let pid = i32::try_from(self.perf.id()).expect("a pid is an int");
        let program = || "perf record".to_owned();
        let refused = |cause| CompareError::Program {
            program: program(),
            cause,
        };
        // It may have ended with an error: then there is nothing to read.
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        self.perf.wait().map_err(refused)?;
        let mut command = Command::new("perf");
        command
            .args(["script", "--no-inline", "--fields", "comm,ip,sym,dso"])
            .arg("--input")
            .arg(&self.file);
        let text = child::run(cores, &mut command, UNWIND_WITHIN, interruption, tick)?;
        fs::remove_file(&self.file).map_err(|cause| CompareError::file(&self.file, cause))?;
        Ok(fold(&text))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Ended already, unless something else went wrong.
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// Samples as `perf script` prints them, the innermost frame first, as folded stacks.
fn fold(text: &str) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    let samples = text
        .split("\n\n")
        .filter(|sample| !sample.trim().is_empty());
    for sample in samples {
        let mut lines = sample.trim_matches('\n').lines();
        let thread = lines.next().unwrap_or_default().trim();
        let mut frames: Vec<String> = lines.filter_map(frame).collect();
        frames.push(thread.replace(';', ","));
        frames.reverse();
        *stacks.entry(frames.join(";")).or_default() += 1;
    }
    stacks
}

/// The name in a line like `55d0c8f2 storage::log::append (/usr/bin/millstreamd)`.
fn frame(line: &str) -> Option<String> {
    let (_address, rest) = line.trim().split_once(' ')?;
    let (name, file) = rest.rsplit_once(" (")?;
    let name = without_hash(name).replace(';', ",");
    let is_kernel = file.starts_with("[kernel") || file.starts_with("[guest.kernel");
    Some(if is_kernel { name + KERNEL_MARK } else { name })
}

/// A symbol of Rust's without the hash at its end.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = "shard-0 
\tffffffff8171ea0d tcp_sendmsg ([kernel.kallsyms])
\t           d0043 <net::Reply as Future>::poll::h0123456789abcdef (/usr/bin/millstreamd)
\t            61f0 [unknown] (/usr/bin/millstreamd)

shard-0 
\tffffffff8171ea0d tcp_sendmsg ([kernel.kallsyms])
\t           d0043 <net::Reply as Future>::poll::h0123456789abcdef (/usr/bin/millstreamd)
\t            61f0 [unknown] (/usr/bin/millstreamd)

signals 
\t            61f0 main::handle (/usr/bin/millstreamd)
";

    #[test]
    fn samples_become_folded_stacks() {
        let expected = [
            (
                "shard-0;[unknown];<net::Reply as Future>::poll;tcp_sendmsg_[k]",
                2,
            ),
            ("signals;main::handle", 1),
        ];
        let expected = expected.map(|(stack, count)| (stack.to_owned(), count));
        assert_eq!(fold(SAMPLES), BTreeMap::from(expected));
        assert_eq!(fold(""), BTreeMap::new());
    }

    #[test]
    fn only_hashes_are_cut_off() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hold"), "a::hold");
        assert_eq!(without_hash("a::hold_of_16_bytes_"), "a::hold_of_16_bytes_");
    }
}
