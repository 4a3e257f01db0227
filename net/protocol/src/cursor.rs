//! A cursor over bytes from outside: every read is checked, none allocates or panics.

use thiserror::Error;

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CursorError {
    /// The bytes ended before the value did.
    #[error("the bytes end at position {position}, {needed} more are needed")]
    Truncated {
        /// Where the value was to be read.
        position: usize,
        /// How many bytes it lacks.
        needed: usize,
    },
    /// A variable-length integer has more bytes than its type allows.
    #[error("the variable-length integer at position {position} is too long")]
    OverlongVarint {
        /// Where the integer starts.
        position: usize,
    },
}

/// A position in a slice, moved by reading.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, position: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Reads `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], CursorError> {
        let rest = &self.bytes[self.position..];
        if count > rest.len() {
            return Err(CursorError::Truncated {
                position: self.position,
                needed: count - rest.len(),
            });
        }
        self.position += count;
        Ok(&rest[..count])
    }

    /// Passes over `count` of [`Self::rest`], which are there.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) {
        debug_assert!(count <= self.remaining());
        self.position += count;
    }

    /// Reads one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, CursorError> {
        let Some(&byte) = self.bytes.get(self.position) else {
            return Err(CursorError::Truncated {
                position: self.position,
                needed: 1,
            });
        };
        self.position += 1;
        Ok(byte)
    }

    /// Reads a signed byte.
    pub fn i8(&mut self) -> Result<i8, CursorError> {
        Ok(self.u8()?.cast_signed())
    }

    /// Reads a big-endian 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, CursorError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Reads a big-endian 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, CursorError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Reads a big-endian unsigned 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, CursorError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Reads a big-endian 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, CursorError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Reads `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CursorError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returned N bytes"))
    }

    /// Reads an unsigned variable-length integer of at most five bytes.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, CursorError> {
        // Nearly all have one byte or two.
        match self.bytes.get(self.position..) {
            Some(&[first, ..]) if first < 0x80 => {
                self.position += 1;
                Ok(u32::from(first))
            }
            Some(&[first, second, ..]) if second < 0x80 => {
                self.position += 2;
                Ok(u32::from(first & 0x7f) | u32::from(second) << 7)
            }
            _ => self.long_unsigned_varint(),
        }
    }

    #[cold]
    fn long_unsigned_varint(&mut self) -> Result<u32, CursorError> {
        let start = self.position;
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CursorError::OverlongVarint { position: start })
    }

    /// Reads a zigzag variable-length integer of at most five bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, CursorError> {
        let value = self.unsigned_varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Reads a zigzag variable-length integer of at most ten bytes.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, CursorError> {
        let zigzag = match self.bytes.get(self.position..) {
            Some(&[first, ..]) if first < 0x80 => {
                self.position += 1;
                u64::from(first)
            }
            Some(&[first, second, ..]) if second < 0x80 => {
                self.position += 2;
                u64::from(first & 0x7f) | u64::from(second) << 7
            }
            _ => self.long_unsigned_varlong()?,
        };
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    #[cold]
    fn long_unsigned_varlong(&mut self) -> Result<u64, CursorError> {
        let start = self.position;
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CursorError::OverlongVarint { position: start })
    }
}

/// Appends an unsigned variable-length integer.
pub fn put_unsigned_varint(buffer: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        buffer.push((value as u8) | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// Appends a zigzag variable-length integer of 32 bits.
pub fn put_varint(buffer: &mut Vec<u8>, value: i32) {
    put_unsigned_varint(buffer, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

/// Appends a zigzag variable-length integer of 64 bits.
pub fn put_varlong(buffer: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while value >= 0x80 {
        buffer.push((value as u8) | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// How many bytes a zigzag variable-length integer takes.
pub fn varint_size(value: i32) -> usize {
    varlong_size(i64::from(value))
}

/// How many bytes a zigzag variable-length integer of 64 bits takes.
pub fn varlong_size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = 64 - zigzag.leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value: i32, long: i64, unsigned: u32) {
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            prop_assert_eq!(buffer.len(), varint_size(value));
            put_varlong(&mut buffer, long);
            prop_assert_eq!(buffer.len(), varint_size(value) + varlong_size(long));
            put_unsigned_varint(&mut buffer, unsigned);
            let mut cursor = Cursor::new(&buffer);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.varlong(), Ok(long));
            prop_assert_eq!(cursor.unsigned_varint(), Ok(unsigned));
            prop_assert!(cursor.is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_not_there_is_told_and_not_read(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
            first: prop::sample::Index,
            count in 0..30_usize,
        ) {
            let mut cursor = Cursor::new(&bytes);
            let position = first.index(bytes.len() + 1);
            cursor.take(position).expect("so many are there");
            let left = bytes.len() - position;
            let read = cursor.take(count);
            if count <= left {
                prop_assert_eq!(read, Ok(&bytes[position..position + count]));
                prop_assert_eq!(cursor.remaining(), left - count);
            } else {
                let needed = count - left;
                prop_assert_eq!(read, Err(CursorError::Truncated { position, needed }));
                prop_assert_eq!(cursor.remaining(), left);
            }
        }
    }

    #[test]
    fn a_variable_length_integer_takes_a_byte_for_seven_bits() {
        for bytes in 1..=9 {
            let most = (1_u64 << (7 * bytes)) - 1;
            for (zigzag, size) in [(most, bytes), (most + 1, bytes + 1)] {
                let value = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
                let mut buffer = Vec::new();
                put_varlong(&mut buffer, value);
                assert_eq!((buffer.len(), varlong_size(value)), (size, size), "{value}");
                assert_eq!(Cursor::new(&buffer).varlong(), Ok(value));
                if let Ok(value) = i32::try_from(value) {
                    assert_eq!(varint_size(value), size);
                    assert_eq!(Cursor::new(&buffer).varint(), Ok(value));
                }
            }
        }
    }

    #[test]
    fn overlong_and_truncated_varints_are_refused() {
        let overlong = [0xff; 11];
        assert_eq!(
            Cursor::new(&overlong).unsigned_varint(),
            Err(CursorError::OverlongVarint { position: 0 })
        );
        assert_eq!(
            Cursor::new(&overlong).varlong(),
            Err(CursorError::OverlongVarint { position: 0 })
        );
        assert_eq!(
            Cursor::new(&overlong[..3]).varint(),
            Err(CursorError::Truncated {
                position: 3,
                needed: 1
            })
        );
    }
}
