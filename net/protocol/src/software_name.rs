//! The client's name and version in ApiVersions.

/// Whether `text` may be a client's software name or version: ASCII letters, digits, dashes and
/// dots, the first and last a letter or digit. If not, the request gets INVALID_REQUEST.
pub fn is_software_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn names_of_real_clients_pass() {
        for name in [
            "apache-kafka-java",
            "4.2.0",
            "librdkafka",
            "2.15.0-RC1",
            "a",
            "1",
        ] {
            assert!(is_software_name(name), "{name}");
        }
    }

    #[test]
    fn others_do_not() {
        for name in ["", "-a", "a-", ".", "a b", "a_b", "ä", "a\n"] {
            assert!(!is_software_name(name), "{name}");
        }
    }
}
