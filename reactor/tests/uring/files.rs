//! Files and folders.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;

use bytes::Bytes;
use millstream_reactor::uring::supports_direct_io;
use millstream_reactor::{AlignedBuffer, BLOCK_SIZE, OpenOptions, TailBuffer};

use crate::{on_shard, pattern};

const WRITE: OpenOptions = OpenOptions {
    write: true,
    create: true,
    create_new: false,
    truncate: false,
    direct: false,
    sequential: false,
};

const DIRECT: OpenOptions = OpenOptions {
    direct: true,
    ..WRITE
};

#[test]
fn blocks_of_a_tail_buffer_reach_the_disk() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let file = reactor.fs().open(&path, DIRECT).await.expect("opens");
        let data = pattern(300_000, 1);
        let mut tail = TailBuffer::with_capacity(1 << 20);
        let mut written = 0;
        for (n, piece) in data.chunks(70_000).enumerate() {
            tail.append(piece, |_| ());
            let blocks = tail.blocks(written..tail.len());
            let start = (written - written % BLOCK_SIZE) as u64;
            if n % 2 == 0 {
                file.write_blocks(start, blocks).await.expect("writes");
                file.sync_data().await.expect("flushes");
            } else {
                let written = file.write_blocks_durably(start, blocks).await;
                written.expect("writes and flushes");
            }
            written = tail.len();
        }
        let on_disk = std::fs::read(&path).expect("reads");
        assert_eq!(on_disk.len(), 300_000_usize.next_multiple_of(BLOCK_SIZE));
        assert!(on_disk[..300_000] == data[..]);
        assert!(on_disk[300_000..].iter().all(|byte| *byte == 0));
        let read = file.read_at(4096, 2 * BLOCK_SIZE).await.expect("reads");
        assert!(read[..] == data[4096..3 * 4096]);
        let unaligned = file.read_at(1, BLOCK_SIZE).await;
        assert_eq!(
            unaligned.err().expect("refused").kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn a_buffer_takes_one_read_after_the_other() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("some");
        let data = pattern(3 * BLOCK_SIZE + 5, 3);
        std::fs::write(&path, &data).expect("writes");
        for direct in [false, true] {
            let options = OpenOptions {
                direct,
                sequential: true,
                ..OpenOptions::default()
            };
            let file = reactor.fs().open(&path, options).await.expect("opens");
            assert_eq!(file.is_direct(), direct);
            let buffer = AlignedBuffer::unfilled(2 * BLOCK_SIZE);
            let buffer = file.read_into(4096, buffer, 8192).await.expect("reads");
            assert!(buffer[..] == data[4096..12_288]);
            let buffer = file.read_into(12_288, buffer, 4096).await.expect("reads");
            assert!(buffer[..] == data[12_288..]);
            let buffer = file.read_into(0, buffer, 4096).await.expect("reads");
            assert!(buffer[..] == data[..4096]);
        }
    });
}

#[test]
fn reads_end_with_the_file() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("short");
        let data = pattern(10_000, 2);
        let file = reactor.fs().open(&path, WRITE).await.expect("opens");
        file.write_at(0, Bytes::from(data.clone()))
            .await
            .expect("writes");
        assert_eq!(file.size().await.expect("has a size"), 10_000);
        assert!(file.read_at(9_990, 100).await.expect("reads")[..] == data[9_990..]);
        assert!(file.read_at(20_000, 100).await.expect("reads").is_empty());
        file.sync_data().await.expect("flushes");
        let direct = reactor.fs().open(&path, DIRECT).await.expect("opens");
        assert!(direct.read_at(8192, 16_384).await.expect("reads")[..] == data[8192..]);
        assert!(
            direct
                .read_at(16_384, 4096)
                .await
                .expect("reads")
                .is_empty()
        );
        file.set_len(5).await.expect("cuts");
        assert!(reactor.fs().read(&path).await.expect("reads")[..] == data[..5]);
    });
}

/// Whether all of the file's extents are written, asked by FIEMAP; `None` where the file system
/// has no such call.
fn extents_are_written(path: &Path) -> Option<bool> {
    const FS_IOC_FIEMAP: u64 = 0xC020_660B;
    const UNWRITTEN: u32 = 0x800;
    #[repr(C)]
    struct Extent {
        logical: u64,
        physical: u64,
        length: u64,
        reserved: [u64; 2],
        flags: u32,
        reserved_too: [u32; 3],
    }
    #[repr(C)]
    struct Map {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        count: u32,
        reserved: u32,
        extents: [Extent; 64],
    }
    let file = std::fs::File::open(path).expect("opens");
    // SAFETY: all zeros is a valid map.
    let mut map: Map = unsafe { std::mem::zeroed() };
    map.length = u64::MAX;
    map.flags = 1;
    map.count = 64;
    // SAFETY: the map has room for as many extents as it says.
    let result = unsafe { nix::libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &mut map) };
    if result != 0 {
        return None;
    }
    let extents = &map.extents[..map.mapped as usize];
    let covered: u64 = extents.iter().map(|extent| extent.length).sum();
    let size = file.metadata().expect("has metadata").len();
    Some(covered >= size && extents.iter().all(|extent| extent.flags & UNWRITTEN == 0))
}

