//! Files and folders as tasks see them: every operation takes time, may meet a fault point or an
//! injected error, and goes on when the task that began it is cancelled.

use std::cell::RefMut;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use nix::errno::Errno;

use crate::buffer::{AlignedBuffer, BLOCK_SIZE, BlockRange};
use crate::file::{DirEntry, DiskSpace, OpenOptions};

use super::disk::{Disk, DiskOperation, FaultError, FaultPoint, Inode, Payload};
use super::random::Random;
use super::shard::Shard;

/// An open file of a simulated node.
pub struct File {
    shard: Shard,
    shared: SharedFile,
}

/// A file of a simulated node on its way to another shard of that node.
#[derive(Clone)]
pub struct SharedFile {
    open: Arc<OpenFile>,
}

struct OpenFile {
    node: usize,
    run: u64,
    inode: Inode,
    path: PathBuf,
    write: bool,
    direct: bool,
    /// Keeps the file's content while it is open.
    _handle: Arc<()>,
    /// Holds the file's lock, if this handle took it.
    lock: Arc<()>,
}

impl Shard {
    pub(crate) async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        self.check_alive().await;
        let operation = if self.disk().open_changes(path, options) {
            DiskOperation::Directory
        } else {
            DiskOperation::Open
        };
        let opened = self
            .change(operation, path, move |disk, path| disk.open(path, options))
            .await?;
        let open = OpenFile {
            node: self.node.index,
            run: self.run(),
            inode: opened.inode,
            path: path.to_owned(),
            write: options.write,
            direct: options.direct,
            _handle: opened.handle,
            lock: Arc::default(),
        };
        Ok(File {
            shard: self.clone(),
            shared: SharedFile {
                open: Arc::new(open),
            },
        })
    }

    pub(crate) fn adopt(&self, file: &SharedFile) -> File {
        let open = &file.open;
        assert!(
            open.node == self.node.index && open.run == self.run(),
            "{} was opened by another node, or before its crash",
            open.path.display()
        );
        File {
            shard: self.clone(),
            shared: file.clone(),
        }
    }

    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        loop {
            self.check_alive().await;
            let missing = self.disk().missing_dir(path)?;
            let Some(missing) = missing else {
                return Ok(());
            };
            let made = self
                .change(DiskOperation::Directory, &missing, Disk::create_dir)
                .await;
            match made {
                // Another task was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
    }

    pub(crate) async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.change(DiskOperation::Read, path, |disk, path| disk.read_dir(path))
            .await
    }

    pub(crate) async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.change(
            DiskOperation::Read,
            path,
            |disk, path| Ok(disk.exists(path)),
        )
        .await
    }

    pub(crate) async fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.change(DiskOperation::Read, path, |disk, path| disk.space(path))
            .await
    }

    pub(crate) fn written_within(&self, span: Duration) -> bool {
        let last = self.node.last_write();
        last.is_some_and(|last| self.now() - last < span)
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        self.change(DiskOperation::Directory, from, move |disk, from| {
            disk.rename(from, &to)
        })
        .await
    }

    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(DiskOperation::Directory, path, |disk, path| {
            disk.remove(path, false)
        })
        .await
    }

    pub(crate) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(DiskOperation::Directory, path, |disk, path| {
            disk.remove(path, true)
        })
        .await
    }

    pub(crate) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let dir = path.to_owned();
        self.operate(DiskOperation::SyncDirectory, path, |disk| {
            let begun = disk.begin_sync();
            move |disk: &mut Disk, random: &mut Random, fault| {
                disk.finish_sync_dir(&dir, begun, fault, random)
            }
        })
        .await
    }

    fn disk(&self) -> RefMut<'_, Disk> {
        self.node.disk.borrow_mut()
    }

    /// An operation that happens in one step when it ends.
    async fn change<T: 'static>(
        &self,
        operation: DiskOperation,
        path: &Path,
        step: impl FnOnce(&mut Disk, &Path) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let owned = path.to_owned();
        self.operate(operation, path, |_| {
            move |disk: &mut Disk, _: &mut Random, fault: Option<FaultError>| match fault {
                Some(fault) => Err(fault.to_error()),
                None => step(disk, &owned),
            }
        })
        .await
    }

    /// Begins an operation and waits for its end.
    async fn operate<T: 'static, End>(
        &self,
        operation: DiskOperation,
        path: &Path,
        begin: impl FnOnce(&mut Disk) -> End,
    ) -> io::Result<T>
    where
        End: FnOnce(&mut Disk, &mut Random, Option<FaultError>) -> io::Result<T> + 'static,
    {
        self.check_alive().await;
        let (sender, receiver) = oneshot::channel();
        let point = {
            let random = &mut self.world.random.borrow_mut();
            let mut disk = self.disk();
            let mut point = None;
            if matches!(operation, DiskOperation::Write | DiskOperation::Sync) {
                self.node.note_write(self.now());
            }
            if operation.changes_disk() {
                point = disk.begin_operation(random);
            }
            if point != Some(FaultPoint::Before) {
                let fault = disk.meet_fault(operation, path);
                let end = begin(&mut disk);
                match point {
                    Some(FaultPoint::After) => {
                        // Nobody learns how it ended.
                        let _ = end(&mut disk, random, fault);
                    }
                    Some(_) => {}
                    None => {
                        let options = &self.world.options.disk;
                        let delay = random.duration(match operation {
                            DiskOperation::Read => &options.read_latency,
                            DiskOperation::Write => &options.write_latency,
                            DiskOperation::Sync | DiskOperation::SyncDirectory => {
                                &options.sync_latency
                            }
                            DiskOperation::Open | DiskOperation::Directory => {
                                &options.directory_latency
                            }
                        });
                        let node = self.node.clone();
                        self.world.after(
                            delay,
                            Some(node.index),
                            Box::new(move |world| {
                                let random = &mut world.random.borrow_mut();
                                let result = end(&mut node.disk.borrow_mut(), random, fault);
                                // The task that waited may have been cancelled.
                                let _ = sender.send(result);
                            }),
                        );
                    }
                }
            }
            point
        };
        if point.is_some() {
            self.world.stop(&self.node);
        }
        match receiver.await {
            Ok(result) => result,
            // The node is gone.
            Err(oneshot::Canceled) => pending().await,
        }
    }
}

