//! The simulated backend: virtual time, seeded scheduling, a network and disks that fail.
#![allow(clippy::todo, unused_variables, missing_docs)] // Skeleton, replaced whole by its owner.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::buffer::{AlignedBuffer, BlockRange};
use crate::file::{DirEntry, OpenOptions};
use crate::task::{Task, TaskQueue};

pub struct Shard {}
pub struct File {}
#[derive(Clone)]
pub struct SharedFile {}
pub struct Listener {}
pub struct Stream {}

impl Shard {
    pub(crate) fn now(&self) -> Instant {
        todo!()
    }
    pub(crate) fn wall_clock_ms(&self) -> i64 {
        todo!()
    }
    pub(crate) fn random_u64(&self) -> u64 {
        todo!()
    }
    pub(crate) fn spawn<T: 'static>(
        &self,
        queue: TaskQueue,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        todo!()
    }
    pub(crate) async fn sleep(&self, duration: Duration) {
        todo!()
    }
    pub(crate) async fn yield_now(&self) {
        todo!()
    }
    pub(crate) async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        todo!()
    }
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        todo!()
    }
    pub(crate) async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        todo!()
    }
    pub(crate) fn adopt(&self, file: &SharedFile) -> File {
        todo!()
    }
    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        todo!()
    }
    pub(crate) async fn exists(&self, path: &Path) -> io::Result<bool> {
        todo!()
    }
    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
}

impl File {
    pub(crate) async fn read_at(&self, position: u64, len: usize) -> io::Result<AlignedBuffer> {
        todo!()
    }
    pub(crate) async fn write_at(&self, position: u64, data: Bytes) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn write_blocks(&self, position: u64, blocks: BlockRange) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn write_zeros(&self, position: u64, len: u64) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn size(&self) -> io::Result<u64> {
        todo!()
    }

    pub(crate) fn share(&self) -> SharedFile {
        todo!()
    }
    pub(crate) fn lock(&self) -> io::Result<()> {
        todo!()
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        todo!()
    }
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        todo!()
    }
}

impl Stream {
    pub(crate) async fn recv(&self) -> io::Result<Bytes> {
        todo!()
    }
    pub(crate) async fn recv_exact(&self, buffer: BytesMut, len: usize) -> io::Result<BytesMut> {
        todo!()
    }
    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn send_file(
        &self,
        file: &crate::File,
        position: u64,
        len: u64,
    ) -> io::Result<()> {
        todo!()
    }
    pub(crate) fn shutdown(&self) {
        todo!()
    }
    pub(crate) fn peer_addr(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) fn local_addr(&self) -> SocketAddr {
        todo!()
    }
}