#[test]
fn zeros_are_written_blocks() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        for options in [WRITE, DIRECT] {
            let path = folder.path().join(format!("zeros-{}", options.direct));
            let file = reactor.fs().open(&path, options).await.expect("opens");
            let mut tail = TailBuffer::with_capacity(BLOCK_SIZE);
            tail.append(&[7; BLOCK_SIZE], |_| ());
            file.write_blocks(0, tail.blocks(0..BLOCK_SIZE))
                .await
                .expect("writes");
            file.write_blocks(4096, tail.blocks(0..BLOCK_SIZE))
                .await
                .expect("writes");
            file.write_zeros(4096, 3 << 20).await.expect("writes zeros");
            file.sync_data().await.expect("flushes");
            let data = std::fs::read(&path).expect("reads");
            assert_eq!(data.len(), 4096 + (3 << 20));
            assert!(data[..4096].iter().all(|byte| *byte == 7));
            assert!(data[4096..].iter().all(|byte| *byte == 0));
            assert_ne!(extents_are_written(&path), Some(false));
        }
    });
}

#[test]
fn a_lock_is_held_by_one() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".lock");
        let fs = reactor.fs();
        let lock = fs.lock(&path).await.expect("locks");
        let error = fs.lock(&path).await.err().expect("it is locked");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(lock);
        fs.lock(&path).await.expect("it is free again");
    });
}

#[test]
fn folders_are_made_listed_renamed_and_removed() {
    on_shard(|reactor| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let fs = reactor.fs();
        let deep = folder.path().join("a/b/c");
        fs.create_dir_all(&deep).await.expect("makes");
        fs.create_dir_all(&deep).await.expect("is there");
        fs.write_atomic(&deep.join("file"), Bytes::from_static(b"one"))
            .await
            .expect("writes");
        fs.write_atomic(&deep.join("file"), Bytes::from_static(b"two"))
            .await
            .expect("writes");
        assert_eq!(
            &fs.read(&deep.join("file")).await.expect("reads")[..],
            b"two"
        );
        let blocked = fs.create_dir_all(&deep.join("file")).await;
        assert_eq!(
            blocked.expect_err("a file").kind(),
            ErrorKind::AlreadyExists
        );
        let names: Vec<String> = fs
            .read_dir(&deep)
            .await
            .expect("lists")
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["file"]);
        fs.rename(&folder.path().join("a/b"), &folder.path().join("moved"))
            .await
            .expect("moves");
        fs.sync_dir(folder.path()).await.expect("flushes");
        assert!(!fs.exists(&deep).await.expect("asks"));
        assert!(
            fs.exists(&folder.path().join("moved/c/file"))
                .await
                .expect("asks")
        );
        fs.remove_dir_all(&folder.path().join("moved"))
            .await
            .expect("removes");
        assert!(!fs.exists(&folder.path().join("moved")).await.expect("asks"));
        let missing = fs
            .open(&folder.path().join("none"), OpenOptions::default())
            .await;
        assert_eq!(missing.err().expect("missing").kind(), ErrorKind::NotFound);
        let new = OpenOptions {
            create_new: true,
            ..WRITE
        };
        fs.open(&folder.path().join("new"), new)
            .await
            .expect("makes");
        let again = fs.open(&folder.path().join("new"), new).await;
        assert_eq!(
            again.err().expect("exists").kind(),
            ErrorKind::AlreadyExists
        );
    });
}

#[test]
fn a_shared_file_is_read_on_another_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shared");
    std::fs::write(&path, b"shared bytes").expect("written");
    let shared = on_shard(move |reactor| async move {
        let file = reactor
            .fs()
            .open(&path, OpenOptions::default())
            .await
            .expect("opens");
        file.share()
    });
    let read = on_shard(move |reactor| async move {
        let file = reactor.fs().adopt(&shared);
        file.read_at(7, 5).await.expect("reads").to_vec()
    });
    assert_eq!(read, b"bytes");
}

#[test]
fn direct_io_is_tried_in_the_folder_itself() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    supports_direct_io(folder.path()).expect("is tried");
    assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
    supports_direct_io(Path::new("/proc")).expect_err("nothing can be made there");
}
