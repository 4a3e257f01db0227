//! What a broker's `server.properties` says about its folder and its listeners.
//!
//! Only these few keys are looked at; whether the file is right as a whole, the broker says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where `millstreamd` listens and keeps its data when nothing is said.
const DEFAULT_LISTENER: &str = "PLAINTEXT://127.0.0.1:9092";
const DEFAULT_FOLDER: &str = "millstream-data";

/// Where a broker listens and keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerPlace {
    /// Host and port of each listener; an empty host stands for all addresses.
    pub listeners: Vec<(String, u16)>,
    /// The folder of the data.
    pub folder: PathBuf,
}

impl BrokerPlace {
    /// Without a file of settings.
    pub fn of_defaults() -> BrokerPlace {
        BrokerPlace::parse("")
    }

    /// As a file of settings says.
    pub fn read(path: &Path) -> Result<BrokerPlace, Failure> {
        let text = fs::read_to_string(path).map_err(|source| Failure::file(path, source))?;
        Ok(BrokerPlace::parse(&text))
    }

    fn parse(text: &str) -> BrokerPlace {
        let value = |key: &str| {
            // The last one counts, as with Java's properties.
            text.lines()
                .map(str::trim_start)
                .filter(|line| !line.starts_with(['#', '!']))
                .filter_map(|line| line.split_once('='))
                .filter(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().to_owned())
                .next_back()
        };
        let listeners = value("listeners").unwrap_or_else(|| DEFAULT_LISTENER.to_owned());
        let folder = value("log.dirs").or_else(|| value("log.dir"));
        BrokerPlace {
            listeners: listeners.split(',').filter_map(host_and_port).collect(),
            folder: folder.unwrap_or_else(|| DEFAULT_FOLDER.to_owned()).into(),
        }
    }
}

/// Host and port of `NAME://host:port`.
fn host_and_port(listener: &str) -> Option<(String, u16)> {
    let (_, address) = listener.trim().split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_folder_are_found() {
        let text = "# listeners=OLD://x:1\nlisteners = IN://:9092, OUT://[::1]:9093\n\
                    log.dir=/a\nlog.dirs=/b\n";
        let place = BrokerPlace::parse(text);
        let expected = [(String::new(), 9092), ("::1".to_owned(), 9093)];
        assert_eq!(place.listeners, expected);
        assert_eq!(place.folder, PathBuf::from("/b"));
        let defaults = BrokerPlace::of_defaults();
        assert_eq!(defaults.listeners, [("127.0.0.1".to_owned(), 9092)]);
        assert_eq!(defaults.folder, PathBuf::from("millstream-data"));
    }
}
