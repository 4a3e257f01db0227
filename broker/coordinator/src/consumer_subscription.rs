//! Reads the topics out of the `consumer` protocol's metadata, which is otherwise opaque here:
//! `version i16 | count i32 | (length i16, name)… | …`. Every version begins so.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use millstream_protocol::StrBytes;

/// The topics subscribed to, or none if the bytes are not what they should be.
pub(crate) fn subscribed_topics(metadata: &Bytes) -> Option<BTreeSet<StrBytes>> {
    let mut rest = metadata.clone();
    let _version = rest.try_get_i16().ok()?;
    let count = rest.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..u32::try_from(count).ok()? {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        if rest.len() < length {
            return None;
        }
        topics.insert(StrBytes::from_utf8(rest.split_to(length)).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_topics_and_refuses_what_is_cut_short() {
        let whole = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff");
        let topics = subscribed_topics(&whole).expect("well formed");
        let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
        assert_eq!(names, ["a", "bc"]);
        for length in 0..whole.len() - 4 {
            assert_eq!(
                subscribed_topics(&whole.slice(..length)),
                None,
                "of {length} bytes"
            );
        }
        let negative = Bytes::from_static(b"\0\0\xff\xff\xff\xff");
        assert_eq!(subscribed_topics(&negative), None);
    }
}
