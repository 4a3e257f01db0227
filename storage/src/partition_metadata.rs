//! The file `partition.metadata`, which ties a partition's folder to its topic's id.
//!
//! Kafka's text: `version: 0`, a newline, `topic_id: ` and the id as 22 characters of URL-safe
//! base64 without padding.

use millstream_protocol::TopicId;
use uuid::Uuid;

/// The name of the file in a partition's folder.
pub const FILE_NAME: &str = "partition.metadata";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ENCODED_LEN: usize = 22;

/// The file's text for a topic.
pub fn to_text(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", encode_id(topic_id))
}

/// The topic in the file's text, if it can be read.
pub fn parse(text: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(text).ok()?;
    let mut version = None;
    let mut topic_id = None;
    for line in text.lines() {
        match line.split_once(':')? {
            ("version", value) => version = value.trim().parse::<u32>().ok(),
            ("topic_id", value) => topic_id = decode_id(value.trim()),
            _ => return None,
        }
    }
    (version == Some(0)).then_some(topic_id)?
}

/// An id as Kafka prints it.
pub fn encode_id(topic_id: TopicId) -> String {
    let bits = topic_id.0.as_u128();
    (0..ENCODED_LEN)
        .map(|index| {
            // The last character holds only two bits of the id.
            let shift = 128 - 6 * (index as i32 + 1);
            let group = if shift >= 0 {
                bits >> shift
            } else {
                bits << -shift
            };
            char::from(ALPHABET[(group & 63) as usize])
        })
        .collect()
}

/// An id as Kafka prints it.
pub fn decode_id(text: &str) -> Option<TopicId> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    let mut bits = 0u128;
    for (index, character) in text.bytes().enumerate() {
        let group = ALPHABET.iter().position(|&known| known == character)? as u128;
        let shift = 128 - 6 * (index as i32 + 1);
        bits |= if shift >= 0 {
            group << shift
        } else {
            group >> -shift
        };
    }
    Some(TopicId(Uuid::from_u128(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kafkas() {
        // Kafka's Uuid.ONE_UUID, and one whose encoding uses both special characters.
        assert_eq!(
            encode_id(TopicId(Uuid::from_u128(1))),
            "AAAAAAAAAAAAAAAAAAAAAQ"
        );
        let id = TopicId(Uuid::from_u128(u128::MAX - (1 << 124)));
        assert_eq!(decode_id(&encode_id(id)), Some(id));
        let text = to_text(TopicId(Uuid::from_u128(1)));
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(parse(text.as_bytes()), Some(TopicId(Uuid::from_u128(1))));
        assert_eq!(parse(b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"), None);
        assert_eq!(parse(b"version: 0\ntopic_id: short"), None);
    }
}
