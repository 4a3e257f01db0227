//! Copies of what must outlive the request it came in. Decoded messages are slices of their
//! frame: keeping one string of it would keep the whole frame in memory.

use bytes::Bytes;
use millstream_protocol::StrBytes;

pub(crate) fn retained(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.as_str().to_owned())
}

pub(crate) fn retained_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
