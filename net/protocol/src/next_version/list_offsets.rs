//! ListOffsets 11: as version 10. What is new is that a timestamp of −6 asks for the first offset
//! that is yet to be uploaded (KIP-1023).

use super::NextVersion;
use crate::messages::{ListOffsetsRequest, ListOffsetsResponse};

impl NextVersion for ListOffsetsRequest {
    const VERSION: i16 = 11;
}

impl NextVersion for ListOffsetsResponse {
    const VERSION: i16 = 11;
}