impl File {
    pub(crate) async fn read_into(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
        len: usize,
    ) -> io::Result<AlignedBuffer> {
        assert!(len <= buffer.capacity(), "{len} > {}", buffer.capacity());
        buffer.fill(&self.read_at(position, len).await?);
        Ok(buffer)
    }

    pub(crate) async fn read_at(&self, position: u64, len: usize) -> io::Result<AlignedBuffer> {
        self.check_alignment("a read", position, len as u64);
        let inode = self.shared.open.inode;
        self.change(DiskOperation::Read, move |disk| {
            Ok(disk.read(inode, position, len))
        })
        .await
    }

    pub(crate) async fn write_at(&self, position: u64, data: Bytes) -> io::Result<()> {
        assert!(
            !self.shared.open.direct,
            "{} is direct: it is written by blocks",
            self.shared.open.path.display()
        );
        self.write(position, Payload::Bytes(data)).await
    }

    pub(crate) async fn write_blocks(&self, position: u64, blocks: BlockRange) -> io::Result<()> {
        let submitted = blocks.copy();
        let whole = position.is_multiple_of(BLOCK_SIZE as u64);
        assert!(whole, "{position} is not a multiple of {BLOCK_SIZE}");
        self.write(position, Payload::Blocks { submitted, blocks })
            .await
    }

    pub(crate) async fn write_zeros(&self, position: u64, len: u64) -> io::Result<()> {
        self.write(position, Payload::Zeros(len)).await
    }

    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        let open = &self.shared.open;
        let inode = open.inode;
        self.shard
            .operate(DiskOperation::Sync, &open.path, |disk| {
                let begun = disk.begin_sync();
                move |disk: &mut Disk, random: &mut Random, fault| {
                    disk.finish_sync(inode, begun, fault, random)
                }
            })
            .await
    }

    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let inode = self.shared.open.inode;
        self.change(DiskOperation::Write, move |disk| disk.set_len(inode, len))
            .await
    }

    pub(crate) async fn size(&self) -> io::Result<u64> {
        let inode = self.shared.open.inode;
        self.change(DiskOperation::Read, move |disk| Ok(disk.size(inode)))
            .await
    }

    pub(crate) fn share(&self) -> SharedFile {
        self.shared.clone()
    }

    pub(crate) fn lock(&self) -> io::Result<()> {
        let open = &self.shared.open;
        self.shard.disk().lock(open.inode, &open.lock)
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.shared.open.direct
    }

    async fn write(&self, position: u64, payload: Payload) -> io::Result<()> {
        self.check_writable()?;
        self.check_alignment("a write", position, payload.len());
        if payload.len() == 0 {
            return Ok(());
        }
        let open = &self.shared.open;
        let inode = open.inode;
        // A file that is written to is not closed by the one that let the write go.
        let handle = self.shared.clone();
        self.shard
            .operate(DiskOperation::Write, &open.path, |disk| {
                let write = disk.begin_write(inode, position, payload);
                move |disk: &mut Disk, random: &mut Random, fault| {
                    let _handle = handle;
                    disk.finish_write(write, fault, random)
                }
            })
            .await
    }

    async fn change<T: 'static>(
        &self,
        operation: DiskOperation,
        step: impl FnOnce(&mut Disk) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let handle = self.shared.clone();
        self.shard
            .change(operation, &self.shared.open.path, move |disk, _| {
                let _handle = handle;
                step(disk)
            })
            .await
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.shared.open.write {
            Ok(())
        } else {
            Err(Errno::EBADF.into())
        }
    }

    fn check_alignment(&self, what: &str, position: u64, len: u64) {
        let block = BLOCK_SIZE as u64;
        let whole = position.is_multiple_of(block) && len.is_multiple_of(block);
        assert!(
            whole || !self.shared.open.direct,
            "{what} of {len} bytes at {position} is not in whole blocks, and {} is direct",
            self.shared.open.path.display()
        );
    }
}
