//! What this machine must offer, asked before anything is started.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::IoUring;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::uio::pwrite;
use nix::sys::utsname::uname;

use crate::buffer::{AlignedBuffer, BLOCK_SIZE};

/// The oldest kernel that has all we use.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Locked memory below which glommio's executors do not start.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// Locked memory asked for, where the limit may be raised: enough for hundreds of shards.
const MEMLOCK_WANTED: u64 = 64 * 1024 * 1024;

/// The system calls that a seccomp profile must allow, and how a container comes by such a profile.
const CALLS: &str = "io_uring_setup, io_uring_enter and io_uring_register";
const UNCONFINED: &str =
    "Docker and Podman: --security-opt seccomp=unconfined, or a profile that has them";

/// Something that this machine lacks, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// The kernel was built without io_uring, or a filter says so, as Podman's does.
    #[error(
        "io_uring is not there: in a container its seccomp profile may hide it, so allow \
         {CALLS} ({UNCONFINED}); \
         elsewhere use a kernel built with CONFIG_IO_URING"
    )]
    NoIoUring,
    /// The administrator turned io_uring off.
    #[error(
        "io_uring is turned off (kernel.io_uring_disabled = {level}); \
         set it to 0: sysctl -w kernel.io_uring_disabled=0"
    )]
    Disabled {
        /// The value of the kernel's setting.
        level: u8,
    },
    /// A filter keeps this process from io_uring.
    #[error(
        "io_uring is forbidden to this process, probably by a container's seccomp profile; \
         allow {CALLS} ({UNCONFINED})"
    )]
    Forbidden,
    /// The kernel is too old.
    #[error("Linux {found} is too old; 6.1 or later is needed")]
    KernelTooOld {
        /// The running kernel's release.
        found: String,
    },
    /// Too little memory may be locked.
    #[error(
        "only {limit} bytes of memory may be locked, {needed} are needed; \
         raise RLIMIT_MEMLOCK: `ulimit -l {}` in the shell, LimitMEMLOCK= in the systemd unit, \
         or --ulimit memlock= for Docker",
        needed / 1024
    )]
    MemlockTooLow {
        /// The hard limit, which could not be raised.
        limit: u64,
        /// The least that works.
        needed: u64,
    },
    /// The kernel refused in a way we do not know.
    #[error("io_uring cannot be set up: {0}")]
    Io(#[from] io::Error),
}

/// Says what this machine lacks for the kernel backend. Raises the limit on locked memory, as far
/// as it may, on the way.
pub fn probe() -> Result<(), Unsupported> {
    check_kernel()?;
    // First, because the memory of a ring counts, for all processes of the user together.
    raise_memlock()?;
    check_io_uring()
}

/// Whether files in `dir` can be written past the page cache.
pub fn supports_direct_io(dir: &Path) -> io::Result<bool> {
    let path = dir.join(format!(".direct-io-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Made without O_DIRECT first: where that is refused, the file may have been made already.
    drop(options.open(&path)?);
    let result = match options.custom_flags(libc::O_DIRECT).open(&path) {
        Ok(file) => {
            let block = AlignedBuffer::zeroed(BLOCK_SIZE);
            pwrite(file.as_fd(), &block, 0).map_err(io::Error::from)
        }
        Err(error) => Err(error),
    };
    fs::remove_file(&path)?;
    match result {
        Ok(written) => Ok(written == BLOCK_SIZE),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            Ok(false)
        }
        // It looked for room, and so takes such writes: a full disk is no reason not to start.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(true),
        Err(error) => Err(error),
    }
}

fn check_kernel() -> Result<(), Unsupported> {
    let found = uname()
        .map_err(io::Error::from)?
        .release()
        .to_string_lossy()
        .into_owned();
    // A release we cannot read is tried rather than refused.
    match parse_release(&found) {
        Some(version) if version < KERNEL_MIN => Err(Unsupported::KernelTooOld { found }),
        _ => Ok(()),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn check_io_uring() -> Result<(), Unsupported> {
    let Err(error) = IoUring::new(2) else {
        return Ok(());
    };
    let level = fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|level| level.trim().parse().ok())
        .unwrap_or(0);
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) => Unsupported::NoIoUring,
        Some(libc::EPERM) if level > 0 => Unsupported::Disabled { level },
        Some(libc::EPERM | libc::EACCES) => Unsupported::Forbidden,
        _ => Unsupported::Io(error),
    })
}

fn raise_memlock() -> Result<(), Unsupported> {
    let memlock = Resource::RLIMIT_MEMLOCK;
    let (soft, hard) = getrlimit(memlock).map_err(io::Error::from)?;
    if soft >= MEMLOCK_WANTED {
        return Ok(());
    }
    // With privilege the hard limit can be raised too; what is refused changes nothing.
    if hard >= MEMLOCK_WANTED || setrlimit(memlock, MEMLOCK_WANTED, MEMLOCK_WANTED).is_err() {
        let _ = setrlimit(memlock, hard.min(MEMLOCK_WANTED), hard);
    }
    let (soft, hard) = getrlimit(memlock).map_err(io::Error::from)?;
    if soft < MEMLOCK_MIN {
        return Err(Unsupported::MemlockTooLow {
            limit: hard,
            needed: MEMLOCK_MIN,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse_release("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(parse_release("5.4"), Some((5, 4)));
        assert_eq!(parse_release("unknown"), None);
        assert!((5, 19) < KERNEL_MIN && (10, 0) > KERNEL_MIN);
    }

    #[test]
    fn this_machine_is_supported() {
        probe().expect("the tests need io_uring");
    }
}
