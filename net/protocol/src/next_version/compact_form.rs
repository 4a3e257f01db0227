//! The flexible encoding, piece by piece.
//!
//! ```text
//! length: unsigned varint, 0 for null, else one more than the length
//! text:   length | UTF-8        array: length | elements
//! tagged: unsigned varint count | (unsigned varint tag | unsigned varint size | bytes)...
//! ```

use anyhow::{Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use crate::StrBytes;
use crate::cursor::{Cursor, put_unsigned_varint};

/// Nothing may follow what was read.
pub(super) fn expect_end(body: &Bytes) -> Result<()> {
    ensure!(body.is_empty(), "{} bytes follow the message", body.len());
    Ok(())
}

pub(super) fn get_bool(body: &mut Bytes) -> Result<bool> {
    Ok(body.try_get_u8()? != 0)
}

pub(super) fn get_i32(body: &mut Bytes) -> Result<i32> {
    Ok(body.try_get_i32()?)
}

pub(super) fn get_uuid(body: &mut Bytes) -> Result<Uuid> {
    Ok(Uuid::from_u128(body.try_get_u128()?))
}

/// Text that may be null; a slice of the body.
pub(super) fn get_nullable_text(body: &mut Bytes) -> Result<Option<StrBytes>> {
    let Some(length) = get_length(body)? else {
        return Ok(None);
    };
    Ok(Some(StrBytes::from_utf8(body.split_to(length))?))
}

pub(super) fn get_text(body: &mut Bytes) -> Result<StrBytes> {
    let Some(text) = get_nullable_text(body)? else {
        bail!("a text is null that may not be");
    };
    Ok(text)
}

/// An array that may be null. Memory is taken as elements come, not as the length claims.
pub(super) fn get_nullable_array<T>(
    body: &mut Bytes,
    element: impl Fn(&mut Bytes) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    let Some(length) = get_length(body)? else {
        return Ok(None);
    };
    (0..length)
        .map(|_| element(body))
        .collect::<Result<_>>()
        .map(Some)
}

pub(super) fn get_array<T>(
    body: &mut Bytes,
    element: impl Fn(&mut Bytes) -> Result<T>,
) -> Result<Vec<T>> {
    let Some(elements) = get_nullable_array(body, element)? else {
        bail!("an array is null that may not be");
    };
    Ok(elements)
}

/// Passes over tagged fields: none is known.
pub(super) fn skip_tagged_fields(body: &mut Bytes) -> Result<()> {
    for _ in 0..get_varint(body)? {
        get_varint(body)?;
        let size = get_varint(body)? as usize;
        ensure!(size <= body.len(), "a tagged field is cut short");
        body.advance(size);
    }
    Ok(())
}

/// A length that what follows can have: an element is a byte at least.
fn get_length(body: &mut Bytes) -> Result<Option<usize>> {
    let Some(length) = get_varint(body)?.checked_sub(1) else {
        return Ok(None);
    };
    let length = length as usize;
    ensure!(
        length <= body.len(),
        "{length} are told, {} bytes are left",
        body.len()
    );
    Ok(Some(length))
}

fn get_varint(body: &mut Bytes) -> Result<u32> {
    let mut cursor = Cursor::new(body);
    let value = cursor.unsigned_varint()?;
    let size = cursor.position();
    body.advance(size);
    Ok(value)
}

pub(super) fn put_nullable_text(out: &mut Vec<u8>, text: Option<&StrBytes>) -> Result<()> {
    put_length(out, text.map(|text| text.len()))?;
    out.put_slice(text.map_or(&[], |text| text.as_bytes()));
    Ok(())
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &StrBytes) -> Result<()> {
    put_nullable_text(out, Some(text))
}

pub(super) fn put_uuid(out: &mut Vec<u8>, id: Uuid) {
    out.put_u128(id.as_u128());
}

pub(super) fn put_array<T>(
    out: &mut Vec<u8>,
    elements: &[T],
    element: impl Fn(&mut Vec<u8>, &T) -> Result<()>,
) -> Result<()> {
    put_length(out, Some(elements.len()))?;
    elements.iter().try_for_each(|each| element(out, each))
}

pub(super) fn put_null_array(out: &mut Vec<u8>) -> Result<()> {
    put_length(out, None)
}

pub(super) fn put_no_tagged_fields(out: &mut Vec<u8>) {
    put_unsigned_varint(out, 0);
}

fn put_length(out: &mut Vec<u8>, length: Option<usize>) -> Result<()> {
    let told = length.map_or(Some(0), |length| length.checked_add(1));
    let Some(told) = told.and_then(|told| u32::try_from(told).ok()) else {
        bail!("a length of {length:?} cannot be written");
    };
    put_unsigned_varint(out, told);
    Ok(())
}
