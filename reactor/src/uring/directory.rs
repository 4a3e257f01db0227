//! Paths: opening, renaming, removing, listing.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::{opcode, squeue, types};
use nix::libc;
use nix::sys::statvfs::statvfs;

use super::file::{File, SharedFile};
use super::operation::{Keep, Yields};
use super::shard::Shard;
use crate::file::{DirEntry, DiskSpace, OpenOptions};

/// The current folder, from which relative paths start.
const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

impl Shard {
    pub(crate) async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        let mut flags = if options.write {
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        for (wanted, flag) in [
            (options.create, libc::O_CREAT),
            (options.create_new, libc::O_CREAT | libc::O_EXCL),
            (options.truncate, libc::O_TRUNC),
            (options.direct, libc::O_DIRECT),
        ] {
            if wanted {
                flags |= flag;
            }
        }
        let file = self.open_with(path, flags, options.direct).await?;
        if options.sequential {
            file.advise_sequential()?;
        }
        Ok(file)
    }

    pub(crate) fn adopt(&self, file: &SharedFile) -> File {
        File::adopt(&self.ring, file)
    }

    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match self.create_dir(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().ok_or(error)?;
                Box::pin(self.create_dir_all(parent)).await?;
                ignore_existing_dir(path, self.create_dir(path).await)
            }
            result => ignore_existing_dir(path, result),
        }
    }

    pub(crate) async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        // No opcode lists a folder.
        std::fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|name| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the name {name:?} is not UTF-8"),
                    )
                })?;
                Ok(DirEntry {
                    name,
                    is_dir: entry.file_type()?.is_dir(),
                })
            })
            .collect()
    }

    pub(crate) async fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = to_c_string(path)?;
        // SAFETY: all zeros is a valid status.
        let mut status: Box<libc::statx> = Box::new(unsafe { std::mem::zeroed() });
        let target: *mut libc::statx = &mut *status;
        let entry = opcode::Statx::new(HERE, path.as_ptr(), target.cast())
            .mask(libc::STATX_TYPE)
            .build();
        // SAFETY: path and status are on the heap and go with the operation.
        match unsafe { self.run_path(entry, Keep::Status(path, status)) }.await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        // No opcode asks a file system, and it answers from memory.
        let found = statvfs(path)?;
        let fragment = found.fragment_size();
        Ok(DiskSpace {
            total_bytes: found.blocks().saturating_mul(fragment),
            usable_bytes: found.blocks_available().saturating_mul(fragment),
        })
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (to_c_string(from)?, to_c_string(to)?);
        let entry = opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build();
        // SAFETY: the paths are on the heap and go with the operation.
        unsafe { self.run_path(entry, Keep::Paths(from, to)) }.await
    }

    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.unlink(path, 0).await
    }

    pub(crate) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.unlink(path, libc::AT_REMOVEDIR).await
    }

    pub(crate) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // The parent of a bare name is the current folder.
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        self.open_with(path, flags, false).await?.sync_all().await
    }

    async fn open_with(&self, path: &Path, flags: i32, direct: bool) -> io::Result<File> {
        let path = to_c_string(path)?;
        let open = opcode::OpenAt::new(HERE, path.as_ptr())
            .flags(flags | libc::O_CLOEXEC)
            .mode(0o644)
            .build()
            .flags(squeue::Flags::ASYNC);
        // SAFETY: the path is on the heap and goes with the operation.
        let operation = unsafe {
            self.ring
                .start(open, None, Keep::Path(path), Yields::Descriptor, 1)
        };
        let (outcome, _) = operation.finish().await;
        // SAFETY: the operation yields a descriptor, and its only outcome is taken here.
        let descriptor = unsafe { outcome.descriptor() }?;
        Ok(File::new(&self.ring, descriptor, direct))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = to_c_string(path)?;
        let entry = opcode::MkDirAt::new(HERE, path.as_ptr())
            .mode(0o755)
            .build();
        // SAFETY: the path is on the heap and goes with the operation.
        unsafe { self.run_path(entry, Keep::Path(path)) }.await
    }

    async fn unlink(&self, path: &Path, flags: i32) -> io::Result<()> {
        let path = to_c_string(path)?;
        let entry = opcode::UnlinkAt::new(HERE, path.as_ptr())
            .flags(flags)
            .build();
        // SAFETY: the path is on the heap and goes with the operation.
        unsafe { self.run_path(entry, Keep::Path(path)) }.await
    }

    /// Runs an operation on paths.
    ///
    /// # Safety
    /// As for [`super::ring::Ring::start`].
    async unsafe fn run_path(&self, entry: squeue::Entry, keep: Keep) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        let (outcome, _) = unsafe { self.ring.run(entry, None, keep) }.await;
        outcome.count().map(drop)
    }
}

fn to_c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path {path:?} has a zero byte: {error}"),
        )
    })
}

fn ignore_existing_dir(path: &Path, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}
