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
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_reactor::{BLOCK_SIZE, TailBuffer, TailSlice};

/// The smallest buffer; a log that is written to steadily gets larger ones.
pub(crate) const SMALLEST_BUFFER_BYTES: usize = 16 << 10;
/// How much larger than the one before it a buffer is that was filled within [`FILLED_FAST`], and
/// how much smaller one that took longer than [`FILLED_SLOWLY`]. The largest, a huge page, is for
/// logs that get 20 MB in a second: to touch one for the first time may take milliseconds where
/// the host of a virtual machine has to find its memory first.
const BUFFER_GROWTH: usize = 4;
const FILLED_FAST: Duration = Duration::from_millis(50);
const FILLED_SLOWLY: Duration = Duration::from_millis(500);

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
    /// When it was begun.
    since: Instant,
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

impl Chunk {
    /// A chunk that goes on at `start`, in an empty buffer. `carried` are the bytes between the
    /// block boundary and `start`, if they are in memory.
    pub(crate) fn new(
        mut buffer: TailBuffer,
        start: Point,
        carried: Option<&[u8]>,
        since: Instant,
    ) -> Chunk {
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
            since,
            lead,
            marks: Vec::new(),
        }
    }

    /// Bytes of the buffer after this one, whatever the largest may be.
    pub(crate) fn next_capacity(&self, now: Instant) -> usize {
        let capacity = self.buffer.capacity();
        if self.buffer.len() <= capacity / 2 {
            return SMALLEST_BUFFER_BYTES;
        }
        match now - self.since {
            taken if taken < FILLED_FAST => capacity.saturating_mul(BUFFER_GROWTH),
            taken if taken > FILLED_SLOWLY => (capacity / BUFFER_GROWTH).max(SMALLEST_BUFFER_BYTES),
            _ => capacity,
        }
    }

    /// Whether all of it is below `point`.
    fn is_below(&self, point: Point) -> bool {
        (self.segment, self.end_position()) <= (point.segment, point.position)
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
    pub(crate) fn slice(&self, from: u64, to: u64) -> TailSlice {
        assert!(
            self.first_position <= from && to <= self.end_position(),
            "[{from}, {to}) of segment {} from {} to {}",
            self.segment,
            self.first_position,
            self.end_position()
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
        self.last_from(segment, position)
            .filter(|chunk| position < chunk.end_position())
    }

    /// The chunks of a segment that end above `position`, in order.
    pub(crate) fn above(&self, segment: i64, position: u64) -> impl Iterator<Item = &Chunk> {
        let below = self
            .chunks
            .partition_point(|chunk| (chunk.segment, chunk.end_position()) <= (segment, position));
        self.chunks
            .range(below..)
            .take_while(move |chunk| chunk.segment == segment)
    }

    /// Where the next chunk of the segment above `position` begins.
    pub(crate) fn next_start(&self, segment: i64, position: u64) -> Option<u64> {
        let next = self.chunks.get(self.count_from(segment, position))?;
        (next.segment == segment).then_some(next.first_position)
    }

    /// The start of a batch at or before the one that holds `offset`, if that is in memory.
    pub(crate) fn floor_of_offset(&self, segment: i64, offset: i64) -> Option<u64> {
        let count = self
            .chunks
            .partition_point(|chunk| (chunk.segment, chunk.first_offset) <= (segment, offset));
        let chunk = self.chunks.get(count.checked_sub(1)?)?;
        (chunk.segment == segment).then(|| chunk.floor(|mark| mark.base_offset <= offset))
    }

    /// The start of a batch at or before `position`, if that is in memory.
    pub(crate) fn floor_of_position(&self, segment: i64, position: u64) -> Option<u64> {
        let chunk = self.last_from(segment, position)?;
        Some(chunk.floor(|mark| mark.position <= position))
    }

    /// How many chunks begin at or before a position of a segment.
    fn count_from(&self, segment: i64, position: u64) -> usize {
        self.chunks
            .partition_point(|chunk| (chunk.segment, chunk.first_position) <= (segment, position))
    }

    /// The last chunk of a segment that begins at or before a position.
    fn last_from(&self, segment: i64, position: u64) -> Option<&Chunk> {
        let count = self.count_from(segment, position);
        let chunk = self.chunks.get(count.checked_sub(1)?)?;
        (chunk.segment == segment).then_some(chunk)
    }

    /// Gives the chunk whose first batch is at `first_position` the bytes of its block before that,
    /// unless it has gone meanwhile.
    pub(crate) fn set_prefix(&mut self, segment: i64, first_position: u64, prefix: Bytes) {
        let place = (segment, first_position);
        let mut chunks = self.chunks.iter_mut();
        if let Some(chunk) = chunks.find(|chunk| (chunk.segment, chunk.first_position) == place) {
            chunk.lead = Lead::Read(prefix);
        }
    }

    /// The first offset in memory; none if nothing is.
    pub(crate) fn first_offset(&self) -> Option<i64> {
        self.chunks.front().map(|chunk| chunk.first_offset)
    }

    /// Whether what comes from `offset` on is in memory.
    pub(crate) fn holds(&self, offset: i64) -> bool {
        self.first_offset().is_some_and(|first| first <= offset)
    }

    /// Removes the oldest chunk, if all of it is below `written` and none of it at or above
    /// `wanted`.
    pub(crate) fn pop_written(&mut self, written: Point, wanted: Option<i64>) -> Option<Chunk> {
        let oldest = self.chunks.front()?;
        let unwanted = wanted.is_none_or(|wanted| oldest.end_offset <= wanted);
        if oldest.is_below(written) && unwanted {
            self.chunks.pop_front()
        } else {
            None
        }
    }

    /// Bytes of the buffers of what is below `written`.
    pub(crate) fn written_bytes(&self, written: Point) -> usize {
        let chunks = self.chunks.iter();
        let below = chunks.take_while(|chunk| chunk.is_below(written));
        below.map(|chunk| chunk.buffer.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of 128 KiB, `len` bytes of them filled, and when it was begun.
    fn chunk(len: usize) -> (Chunk, Instant) {
        let since = Instant::now();
        let start = Point {
            segment: 0,
            position: 0,
            offset: 0,
        };
        let mut chunk = Chunk::new(TailBuffer::with_capacity(128 << 10), start, None, since);
        chunk.buffer.append(&vec![1; len], |_| ());
        (chunk, since)
    }

    #[test]
    fn buffers_follow_the_rate() {
        let (chunk, since) = chunk(120 << 10);
        let after = |ms| chunk.next_capacity(since + Duration::from_millis(ms));
        assert_eq!(after(49), 512 << 10);
        assert_eq!(after(50), 128 << 10);
        assert_eq!(after(500), 128 << 10);
        assert_eq!(after(501), 32 << 10);
    }

    #[test]
    fn a_buffer_that_was_hardly_used_is_followed_by_the_smallest() {
        let (half, since) = chunk(64 << 10);
        assert_eq!(half.next_capacity(since), SMALLEST_BUFFER_BYTES);
        let (more, since) = chunk((64 << 10) + 1);
        assert_eq!(more.next_capacity(since), 512 << 10);
    }

    fn point(segment: i64, position: u64, offset: i64) -> Point {
        Point {
            segment,
            position,
            offset,
        }
    }

    /// Adds a chunk of one-record batches of `len` bytes each.
    fn add(tail: &mut Tail, start: Point, len: usize, count: i64) {
        let carried = tail.chunks.back().filter(|_| start.position > 0);
        let carried = carried.and_then(Chunk::partial_block);
        let buffer = TailBuffer::with_capacity(64 << 10);
        let mut chunk = Chunk::new(buffer, start, carried.as_deref(), Instant::now());
        for offset in start.offset..start.offset + count {
            let position = chunk.end_position();
            chunk.buffer.append(&vec![1; len], |_| ());
            chunk.note_batch(position, offset, offset + 1);
        }
        tail.chunks.push_back(chunk);
    }

    /// Segment 0 in two chunks, [0, 10 240) and [10 240, 16 384), then segment 16, [0, 6 144).
    /// Every batch has 1024 bytes.
    fn tail() -> Tail {
        let mut tail = Tail::new(64 << 10);
        add(&mut tail, point(0, 0, 0), 1024, 10);
        add(&mut tail, point(0, 10_240, 10), 1024, 6);
        add(&mut tail, point(16, 0, 16), 1024, 6);
        tail
    }

    #[test]
    fn a_position_is_looked_for_in_its_segment() {
        let tail = tail();
        let at = |segment, position| {
            let chunk = tail.chunk_at(segment, position);
            chunk.map(|chunk| chunk.first_offset)
        };
        let above = |segment, position| {
            let chunks = tail.above(segment, position);
            chunks.map(|chunk| chunk.first_offset).collect::<Vec<_>>()
        };
        // Segment and position; where the chunk begins that holds it, those above, and the next.
        let cases = [
            (0, 0, Some(0), &[0, 10][..], Some(10_240)),
            (0, 10_239, Some(0), &[0, 10], Some(10_240)),
            (0, 10_240, Some(10), &[10], None),
            (0, 16_383, Some(10), &[10], None),
            (0, 16_384, None, &[], None),
            (16, 0, Some(16), &[16], None),
            (16, 6_144, None, &[], None),
            (5, 0, None, &[], None),
            (20, 0, None, &[], None),
        ];
        for (segment, position, held_by, those_above, next) in cases {
            let place = (segment, position);
            assert_eq!(at(segment, position), held_by, "{place:?}");
            assert_eq!(above(segment, position), those_above, "{place:?}");
            assert_eq!(tail.next_start(segment, position), next, "{place:?}");
        }
    }

    #[test]
    fn a_search_begins_less_than_4_kib_before_the_batch() {
        let tail = tail();
        // Of each segment the offset, the start of its batch, and where the search begins.
        let cases = [
            (0, 0, 0, 0),
            (0, 3, 3_072, 0),
            (0, 4, 4_096, 4_096),
            (0, 9, 9_216, 8_192),
            (0, 10, 10_240, 10_240),
            (0, 15, 15_360, 14_336),
            (16, 16, 0, 0),
            (16, 21, 5_120, 4_096),
        ];
        for (segment, offset, position, begin) in cases {
            let place = (segment, offset);
            let by_offset = tail.floor_of_offset(segment, offset);
            assert_eq!(by_offset, Some(begin), "{place:?}");
            let by_position = tail.floor_of_position(segment, position);
            assert_eq!(by_position, Some(begin), "{place:?}");
        }
        for (segment, offset) in [(-1, 0), (5, 8), (20, 30)] {
            assert_eq!(tail.floor_of_offset(segment, offset), None);
            assert_eq!(tail.floor_of_position(segment, 0), None);
        }
    }

    #[test]
    fn only_what_is_written_to_its_end_and_not_wanted_leaves_memory() {
        let cases = [
            (point(0, 10_239, 9), None, false),
            (point(0, 10_240, 10), None, true),
            (point(16, 0, 16), None, true),
            (point(-1, 20_000, 0), None, false),
            (point(0, 10_240, 10), Some(9), false),
            (point(0, 10_240, 10), Some(10), true),
        ];
        for (written, wanted, leaves) in cases {
            let mut tail = tail();
            let left = tail.pop_written(written, wanted);
            let left = left.map(|chunk| chunk.first_offset);
            assert_eq!(left, leaves.then_some(0), "{written:?}, {wanted:?}");
            assert_eq!(tail.chunks.len(), 3 - usize::from(leaves));
        }
    }
}
