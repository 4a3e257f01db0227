//! Inputs for the decoder of metadata records.

use bytes::BytesMut;
use millstream_metadata::{FORMAT_VERSION, decode_records, frame};

const RECORDS_KIND: u16 = 1;

/// A batch of records as it lies in the metadata log, and the same bytes within a good frame, so
/// that the archive behind the frame's checksum is reached.
pub fn metadata_records(data: &[u8]) {
    let _ = decode_records(data);
    let mut sealed = BytesMut::new();
    frame::seal(RECORDS_KIND, FORMAT_VERSION, 0, data, &mut sealed);
    let _ = decode_records(&sealed);
}
