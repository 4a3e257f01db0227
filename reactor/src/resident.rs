//! What tests ask of the memory of the process, one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

static WATCHED: Mutex<()> = Mutex::new(());

/// Watches the memory that the process takes, while no other test does.
pub(crate) struct Resident(#[expect(dead_code)] MutexGuard<'static, ()>);

impl Resident {
    pub(crate) fn watch() -> Resident {
        Resident(WATCHED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes that it takes now.
    pub(crate) fn bytes(&self) -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
        let pages = statm.split(' ').nth(1).expect("the second field is there");
        pages.parse::<usize>().expect("a number") * 4096
    }
}
