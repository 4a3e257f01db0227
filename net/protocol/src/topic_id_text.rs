//! Topic ids as Kafka prints them: 22 characters of URL-safe base64, without padding.

use crate::TopicId;

const LENGTH: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The id as text.
pub fn format_topic_id(id: TopicId) -> String {
    // The last character stands for two bits of the id and four zeros.
    let bits = id.0.as_u128();
    let digits = (0..LENGTH as u32).map(|i| {
        let shift = 122i32 - 6 * i as i32;
        let digit = if shift >= 0 {
            bits >> shift
        } else {
            bits << -shift
        };
        char::from(ALPHABET[(digit & 63) as usize])
    });
    digits.collect()
}

/// The id that this text stands for; none if it is not 22 characters that stand for one.
pub fn parse_topic_id(text: &str) -> Option<TopicId> {
    if text.len() != LENGTH {
        return None;
    }
    let mut bits = 0u128;
    for (i, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)? as u128;
        if i + 1 < LENGTH {
            bits = bits << 6 | digit;
        } else if digit & 0b1111 == 0 {
            bits = bits << 2 | digit >> 4;
        } else {
            return None;
        }
    }
    Some(TopicId(uuid::Uuid::from_u128(bits)))
}

/// Whether a random id may become a topic's: Kafka keeps the ids 0 and 1 for itself, and none
/// starts with a dash, which a command line would take for an option.
pub fn may_be_assigned(id: TopicId) -> bool {
    id.0.as_u128() > 1 && !format_topic_id(id).starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(bits: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(bits))
    }

    #[test]
    fn known_ids_have_known_texts() {
        assert_eq!(format_topic_id(id(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(format_topic_id(id(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(format_topic_id(id(u128::MAX)), "_____________________w");
        assert_eq!(
            format_topic_id(id(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
            "AQIDBAUGBwgJCgsMDQ4PEA"
        );
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAA==",
        ] {
            assert_eq!(parse_topic_id(text), None, "{text}");
        }
    }

    #[test]
    fn reserved_ids_are_not_assigned() {
        assert!(!may_be_assigned(id(0)) && !may_be_assigned(id(1)));
        assert!(!may_be_assigned(
            parse_topic_id("-AAAAAAAAAAAAAAAAAAAAA").unwrap()
        ));
        assert!(may_be_assigned(id(2)));
    }

    proptest! {
        #[test]
        fn ids_come_back(bits: u128) {
            prop_assert_eq!(parse_topic_id(&format_topic_id(id(bits))), Some(id(bits)));
        }
    }
}
