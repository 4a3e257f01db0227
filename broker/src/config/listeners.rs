//! Listener addresses: `NAME://host:port`, and the maps that go with them.

use super::keys::list;

/// Where a listener is, or where clients are told it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, upper-case.
    pub name: String,
    /// Host name or address; empty for every address of the machine.
    pub host: String,
    /// TCP port; 0 for one that is free.
    pub port: u16,
}

impl Endpoint {
    /// Reads `NAME://host:port,…`; the error names the item that is wrong.
    pub fn parse_list(key: &str, value: &str) -> Result<Vec<Endpoint>, String> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for item in list(value) {
            let endpoint = Endpoint::parse(item).ok_or_else(|| {
                format!(
                    "Invalid value {value} for configuration {key}: `{item}` is not of the form \
                     NAME://host:port"
                )
            })?;
            if endpoints.iter().any(|other| other.name == endpoint.name) {
                return Err(format!(
                    "Invalid value {value} for configuration {key}: the listener {} is there twice",
                    endpoint.name
                ));
            }
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() {
            return Err(format!(
                "Invalid value {value} for configuration {key}: it is empty"
            ));
        }
        Ok(endpoints)
    }

    fn parse(item: &str) -> Option<Endpoint> {
        let (name, address) = item.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None => host,
        };
        let valid = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let port = port.parse().ok()?;
        valid.then(|| Endpoint {
            name: name.to_ascii_uppercase(),
            host: host.into(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_errors_name_the_item() {
        let endpoints = Endpoint::parse_list("listeners", "plaintext://:9092,IN://[::1]:0");
        let expected = [
            Endpoint {
                name: "PLAINTEXT".into(),
                host: String::new(),
                port: 9092,
            },
            Endpoint {
                name: "IN".into(),
                host: "::1".into(),
                port: 0,
            },
        ];
        assert_eq!(endpoints.as_deref(), Ok(&expected[..]));
        for wrong in [
            "localhost:9092",
            "A://x:70000",
            "A://x:1,A://x:2",
            "",
            "://x:1",
        ] {
            let error = Endpoint::parse_list("listeners", wrong).expect_err(wrong);
            assert!(error.contains("listeners"), "{error}");
        }
    }
}
