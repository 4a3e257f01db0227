//! The heap of the process: it keeps what is freed, until it is told that a burst is over.

#[cfg(target_env = "gnu")]
pub(super) use gnu::{keep_freed, trim};
#[cfg(not(target_env = "gnu"))]
pub(super) use other::{keep_freed, trim};

#[cfg(target_env = "gnu")]
mod gnu {
    use std::hint::black_box;

    use nix::libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, malloc_trim, mallopt};

    /// Blocks of so many bytes are mapped, and unmapped when they are freed: the most that glibc
    /// takes.
    const MAPPED_BYTES: c_int = 32 << 20;
    /// Free bytes at the end of a heap that are kept.
    const KEPT_BYTES: c_int = 32 << 20;
    /// To free a block of so many makes glibc look at the end of its heap.
    const LOOKED_AT_BYTES: usize = 128 << 10;

    /// Keeps what is freed for what comes next. By itself glibc gives the end of a heap back as
    /// soon as it is twice the largest block freed so far. It depends on where blocks happen to
    /// lie whether requests of a megabyte leave that much, and then each page of each request is
    /// faulted in anew.
    pub(crate) fn keep_freed() {
        set(M_MMAP_THRESHOLD, MAPPED_BYTES);
        set(M_TRIM_THRESHOLD, KEPT_BYTES);
    }

    /// Gives the pages that nothing uses back to the kernel: those between blocks in use of all
    /// heaps, and those at the end of the calling thread's.
    pub(crate) fn trim() {
        // SAFETY: the call touches only memory that is free, and locks each arena meanwhile.
        unsafe { malloc_trim(0) };
        set(M_TRIM_THRESHOLD, 0);
        drop(black_box(Vec::<u8>::with_capacity(LOOKED_AT_BYTES)));
        set(M_TRIM_THRESHOLD, KEPT_BYTES);
    }

    fn set(parameter: c_int, value: c_int) {
        // SAFETY: the parameters are words that other threads read one by one; with the old value
        // they do what they did before.
        let taken = unsafe { mallopt(parameter, value) };
        assert_eq!(taken, 1, "glibc knows the parameter {parameter}");
    }
}

#[cfg(not(target_env = "gnu"))]
mod other {
    pub(crate) fn keep_freed() {}

    pub(crate) fn trim() {}
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::thread;

    use super::*;
    use crate::resident::Resident;

    #[test]
    fn what_is_free_between_what_is_not_goes_back() {
        const BLOCK: usize = 64 << 10;
        let resident = Resident::watch();
        let blocks: Vec<(Vec<u8>, Box<u64>)> = (0..2048)
            .map(|number| (vec![1; BLOCK], Box::new(number)))
            .collect();
        let kept: Vec<Box<u64>> = blocks.into_iter().map(|(_, small)| small).collect();
        let before = resident.bytes();
        trim();
        let given_back = before.saturating_sub(resident.bytes());
        assert!(given_back > 1024 * BLOCK, "{given_back}");
        assert_eq!(kept.len(), 2048);
    }

    #[test]
    fn what_is_free_at_the_end_is_kept_until_a_trim() {
        const BLOCK: usize = 1 << 20;
        const BLOCKS: usize = 24;
        let resident = Resident::watch();
        keep_freed();
        let in_a_heap_of_its_own = || {
            let before = resident.bytes();
            drop(
                (0..BLOCKS)
                    .map(|_| vec![1; BLOCK])
                    .collect::<Vec<Vec<u8>>>(),
            );
            let kept = resident.bytes().saturating_sub(before);
            trim();
            (kept, resident.bytes().saturating_sub(before))
        };
        let (kept, left) =
            thread::scope(|scope| scope.spawn(in_a_heap_of_its_own).join()).expect("it measures");
        assert!(kept > BLOCKS / 2 * BLOCK, "{kept} bytes are kept");
        assert!(left < BLOCKS / 4 * BLOCK, "{left} bytes are left");
    }
}
