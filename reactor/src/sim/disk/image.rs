//! The content of a file as sparse pages: what was never written is zero and takes no memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// What a device writes whole: after a crash a sector is old or new, never a mix.
pub(super) const SECTOR: u64 = 512;

const PAGE: usize = 4096;

/// The bytes of a file and its size. Clones share pages until one of them writes.
///
/// Bytes at and above the size may be held: they were written, but the size that shows them is
/// not there yet. [`Image::set_size`] to a larger size shows them.
#[derive(Clone, Default)]
pub(super) struct Image {
    size: u64,
    pages: BTreeMap<u64, Rc<[u8; PAGE]>>,
}

/// One page's part of a range of bytes.
struct PagePart {
    page: u64,
    within_page: Range<usize>,
    within_range: Range<usize>,
}

impl Image {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `target` from `position` on; the number of bytes that lie below the size.
    pub(super) fn read(&self, position: u64, target: &mut [u8]) -> usize {
        let available = self.size.saturating_sub(position);
        let len = usize::try_from(available).map_or(target.len(), |len| len.min(target.len()));
        for part in page_parts(position, len) {
            let target = &mut target[part.within_range];
            match self.pages.get(&part.page) {
                Some(page) => target.copy_from_slice(&page[part.within_page]),
                None => target.fill(0),
            }
        }
        len
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let size = usize::try_from(self.size).expect("a file read whole fits into memory");
        let mut content = vec![0; size];
        self.read(0, &mut content);
        content
    }

    /// Writes without a change of the size.
    pub(super) fn write(&mut self, position: u64, data: &[u8]) {
        for part in page_parts(position, data.len()) {
            let page = self.pages.entry(part.page);
            let page = Rc::make_mut(page.or_insert_with(|| Rc::new([0; PAGE])));
            page[part.within_page].copy_from_slice(&data[part.within_range]);
        }
    }

    /// Zeroes a range, however long, without a change of the size.
    pub(super) fn zero(&mut self, position: u64, len: u64) {
        let end = position.saturating_add(len);
        for page in self.pages_in(position, len) {
            let start = page * PAGE as u64;
            let from = position.saturating_sub(start).min(PAGE as u64) as usize;
            let to = (end - start).min(PAGE as u64) as usize;
            if from == 0 && to == PAGE {
                self.pages.remove(&page);
            } else if let Some(page) = self.pages.get_mut(&page) {
                Rc::make_mut(page)[from..to].fill(0);
            }
        }
    }

    /// Cuts or extends; what lies at and above `size` is gone.
    pub(super) fn set_size(&mut self, size: u64) {
        self.size = size;
        self.zero(size, u64::MAX - size);
    }

    /// The sectors within a range that may hold something other than zeros: position and length
    /// of each, cut to the range.
    pub(super) fn held_sectors(&self, position: u64, len: u64) -> Vec<(u64, u64)> {
        let end = position.saturating_add(len);
        let mut sectors = Vec::new();
        for page in self.pages_in(position, len) {
            let start = page * PAGE as u64;
            for sector in (start..start + PAGE as u64).step_by(SECTOR as usize) {
                let from = sector.max(position);
                let to = (sector + SECTOR).min(end);
                if from < to {
                    sectors.push((from, to - from));
                }
            }
        }
        sectors
    }

    fn pages_in(&self, position: u64, len: u64) -> Vec<u64> {
        if len == 0 {
            return Vec::new();
        }
        let end = position.saturating_add(len);
        let pages = position / PAGE as u64..end.div_ceil(PAGE as u64);
        self.pages.range(pages).map(|(page, _)| *page).collect()
    }
}

/// Cuts `len` bytes at `position` where sectors begin: for each its position and its part of the
/// bytes.
pub(super) fn sectors(position: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    cut(position, len, SECTOR)
}

fn page_parts(position: u64, len: usize) -> impl Iterator<Item = PagePart> {
    cut(position, len, PAGE as u64).map(|(position, within_range)| {
        let start = (position % PAGE as u64) as usize;
        PagePart {
            page: position / PAGE as u64,
            within_page: start..start + within_range.len(),
            within_range,
        }
    })
}

fn cut(position: u64, len: usize, unit: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == len {
            return None;
        }
        let at = position + start as u64;
        let room = (unit - at % unit) as usize;
        let end = len.min(start + room);
        let range = start..end;
        start = end;
        Some((at, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_across_pages_are_written_zeroed_and_cut() {
        let mut image = Image::default();
        let data: Vec<u8> = (0..10_000).map(|n| (n % 251) as u8 + 1).collect();
        image.write(3000, &data);
        assert_eq!(
            image.read(3000, &mut [0; 4]),
            0,
            "the size does not show it"
        );
        image.set_size(0);
        image.write(3000, &data);
        image.size = 13_000;
        let mut expected = vec![0; 3000];
        expected.extend_from_slice(&data);
        assert_eq!(image.to_vec(), expected);
        image.zero(4000, 5000);
        expected[4000..9000].fill(0);
        assert_eq!(image.to_vec(), expected);
        image.set_size(9500);
        image.set_size(13_000);
        expected[9500..].fill(0);
        assert_eq!(image.to_vec(), expected);
    }

    #[test]
    fn sectors_are_cut_at_multiples_of_512() {
        let parts: Vec<_> = sectors(500, 600).collect();
        assert_eq!(parts, [(500, 0..12), (512, 12..524), (1024, 524..600)]);
        let mut image = Image::default();
        image.write(0, &[1]);
        assert_eq!(image.held_sectors(600, 500), [(600, 424), (1024, 76)]);
        assert_eq!(image.held_sectors(1 << 40, 1 << 40), []);
    }
}
