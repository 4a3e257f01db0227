//! Walking a message by its shape, counting what the decoder would make of it.

use thiserror::Error;

use super::{Field, Message, Type};
use crate::cursor::{Cursor, CursorError};

/// Why a message may not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WalkError {
    /// The bytes end within a field, or an integer is malformed.
    #[error("field {field:?}: {source}")]
    Malformed {
        /// The innermost field.
        field: &'static str,
        /// What is wrong.
        source: CursorError,
    },
    /// A length is negative, or beyond the bytes that are there.
    #[error("field {field:?}: its length {length} does not fit the {remaining} bytes left")]
    BadLength {
        /// The field.
        field: &'static str,
        /// The length that the bytes give.
        length: i64,
        /// The bytes after it.
        remaining: usize,
    },
    /// A tagged field's value does not end where its size says.
    #[error("tagged field {field:?} takes {taken} bytes, its size says {size}")]
    BadTaggedSize {
        /// The field.
        field: &'static str,
        /// What it says.
        size: u32,
        /// What its value takes.
        taken: usize,
    },
    /// The message has more elements than one of its length may have.
    #[error("field {field:?}: the message has more than {max} elements")]
    TooManyItems {
        /// The field at which the limit was passed.
        field: &'static str,
        /// The limit.
        max: usize,
    },
}

/// The most elements, tagged fields included, of a message of `length` bytes.
///
/// An element may take one byte on the wire and some 250 in memory. Elements of the usual sizes,
/// 16 bytes and more, never meet this bound; smaller ones may be 32,768 in any message. A decoded
/// message thus takes at most 8 MiB and 16 times its bytes.
pub fn items_max(length: usize) -> usize {
    (32 << 10) + length / 16
}

/// Walks `bytes` as `message` in `version`; answers how many bytes the message takes.
pub(crate) fn walk(message: &Message, version: i16, bytes: &[u8]) -> Result<usize, WalkError> {
    let mut walker = Walker {
        cursor: Cursor::new(bytes),
        version,
        flexible: message.is_flexible(version),
        items_left: items_max(bytes.len()),
        items_max: items_max(bytes.len()),
    };
    walker.fields("message", message.fields)?;
    Ok(walker.cursor.position())
}

struct Walker<'a> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    items_left: usize,
    items_max: usize,
}

impl Walker<'_> {
    fn fields(&mut self, name: &'static str, fields: &'static [Field]) -> Result<(), WalkError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field.name, &field.ty)?;
            }
        }
        if self.flexible {
            self.tagged_fields(name, fields)
        } else {
            Ok(())
        }
    }

    fn tagged_fields(
        &mut self,
        name: &'static str,
        fields: &'static [Field],
    ) -> Result<(), WalkError> {
        let count = self.unsigned_varint(name)?;
        self.charge(name, u64::from(count))?;
        for _ in 0..count {
            let tag = self.unsigned_varint(name)?;
            let size = self.unsigned_varint(name)?;
            let known = fields
                .iter()
                .find(|field| field.tag == Some(tag) && field.is_in(self.version));
            let Some(field) = known else {
                self.skip(name, i64::from(size))?;
                continue;
            };
            let start = self.cursor.position();
            self.value(field.name, &field.ty)?;
            let taken = self.cursor.position() - start;
            if taken != size as usize {
                return Err(WalkError::BadTaggedSize {
                    field: field.name,
                    size,
                    taken,
                });
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &'static str, ty: &'static Type) -> Result<(), WalkError> {
        match ty {
            Type::Fixed(size) => self.skip(name, *size as i64),
            Type::String => {
                let length = self.length(name, |cursor| cursor.i16().map(i64::from))?;
                self.skip(name, length)
            }
            Type::Bytes => {
                let length = self.length(name, |cursor| cursor.i32().map(i64::from))?;
                self.skip(name, length)
            }
            Type::Array(element) => {
                let count = self.length(name, |cursor| cursor.i32().map(i64::from))?;
                self.array(name, element, count)
            }
            Type::Struct(fields) => self.fields(name, fields),
            Type::Nullable(fields) => {
                let present = self.cursor.i8().map_err(|source| WalkError::Malformed {
                    field: name,
                    source,
                })?;
                match present {
                    1 => self.fields(name, fields),
                    _ => Ok(()),
                }
            }
        }
    }

    fn array(
        &mut self,
        name: &'static str,
        element: &'static Type,
        count: i64,
    ) -> Result<(), WalkError> {
        if let Type::Fixed(size) = element {
            return self.skip(name, count.saturating_mul(*size as i64));
        }
        self.check_length(name, count)?;
        self.charge(name, count as u64)?;
        for _ in 0..count {
            self.value(name, element)?;
        }
        Ok(())
    }

    /// Reads a length: 0 for null, whatever encoding says so.
    fn length(
        &mut self,
        name: &'static str,
        fixed: impl FnOnce(&mut Cursor<'_>) -> Result<i64, CursorError>,
    ) -> Result<i64, WalkError> {
        let length = match self.flexible {
            true => i64::from(self.unsigned_varint(name)?) - 1,
            false => fixed(&mut self.cursor).map_err(|source| WalkError::Malformed {
                field: name,
                source,
            })?,
        };
        Ok(if length == -1 { 0 } else { length })
    }

    fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WalkError> {
        self.cursor
            .unsigned_varint()
            .map_err(|source| WalkError::Malformed { field, source })
    }

    fn skip(&mut self, field: &'static str, length: i64) -> Result<(), WalkError> {
        self.check_length(field, length)?;
        let skipped = self.cursor.take(length as usize);
        skipped.map_err(|source| WalkError::Malformed { field, source })?;
        Ok(())
    }

    fn check_length(&self, field: &'static str, length: i64) -> Result<(), WalkError> {
        let remaining = self.cursor.remaining();
        if length < 0 || length as u64 > remaining as u64 {
            return Err(WalkError::BadLength {
                field,
                length,
                remaining,
            });
        }
        Ok(())
    }

    fn charge(&mut self, field: &'static str, items: u64) -> Result<(), WalkError> {
        match usize::try_from(items)
            .ok()
            .and_then(|items| self.items_left.checked_sub(items))
        {
            Some(left) => {
                self.items_left = left;
                Ok(())
            }
            None => Err(WalkError::TooManyItems {
                field,
                max: self.items_max,
            }),
        }
    }
}
