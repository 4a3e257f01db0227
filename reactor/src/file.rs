//! Files and folders.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::{AlignedBuffer, BlockRange};
use crate::reactor::{Backend, Reactor};
use crate::{sim, uring};

/// So long after a write or a flush the disk is being written to.
const WRITING: Duration = Duration::from_millis(20);

/// How a file is opened. All files are readable; `write` adds writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Open for writing too.
    pub write: bool,
    /// Make the file if it is missing.
    pub create: bool,
    /// Fail if the file exists.
    pub create_new: bool,
    /// Empty the file.
    pub truncate: bool,
    /// O_DIRECT: memory, position and length of each transfer in whole blocks.
    pub direct: bool,
    /// Mostly read from front to back: the kernel reads twice as far ahead as usual.
    pub sequential: bool,
}

/// An open file. Clones share the descriptor; the last one closes it.
#[derive(Clone)]
pub struct File {
    inner: FileInner,
}

#[derive(Clone)]
enum FileInner {
    Uring(Rc<uring::File>),
    Sim(Rc<sim::File>),
}

/// A file on its way to another core, where [`FileSystem::adopt`] makes a [`File`] of it.
#[derive(Clone)]
pub enum SharedFile {
    /// A descriptor of the kernel's.
    Uring(uring::SharedFile),
    /// A file of a simulated node.
    Sim(sim::SharedFile),
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name within the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_dir: bool,
}

/// How large a file system is, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this process may still fill.
    pub usable_bytes: u64,
}

/// Files and folders by path.
#[derive(Clone)]
pub struct FileSystem {
    pub(crate) reactor: Reactor,
}

/// A lock on a file, held while this lives (and let go when the process dies).
pub struct FileLock {
    _file: File,
}

impl File {
    /// Reads `len` bytes at `position`; fewer only at the end of the file. With `direct` both are
    /// multiples of the block size.
    pub async fn read_at(&self, position: u64, len: usize) -> io::Result<AlignedBuffer> {
        match &self.inner {
            FileInner::Uring(file) => file.read_at(position, len).await,
            FileInner::Sim(file) => file.read_at(position, len).await,
        }
    }

    /// As [`Self::read_at`], into `buffer`, over what it held.
    ///
    /// # Panics
    /// When the buffer's capacity is less than `len`.
    pub async fn read_into(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        len: usize,
    ) -> io::Result<AlignedBuffer> {
        match &self.inner {
            FileInner::Uring(file) => file.read_into(position, buffer, len).await,
            FileInner::Sim(file) => file.read_into(position, buffer, len).await,
        }
    }

    /// Whether the file was opened with [`OpenOptions::direct`].
    pub fn is_direct(&self) -> bool {
        match &self.inner {
            FileInner::Uring(file) => file.is_direct(),
            FileInner::Sim(file) => file.is_direct(),
        }
    }

    /// Writes all of `data` at `position`. For files that are not `direct`.
    pub async fn write_at(&self, position: u64, data: Bytes) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.write_at(position, data).await,
            FileInner::Sim(file) => file.write_at(position, data).await,
        }
    }

    /// Writes whole blocks at `position`, a multiple of the block size.
    pub async fn write_blocks(&self, position: u64, blocks: BlockRange) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.write_blocks(position, blocks).await,
            FileInner::Sim(file) => file.write_blocks(position, blocks).await,
        }
    }

    /// As [`Self::write_blocks`] and then [`Self::sync_data`], in one step: what was written to the
    /// file before is flushed as well, what is being written meanwhile may not be.
    pub async fn write_blocks_durably(&self, position: u64, blocks: BlockRange) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.write_blocks_durably(position, blocks).await,
            FileInner::Sim(file) => {
                file.write_blocks(position, blocks).await?;
                file.sync_data().await
            }
        }
    }

    /// Flushes data, and what metadata is needed to read it, to the device (`fdatasync`).
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.sync_data().await,
            FileInner::Sim(file) => file.sync_data().await,
        }
    }

    /// Makes `[position, position + len)` allocated, written blocks of zeros, growing the file;
    /// whatever was there is gone. Later writes there change no metadata.
    pub async fn write_zeros(&self, position: u64, len: u64) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.write_zeros(position, len).await,
            FileInner::Sim(file) => file.write_zeros(position, len).await,
        }
    }

    /// Cuts or extends the file to `len` bytes.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            FileInner::Uring(file) => file.set_len(len).await,
            FileInner::Sim(file) => file.set_len(len).await,
        }
    }

    /// The file's size in bytes.
    pub async fn size(&self) -> io::Result<u64> {
        match &self.inner {
            FileInner::Uring(file) => file.size().await,
            FileInner::Sim(file) => file.size().await,
        }
    }

    /// A handle that may travel to another core.
    pub fn share(&self) -> SharedFile {
        match &self.inner {
            FileInner::Uring(file) => SharedFile::Uring(file.share()),
            FileInner::Sim(file) => SharedFile::Sim(file.share()),
        }
    }

    pub(crate) fn as_uring(&self) -> Option<&uring::File> {
        match &self.inner {
            FileInner::Uring(file) => Some(file),
            FileInner::Sim(_) => None,
        }
    }

    pub(crate) fn as_sim(&self) -> Option<&sim::File> {
        match &self.inner {
            FileInner::Uring(_) => None,
            FileInner::Sim(file) => Some(file),
        }
    }
}

