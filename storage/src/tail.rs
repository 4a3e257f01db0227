//! The end of a log in memory: what was appended last, written or not.
//!
//! ```text
//! chunk   file_position      first_position                       end_position
//!         │◄── lead ────────►│◄── batches that begin here ───────►│
//!         block boundary                                          may be within a block
//! ```
//!
//! A chunk's buffer maps the file from a block boundary on. What comes before its first batch is
//! the end of the block's earlier content: copied from the chunk before, or unknown until the
//! writer has read it from the file (`prefix`). Batches never straddle chunks. Chunks follow each
//! other without a gap up to the end of the log, through as many segments as it takes; those not
//! yet written are at the back.

use std::collections::VecDeque;

use bytes::Bytes;
use millstream_reactor::{BLOCK_SIZE, TailBuffer};

/// Bytes between two batches of a chunk whose places are remembered.
const MARK_INTERVAL: u64 = 4096;

/// A place in the log: between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// The base offset of the segment.
    pub segment: i64,
    /// The position in its file.
    pub position: u64,
    /// The offset that comes next.
    pub offset: i64,
}

/// One buffer of the tail.
pub(crate) struct Chunk {
    pub segment: i64,
    pub file_position: u64,
    pub first_position: u64,
    pub first_offset: i64,
    pub end_offset: i64,
    pub buffer: TailBuffer,
    lead: Lead,
    marks: Vec<Mark>,
}

/// What comes before the first batch of a chunk, within its first block.
enum Lead {
    /// In the buffer, or nothing.
    Held,
    /// In the file; zeros stand in the buffer.
    InFile,
    /// Read from the file.
    Read(Bytes),
}

#[derive(Clone, Copy)]
struct Mark {
    base_offset: i64,
    position: u64,
}

