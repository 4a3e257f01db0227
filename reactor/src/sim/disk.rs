//! The disk of a node: files, folders, writes in flight, fault points. No time and no tasks here:
//! [`super::file`] says when an operation begins and when it ends.
//!
//! A write is in flight from its beginning to its end and changes nothing until then; a crash in
//! between tears it. From its end on it is read by everybody, and durable after a sync that began
//! later.

mod content;
mod fault;
mod image;
mod namespace;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;

use crate::buffer::{AlignedBuffer, BLOCK_SIZE, BlockRange};
use crate::file::{DirEntry, DiskSpace, OpenOptions};

use super::node::KeepUnsynced;
use super::random::Random;
use content::Content;
pub use fault::{DiskFault, DiskOperation, FaultError};
use image::{SECTOR, sectors};

pub(super) use namespace::Inode;
use namespace::{Entry, Namespace, ROOT};

/// How long operations of a disk take.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Reads, and looking into folders.
    pub read_latency: RangeInclusive<Duration>,
    /// Writes.
    pub write_latency: RangeInclusive<Duration>,
    /// Syncs of files and folders.
    pub sync_latency: RangeInclusive<Duration>,
    /// Opening, making, renaming and removing.
    pub directory_latency: RangeInclusive<Duration>,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        let micros = |least, most| Duration::from_micros(least)..=Duration::from_micros(most);
        DiskOptions {
            read_latency: micros(10, 200),
            write_latency: micros(10, 300),
            sync_latency: micros(40, 1000),
            directory_latency: micros(5, 100),
        }
    }
}

/// What a write carries.
pub(super) enum Payload {
    Bytes(Bytes),
    /// Blocks that their owner may append to while the device reads them.
    Blocks {
        submitted: Vec<u8>,
        blocks: BlockRange,
    },
    Zeros(u64),
}

/// A write that has begun.
struct InFlight {
    inode: Inode,
    position: u64,
    payload: Payload,
}

/// What is known of a file when it is opened.
pub(super) struct Opened {
    pub(super) inode: Inode,
    pub(super) handle: Arc<()>,
}

/// How the node stops at a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultPoint {
    Before,
    InFlight,
    After,
}

pub(super) struct Disk {
    files: BTreeMap<Inode, Content>,
    namespace: Namespace,
    in_flight: BTreeMap<u64, InFlight>,
    next_inode: Inode,
    next_write: u64,
    /// Numbers completed changes, so that a sync knows which came before it.
    sequence: u64,
    operations: u64,
    fault_point: Option<u64>,
    faults: Vec<DiskFault>,
    capacity: Option<u64>,
    /// Names taken away since unreachable files were last looked for.
    unlinked: u32,
}

/// Names taken away before unreachable files are looked for, which costs a walk over all.
const UNLINKED_BEFORE_COLLECTION: u32 = 256;

/// What a file of that size takes.
fn allocated(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_SIZE as u64)
}

/// What a disk without a limit is said to have.
const UNLIMITED: u64 = 1 << 50;

impl Disk {
    pub(super) fn new() -> Disk {
        Disk {
            files: BTreeMap::new(),
            namespace: Namespace::default(),
            in_flight: BTreeMap::new(),
            next_inode: ROOT + 1,
            next_write: 0,
            sequence: 0,
            operations: 0,
            fault_point: None,
            faults: Vec::new(),
            capacity: None,
            unlinked: 0,
        }
    }

    // Faults.

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn set_fault_point(&mut self, n: u64) {
        assert!(
            n > self.operations,
            "operation {n} has been: {} were begun",
            self.operations
        );
        self.fault_point = Some(n);
    }

