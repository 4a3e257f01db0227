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
}
