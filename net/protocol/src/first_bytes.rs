//! Guesses what somebody speaks who does not speak Kafka's protocol.

/// Names the likely protocol of a connection by its first bytes, if they fit one. It is for the
/// log line of a connection whose first frame has an impossible size or header.
pub fn explain_first_bytes(bytes: &[u8]) -> Option<&'static str> {
    let (_, meaning) = KNOWN.iter().find(|(start, _)| bytes.starts_with(start))?;
    Some(meaning)
}

const TLS: &str = "a TLS handshake on a plaintext listener";
const HTTP: &str = "an HTTP request";
const ZOOKEEPER: &str = "a ZooKeeper four-letter command";
const PROXY: &str = "a PROXY protocol header";

const KNOWN: &[(&[u8], &str)] = &[
    (b"\x16\x03\x00", TLS),
    (b"\x16\x03\x01", TLS),
    (b"\x16\x03\x02", TLS),
    (b"\x16\x03\x03", TLS),
    (b"\x15\x03", "a TLS alert on a plaintext listener"),
    (b"GET ", HTTP),
    (b"POST", HTTP),
    (b"PUT ", HTTP),
    (b"HEAD", HTTP),
    (b"DELE", HTTP),
    (b"OPTI", HTTP),
    (b"PATC", HTTP),
    (b"TRAC", HTTP),
    (b"CONN", HTTP),
    (b"PRI ", "an HTTP/2 connection preface"),
    (b"SSH-", "an SSH client"),
    (b"PROX", PROXY),
    (b"\r\n\r\n", PROXY),
    (b"ruok", ZOOKEEPER),
    (b"stat", ZOOKEEPER),
    (b"srvr", ZOOKEEPER),
    (b"mntr", ZOOKEEPER),
    (b"conf", ZOOKEEPER),
    (
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        "a PostgreSQL client that asks for TLS",
    ),
    (b"*1\r\n", "a Redis client"),
];

#[cfg(test)]
mod tests {
    use super::explain_first_bytes;

    #[test]
    fn common_strangers_are_named() {
        let explained = |bytes: &[u8]| explain_first_bytes(bytes).unwrap_or_default();
        assert!(explained(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").contains("TLS"));
        assert!(explained(b"GET / HTTP/1.1\r\n").contains("HTTP"));
        assert!(explained(b"POST").contains("HTTP"));
        assert!(explained(b"PRI * HTTP/2.0").contains("HTTP/2"));
    }

    #[test]
    fn kafka_and_fragments_are_not() {
        assert_eq!(
            explain_first_bytes(b"\x00\x00\x00\x23\x00\x12\x00\x03"),
            None
        );
        assert_eq!(explain_first_bytes(b"GE"), None);
        assert_eq!(explain_first_bytes(b""), None);
    }
}
