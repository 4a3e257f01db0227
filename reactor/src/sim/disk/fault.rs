//! Errors that a test makes a disk return.

use std::io;
use std::path::Path;

/// Kinds of disk operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskOperation {
    /// Reading a file, its size, or a folder.
    Read,
    /// Opening a file that is there and is not changed by that.
    Open,
    /// Writing to a file, its zeroing, the change of its size.
    Write,
    /// Syncing a file.
    Sync,
    /// Making a file or folder, renaming, removing.
    Directory,
    /// Syncing a folder.
    SyncDirectory,
}

impl DiskOperation {
    /// Whether a crash before and after it makes a difference.
    pub(in crate::sim) fn changes_disk(self) -> bool {
        !matches!(self, DiskOperation::Read | DiskOperation::Open)
    }
}

/// The error that an operation fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultError {
    /// An error of the operating system, such as EIO (5) or ENOSPC (28).
    Os(i32),
    /// An error of this kind.
    Kind(io::ErrorKind),
}

impl From<io::ErrorKind> for FaultError {
    fn from(kind: io::ErrorKind) -> FaultError {
        FaultError::Kind(kind)
    }
}

impl From<i32> for FaultError {
    fn from(code: i32) -> FaultError {
        FaultError::Os(code)
    }
}

impl FaultError {
    pub(in crate::sim) fn to_error(self) -> io::Error {
        match self {
            FaultError::Os(code) => io::Error::from_raw_os_error(code),
            FaultError::Kind(kind) => io::Error::from(kind),
        }
    }
}

/// Makes operations of one kind on some paths fail.
///
/// A write that fails has written an arbitrary part; a sync that fails has lost an arbitrary part
/// of what it should have made durable, for good.
#[derive(Debug, Clone)]
pub struct DiskFault {
    operation: DiskOperation,
    path_contains: String,
    error: FaultError,
    skip: u64,
    times: u64,
}

impl DiskFault {
    /// The next `operation` on a path that contains `path_contains` fails.
    pub fn new(
        operation: DiskOperation,
        path_contains: impl Into<String>,
        error: impl Into<FaultError>,
    ) -> DiskFault {
        DiskFault {
            operation,
            path_contains: path_contains.into(),
            error: error.into(),
            skip: 0,
            times: 1,
        }
    }

    /// The first `skip` of them succeed.
    pub fn after(mut self, skip: u64) -> DiskFault {
        self.skip = skip;
        self
    }

    /// So many of them fail.
    pub fn times(mut self, times: u64) -> DiskFault {
        self.times = times;
        self
    }

    /// All of them fail.
    pub fn always(self) -> DiskFault {
        self.times(u64::MAX)
    }

    /// Counts an operation; the error it fails with.
    pub(super) fn meet(&mut self, operation: DiskOperation, path: &Path) -> Option<FaultError> {
        let hit = self.operation == operation
            && path.to_string_lossy().contains(&self.path_contains)
            && self.times > 0;
        if !hit {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.error)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.times == 0
    }
}
