//! Room kept back on the disk for what must be written even when the disk is full: a node's start
//! and stop, and changes of the metadata, such as those that make room.
//!
//! The file holds zeros, which nobody reads. Who finds no room takes a piece off it and tries again
//! at once. What was taken is put back when there is room.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_reactor::{FileSystem, OpenOptions};

const FILE_NAME: &str = "millstream-reserve";
/// As much as hundreds of starts need.
const RESERVE_BYTES: u64 = 1 << 20;
/// What is given up at once: more than one write needs, little that others could take.
const PIECE_BYTES: u64 = 32 << 10;

/// The file that holds the room.
pub(crate) struct DiskReserve {
    fs: FileSystem,
    path: PathBuf,
    size: u64,
}

impl DiskReserve {
    /// What is there of it in the data folder.
    pub(crate) async fn open(fs: &FileSystem, root: &Path) -> DiskReserve {
        let mut reserve = DiskReserve {
            fs: fs.clone(),
            path: root.join(FILE_NAME),
            size: 0,
        };
        match reserve.known_size().await {
            Ok(size) => reserve.size = size,
            Err(cause) => reserve.say(&cause),
        }
        reserve
    }

    /// Whether something was taken off it.
    pub(crate) fn is_short(&self) -> bool {
        self.size < RESERVE_BYTES
    }

    /// Gives up a piece. Whether there was one.
    pub(crate) async fn give(&mut self) -> bool {
        if self.size == 0 {
            return false;
        }
        let left = self.size.saturating_sub(PIECE_BYTES);
        match self.cut(left).await {
            Ok(()) => {
                tracing::warn!(path = %self.path.display(), left, "the disk is full: room that was kept back is used");
                self.size = left;
                true
            }
            Err(cause) => {
                self.say(&cause);
                self.size = 0;
                false
            }
        }
    }

    /// Puts back what was taken, as far as there is room.
    pub(crate) async fn fill(&mut self) {
        match self.grow().await {
            Ok(()) => (),
            Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                // A piece that did not fit may have left a part of itself.
                if let Err(cause) = self.cut(self.size).await {
                    self.say(&cause);
                }
            }
            Err(cause) => self.say(&cause),
        }
    }

    async fn known_size(&self) -> io::Result<u64> {
        if !self.fs.exists(&self.path).await? {
            return Ok(0);
        }
        let file = self.fs.open(&self.path, OpenOptions::default()).await?;
        file.size().await
    }

    async fn cut(&self, size: u64) -> io::Result<()> {
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = self.fs.open(&self.path, options).await?;
        file.set_len(size).await?;
        file.sync_data().await
    }

    async fn grow(&mut self) -> io::Result<()> {
        let options = OpenOptions {
            write: true,
            create: true,
            ..OpenOptions::default()
        };
        let file = self.fs.open(&self.path, options).await?;
        while self.size < RESERVE_BYTES {
            let len = PIECE_BYTES.min(RESERVE_BYTES - self.size);
            let zeros = Bytes::from(vec![0; usize::try_from(len).expect("a piece is small")]);
            file.write_at(self.size, zeros).await?;
            // Only now is it known that there is room.
            file.sync_data().await?;
            self.size += len;
        }
        Ok(())
    }

    fn say(&self, cause: &io::Error) {
        tracing::warn!(path = %self.path.display(), %cause, "no room is kept back for a full disk");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_reactor::sim::{Simulation, SimulationOptions};

    #[test]
    fn what_is_given_is_put_back_when_there_is_room() {
        let simulation = Simulation::new(SimulationOptions::default());
        let node = simulation.add_node("node");
        node.make_dir("/data");
        let (disk, fs) = (node.clone(), node.reactor().fs());
        simulation.block_on(async move {
            let root = Path::new("/data");
            disk.set_disk_capacity(Some(3 * PIECE_BYTES));
            let mut reserve = DiskReserve::open(&fs, root).await;
            assert!(reserve.is_short());
            assert!(!reserve.give().await, "nothing is there yet");
            reserve.fill().await;
            assert_eq!(
                fs.read(&root.join(FILE_NAME)).await.expect("there").len() as u64,
                reserve.size
            );
            assert_eq!(reserve.size, 3 * PIECE_BYTES);
            let other = root.join("other");
            let piece = Bytes::from(vec![1; 4096]);
            assert!(fs.write_atomic(&other, piece.clone()).await.is_err());
            assert!(reserve.give().await);
            fs.write_atomic(&other, piece).await.expect("there is room");
            let again = DiskReserve::open(&fs, root).await;
            assert_eq!(again.size, 2 * PIECE_BYTES);
            disk.set_disk_capacity(None);
            reserve.fill().await;
            assert!(!reserve.is_short());
            for _ in 0..RESERVE_BYTES / PIECE_BYTES {
                assert!(reserve.give().await);
            }
            assert!(!reserve.give().await);
        });
    }
}