/// The first block of a chunk whose beginning is not in its buffer.
pub(crate) enum FirstBlock {
    /// The buffer has all of it.
    InBuffer,
    /// The writer has to read this many bytes before it can write.
    Missing(usize),
    /// A copy with the missing bytes.
    Joined(TailBuffer),
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("segment", &self.segment)
            .field("file_position", &self.file_position)
            .field("len", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Chunk {
    /// A chunk that goes on at `start`, in an empty buffer. `carried` are the bytes between the
    /// block boundary and `start`, if they are in memory.
    pub(crate) fn new(mut buffer: TailBuffer, start: Point, carried: Option<&[u8]>) -> Chunk {
        let lead_len = (start.position % BLOCK_SIZE as u64) as usize;
        let lead = match carried {
            Some(carried) => {
                assert_eq!(carried.len(), lead_len, "the carried bytes fill the block");
                buffer.append(carried, |_| ());
                Lead::Held
            }
            None if lead_len == 0 => Lead::Held,
            None => {
                buffer.append(&[0; BLOCK_SIZE][..lead_len], |_| ());
                Lead::InFile
            }
        };
        Chunk {
            segment: start.segment,
            file_position: start.position - lead_len as u64,
            first_position: start.position,
            first_offset: start.offset,
            end_offset: start.offset,
            buffer,
            lead,
            marks: Vec::new(),
        }
    }

    /// Where the chunk ends in the file.
    pub(crate) fn end_position(&self) -> u64 {
        self.file_position + self.buffer.len() as u64
    }

    /// The place after the last batch.
    pub(crate) fn end(&self) -> Point {
        Point {
            segment: self.segment,
            position: self.end_position(),
            offset: self.end_offset,
        }
    }

    /// Notes a batch that was appended to the buffer at `position`.
    pub(crate) fn note_batch(&mut self, position: u64, base_offset: i64, next_offset: i64) {
        if self
            .marks
            .last()
            .is_none_or(|mark| position - mark.position >= MARK_INTERVAL)
        {
            self.marks.push(Mark {
                base_offset,
                position,
            });
        }
        self.end_offset = next_offset;
    }

    /// Whole batches between two positions.
    pub(crate) fn slice(&self, from: u64, to: u64) -> Bytes {
        assert!(
            self.first_position <= from && to <= self.end_position(),
            "[{from}, {to}) of {self:?}"
        );
        self.buffer
            .slice((from - self.file_position) as usize..(to - self.file_position) as usize)
    }

    /// The bytes from `position` on.
    pub(crate) fn bytes_from(&self, position: u64) -> &[u8] {
        &self.buffer.as_slice()[(position - self.file_position) as usize..]
    }

    /// The bytes of the last block, which the next chunk begins with.
    pub(crate) fn partial_block(&self) -> Option<Vec<u8>> {
        let len = self.buffer.len();
        let start = len - len % BLOCK_SIZE;
        let mut bytes = self.buffer.as_slice()[start..].to_vec();
        if start == 0 {
            match &self.lead {
                Lead::Held => (),
                Lead::InFile => return None,
                Lead::Read(prefix) => bytes[..prefix.len()].copy_from_slice(prefix),
            }
        }
        Some(bytes)
    }

    /// The start of the last remembered batch for which `below` holds.
    fn floor(&self, below: impl Fn(&Mark) -> bool) -> u64 {
        let count = self.marks.partition_point(below);
        match count.checked_sub(1) {
            Some(index) => self.marks[index].position,
            None => self.first_position,
        }
    }

    /// Whether the buffer itself has the end of the chunk before.
    pub(crate) fn carries(&self) -> bool {
        matches!(self.lead, Lead::Held)
    }

    /// What to write instead of the first block.
    pub(crate) fn first_block(&self) -> FirstBlock {
        let lead_len = (self.first_position - self.file_position) as usize;
        match &self.lead {
            Lead::Held => FirstBlock::InBuffer,
            Lead::InFile => FirstBlock::Missing(lead_len),
            Lead::Read(prefix) => {
                let end = self.buffer.len().min(BLOCK_SIZE);
                let mut block = TailBuffer::with_capacity(BLOCK_SIZE);
                block.append(prefix, |_| ());
                block.append(&self.buffer.as_slice()[lead_len..end], |_| ());
                FirstBlock::Joined(block)
            }
        }
    }
}

/// The chunks of one log.
pub(crate) struct Tail {
    pub chunks: VecDeque<Chunk>,
    /// The largest buffer; a larger batch gets one of its own.
    pub largest_buffer_bytes: usize,
}

impl Tail {
    pub(crate) fn new(largest_buffer_bytes: usize) -> Tail {
        Tail {
            chunks: VecDeque::new(),
            largest_buffer_bytes,
        }
    }

    /// The chunk that holds the batch at `position`.
    pub(crate) fn chunk_at(&self, segment: i64, position: u64) -> Option<&Chunk> {
        self.in_segment(segment)
            .find(|chunk| chunk.first_position <= position && position < chunk.end_position())
    }

    /// The chunks of a segment, in order.
    pub(crate) fn in_segment(&self, segment: i64) -> impl Iterator<Item = &Chunk> {
        self.chunks
            .iter()
            .filter(move |chunk| chunk.segment == segment)
    }

    /// Where the next chunk of the segment above `position` begins.
    pub(crate) fn next_start(&self, segment: i64, position: u64) -> Option<u64> {
        self.in_segment(segment)
            .map(|chunk| chunk.first_position)
            .find(|&start| start > position)
    }

    /// The start of a batch at or before the one that holds `offset`, if that is in memory.
    pub(crate) fn floor_of_offset(&self, segment: i64, offset: i64) -> Option<u64> {
        let chunk = self
            .in_segment(segment)
            .filter(|chunk| chunk.first_offset <= offset)
            .last()?;
        Some(chunk.floor(|mark| mark.base_offset <= offset))
    }

    /// The start of a batch at or before `position`, if that is in memory.
    pub(crate) fn floor_of_position(&self, segment: i64, position: u64) -> Option<u64> {
        let chunk = self
            .in_segment(segment)
            .filter(|chunk| chunk.first_position <= position)
            .last()?;
        Some(chunk.floor(|mark| mark.position <= position))
    }

    /// Gives the chunk at `file_position` the bytes before its first batch. Several chunks may
    /// begin in one block: it is the one before which as many bytes lie.
    pub(crate) fn set_prefix(&mut self, segment: i64, file_position: u64, prefix: Bytes) {
        for chunk in &mut self.chunks {
            if chunk.segment == segment
                && chunk.file_position == file_position
                && chunk.first_position == file_position + prefix.len() as u64
                && matches!(chunk.lead, Lead::InFile)
            {
                chunk.lead = Lead::Read(prefix.clone());
            }
        }
    }

    /// Removes the oldest chunk, if all of it is below `written`.
    pub(crate) fn pop_written(&mut self, written: Point) -> Option<Chunk> {
        let oldest = self.chunks.front()?;
        let below = oldest.segment < written.segment
            || (oldest.segment == written.segment && oldest.end_position() <= written.position);
        if below { self.chunks.pop_front() } else { None }
    }
}