    pub(super) fn inject(&mut self, fault: DiskFault) {
        self.faults.push(fault);
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    pub(super) fn set_capacity(&mut self, capacity: Option<u64>) {
        self.capacity = capacity;
    }

    /// Counts an operation that begins; whether the node stops at it, and how.
    pub(super) fn begin_operation(&mut self, random: &mut Random) -> Option<FaultPoint> {
        self.operations += 1;
        if self.fault_point != Some(self.operations) {
            return None;
        }
        self.fault_point = None;
        Some(match random.below(3) {
            0 => FaultPoint::Before,
            1 => FaultPoint::InFlight,
            _ => FaultPoint::After,
        })
    }

    /// The injected error that an operation meets.
    pub(super) fn meet_fault(
        &mut self,
        operation: DiskOperation,
        path: &Path,
    ) -> Option<FaultError> {
        let mut faults = self.faults.iter_mut();
        let error = faults.find_map(|fault| fault.meet(operation, path));
        if error.is_some() {
            self.faults.retain(|fault| !fault.is_spent());
        }
        error
    }

    /// Loses what `keep` does not keep, and all handles.
    pub(super) fn crash(&mut self, keep: KeepUnsynced, random: &mut Random) {
        self.fault_point = None;
        let in_flight = std::mem::take(&mut self.in_flight);
        let mut writes: Vec<InFlight> = in_flight.into_values().collect();
        random.shuffle(&mut writes);
        for write in writes {
            match keep {
                KeepUnsynced::None => {}
                KeepUnsynced::All => self.tear_write(write, random),
                // As if it had ended just now: unsynced, and so torn below.
                KeepUnsynced::Random => self.apply_write(write, random),
            }
        }
        for content in self.files.values_mut() {
            content.crash(keep, random);
        }
        self.namespace.crash(keep, random);
        self.collect();
    }

    // Files.

    pub(super) fn begin_write(&mut self, inode: Inode, position: u64, payload: Payload) -> u64 {
        let write = self.next_write;
        self.next_write += 1;
        let in_flight = InFlight {
            inode,
            position,
            payload,
        };
        self.in_flight.insert(write, in_flight);
        write
    }

    pub(super) fn finish_write(
        &mut self,
        write: u64,
        fault: Option<FaultError>,
        random: &mut Random,
    ) -> io::Result<()> {
        let write = self.in_flight.remove(&write);
        let write = write.expect("a write ends once, unless a crash took it");
        if let Some(fault) = fault {
            self.tear_write(write, random);
            return Err(fault.to_error());
        }
        if self.has_room(write.inode, write.position + write.payload.len()) {
            self.apply_write(write, random);
            Ok(())
        } else {
            Err(Errno::ENOSPC.into())
        }
    }

    pub(super) fn set_len(&mut self, inode: Inode, len: u64) -> io::Result<()> {
        if !self.has_room(inode, len) {
            return Err(Errno::ENOSPC.into());
        }
        let sequence = self.next_sequence();
        self.content_mut(inode).set_size(sequence, len);
        Ok(())
    }

    pub(super) fn size(&self, inode: Inode) -> u64 {
        self.content(inode).current().size()
    }

    pub(super) fn read(&self, inode: Inode, position: u64, len: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::zeroed(len);
        let read = self.content(inode).current().read(position, &mut buffer);
        buffer.truncate(read);
        buffer
    }

    /// A mark that a sync begins at: it covers what was completed before.
    pub(super) fn begin_sync(&self) -> u64 {
        self.sequence
    }

    pub(super) fn finish_sync(
        &mut self,
        inode: Inode,
        begun: u64,
        fault: Option<FaultError>,
        random: &mut Random,
    ) -> io::Result<()> {
        let content = self.content_mut(inode);
        match fault {
            None => {
                content.sync(begun);
                Ok(())
            }
            Some(fault) => {
                content.fail_sync(begun, random);
                Err(fault.to_error())
            }
        }
    }

    /// Locks a file for a handle, for as long as that lives.
    pub(super) fn lock(&mut self, inode: Inode, holder: &Arc<()>) -> io::Result<()> {
        let content = self.content_mut(inode);
        let known = content.locked_by.upgrade();
        if known.is_some_and(|known| !Arc::ptr_eq(&known, holder)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        content.locked_by = Arc::downgrade(holder);
        Ok(())
    }

    // Folders.

    /// Whether opening will change a folder or a file.
    pub(super) fn open_changes(&self, path: &Path, options: OpenOptions) -> bool {
        match self.namespace.find(path) {
            Ok(entry) => {
                options.truncate
                    && self
                        .files
                        .get(&entry.inode)
                        .is_some_and(|content| content.current().size() > 0)
            }
            Err(_) => options.create || options.create_new,
        }
    }

    pub(super) fn open(&mut self, path: &Path, options: OpenOptions) -> io::Result<Opened> {
        let inode = match self.namespace.find(path) {
            Ok(entry) if entry.is_dir => return Err(Errno::EISDIR.into()),
            Ok(_) if options.create_new => return Err(Errno::EEXIST.into()),
            Ok(entry) => entry.inode,
            Err(Errno::ENOENT) if options.create || options.create_new => {
                let place = self.namespace.place(path)?;
                let inode = self.next_inode();
                let sequence = self.next_sequence();
                let entry = Entry {
                    inode,
                    is_dir: false,
                };
                self.namespace.add(sequence, place, entry);
                self.files.insert(inode, Content::default());
                inode
            }
            Err(error) => return Err(error.into()),
        };
        if options.truncate {
            self.set_len(inode, 0)?;
        }
        let handle = self.content(inode).open.clone();
        Ok(Opened { inode, handle })
    }

    /// The first folder on the way to `path` that is missing, from the top.
    pub(super) fn missing_dir(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut walked = PathBuf::from("/");
        for name in namespace::names(path) {
            walked.push(name);
            match self.namespace.find(&walked) {
                Ok(entry) if entry.is_dir => {}
                Ok(_) => return Err(Errno::ENOTDIR.into()),
                Err(Errno::ENOENT) => return Ok(Some(walked)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let place = self.namespace.place(path)?;
        if self.namespace.entry(&place).is_some() {
            return Err(Errno::EEXIST.into());
        }
        let inode = self.next_inode();
        let sequence = self.next_sequence();
        let entry = Entry {
            inode,
            is_dir: true,
        };
        self.namespace.add(sequence, place, entry);
        Ok(())
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.find_dir(path)?;
        let entries = self.namespace.list(dir);
        Ok(entries
            .map(|(name, entry)| DirEntry {
                name: name.clone(),
                is_dir: entry.is_dir,
            })
            .collect())
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.namespace.find(path).is_ok()
    }

    /// The space of the whole disk. One without a limit is as large as any machine's.
    pub(super) fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.namespace.find(path)?;
        let total_bytes = self.capacity.unwrap_or(UNLIMITED);
        Ok(DiskSpace {
            total_bytes,
            usable_bytes: total_bytes.saturating_sub(self.used()),
        })
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let from = self.namespace.place(from)?;
        let to = self.namespace.place(to)?;
        let sequence = self.next_sequence();
        self.unlinked += 1;
        Ok(self.namespace.rename(sequence, from, to)?)
    }

    pub(super) fn remove(&mut self, path: &Path, is_dir: bool) -> io::Result<()> {
        let place = self.namespace.place(path)?;
        match self.namespace.entry(&place) {
            Some(entry) if entry.is_dir && !is_dir => return Err(Errno::EISDIR.into()),
            Some(entry) if !entry.is_dir && is_dir => return Err(Errno::ENOTDIR.into()),
            _ => {}
        }
        let sequence = self.next_sequence();
        self.namespace.remove(sequence, place)?;
        self.unlinked += 1;
        Ok(())
    }

    pub(super) fn finish_sync_dir(
        &mut self,
        path: &Path,
        begun: u64,
        fault: Option<FaultError>,
        random: &mut Random,
    ) -> io::Result<()> {
        let dir = self.find_dir(path)?;
        if let Some(fault) = fault {
            self.namespace.fail_sync(dir, begun, random);
            return Err(fault.to_error());
        }
        self.namespace.sync(dir, begun);
        if self.unlinked >= UNLINKED_BEFORE_COLLECTION {
            self.collect();
        }
        Ok(())
    }

    // What tests ask for by path.

    pub(super) fn corrupt(&mut self, path: &Path, position: u64, xor: u8) {
        let entry = self.namespace.find(path);
        let content = entry
            .ok()
            .and_then(|entry| self.files.get_mut(&entry.inode));
        let content = content.unwrap_or_else(|| panic!("no file {}", path.display()));
        content.corrupt(position, xor);
    }

    pub(super) fn read_durable(&self, path: &Path) -> Option<Vec<u8>> {
        let entry = self.namespace.find_durable(path).ok()?;
        Some(self.files.get(&entry.inode)?.durable().to_vec())
    }

    pub(super) fn read_current(&self, path: &Path) -> Option<Vec<u8>> {
        let entry = self.namespace.find(path).ok()?;
        Some(self.files.get(&entry.inode)?.current().to_vec())
    }

    pub(super) fn make_dir(&mut self, path: &Path) {
        while let Some(missing) = self.missing_dir(path).expect("no file is in the way") {
            let place = self.namespace.place(&missing);
            let place = place.expect("the folder above is there");
            let inode = self.next_inode();
            let entry = Entry {
                inode,
                is_dir: true,
            };
            self.namespace.plant(place, entry);
        }
    }

    pub(super) fn plant_file(&mut self, path: &Path, content: &[u8]) {
        let place = self.namespace.place(path).expect("its folder is there");
        let inode = self.next_inode();
        let entry = Entry {
            inode,
            is_dir: false,
        };
        self.files.insert(inode, Content::planted(content));
        self.namespace.plant(place, entry);
    }

    // Helpers.

    fn content(&self, inode: Inode) -> &Content {
        let content = self.files.get(&inode);
        content.expect("a file is kept while it is open")
    }

    fn content_mut(&mut self, inode: Inode) -> &mut Content {
        let content = self.files.get_mut(&inode);
        content.expect("a file is kept while it is open")
    }

    fn find_dir(&self, path: &Path) -> io::Result<Inode> {
        let entry = self.namespace.find(path)?;
        if entry.is_dir {
            Ok(entry.inode)
        } else {
            Err(Errno::ENOTDIR.into())
        }
    }

    fn next_inode(&mut self) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        inode
    }

    fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }

    fn apply_write(&mut self, write: InFlight, random: &mut Random) {
        let sequence = self.next_sequence();
        let content = self.content_mut(write.inode);
        match write.payload.settle(random) {
            Settled::Data(data) => content.write(sequence, write.position, data),
            Settled::Zeros(len) => content.write_zeros(sequence, write.position, len),
        }
    }

    /// Applies an arbitrary part of a write, sector by sector.
    fn tear_write(&mut self, write: InFlight, random: &mut Random) {
        let Some(content) = self.files.get_mut(&write.inode) else {
            return;
        };
        let sequence = self.sequence;
        self.sequence += 1;
        let probability = [0.0, 0.5, 0.9, 1.0][random.index(4)];
        match write.payload.settle(random) {
            Settled::Data(data) => {
                for (position, range) in sectors(write.position, data.len()) {
                    if random.chance(probability) {
                        content.write(sequence, position, data.slice(range));
                    }
                }
            }
            Settled::Zeros(len) => {
                let len = random.below(len / SECTOR + 1) * SECTOR;
                if len > 0 {
                    content.write_zeros(sequence, write.position, len);
                }
            }
        }
    }

    /// Whether a file may become `size` bytes long.
    fn has_room(&self, inode: Inode, size: u64) -> bool {
        let Some(capacity) = self.capacity else {
            return true;
        };
        let before = self.size(inode);
        if size <= before {
            return true;
        }
        self.used() - allocated(before) + allocated(size) <= capacity
    }

    /// Bytes of files that have a name or are open, in whole blocks.
    fn used(&self) -> u64 {
        let linked = self.namespace.linked();
        let files = self.files.iter().filter(|(inode, content)| {
            linked.contains(inode) || Arc::strong_count(&content.open) > 1
        });
        files
            .map(|(_, content)| allocated(content.current().size()))
            .sum()
    }

    /// Drops files and folders that have no name, cannot get one back by a crash, and are not
    /// open.
    fn collect(&mut self) {
        self.unlinked = 0;
        loop {
            let reachable = self.namespace.reachable();
            let in_flight = &self.in_flight;
            self.files.retain(|inode, content| {
                reachable.contains(inode)
                    || Arc::strong_count(&content.open) > 1
                    || in_flight.values().any(|write| write.inode == *inode)
            });
            // A folder that goes may have been what kept others reachable.
            if !self.namespace.forget_unreachable(&reachable) {
                return;
            }
        }
    }
}

enum Settled {
    Data(Bytes),
    Zeros(u64),
}

impl Payload {
    /// Bytes that are written.
    pub(super) fn len(&self) -> u64 {
        match self {
            Payload::Bytes(data) => data.len() as u64,
            Payload::Blocks { submitted, .. } => submitted.len() as u64,
            Payload::Zeros(len) => *len,
        }
    }

    /// What the device has read: of blocks that were appended to meanwhile, each sector as it was
    /// at the beginning or as it is now.
    fn settle(self, random: &mut Random) -> Settled {
        match self {
            Payload::Bytes(data) => Settled::Data(data),
            Payload::Zeros(len) => Settled::Zeros(len),
            Payload::Blocks { submitted, blocks } => {
                let mut data = blocks.copy();
                for (_, range) in sectors(0, data.len()) {
                    if data[range.clone()] != submitted[range.clone()] && random.coin() {
                        data[range.clone()].copy_from_slice(&submitted[range]);
                    }
                }
                Settled::Data(Bytes::from(data))
            }
        }
    }
}
