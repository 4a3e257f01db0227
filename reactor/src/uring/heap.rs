//! The heap of the process.

use nix::libc;

/// Gives the pages that nothing uses back to the kernel.
pub(super) fn trim() {
    // SAFETY: the call touches only memory that is free, and locks each arena meanwhile.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
        let pages = statm.split(' ').nth(1).expect("the second field is there");
        pages.parse::<usize>().expect("a number") * 4096
    }

    #[test]
    fn what_is_free_between_what_is_not_goes_back() {
        const BLOCK: usize = 64 << 10;
        let blocks: Vec<(Vec<u8>, Box<u64>)> = (0..2048)
            .map(|number| (vec![1; BLOCK], Box::new(number)))
            .collect();
        let kept: Vec<Box<u64>> = blocks.into_iter().map(|(_, small)| small).collect();
        let before = resident_bytes();
        trim();
        let given_back = before.saturating_sub(resident_bytes());
        assert!(given_back > 1024 * BLOCK, "{given_back}");
        assert_eq!(kept.len(), 2048);
    }
}