impl FileSystem {
    /// Opens a file.
    pub async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        let inner = match &self.reactor.backend {
            Backend::Uring(shard) => FileInner::Uring(Rc::new(shard.open(path, options).await?)),
            Backend::Sim(shard) => FileInner::Sim(Rc::new(shard.open(path, options).await?)),
        };
        Ok(File { inner })
    }

    /// A file that came from another core.
    ///
    /// # Panics
    /// When the file belongs to the other backend.
    pub fn adopt(&self, file: &SharedFile) -> File {
        let inner = match (&self.reactor.backend, file) {
            (Backend::Uring(shard), SharedFile::Uring(file)) => {
                FileInner::Uring(Rc::new(shard.adopt(file)))
            }
            (Backend::Sim(shard), SharedFile::Sim(file)) => {
                FileInner::Sim(Rc::new(shard.adopt(file)))
            }
            _ => panic!("a file of one backend reached the other"),
        };
        File { inner }
    }

    /// Makes a folder and those above it. Durable once [`Self::sync_dir`] of the parent returns.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.create_dir_all(path).await,
            Backend::Sim(shard) => shard.create_dir_all(path).await,
        }
    }

    /// The entries of a folder, sorted by name.
    pub async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = match &self.reactor.backend {
            Backend::Uring(shard) => shard.read_dir(path).await,
            Backend::Sim(shard) => shard.read_dir(path).await,
        }?;
        entries.sort();
        Ok(entries)
    }

    /// Whether a file or folder is there.
    pub async fn exists(&self, path: &Path) -> io::Result<bool> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.exists(path).await,
            Backend::Sim(shard) => shard.exists(path).await,
        }
    }

    /// The space of the file system that a folder is on.
    pub async fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.space(path),
            Backend::Sim(shard) => shard.space(path).await,
        }
    }

    /// Renames a file or folder, replacing a file that is there.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.rename(from, to).await,
            Backend::Sim(shard) => shard.rename(from, to).await,
        }
    }

    /// Removes a file.
    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.remove_file(path).await,
            Backend::Sim(shard) => shard.remove_file(path).await,
        }
    }

    /// Removes a folder and all in it.
    pub async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        for entry in self.read_dir(path).await? {
            let child = path.join(&entry.name);
            if entry.is_dir {
                Box::pin(self.remove_dir_all(&child)).await?;
            } else {
                self.remove_file(&child).await?;
            }
        }
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.remove_dir(path).await,
            Backend::Sim(shard) => shard.remove_dir(path).await,
        }
    }

    /// Flushes a folder: what was made, renamed or removed in it is durable then.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match &self.reactor.backend {
            Backend::Uring(shard) => shard.sync_dir(path).await,
            Backend::Sim(shard) => shard.sync_dir(path).await,
        }
    }

    /// Whether this process (or the simulated node) is writing to its disk: it has written blocks
    /// of a file, or flushed one, in the last 20 ms.
    pub fn is_writing(&self) -> bool {
        match &self.reactor.backend {
            Backend::Uring(_) => uring::written_within(WRITING),
            Backend::Sim(shard) => shard.written_within(WRITING),
        }
    }

    /// A whole small file.
    pub async fn read(&self, path: &Path) -> io::Result<Bytes> {
        let file = self.open(path, OpenOptions::default()).await?;
        let size = file.size().await?;
        let len = usize::try_from(size).map_err(io::Error::other)?;
        Ok(file.read_at(0, len).await?.into_bytes())
    }

    /// Replaces a small file in one step: after a crash it is the old one or the new one, and once
    /// this returns, the new one.
    pub async fn write_atomic(&self, path: &Path, data: Bytes) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let options = OpenOptions {
            write: true,
            create: true,
            truncate: true,
            ..OpenOptions::default()
        };
        let file = self.open(&temporary, options).await?;
        file.write_at(0, data).await?;
        file.sync_data().await?;
        self.rename(&temporary, path).await?;
        match path.parent() {
            Some(parent) => self.sync_dir(parent).await,
            None => Ok(()),
        }
    }

    /// Locks a file, made if missing, against other processes (and other simulated nodes' runs).
    /// `WouldBlock` when another holds it.
    pub async fn lock(&self, path: &Path) -> io::Result<FileLock> {
        let options = OpenOptions {
            write: true,
            create: true,
            ..OpenOptions::default()
        };
        let file = self.open(path, options).await?;
        match &file.inner {
            FileInner::Uring(file) => file.lock()?,
            FileInner::Sim(file) => file.lock()?,
        }
        Ok(FileLock { _file: file })
    }
}
