//! Which names topics may have.

use thiserror::Error;

/// The most bytes of a topic's name.
pub const LENGTH_MAX: usize = 249;

/// Why a name cannot be a topic's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicNameError {
    /// It is empty.
    #[error("a topic's name may not be empty")]
    Empty,
    /// It is `.` or `..`, which name folders.
    #[error("a topic's name may not be '.' or '..'")]
    Dots,
    /// It is too long.
    #[error("a topic's name has at most {LENGTH_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// It has a character that is not allowed.
    #[error(
        "the topic's name {0:?} has a character other than ASCII letters and digits, '.', '_' and '-'"
    )]
    BadCharacter(String),
}

/// Checks a topic's name.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    match name {
        "" => return Err(TopicNameError::Empty),
        "." | ".." => return Err(TopicNameError::Dots),
        _ => {}
    }
    if name.len() > LENGTH_MAX {
        return Err(TopicNameError::TooLong(name.chars().count()));
    }
    if !name.bytes().all(is_allowed) {
        return Err(TopicNameError::BadCharacter(name.to_owned()));
    }
    Ok(())
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_allowed_characters_pass() {
        for name in [
            "a",
            "...",
            "Az09._-",
            "__consumer_offsets",
            &"x".repeat(LENGTH_MAX),
        ] {
            assert_eq!(check_topic_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_names_do_not() {
        assert_eq!(check_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(check_topic_name(".."), Err(TopicNameError::Dots));
        assert_eq!(
            check_topic_name(&"x".repeat(250)),
            Err(TopicNameError::TooLong(250))
        );
        for name in ["a b", "a/b", "ü", "a\0", "a:b"] {
            assert!(matches!(
                check_topic_name(name),
                Err(TopicNameError::BadCharacter(_))
            ));
        }
    }
}
